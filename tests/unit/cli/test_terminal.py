"""Detach keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.failure import Failure
from corten.cli.terminal import DETACH, DetachKeys, key_bytes


@pytest.mark.parametrize(
    ("text", "keys"),
    [(DETACH, b"\x10\x11"), ("ctrl-a", b"\x01"), ("a,b", b"ab"), ("ctrl-[,q", b"\x1bq"), ("ctrl-@", b"\0")],
)
def test_reads_key_names(text: str, keys: bytes) -> None:
    """Letters and control keys, separated by commas."""
    assert key_bytes(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", "", "ctrl-1", "é"])
def test_refuses_other_keys(text: str) -> None:
    """What is no key is named."""
    with pytest.raises(Failure, match="invalid detach keys"):
        key_bytes(text)


@given(st.lists(st.binary(max_size=4)))
def test_passes_on_everything_else(pieces: list[bytes]) -> None:
    """Without the sequence, what was typed comes out, but for a beginning that is still held."""
    typed = b"".join(pieces).replace(b"\x10\x11", b"")
    keys = DetachKeys(b"\x10\x11")
    passed = keys.feed(typed)

    assert not keys.found
    assert typed in (passed, passed + b"\x10")


def test_finds_the_sequence_across_reads() -> None:
    """Keys before the sequence are passed on, the sequence is not."""
    keys = DetachKeys(b"\x10\x11")

    assert keys.feed(b"ls\x10") == b"ls"
    assert keys.feed(b"\x11rest") == b""
    assert keys.found


def test_a_false_start_is_given_back() -> None:
    """A held key is passed on when the next one does not continue the sequence."""
    keys = DetachKeys(b"\x10\x11")

    assert keys.feed(b"\x10") == b""
    assert keys.feed(b"\x10x") == b"\x10\x10x"
    assert not keys.found
