"""Flags: ``--name`` and ``--name=value`` between an instruction's name and its arguments."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum

from corten.engine.builds.dockerfile.lines import BLANKS, Line, Position, shown

# Quotes and backslashes are removed from flags whatever the escape character of the file is.
_WORD = re.compile(
    rf"""(?:[^{re.escape(BLANKS)}'"\\]+|\\.|\\\Z|'(?:[^'\\]|\\.)*(?:'|\\?\Z)|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+""",
    re.DOTALL,
)
_QUOTING = re.compile(r"""'((?:[^'\\]|\\.)*)'?|"((?:[^"\\]|\\.)*)"?|\\(.)|\\\Z""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_BLANKS = re.compile(f"[{re.escape(BLANKS)}]*")


class Kind(Enum):
    """What a flag takes."""

    TEXT = "a value"
    BOOL = "true or false"
    MANY = "a value, and may be given several times"


class Flags:
    """The flags of one instruction, by name."""

    def __init__(self, given: Mapping[str, list[tuple[str, Position]]]) -> None:
        self._given = given

    def text(self, name: str, default: str = "") -> str:
        """Return the value of a flag that is given once at most."""
        return self._given[name][0][0] if name in self._given else default

    def boolean(self, name: str) -> bool | None:
        """Return what a flag says, None when it is not given."""
        return self._given[name][0][0] == "true" if name in self._given else None

    def many(self, name: str) -> list[tuple[str, Position]]:
        """Return every value of a flag, with its place."""
        return self._given.get(name, [])

    def position(self, name: str) -> Position:
        """Return the place of a flag that is given."""
        return self._given[name][0][1]


def take(line: Line, start: int, known: Mapping[str, Kind], instruction: str) -> tuple[Flags, int]:
    """Read the flags from offset *start* on.

    Returns:
        The flags, and the offset of the first argument.

    Raises:
        InvalidInput: a flag is unknown, given twice, or has no fitting value.
    """
    given: dict[str, list[tuple[str, Position]]] = {}
    while True:
        start = _skip(line.text, start)
        match = _WORD.match(line.text, start) if line.text.startswith("--", start) else None
        if match is None:
            return Flags(given), start
        start = _skip(line.text, match.end())
        if match[0] == "--":
            return Flags(given), start
        position = line.at(match.start())
        name, value = _value(_unquoted(match[0]), known, instruction, position)
        if name in given and known[name] is not Kind.MANY:
            raise position.refuse(f"expected --{name} once: remove one of them")
        given.setdefault(name, []).append((value, position))


def nearest(
    word: str, known: Mapping[str, object] | tuple[str, ...] | frozenset[str], prefix: str = ""
) -> str:
    """Return ``: did you mean X?``, or the whole choice when nothing is near."""
    close = get_close_matches(word, list(known), 1, 0.6)
    if close:
        return f": did you mean {prefix}{close[0]}?"
    return f": expected {', '.join(f'{prefix}{name}' for name in sorted(known))}" if known else ""


def _skip(text: str, start: int) -> int:
    match = _BLANKS.match(text, start)
    return match.end() if match else start


def _unquoted(word: str) -> str:
    if "\\" not in word and "'" not in word and '"' not in word:
        return word
    return _QUOTING.sub(lambda found: found[3] or _ESCAPED.sub(r"\1", found[1] or found[2] or ""), word)


def _value(word: str, known: Mapping[str, Kind], instruction: str, position: Position) -> tuple[str, str]:
    """Return name and value of ``--name=value``, checked; a boolean is ``true`` or ``false``."""
    name, equals, value = word[2:].partition("=")
    if name not in known:
        hint = nearest(name, known, "--") or f": {instruction} takes none"
        raise position.refuse(f"unknown flag {shown(f'--{name}')} of {instruction}{hint}")
    if known[name] is Kind.BOOL:
        value = value.lower() if equals else "true"
        if value not in ("true", "false"):
            raise position.refuse(f"expected --{name}=true or --{name}=false, found {shown(value)}")
    elif not equals:
        raise position.refuse(f"--{name} needs {known[name].value}: write --{name}=VALUE")
    return name, value
