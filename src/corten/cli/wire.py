"""JSON for the wire, on the C parts of the standard library alone.

``import json`` takes 7 ms, most of it for ``re``; the scanner and the encoder
in C that do its work take 0.7 ms to load.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLANK = " \t\r\n"


class _Settings:
    """What the C scanner asks its decoder for."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name)


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


_scan = make_scanner(_Settings())  # type: ignore[arg-type]  # typeshed wants a scanner, C reads attributes
_compact = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)


def loads(text: bytes | str) -> Any:
    """Read one JSON document.

    Raises:
        ValueError: *text* is not JSON.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(BLANK))
    try:
        value, end = _scan(text, start)
    except StopIteration:
        raise ValueError(f"not JSON: {text[:80]!r}") from None
    if text[end:].strip(BLANK):
        raise ValueError(f"bytes after the JSON document: {text[end : end + 80]!r}")
    return value


def dumps(value: Any) -> str:
    """Write *value* as JSON without spaces, ASCII only."""
    return "".join(_compact(value, 0))


def pretty(value: Any, indent: str = "") -> str:
    """Write *value* as JSON indented by four spaces, as Docker's inspect does."""
    inner = indent + "    "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{encode_basestring(str(key))}: {pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + pretty(item, inner) for item in value) + f"\n{indent}]"
    if isinstance(value, str):
        return encode_basestring(value)
    return dumps(value)
