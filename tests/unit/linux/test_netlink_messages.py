"""Netlink messages as bytes: attributes, listings, and failures. No socket."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.linux.netlink_messages import (
    HEADER,
    attribute,
    attributes,
    decode_word,
    messages,
    parse_end,
    parse_failure,
    word,
)


@given(st.dictionaries(st.integers(0, 100), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(values: dict[int, bytes]) -> None:
    """What is encoded decodes to the same, padding and all."""
    data = b"".join(attribute(kind, value) for kind, value in values.items())
    assert len(data) % 4 == 0
    assert attributes(data) == values


@given(st.binary(max_size=64))
def test_garbage_is_refused_or_ended(data: bytes) -> None:
    """Arbitrary bytes decode or raise ValueError; they never hang or read beyond the end."""
    try:
        found = attributes(data)
    except ValueError:
        return
    assert sum(len(value) for value in found.values()) <= len(data)


def test_attribute_that_passes_the_end_is_refused() -> None:
    """A length beyond the data is an error, not a short value."""
    with pytest.raises(ValueError, match="netlink attribute of 40 bytes"):
        attributes(struct.pack("=HH", 40, 3) + b"abcd")


def test_acknowledgement_is_no_failure() -> None:
    """Code zero means done."""
    assert parse_failure(0, struct.pack("=i", 0) + bytes(16), "x") is None


@pytest.mark.parametrize("capped", [True, False])
def test_failure_carries_errno_and_the_kernels_words(capped: bool) -> None:
    """The text of the extended answer is found behind a capped and a full echo of the request."""
    payload = b"" if capped else b"payload!"
    echo = struct.pack("=IHHII", 16 + 8, 16, 5, 1, 0) + payload
    body = struct.pack("=i", -errno.EINVAL) + echo + attribute(1, b"mtu too large\0")
    failure = parse_failure(0x200 | (0x100 if capped else 0), body, "change link x")
    assert failure is not None
    assert failure.errno == errno.EINVAL
    assert str(failure) == "change link x (mtu too large): Invalid argument"


def test_end_of_a_listing() -> None:
    """The end is a success, old kernels' empty one too, or a failure with the kernel's words."""
    assert parse_end(0, struct.pack("=i", 0), "list x") is None
    assert parse_end(0, b"", "list x") is None
    body = struct.pack("=i", -errno.ENOENT) + attribute(1, b"no table\0")
    failure = parse_end(0x200, body, "list x")
    assert failure is not None
    assert failure.errno == errno.ENOENT
    assert str(failure) == "list x (no table): No such file or directory"
    plain = parse_end(0, body, "list x")
    assert str(plain) == "list x: No such file or directory"


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_messages_are_split(payloads: list[bytes]) -> None:
    """Messages sent in one piece come back one by one, padding left out."""
    data = b""
    for number, payload in enumerate(payloads):
        length = HEADER.size + len(payload)
        data += HEADER.pack(length, 16, 0, number, 0) + payload + bytes(-length % 4)
    found = list(messages(data))
    assert [(sequence, body) for _, _, sequence, body in found] == list(enumerate(payloads))


def test_message_that_passes_the_end_is_refused() -> None:
    """A length beyond the data is an error, not a short message."""
    with pytest.raises(ValueError, match="netlink message of 40 bytes"):
        list(messages(HEADER.pack(40, 16, 0, 1, 0)))


def test_missing_number_has_a_default() -> None:
    """A number comes back; where there is none the default stands."""
    assert decode_word(attributes(word(5, 77))[5]) == 77
    assert decode_word(None, 9) == 9
