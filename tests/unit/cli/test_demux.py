"""Taking frames apart."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.demux import Demultiplexer, write
from corten.cli.failure import Failure
from tests.unit.cli.server import frame

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=20)


@given(FRAMES, st.integers(1, 30))
def test_every_cut_gives_the_same_output(frames: list[tuple[int, bytes]], step: int) -> None:
    """The payloads arrive whole and in order, however the stream is cut."""
    received = {1: b"", 2: b""}

    def sink(descriptor: int, data: bytes | memoryview) -> None:
        received[descriptor] += bytes(data)

    feed = Demultiplexer(sink)
    data = b"".join(frame(stream, payload) for stream, payload in frames)
    for at in range(0, len(data), step):
        feed(data[at : at + step])

    assert received == {wanted: b"".join(p for s, p in frames if s == wanted) for wanted in (1, 2)}


def test_keeps_the_order_between_streams() -> None:
    """What was written first to either stream comes out first; neighbours are joined."""
    calls: list[tuple[int, bytes]] = []
    feed = Demultiplexer(lambda descriptor, data: calls.append((descriptor, bytes(data))))

    feed(frame(1, b"a") + frame(1, b"b") + frame(2, b"c") + frame(1, b"d"))

    assert calls == [(1, b"ab"), (2, b"c"), (1, b"d")]


def test_an_unknown_stream_is_a_failure() -> None:
    """Bytes that are no frames are not guessed at."""
    with pytest.raises(Failure, match="stream 104"):
        Demultiplexer(lambda *_: None)(b"hello world")


def test_waits_for_a_reader_that_does_not_block() -> None:
    """A full pipe that does not block loses nothing."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(300_000)
    pid = os.posix_spawn(
        "/usr/bin/sha256sum",
        ["sha256sum"],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_CLOSE, writer)],
    )
    os.close(reader)
    write(writer, data)
    os.close(writer)

    assert os.waitpid(pid, 0)[1] == 0
