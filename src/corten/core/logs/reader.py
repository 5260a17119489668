"""The reading half of the log store, run by the daemon.

Reading is by runs: neighbouring records of one stream are neighbouring bytes
of one file, so that a log of millions of lines is a few large reads, and the
index is only scanned by functions that run at C speed. Lines are looked at
where the question is about lines: to find the last so many, and to write the
time before each.

Reading and writing need no lock. Bytes are stored before the record that
tells of them, records are only ever added, and a segment is complete when a
later one exists. A reader opens segments before it needs them, so that
rotation does not take them away under it, but at most ``WINDOW``: whoever is
farther behind than that misses what rotation removed, and the disk is not
held by a client that stopped reading.
"""

import asyncio
import shutil
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache

from corten.core.logs import writer
from corten.core.logs.segment import Chunk, Query, Records, Run, Segment
from corten.core.logs.tail import Place, Tail
from corten.core.logs.watch import watched
from corten.core.logs.writer import STDERR, STDOUT

WINDOW = 32  # segments that a reader keeps open
BLOCK = 1 << 20  # bytes of a chunk at most, unless one piece with times is larger
_STAMP_BLOCK = 1 << 16
_BATCH = 1 << 12  # chunks that one trip to a thread brings


def read(directory: str, query: Query) -> Iterator[Chunk]:
    """Give what the log holds now; nothing when there is none.

    Raises:
        OSError: the disk's failure.
    """
    cursor = _Cursor(directory, query, live=False)
    cursor.start()
    return cursor.chunks()


def follow(directory: str, query: Query, ended: Callable[[], bool]) -> "Follow":
    """Give what the log holds and then what is added, in the running event loop.

    Ends when *ended* said that no more will be written and everything was
    given, or at ``until_ns``. *ended* is asked after each change of the log
    and after ``Follow.wake``.
    """
    return Follow(directory, query, ended)


def remove(directory: str) -> None:
    """Delete a log; idempotent."""
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)


class Follow(AsyncIterator[Chunk]):
    """A log as it grows; iterate with ``async for``, end early with ``aclose``.

    Cancelling the task that iterates gives everything back as well.
    """

    def __init__(self, directory: str, query: Query, ended: Callable[[], bool]) -> None:
        self._directory, self._query, self._ended = directory, query, ended
        self._changed = asyncio.Event()
        self._chunks = self._run()

    def wake(self) -> None:
        """Have *ended* asked again: call it, in the loop's thread, when the container has ended."""
        self._changed.set()

    async def aclose(self) -> None:
        """Stop following; idempotent."""
        await self._chunks.aclose()

    async def __anext__(self) -> Chunk:
        return await anext(self._chunks)

    async def _run(self) -> AsyncGenerator[Chunk, None]:
        cursor = _Cursor(self._directory, self._query, live=True)

        def changed() -> None:
            cursor.refresh()  # now, not when the client has read so far: rotation does not wait for it
            self._changed.set()

        with watched(self._directory, changed):
            await asyncio.to_thread(cursor.start)
            old = cursor.chunks()
            while batch := await asyncio.to_thread(_batch, old):  # much, and perhaps not in memory
                for chunk in batch:
                    yield chunk
            while True:
                self._changed.clear()
                last = self._ended() or self._seconds_left() == 0
                cursor.refresh()
                for chunk in cursor.chunks():
                    yield chunk
                if last:
                    return
                await self._wait()

    def _seconds_left(self) -> float | None:
        until = self._query.until_ns
        return None if until is None else max(0, (until - time.time_ns()) / 1e9)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds_left()):
                await self._changed.wait()


def _batch(chunks: Iterator[Chunk]) -> list[Chunk]:
    """Take chunks up to about ``BLOCK`` bytes; none when there are no more."""
    batch: list[Chunk] = []
    size = 0
    while size < BLOCK and len(batch) < _BATCH:
        chunk = next(chunks, None)
        if chunk is None:
            break
        batch.append(chunk)
        size += len(chunk.data)
    return batch


class _Cursor:
    """How far one reader has come: ``start`` once, then ``refresh`` and ``chunks``.

    Args:
        directory: Of the log.
        query: What is wanted.
        live: Give what is added after ``start`` too.
    """

    def __init__(self, directory: str, query: Query, *, live: bool) -> None:
        self._directory, self._query, self._live = directory, query, live
        self._segments: deque[Segment] = deque()  # open, not read to their end, the oldest first
        self._started = False
        self._opening = threading.Lock()  # the first chunks are made in a thread
        self._opened = self._known = 0  # the highest number that was opened, that was seen
        self._end: Place = (0, 0)  # segment and record where a reader that is not live stops
        self._starts: dict[int, Place] = {STDOUT: (0, 0), STDERR: (0, 0)}
        self._stamps = _Stamps() if query.timestamps else None

    def start(self) -> None:
        """Open the log and find where to begin."""
        numbers = writer.segments(self._directory)
        if numbers:
            newest = Segment(self._directory, numbers[-1])
            self._end = (newest.number, newest.count())
            if self._query.tail is not None and self._query.tail >= 0:
                self._seek(newest, numbers[:-1], self._query.tail)
        self._started = True
        self.refresh()

    def refresh(self) -> None:
        """Open what appeared, as far as the window goes; nothing before ``start``."""
        if not self._started:
            return
        with self._opening:
            for segment in tuple(self._segments)[-2:]:
                segment.open()
            numbers = writer.segments(self._directory)
            room = WINDOW - len(self._segments)
            for number in [n for n in numbers if n > self._opened][:room]:
                self._segments.append(Segment(self._directory, number))
                self._opened = number
            self._known = max(self._known, *numbers[-1:], 0)

    def chunks(self) -> Iterator[Chunk]:
        """Give what is wanted of what is there and was not given before."""
        while self._segments:
            segment = self._segments[0]
            complete = segment.number < self._known  # to be asked before the count
            count = segment.count()
            if not self._live and segment.number >= self._end[0]:
                complete, count = False, self._end[1] if segment.number == self._end[0] else 0
            for records in segment.unread(count, complete=complete):
                yield from self._give(segment, records)
            if not complete:
                return
            self._segments.popleft()
            self.refresh()

    def _seek(self, newest: Segment, older: list[int], lines: int) -> None:
        """Find where the last *lines* lines begin, keeping open what will be read."""
        tail = Tail(lines)
        tail.feed(newest, self._end[1], self._query, complete=False)
        self._segments.append(newest)
        while older and not tail.done:
            segment = Segment(self._directory, older.pop())
            tail.feed(segment, segment.count(), self._query, complete=True)
            self._segments.appendleft(segment)
            if len(self._segments) > WINDOW:
                self._segments.pop()
        self._opened = self._segments[-1].number
        self._starts = tail.finish()

    def _give(self, segment: Segment, records: Records) -> Iterator[Chunk]:
        for run in records.runs(self._query):
            number, offset = self._starts[run.stream]
            skip = max(0, offset - run.offset) if segment.number == number else 0
            if segment.number < number or skip >= run.length:
                continue
            if self._stamps:
                yield from self._stamps.run(segment, records, run, skip)
            else:
                yield from _blocks(segment, run.stream, run.offset + skip, run.length - skip)


def _blocks(segment: Segment, stream: int, offset: int, length: int) -> Iterator[Chunk]:
    while length:
        data = segment.bytes_at(stream, offset, min(length, BLOCK))
        if not data:
            return
        yield Chunk(stream, data)
        offset, length = offset + len(data), length - len(data)


class _Stamps:
    """Writes the time before each line, also where a line comes in several pieces."""

    def __init__(self) -> None:
        self._fresh = {STDOUT: True, STDERR: True}  # whether the stream is at the start of a line

    def run(self, segment: Segment, records: Records, run: Run, skip: int) -> Iterator[Chunk]:
        """Give the lines of *run* without its first *skip* bytes."""
        offset, first = run.offset, run.first
        while first < run.last:
            last, size = first, 0
            while last < run.last and size < _STAMP_BLOCK:
                size += records.lengths[last]
                last += 1
            data = segment.bytes_at(run.stream, offset, size)
            pieces = zip(records.lengths[first:last], records.times[first:last], strict=True)
            text = self._block(run.stream, data, pieces, skip)
            if text:
                yield Chunk(run.stream, text)
            offset, first, skip = offset + size, last, max(0, skip - size)

    def _block(self, stream: int, data: bytes, pieces: Iterable[tuple[int, int]], skip: int) -> bytes:
        """Stamp *pieces* (length, time) of *data*."""
        fresh, begin, text = self._fresh[stream], 0, []
        for length, time_ns in pieces:
            piece = data[max(begin, skip) : begin + length]
            begin += length
            if piece:
                stamp = stamp_of(time_ns)
                if fresh:
                    text.append(stamp)
                fresh = piece.endswith(b"\n")
                body = piece[:-1] if fresh else piece
                text.append(body.replace(b"\n", b"\n" + stamp))
                if fresh:
                    text.append(b"\n")
        self._fresh[stream] = fresh
        return b"".join(text)


def stamp_of(time_ns: int) -> bytes:
    """Return the time in RFC 3339 form with nanoseconds and a space, as Docker writes it before a line."""
    seconds, fraction = divmod(time_ns, 10**9)
    return b"%s.%09dZ " % (_second(seconds), fraction)


@lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
