"""The writing half of the log store, run by the supervisor.

A container's output reaches us through FIFOs and must be neither lost nor
repeated, whatever is killed when. A program that reads bytes and then writes
them has an instant at which the bytes are in its memory alone. So nothing is
read here: splice(2) moves bytes from the FIFO to the end of a file in one
system call. Before it, they are in the FIFO, which outlives us because others
hold it open; after it, they are in the page cache. A fatal signal during the
call makes it return early, with what it moved taken from the one side and
added to the other.

A byte stream of a container is thus just bytes in a file. What a log needs
besides, when a piece came and how the two streams interleave, is kept in an
index written after the bytes. Bytes beyond what the index accounts for belong
to a record that was never written; ``recover`` writes it.

Layout of a log directory, numbers rising with each rotation::

    00000001.out  00000001.err   the bytes of each stream
    00000001.idx                 one RECORD for each piece, in order of arrival

The place of a piece in its data file is the sum of the lengths before it of
the same stream in the same segment. Lines may go on in the next segment.

Disk full: nothing is dropped. ``take`` raises the OSError and the bytes stay
in the FIFO, so the container waits when it has filled that (64 KiB), as it
does with any slow reader; the caller tries again after a while. Rotation
still works then, since it deletes before it writes.

Power loss is not covered by more than the file system's own order of writes:
an fsync for each line would cost a thousand times what the line does.

This module is loaded by the supervisor: it imports next to nothing
(select is loaded there anyway). Sources: splice(2), pipe(7).
"""

import errno
import os
import select
import struct
import time

STDOUT, STDERR = 1, 2
SUFFIXES = {STDOUT: "out", STDERR: "err"}
RECORD = struct.Struct("<QIB3x")  # time in ns since the epoch, length in bytes, stream

DEFAULT_MAX_SIZE = 10 << 20  # bytes of a segment
DEFAULT_MAX_FILES = 3

_COPY_SIZE = 1 << 16


class File:
    """An open file that is closed when nobody refers to it any more.

    A follower may keep it and ``sendfile`` from it after the segment was
    rotated away or the writer closed.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, path: str, flags: int) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def fileno(self) -> int:
        """Return the descriptor; it belongs to this object."""
        return self._descriptor

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class Extent:
    """Bytes that were just stored: *length* bytes at *offset* of *file*."""

    __slots__ = ("file", "length", "offset")

    def __init__(self, file: File, offset: int, length: int) -> None:
        self.file, self.offset, self.length = file, offset, length


class LogWriter:
    """Keeps what a container writes: one per container, one thread.

    Opening one on a directory with segments recovers the newest and goes on
    with it. A container that is silent costs no file, nor the directory.

    Args:
        directory: Made when needed; belongs to the writer.
        max_size: Bytes after which a segment is rotated, index included.
        max_files: Segments that are kept. 0 is for logs that nobody will
            read: only the segment in use exists, and ``close`` removes the
            directory.

    Raises:
        OSError: the directory cannot be read.
    """

    def __init__(
        self, directory: str, max_size: int = DEFAULT_MAX_SIZE, max_files: int = DEFAULT_MAX_FILES
    ) -> None:
        self._directory = directory
        self._max_size, self._max_files = max_size, max_files
        numbers = segments(directory)
        self._segment = _Segment(directory, numbers[-1] if numbers else 1)
        self._purge_due = True
        self._copying = False
        self._carried: dict[int, bytes] = {}

    def take(
        self, stream: int, source: int, limit: int = 1 << 20, now_ns: int | None = None
    ) -> Extent | None:
        """Move what waits in *source* to the log, without blocking.

        Args:
            stream: ``STDOUT`` or ``STDERR``.
            source: Read end of a FIFO or pipe; of anything else only what
                read(2) gives, which a kill can lose.
            limit: Bytes to take at most.
            now_ns: Time of the record; default the clock's.

        Returns:
            Where the bytes are now, or None when nothing waits or no writer is left.

        Raises:
            OSError: ENOSPC or EDQUOT: nothing is lost, what was not stored
                still waits, call again later. EIO and others: the disk's failure.
        """
        self._segment.settle()
        if not self._due(stream, source):
            return None
        segment = self._ready()
        if self._copying:
            return self._copy(stream, source, limit, now_ns)
        file, offset = self._data(stream), segment.ends[stream]
        try:
            moved = os.splice(
                source, file.fileno(), self._room(limit), offset_dst=offset, flags=os.SPLICE_F_NONBLOCK
            )
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._copying = True  # not a pipe, or a file system without splice
            return self._copy(stream, source, limit, now_ns)
        if not moved:
            return None
        segment.account(stream, moved, now_ns)
        return Extent(file, offset, moved)

    def append(self, stream: int, data: bytes, now_ns: int | None = None) -> Extent:
        """Store *data*, such as what was read from a terminal.

        Raises:
            OSError: ENOSPC or EDQUOT: nothing of *data* was stored; keep it and call again later.
        """
        segment = self._ready()
        file, offset = self._data(stream), segment.ends[stream]
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(file.fileno(), data[done:], offset + done)
        except OSError:
            os.ftruncate(file.fileno(), offset)
            raise
        segment.account(stream, len(data), now_ns)
        return Extent(file, offset, len(data))

    def close(self) -> None:
        """Close the files, or remove them when none are to be kept; idempotent."""
        self._segment.try_settle()
        self._segment.forget()
        if not self._max_files:
            _unlink(self._directory, segments(self._directory))
            try:
                os.rmdir(self._directory)
            except OSError:
                return  # never made, or somebody put a file there

    def _full(self) -> bool:
        used = self._segment.size
        return used > 0 and used + RECORD.size >= self._max_size

    def _due(self, stream: int, source: int) -> bool:
        """Tell whether to go on: not where a file would be made for a stream that has nothing to say."""
        if stream in self._carried or (self._segment.has(stream) and not self._full()):
            return True
        waiting = select.poll()
        waiting.register(source, select.POLLIN)
        return bool(waiting.poll(0))

    def _ready(self) -> "_Segment":
        """Return the segment to write to, all its records written, after rotation when it is full."""
        self._segment.settle()
        if self._full():
            self._segment = _Segment(self._directory, self._segment.number + 1)
            self._purge_due = True
        return self._segment

    def _room(self, limit: int) -> int:
        """Return how many bytes the segment can take, so that no segment passes its size."""
        used = self._segment.size
        return min(limit, self._max_size - used - RECORD.size if used else self._max_size)

    def _data(self, stream: int) -> File:
        """Return the file to write to; after rotation its making is what lets the oldest go."""
        try:
            return self._segment.file(stream)
        finally:  # also when there was no room for a new file: then this makes some
            self._purge()

    def _purge(self) -> None:
        """After rotation: remove the segments that are too old, the new one being there by now."""
        if self._purge_due:
            newest = self._segment.number - max(self._max_files, 1)
            _unlink(self._directory, [n for n in segments(self._directory) if n <= newest])
            self._purge_due = False

    def _copy(self, stream: int, source: int, limit: int, now_ns: int | None) -> Extent | None:
        """Read and write, where splice is not possible."""
        data = self._carried.pop(stream, b"")
        if not data:
            os.set_blocking(source, False)
            try:
                data = os.read(source, min(self._room(limit), _COPY_SIZE))
            except BlockingIOError:
                return None
        if not data:
            return None
        try:
            return self.append(stream, data, now_ns)
        except OSError:
            self._carried[stream] = data
            raise


class _Segment:
    """One numbered set of files, opened one by one as they are needed.

    ``ends`` is the size of each stream's data; ``owed`` are records whose
    bytes are stored but which the disk had no room for.
    """

    __slots__ = ("_count", "_directory", "_files", "_index", "ends", "number", "owed")

    def __init__(self, directory: str, number: int) -> None:
        self._directory, self.number = directory, number
        self._files: dict[int, File] = {}
        self._index: File | None = None
        self._count = 0
        self.ends = {STDOUT: 0, STDERR: 0}
        self.owed = b""
        self._recover()

    @property
    def size(self) -> int:
        """Bytes of the segment on disk, index included."""
        return self.ends[STDOUT] + self.ends[STDERR] + RECORD.size * self._count + len(self.owed)

    def has(self, stream: int) -> bool:
        """Tell whether the data file of *stream* is open."""
        return stream in self._files

    def file(self, stream: int) -> File:
        """Return the data file of *stream*, made when it is not there."""
        if stream not in self._files:
            self._files[stream] = self._make(SUFFIXES[stream])
        return self._files[stream]

    def account(self, stream: int, length: int, now_ns: int | None) -> None:
        """Note that *length* bytes were added to *stream*; never fails."""
        self.ends[stream] += length
        # Whatever keeps the record from being written, the bytes are stored: the next call tells of it.
        self.owed += RECORD.pack(time.time_ns() if now_ns is None else now_ns, length, stream)
        self.try_settle()

    def settle(self) -> None:
        """Write the records that are owed.

        Raises:
            OSError: still no room.
        """
        if not self.owed:
            return
        if self._index is None:
            self._index = self._make("idx")
        written = os.pwrite(self._index.fileno(), self.owed, self._count * RECORD.size) // RECORD.size
        self._count += written
        self.owed = self.owed[written * RECORD.size :]
        if self.owed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path("idx"))

    def try_settle(self) -> None:
        """Write the records that are owed if there is room; if not, they stay owed."""
        try:
            self.settle()
        except OSError:
            return

    def forget(self) -> None:
        """Drop the files; they close when no follower holds them."""
        self._files.clear()
        self._index = None

    def _recover(self) -> None:
        """Open what is there and make index and data agree; see ``recover``."""
        self._index = self._existing("idx")
        times = {}
        for stream, suffix in SUFFIXES.items():
            file = self._existing(suffix)
            if file:
                facts = os.fstat(file.fileno())
                self._files[stream] = file
                self.ends[stream], times[stream] = facts.st_size, facts.st_mtime_ns
        accounted = self._cut_index()
        for stream, time_ns in times.items():
            missing = self.ends[stream] - accounted[stream]
            if missing:
                self.owed += RECORD.pack(time_ns, missing, stream)
        self.try_settle()

    def _cut_index(self) -> dict[int, int]:
        """Cut the index before the first record that is torn or without its bytes; return what is left of it."""
        accounted = {STDOUT: 0, STDERR: 0}
        if self._index is None:
            return accounted
        descriptor = self._index.fileno()
        size = os.fstat(descriptor).st_size
        whole = os.pread(descriptor, size - size % RECORD.size, 0)
        for _time, length, stream in RECORD.iter_unpack(whole):
            if stream not in accounted or accounted[stream] + length > self.ends[stream]:
                break
            accounted[stream] += length
            self._count += 1
        if self._count * RECORD.size != size:
            os.ftruncate(descriptor, self._count * RECORD.size)
        return accounted

    def _existing(self, suffix: str) -> File | None:
        try:
            return File(self._path(suffix), os.O_RDWR)
        except FileNotFoundError:
            return None

    def _make(self, suffix: str) -> File:
        try:
            return File(self._path(suffix), os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            return File(self._path(suffix), os.O_RDWR | os.O_CREAT)

    def _path(self, suffix: str) -> str:
        return f"{self._directory}/{self.number:08}.{suffix}"


def segments(directory: str) -> list[int]:
    """Return the numbers of the segments in *directory*, rising; none when it does not exist.

    A segment is there when any of its files is.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted({int(name[:-4]) for name in names if name[:-4].isdecimal() and name[-4:-3] == "."})


def recover(directory: str) -> None:
    """Make index and data of every segment agree, after whatever ended the last writer.

    Bytes that no record accounts for get one, with the time of their last
    change; a torn record is cut off, and so is the index from the first
    record whose bytes did not reach the disk. Idempotent. A ``LogWriter``
    does it for the newest segment by itself; the others need it only after a
    power loss, and a reader bridges that too.
    """
    for number in segments(directory):
        _Segment(directory, number)


def _unlink(directory: str, numbers: list[int]) -> None:
    for number in numbers:
        for suffix in ("idx", *SUFFIXES.values()):
            try:
                os.unlink(f"{directory}/{number:08}.{suffix}")
            except FileNotFoundError:
                continue
