"""Arguments to words: between blanks, with quotes, or as JSON.

Quotes and escapes stay in the words: removing them is part of expansion,
which comes later, when the variables are known. Offsets are those in the text
that was given, so that a message can point at a word.
"""

import re
from functools import lru_cache

import msgspec

from corten.engine.builds.dockerfile.lines import BLANKS

_BLANK_FREE = re.compile(f"[^{re.escape(BLANKS)}]+")
Words = list[tuple[int, str]]  # offset and text of each


class NotStrings(ValueError):
    """A JSON array with members that are not strings."""


def first(text: str) -> str:
    """Return the first word of a text that begins with one."""
    found = _BLANK_FREE.match(text)
    return found[0] if found else ""


def split(text: str, start: int = 0) -> Words:
    """Return the words between blanks, from offset *start* on."""
    return [(found.start(), found[0]) for found in _BLANK_FREE.finditer(text, start)]


@lru_cache(maxsize=2)
def _quoted(escape: str) -> re.Pattern[str]:
    """Return the pattern of one word in which quotes and escapes hide blanks.

    A quote that is not closed reaches to the end. No alternative begins like
    another one, so matching takes linear time.
    """
    token, blanks = re.escape(escape), re.escape(BLANKS)
    return re.compile(
        rf"""(?:[^{blanks}'"{token}]+|{token}.|{token}\Z|'[^']*(?:'|\Z)|"(?:[^"{token}]|{token}.)*(?:"|{token}?\Z))+""",
        re.DOTALL,
    )


def split_quoted(text: str, escape: str, start: int = 0) -> Words:
    """Return the words of ``ENV``, ``LABEL`` and ``ARG``: blanks in quotes and after *escape* stay."""
    return [(found.start(), found[0]) for found in _quoted(escape).finditer(text, start)]


def json_array(text: str) -> tuple[str, ...] | None:
    """Return the members when *text* is a JSON array of strings, None when it is no JSON array.

    Raises:
        NotStrings: it is an array, but not one of strings.
    """
    text = text.strip(BLANKS)
    if not text.startswith("["):
        return None
    try:
        members = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if not all(isinstance(member, str) for member in members):
        raise NotStrings
    return tuple(members)
