"""``key=value`` fields separated by commas, as --mount, --network and --gpus take them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def split(text: str) -> list[str]:
    """The fields of one line of comma-separated values (RFC 4180).

    A field in double quotes may hold commas; a quote in it is doubled.

    Raises:
        ValueError: a quote is not closed.
    """
    fields, rest = [], text
    while True:
        if rest.startswith('"'):
            field, rest = _quoted(rest[1:])
        else:
            field, comma, rest = rest.partition(",")
            rest = comma + rest
        fields.append(field)
        if not rest:
            return fields
        rest = rest[1:]


def _quoted(rest: str) -> tuple[str, str]:
    field = ""
    while True:
        part, quote, rest = rest.partition('"')
        if not quote:
            raise ValueError('parse error: extraneous or missing " in quoted-field')
        field += part
        if not rest.startswith('"'):
            return field, rest
        field, rest = field + '"', rest[1:]


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """``a=b`` texts as a dictionary; no ``=`` means an empty value, the last of a name wins."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def truth(key: str, value: str) -> bool:
    """A boolean field; empty means true."""
    if value in ("", "1", "true"):
        return True
    if value in ("0", "false"):
        return False
    raise ValueError(f"invalid value for {key}: {value}")
