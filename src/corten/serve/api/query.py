"""The query of a request, read by Docker's rules for each type of value."""

import re
from urllib.parse import parse_qsl

from corten.errors import InvalidInput

_FALSE = frozenset({"", "0", "no", "false", "none"})
_UNIX_TIME = re.compile(r"(-?\d+)(?:\.(\d{0,9})\d*)?")


def nanoseconds(name: str, text: str) -> int:
    """Return ``seconds[.fraction]`` since the epoch as exact nanoseconds.

    Raises:
        InvalidInput: *text* is no such number; the message names *name*.
    """
    match = _UNIX_TIME.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f'invalid value "{text}" for "{name}": give seconds since 1970, such as 1700000000.5'
        )
    return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))


class Query:
    """The decoded pairs of a query; of a repeated key the first value counts."""

    __slots__ = ("_pairs", "_values")

    def __init__(self, text: str) -> None:
        self._pairs = parse_qsl(text, keep_blank_values=True) if text else []
        self._values = dict(reversed(self._pairs))

    def text(self, name: str, default: str = "") -> str:
        """Return a value as it stands."""
        return self._values.get(name, default)

    def all(self, name: str) -> list[str]:
        """Return every value of a key, in order."""
        return [value for key, value in self._pairs if key == name]

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value: anything but nothing, 0, no, false and none is true."""
        value = self._values.get(name)
        return default if value is None else value.strip().lower() not in _FALSE

    def integer(self, name: str) -> int | None:
        """Return a whole number, or None where it is absent or empty.

        Raises:
            InvalidInput: the value is not a whole number.
        """
        value = self._values.get(name, "")
        if not value:
            return None
        try:
            return int(value)
        except ValueError:
            raise InvalidInput(f'invalid value "{value}" for "{name}": give a whole number') from None

    def time(self, name: str) -> int | None:
        """Return a time as ns since the epoch; None where absent, empty or zero, as Docker means it."""
        value = self._values.get(name, "")
        return (nanoseconds(name, value) or None) if value else None
