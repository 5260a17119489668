"""``--filter`` flags as the API wants them."""

from __future__ import annotations

from corten.cli.wire import dumps

FORMAT = """\
Format output using a custom template:
'table': Print output in table format with column headers (default)
'table TEMPLATE': Print output in table format using the given Go template
'json': Print in JSON format
'TEMPLATE': Print output using the given Go template"""
FORMAT_ONE = """\
Format output using a custom template:
'json': Print in JSON format
'TEMPLATE': Print output using the given Go template"""


def encode(filters: list[str], **more: str) -> str | None:
    """``["a=b", "a=c"]`` as ``{"a":{"b":true,"c":true}}``; None when there are none."""
    found: dict[str, dict[str, bool]] = {}
    pairs = [text.partition("=")[::2] for text in filters]
    for key, value in [*pairs, *more.items()]:
        found.setdefault(key.strip().lower(), {})[value.strip()] = True
    return dumps(found) if found else None
