"""Blobs from the event loop to threads."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from corten.engine.images.transfer.incoming import QUEUE, Feed
from corten.errors import Unavailable
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest

PATIENCE = 20.0  # seconds
ENTRY = Descriptor(digest=Digest.of(b""), size=0)


class Pieces:
    """A source that yields what it was given; ``given`` counts the pieces that were taken."""

    def __init__(self, *pieces: bytes | Exception, endless: bool = False) -> None:
        self._pieces, self._endless = pieces, endless
        self.given = 0
        self.closed = asyncio.Event()
        self.offsets: list[int] = []

    async def blob(self, _: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the pieces."""
        self.offsets.append(offset)
        try:
            for piece in self._pieces:
                if isinstance(piece, Exception):
                    raise piece
                self.given += 1
                yield piece
            if self._endless:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


def feed(source: Pieces, work: Callable[[Feed], Any]) -> Any:
    """Run *work* in a thread, with a feed from *source* in the loop; return its result."""

    async def run() -> Any:
        made = Feed(source)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.to_thread(work, made)
        finally:
            await made.end()

    return asyncio.run(run())


def test_everything_arrives_in_order() -> None:
    """Many small pieces, a large one, an empty one; the offset is handed on."""
    pieces = [bytes([number]) * number for number in range(200)] + [b"x" * 300_000, b"", b"y"]
    source = Pieces(*pieces)

    assert feed(source, lambda made: made.open(ENTRY, 7).read()) == b"".join(pieces)
    assert source.offsets == [7]


def test_reads_are_as_small_as_asked() -> None:
    """A piece is split, and several are put together."""
    source = Pieces(b"abcdef", b"gh", b"ij")

    def work(made: Feed) -> list[bytes]:
        with made.open(ENTRY) as stream:
            found = bytearray(3)
            first = stream.read(2)
            count = stream.readinto(found)  # type: ignore[attr-defined]
            return [first, bytes(found[:count]), stream.read(), stream.read(1)]

    first, second, rest, end = feed(source, work)
    assert first + second + rest == b"abcdefghij"
    assert (len(first) <= 2, len(second) <= 3, end) == (True, True, b"")


def test_a_slow_reader_holds_the_network_back() -> None:
    """No more than the queue and a piece is kept in memory."""
    piece = bytes(QUEUE // 4)
    source = Pieces(*[piece] * 40)
    begun = threading.Event()

    def work(made: Feed) -> tuple[int, int]:
        stream = made.open(ENTRY)
        stream.read(1)
        begun.set()
        total = 1
        most = 0
        while data := stream.read(len(piece)):
            total += len(data)
            most = max(most, source.given * len(piece) - total)
        return total, most

    total, most = feed(source, work)
    assert total == 40 * len(piece)
    assert most <= QUEUE + 2 * len(piece)


def test_a_failure_comes_behind_what_arrived() -> None:
    """The reader has the bytes before it, and the failure itself."""
    source = Pieces(b"begun", Unavailable("gone"))

    def work(made: Feed) -> bytes:
        stream = made.open(ENTRY)
        read = stream.read(5)
        with pytest.raises(Unavailable, match="gone"):
            stream.read(1)
        return read

    assert feed(source, work) == b"begun"


def test_closing_ends_the_transfer() -> None:
    """The registry is not asked for what nobody reads."""
    source = Pieces(b"x", endless=True)

    async def run() -> None:
        made = Feed(source)
        stream = await asyncio.to_thread(made.open, ENTRY)
        assert await asyncio.to_thread(stream.read, 1) == b"x"
        stream.close()
        stream.close()
        await asyncio.wait_for(source.closed.wait(), PATIENCE)

    asyncio.run(run())


def test_ending_a_feed_ends_its_readers() -> None:
    """A thread that waits is let go, and no further stream is opened."""
    source = Pieces(b"x", endless=True)

    async def run() -> None:
        made = Feed(source)
        stream = await asyncio.to_thread(made.open, ENTRY)
        waiting = asyncio.create_task(asyncio.to_thread(stream.read))
        await asyncio.to_thread(lambda: None)
        await made.end()
        await made.end()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(waiting, PATIENCE)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(made.open, ENTRY)

    asyncio.run(run())


def test_a_stream_that_is_ended_before_it_began() -> None:
    """Its reader learns of it as well."""
    source = Pieces(b"x", endless=True)

    async def run() -> None:
        made = Feed(source)
        stream = await asyncio.to_thread(made.open, ENTRY)
        await made.end()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(asyncio.to_thread(lambda: stream.read() + stream.read()), PATIENCE)

    asyncio.run(run())
