"""Frames between daemon and supervisor."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.runtime import protocol
from corten.core.runtime.protocol import Decoder
from tests.descriptors import open_descriptors

HEADERS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3).map(
    lambda header: {key: value for key, value in header.items() if key != "descriptors"}
)
MESSAGES = st.lists(st.tuples(HEADERS, st.binary(max_size=20), st.integers(0, 3)), max_size=5)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a stream, the second one non-blocking."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    second.setblocking(False)
    with first, second:
        yield first, second


def receive(decoder: Decoder, connection: socket.socket) -> None:
    """Take in all that is there."""
    try:
        while decoder.receive(connection):
            pass
    except BlockingIOError:
        pass


def marked(number: int) -> int:
    """Return a descriptor that can be told from others by what it reads."""
    reader, writer = os.pipe()
    os.write(writer, bytes([number]))
    os.close(writer)
    return reader


def read_mark(descriptor: int) -> int:
    """Return what ``marked`` put there, and close the descriptor."""
    data = os.read(descriptor, 1)
    os.close(descriptor)
    return data[0]


@given(MESSAGES, st.integers(1, 40))
def test_frames_survive_any_split(
    messages: list[tuple[dict[str, int | str], bytes, int]], piece: int
) -> None:
    """However the bytes arrive, the same frames come out, and each has its own descriptors in order."""
    first, second = socket.socketpair()
    second.setblocking(False)
    decoder, found, mark, marks = Decoder(), [], 0, []
    with first, second:
        for header, payload, count in messages:
            handed = [marked(mark + number) for number in range(count)]
            marks.append(list(range(mark, mark + count)))
            mark += count
            frame = protocol.encode({**header, "descriptors": count} if count else header, payload)
            for start in range(0, len(frame), piece):
                part = frame[start : start + piece]
                if start or not handed:
                    first.send(part)
                else:
                    socket.send_fds(first, [part], handed)
                receive(decoder, second)
                found += decoder.frames()
            for descriptor in handed:
                os.close(descriptor)
    assert [(header, payload) for header, payload, _ in found] == [(h, p) for h, p, _ in messages]
    assert [[read_mark(d) for d in descriptors] for _, _, descriptors in found] == marks


def test_descriptors_belong_to_their_frame(pair: Pair) -> None:
    """Frames that wait together keep their descriptors apart."""
    first, second = pair
    handed = [marked(number) for number in range(3)]
    protocol.send(first, protocol.encode({"n": 0, "descriptors": 1}), handed[:1])
    protocol.send(first, protocol.encode({"n": 1}))
    protocol.send(first, protocol.encode({"n": 2, "descriptors": 2}), handed[1:])
    for descriptor in handed:
        os.close(descriptor)
    decoder = Decoder()
    receive(decoder, second)
    found = decoder.frames()
    assert [header for header, _, _ in found] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [[read_mark(d) for d in descriptors] for _, _, descriptors in found] == [[0], [], [1, 2]]


def test_received_descriptors_are_not_inherited(pair: Pair) -> None:
    """What arrives is close-on-exec."""
    first, second = pair
    handed = marked(1)
    protocol.send(first, protocol.encode({"descriptors": 1}), [handed])
    os.close(handed)
    decoder = Decoder()
    receive(decoder, second)
    ((_, _, (descriptor,)),) = decoder.frames()
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_unclaimed_descriptors_are_closed(pair: Pair) -> None:
    """Descriptors of a frame that never became complete do not leak."""
    first, second = pair
    handed = marked(1)
    before = open_descriptors()
    socket.send_fds(first, [protocol.encode({"descriptors": 1})[:5]], [handed])
    decoder = Decoder()
    receive(decoder, second)
    assert decoder.frames() == []
    assert open_descriptors() == before + 1
    decoder.close()
    decoder.close()
    assert open_descriptors() == before
    os.close(handed)


@pytest.mark.parametrize(
    "lengths", [(protocol.MOST, 0), (0, protocol.MOST), (0xFFFFFFFF, 0xFFFFFFFF), (1 << 31, 1 << 31)]
)
def test_an_oversized_frame_is_refused(pair: Pair, lengths: tuple[int, int]) -> None:
    """Lengths that no message has are refused before anything is waited for."""
    first, second = pair
    first.send(struct.pack("<II", *lengths))
    decoder = Decoder()
    receive(decoder, second)
    with pytest.raises(ValueError, match="a frame of"):
        decoder.frames()


def test_the_end_is_told(pair: Pair) -> None:
    """A closed connection is told apart from one that is silent."""
    first, second = pair
    decoder = Decoder()
    with pytest.raises(BlockingIOError):
        decoder.receive(second)
    first.close()
    assert decoder.receive(second) is False


def test_a_payload_is_any_bytes(pair: Pair) -> None:
    """The payload is not text."""
    first, second = pair
    payload = bytes(range(256)) * 40
    protocol.send(first, protocol.encode({"a": "\u00e4\n"}, payload))
    decoder = Decoder()
    receive(decoder, second)
    assert decoder.frames() == [({"a": "\u00e4\n"}, payload, [])]
