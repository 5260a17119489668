"""A writer in a thread becomes a stream."""

import threading

import pytest

from corten.engine.volumes.streaming import Out, written
from tests.looping import in_loop

SIZE = 3_000_000


@in_loop
async def test_everything_arrives() -> None:
    """In order, in large pieces."""

    def write(out: Out) -> None:
        for number in range(SIZE // 1000):
            out(b"%03d" % (number % 1000) + b"x" * 997)

    blocks = [block async for block in written(write)]
    whole = b"".join(blocks)
    assert len(whole) == SIZE
    assert (whole[:3], whole[1000:1003]) == (b"000", b"001")
    assert len(blocks) < 20


@in_loop
async def test_a_failure_comes_after_what_was_written() -> None:
    """The reader gets what there was, then the reason."""

    def write(out: Out) -> None:
        out(bytes(1 << 20))
        raise ValueError("broken")

    stream = written(write)
    assert len(await anext(stream)) == 1 << 20
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)


@in_loop
async def test_the_writer_ends_when_the_reader_leaves() -> None:
    """Wherever it was."""
    ended = threading.Event()

    def write(out: Out) -> None:
        try:
            while True:
                out(bytes(1 << 18))
        finally:
            ended.set()

    stream = written(write)
    assert await anext(stream)
    await stream.aclose()
    assert ended.is_set()
