"""What the log store must do, as one writer and any number of readers see it.

A model keeps what was written; whatever the store gives must be what the
model says, byte for byte and in order.
"""

import asyncio
import os
import random
import select
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.core.logs import reader
from corten.core.logs.reader import Follow, follow, read, remove
from corten.core.logs.segment import Chunk, Query
from corten.core.logs.writer import RECORD, STDERR, STDOUT, LogWriter, recover
from tests.descriptors import open_descriptors

Pieces = list[tuple[int, bytes]]  # stream and bytes, as they were written


@pytest.fixture
def log(tmp_path: Path) -> str:
    """The directory of a log that does not exist yet."""
    return str(tmp_path / "log")


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run(*args: object, **named: object) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **named), 60))

    return run


def write(log: str, pieces: Pieces, max_size: int = 10 << 20, max_files: int = 1000) -> None:
    """Store each piece as one record, at times 1, 2, 3 s."""
    store = LogWriter(log, max_size, max_files)
    for number, (stream, data) in enumerate(pieces, 1):
        store.append(stream, data, number * 10**9)
    store.close()


def joined(chunks: Iterator[Chunk]) -> Pieces:
    """Return what was read, neighbours of one stream made one."""
    runs: Pieces = []
    for stream, data in chunks:
        if runs and runs[-1][0] == stream:
            runs[-1] = (stream, runs[-1][1] + data)
        else:
            runs.append((stream, data))
    return runs


def of(pieces: Pieces, stream: int) -> bytes:
    """Return the bytes of one stream."""
    return b"".join(data for kind, data in pieces if kind == stream)


def model_tail(pieces: Pieces, lines: int) -> Pieces:
    """Say what the last lines of *pieces* are, one byte at a time: slow and plain."""
    ends: list[tuple[int, int, int]] = []  # stream, first byte, position of the line's end
    starts, seen = {1: 0, 2: 0}, {1: 0, 2: 0}
    last: dict[int, int] = {}
    flat = [(stream, data[i : i + 1]) for stream, data in pieces for i in range(len(data))]
    for position, (stream, byte) in enumerate(flat):
        seen[stream] += 1
        last[stream] = position
        if byte == b"\n":
            ends.append((stream, starts[stream], position))
            starts[stream] = seen[stream]
    ends += [(s, starts[s], last[s]) for s in last if starts[s] < seen[s]]
    ends.sort(key=lambda end: end[2])
    chosen = ends[len(ends) - lines :] if lines < len(ends) else ends
    first = {s: min((begin for kind, begin, _ in chosen if kind == s), default=1 << 60) for s in (1, 2)}
    place = {1: 0, 2: 0}
    kept: Pieces = []
    for stream, byte in flat:
        if place[stream] >= first[stream]:
            kept.append((stream, byte))
        place[stream] += 1
    return joined(Chunk(*piece) for piece in kept)


PIECES = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR]),
        st.lists(st.sampled_from([b"\n", b"a", b"bc", b"defgh\n", b"\0\xff"]), min_size=1, max_size=6).map(
            b"".join
        ),
    ),
    max_size=30,
)
SIZES = st.sampled_from([1, 40, 100, 10 << 20])


@given(pieces=PIECES, max_size=SIZES)
@settings(max_examples=60, deadline=None)
def test_gives_back_every_byte_in_order(pieces: Pieces, max_size: int) -> None:
    """Whatever was written, in whatever pieces and segments, comes back."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, pieces, max_size)
        assert joined(read(folder, Query())) == joined(Chunk(*piece) for piece in pieces)
        for stream, query in ((STDOUT, Query(stderr=False)), (STDERR, Query(stdout=False))):
            assert of(joined(read(folder, query)), stream) == of(pieces, stream)
        assert list(read(folder, Query(stdout=False, stderr=False))) == []


@given(pieces=PIECES, max_size=SIZES, lines=st.integers(0, 12))
@settings(max_examples=80, deadline=None)
def test_tail_is_what_a_plain_model_says(pieces: Pieces, max_size: int, lines: int) -> None:
    """The last lines of both streams, in the order of their ends, each from its first byte on."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, pieces, max_size)
        assert joined(read(folder, Query(tail=lines))) == model_tail(pieces, lines)
        only = [(stream, data) for stream, data in pieces if stream == STDERR]
        assert joined(read(folder, Query(tail=lines, stdout=False))) == model_tail(only, lines)


@given(pieces=PIECES, max_size=SIZES, since=st.integers(0, 32), until=st.integers(0, 32))
@settings(max_examples=60, deadline=None)
def test_since_and_until_select_pieces(pieces: Pieces, max_size: int, since: int, until: int) -> None:
    """Pieces that came at or after since and at or before until are given, and tail counts in those."""
    wanted = [piece for number, piece in enumerate(pieces, 1) if since <= number <= until]
    with tempfile.TemporaryDirectory() as folder:
        write(folder, pieces, max_size)
        query = Query(since_ns=since * 10**9, until_ns=until * 10**9)
        assert joined(read(folder, query)) == joined(Chunk(*piece) for piece in wanted)
        query = Query(since_ns=since * 10**9, until_ns=until * 10**9, tail=3)
        assert joined(read(folder, query)) == model_tail(wanted, 3)


@given(pieces=PIECES, max_size=SIZES)
@settings(max_examples=60, deadline=None)
def test_times_stand_at_the_start_of_lines_alone(pieces: Pieces, max_size: int) -> None:
    """Each line of a stream begins with the time of the piece that it began in, also over segments."""
    expected = {STDOUT: b"", STDERR: b""}
    for number, (stream, data) in enumerate(pieces, 1):
        for line in data.splitlines(keepends=True):  # only \n occurs
            fresh = expected[stream][-1:] in (b"", b"\n")
            stamp = b"1970-01-01T00:00:%02d.000000000Z " % number if fresh else b""
            expected[stream] += stamp + line
    with tempfile.TemporaryDirectory() as folder:
        write(folder, pieces, max_size)
        got = joined(read(folder, Query(timestamps=True)))
        assert {stream: of(got, stream) for stream in expected} == expected
        assert [stream for stream, _ in got] == [stream for stream, _ in joined(Chunk(*p) for p in pieces)]


def test_times_have_nanoseconds(log: str) -> None:
    """Times have Docker's form: nine digits after the second, in UTC."""
    store = LogWriter(log)
    store.append(STDOUT, b"x\n", 1_795_459_388_123_456_789)
    store.close()
    assert list(read(log, Query(timestamps=True))) == [(1, b"2026-11-23T18:43:08.123456789Z x\n")]


def test_times_with_tail_begin_with_a_time(log: str) -> None:
    """The first of the last lines has its time, though its piece began earlier."""
    write(log, [(STDOUT, b"one\ntwo\nth"), (STDOUT, b"ree")])
    expected = b"1970-01-01T00:00:01.000000000Z two\n1970-01-01T00:00:01.000000000Z three"
    assert of(joined(read(log, Query(timestamps=True, tail=2))), STDOUT) == expected


def test_no_log_is_empty(log: str) -> None:
    """A container that never wrote has an empty log; removing it is fine, twice too."""
    assert list(read(log, Query())) == list(read(log, Query(tail=5))) == []
    write(log, [(STDOUT, b"x")])
    remove(log)
    remove(log)
    assert not Path(log).exists()


def test_large_pieces_come_in_large_chunks(log: str) -> None:
    """Many records of one stream are few chunks of at most a mebibyte."""
    write(log, [(STDOUT, b"x" * 999 + b"\n")] * 5000)
    sizes = [len(chunk.data) for chunk in read(log, Query())]
    assert (sum(sizes), max(sizes), len(sizes)) == (5_000_000, 1 << 20, 5)


def test_tail_goes_back_over_more_segments_than_are_kept_open(log: str) -> None:
    """A long tail over many small segments is complete."""
    pieces: Pieces = [(STDOUT, b"line %d\n" % number) for number in range(400)]
    write(log, pieces, max_size=50)
    assert len(list(Path(log).glob("*.idx"))) > 2 * reader.WINDOW
    assert of(joined(read(log, Query(tail=300))), STDOUT) == of(pieces[100:], STDOUT)
    assert of(joined(read(log, Query())), STDOUT) == of(pieces, STDOUT)


def test_tail_of_one_endless_line(log: str) -> None:
    """A line without end, over many pieces and segments, is the last line."""
    write(log, [(STDOUT, b"first\n"), *[(STDOUT, b"x" * 70_000)] * 5], max_size=100_000)
    assert of(joined(read(log, Query(tail=1))), STDOUT) == b"x" * 350_000


def test_a_reader_keeps_what_rotation_removes(log: str) -> None:
    """A read that began before rotation gives what there was then, and nothing later."""
    store = LogWriter(log, max_size=100, max_files=3)
    for number in range(6):
        store.append(STDOUT, b"%d" % number * 80)
    chunks = read(log, Query())
    for _ in range(20):
        store.append(STDOUT, b"x" * 80)
    assert of(joined(chunks), STDOUT) == b"3" * 80 + b"4" * 80 + b"5" * 80
    store.close()


def test_bytes_of_an_unfinished_record_are_not_given_yet(log: str) -> None:
    """While the record of the newest bytes is missing they are not read; after recovery they are."""
    write(log, [(STDOUT, b"one\n")])
    with (Path(log) / "00000001.out").open("ab") as data:
        data.write(b"two\n")
    with (Path(log) / "00000001.idx").open("ab") as index:
        index.write(b"torn")
    assert of(joined(read(log, Query())), STDOUT) == b"one\n"
    recover(log)
    assert of(joined(read(log, Query())), STDOUT) == b"one\ntwo\n"


def test_a_power_loss_in_an_older_segment_is_bridged(log: str) -> None:
    """In a segment that has a successor, bytes without record are given, and lost bytes left out."""
    write(log, [(STDOUT, b"a" * 80), (STDERR, b"b" * 80), (STDOUT, b"c" * 80)], max_size=100)
    index = Path(log, "00000001.idx")
    index.write_bytes(b"")
    os.truncate(Path(log, "00000002.err"), 30)
    expected: Pieces = [(STDOUT, b"a" * 80), (STDERR, b"b" * 30), (STDOUT, b"c" * 80)]
    assert joined(read(log, Query())) == expected
    assert joined(read(log, Query(tail=2))) == expected  # two lines without end, one of each stream


@contextmanager
def fifo(folder: Path, name: str) -> Iterator[int]:
    """A FIFO held open for both directions, as a container's output is."""
    path = folder / name
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@given(pieces=PIECES, max_size=SIZES, limit=st.sampled_from([3, 50, 1 << 20]), restarts=st.booleans())
@settings(max_examples=40, deadline=None)
def test_everything_through_a_fifo_arrives(pieces: Pieces, max_size: int, limit: int, restarts: bool) -> None:
    """What goes into a FIFO comes out of the log, whatever the pieces, limits and changes of writer."""
    with (
        tempfile.TemporaryDirectory() as name,
        fifo(Path(name), "out") as out,
        fifo(Path(name), "err") as err,
    ):
        folder, sources = f"{name}/log", {STDOUT: out, STDERR: err}
        store = LogWriter(folder, max_size, 1000)
        for stream, data in pieces:
            os.write(sources[stream], data)
            while store.take(stream, sources[stream], limit):
                pass
            if restarts:
                store.close()
                store = LogWriter(folder, max_size, 1000)
        store.close()
        assert joined(read(folder, Query())) == joined(Chunk(*piece) for piece in pieces)


async def collect(chunks: AsyncIterator[Chunk], into: Pieces) -> None:
    """Read to the end."""
    async for stream, data in chunks:
        into.append((stream, data))


async def reached(condition: Callable[[], bool]) -> None:
    """Let others run until *condition* holds."""
    while not condition():  # noqa: ASYNC110  # what is waited for sets no event
        await asyncio.sleep(0)


@asynchronous
async def test_following_gives_what_there_is_and_what_comes(log: str) -> None:
    """History first, then news, until the end was told and everything was given."""
    write(log, [(STDOUT, b"old\n")])
    got: Pieces = []
    over: list[bool] = []
    following = follow(log, Query(), lambda: bool(over))
    task = asyncio.ensure_future(collect(following, got))
    await reached(lambda: got == [(STDOUT, b"old\n")])
    store = LogWriter(log)
    store.append(STDERR, b"new\n")
    await reached(lambda: got[1:] == [(STDERR, b"new\n")])
    store.append(STDOUT, b"last")
    over.append(True)
    following.wake()
    await task
    assert got == [(STDOUT, b"old\n"), (STDERR, b"new\n"), (STDOUT, b"last")]
    store.close()


@asynchronous
async def test_following_begins_before_the_log_does(log: str) -> None:
    """A container that has not written yet can be followed."""
    got: Pieces = []
    over: list[bool] = []
    following = follow(log, Query(tail=3), lambda: bool(over))
    task = asyncio.ensure_future(collect(following, got))
    await reached(lambda: Path(log).exists())
    write(log, [(STDOUT, b"one\n"), (STDERR, b"two\n")])
    await reached(lambda: len(got) == 2)
    over.append(True)
    following.wake()
    await task
    assert got == [(STDOUT, b"one\n"), (STDERR, b"two\n")]


@asynchronous
async def test_following_ends_at_once_when_it_is_over(log: str) -> None:
    """Following the log of a container that has ended is reading it."""
    write(log, [(STDOUT, b"one\n")])
    got: Pieces = []
    await collect(follow(log, Query(), lambda: True), got)
    assert got == [(STDOUT, b"one\n")]


@asynchronous
async def test_following_none_of_the_past(log: str) -> None:
    """With a tail of no lines only what comes is given."""
    write(log, [(STDOUT, b"old\nhalf ")])
    got: Pieces = []
    following = follow(log, Query(tail=0), lambda: of(got, STDOUT) == b"a line\n")
    task = asyncio.ensure_future(collect(following, got))
    await started(following)
    store = LogWriter(log)
    store.append(STDOUT, b"a line\n")
    await reached(lambda: bool(got))
    following.wake()
    await task
    store.close()


async def started(following: Follow) -> None:
    """Wait until a follower has seen what there is: it then waits for changes."""
    await reached(lambda: bool(following._changed._waiters))


@asynchronous
async def test_following_stops_at_a_time(log: str) -> None:
    """Until ends a follow by itself, though the container lives."""
    write(log, [(STDOUT, b"one\n")])
    got: Pieces = []
    await collect(follow(log, Query(until_ns=time.time_ns() + 30_000_000), lambda: False), got)
    await collect(follow(log, Query(until_ns=1), lambda: False), got)
    assert got == [(STDOUT, b"one\n")]


@asynchronous
async def test_following_can_be_cancelled(log: str) -> None:
    """A cancelled or closed follow leaves no descriptor behind."""
    write(log, [(STDOUT, b"one\n")])
    got: Pieces = []
    before = open_descriptors()
    following = follow(log, Query(), lambda: False)
    task = asyncio.ensure_future(collect(following, got))
    await reached(lambda: bool(got))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    other = follow(log, Query(), lambda: False)
    assert await anext(other) == (STDOUT, b"one\n")
    await other.aclose()
    assert open_descriptors() == before


@pytest.mark.slow
@pytest.mark.parametrize("timestamps", [False, True])
@asynchronous
async def test_following_through_rotation_loses_and_repeats_nothing(log: str, timestamps: bool) -> None:
    """Several followers of a log that rotates quickly, keeping little, get every line once."""
    lines, over = [b"line %06d\n" % number for number in range(3000)], threading.Event()
    got: list[Pieces] = [[], [], []]
    query = Query(timestamps=timestamps)
    followers = [follow(log, query, over.is_set) for _ in got]
    tasks = [asyncio.ensure_future(collect(f, into)) for f, into in zip(followers, got, strict=True)]
    await reached(lambda: Path(log).exists())
    store = LogWriter(log, max_size=2000, max_files=2)
    for number, line in enumerate(lines):
        store.append(STDOUT if number % 7 else STDERR, line)
        if not number % 20:  # the followers are not more than a segment behind
            await reached(lambda done=number: all(lines_in(p) > done - 40 for p in got))  # type: ignore[misc]
    store.close()
    over.set()
    for follower in followers:
        follower.wake()
    await asyncio.gather(*tasks)
    for pieces in got:
        text = b"".join(data for _, data in pieces).splitlines(keepends=True)
        assert [line.split(b"Z ")[-1] for line in text] == lines


def lines_in(pieces: Pieces) -> int:
    """Count the lines that were received."""
    return sum(data.count(b"\n") for _, data in pieces)


@asynchronous
async def test_a_follower_that_does_not_read_loses_nothing(log: str) -> None:
    """While a client stalls, segments that rotation removes are held for it."""
    following = follow(log, Query(), lambda: True)
    write(log, [(STDOUT, b"first\n")])
    got: Pieces = [await anext(following)]
    store = LogWriter(log, max_size=200, max_files=1)
    for number in range(60):
        store.append(STDOUT, b"line %03d\n" % number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    store.close()
    await collect(following, got)
    assert of(got, STDOUT) == b"first\n" + b"".join(b"line %03d\n" % number for number in range(60))


def run_writer(log: str, source: int) -> None:
    """Be a writer process that moves bytes until it is killed."""
    store = LogWriter(log, max_size=200_000, max_files=1000)
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    while True:
        waiting.poll()
        store.take(STDOUT, source, 700)


def start_writer(log: str, source: int) -> int:
    """Fork a writer process; return its id."""
    child = os.fork()
    if child == 0:
        try:
            run_writer(log, source)
        finally:
            os._exit(1)
    return child


def stored(log: str) -> int:
    """Return how many bytes the log has."""
    return sum(path.stat().st_size for path in Path(log).glob("*.out"))


def start_producer(fifo: int, data: bytes) -> int:
    """Fork a process that writes *data*, waiting while the FIFO is full; return its id."""
    child = os.fork()
    if child == 0:
        try:
            os.set_blocking(fifo, True)
            view = memoryview(data)
            while view:
                view = view[os.write(fifo, view[:997]) :]
            os._exit(0)
        finally:
            os._exit(1)
    return child


@pytest.mark.slow
def test_killed_writers_lose_and_repeat_nothing(tmp_path: Path, log: str) -> None:
    """Writers killed at random instants, one after the other: every line is there once and in order."""
    lines = b"".join(b"%07d some words to fill the line\n" % number for number in range(40_000))
    deadline = time.monotonic() + 60
    kills = done = 0
    with fifo(tmp_path, "out") as out:
        producer = start_producer(out, lines)
        while done < len(lines) and time.monotonic() < deadline:
            child = start_writer(log, out)
            goal = min(done + random.randrange(1, 20_000), len(lines))
            while (done := stored(log)) < goal and time.monotonic() < deadline:
                pass
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
            done = stored(log)
        os.waitpid(producer, 0)
    recover(log)
    assert of(joined(read(log, Query())), STDOUT) == lines
    indexes = [path.read_bytes() for path in Path(log).glob("*.idx")]
    assert sum(length for index in indexes for _, length, _ in RECORD.iter_unpack(index)) == len(lines)
    assert kills > 5
