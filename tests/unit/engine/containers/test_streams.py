"""Detach keys as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.streams import DETACH_KEYS, key_codes
from corten.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (DETACH_KEYS, b"\x10\x11"),
        ("ctrl-a", b"\x01"),
        ("ctrl-z", b"\x1a"),
        ("CTRL-C", b"\x03"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("a", b"a"),
        ("A,b,1", b"Ab1"),
        ("ctrl-p,x", b"\x10x"),
    ],
)
def test_keys(text: str, codes: bytes) -> None:
    """One character is itself, ctrl- and a letter or one of six signs its control character."""
    assert key_codes(text) == codes


@pytest.mark.parametrize(
    "text", ["ctrl-", "ctrl-1", "ctrl-ab", "ab", "a,,b", "", "\u00e4", "ctrl-\u00e4", "ctrl-`"]
)
def test_what_is_no_key(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(InvalidInput, match=r"invalid detach keys .* write for example ctrl-p,ctrl-q"):
        key_codes(text)


@given(st.text(max_size=12))
def test_any_text_is_keys_or_refused(text: str) -> None:
    """No text leads to anything but bytes, one a key, or the one refusal."""
    try:
        codes = key_codes(text)
    except InvalidInput:
        return
    assert len(codes) == text.count(",") + 1
