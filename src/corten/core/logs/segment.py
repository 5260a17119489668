"""Segments of a log as readers see them: files, runs of records, and what a reader asks for."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import compress
from typing import NamedTuple

import msgspec

from corten.core.logs.writer import RECORD, STDERR, STDOUT, SUFFIXES, File

_STEP = 1 << 20  # records that are held in memory at a time
_SKIPPED = 4  # added to the stream of a record that is not wanted
_RUNS = re.compile(rb"\x01+|\x02+|\x05+|\x06+")
_NEVER = 1 << 64
_ONLY_STDERR = bytes(int(value == STDERR) for value in range(256))


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to read.

    ``since_ns`` and ``until_ns`` are times in ns since the epoch, both
    inclusive, compared with the time at which a piece of output arrived.
    ``tail`` is how many of the last lines of what is left are wanted; None
    for all. ``timestamps`` puts the time before each line.
    """

    stdout: bool = True
    stderr: bool = True
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    timestamps: bool = False


class Chunk(NamedTuple):
    """Output of one stream (1 stdout, 2 stderr), in the order in which it arrived."""

    stream: int
    data: bytes


class Run(NamedTuple):
    """Neighbouring bytes of one stream, and the records that they came in."""

    stream: int
    offset: int
    length: int
    first: int
    last: int


class Records:
    """Some records of a segment's index, in columns; *offsets* is where the first ones' bytes begin."""

    def __init__(self, raw: bytes, offsets: dict[int, int]) -> None:
        self.streams = raw[12 :: RECORD.size]
        self.times = memoryview(raw).cast("Q")[::2]
        self.lengths = memoryview(raw).cast("I")[2::4]
        self._offsets = dict(offsets)

    def totals(self) -> dict[int, int]:
        """Return the number of bytes of each stream."""
        err = sum(compress(self.lengths, self.streams.translate(_ONLY_STDERR)))
        return {STDOUT: sum(self.lengths) - err, STDERR: err}

    def runs(self, query: Query) -> Iterator[Run]:
        """Give the runs that *query* wants, in order."""
        offsets = self._offsets
        for match in _RUNS.finditer(self._keys(query)):
            first, last = match.span()
            kind = match[0][0]
            stream = kind & ~_SKIPPED
            length = sum(self.lengths[first:last])
            if kind == stream:
                yield Run(stream, offsets[stream], length, first, last)
            offsets[stream] += length

    def _keys(self, query: Query) -> bytes:
        """Return a byte for each record: its stream, plus ``_SKIPPED`` if it is not wanted."""
        keys = self.streams
        if query.since_ns is not None or query.until_ns is not None:
            since, until = query.since_ns or 0, _NEVER if query.until_ns is None else query.until_ns
            keys = bytes(
                [s if since <= t <= until else s | _SKIPPED for s, t in zip(keys, self.times, strict=True)]
            )
        if not query.stdout:
            keys = keys.replace(b"\1", b"\5")
        if not query.stderr:
            keys = keys.replace(b"\2", b"\6")
        return keys


class Segment:
    """One segment, open for reading; ``offsets`` is how far each stream of it was read."""

    def __init__(self, directory: str, number: int) -> None:
        self._directory, self.number = directory, number
        self._files: dict[int, File | None] = {0: None, STDOUT: None, STDERR: None}
        self._place = 0
        self.offsets = {STDOUT: 0, STDERR: 0}
        self.open()

    def open(self) -> None:
        """Open the files that were not there before."""
        for key, file in self._files.items():
            if file is None:
                with suppress(FileNotFoundError):
                    suffix = SUFFIXES.get(key, "idx")
                    self._files[key] = File(f"{self._directory}/{self.number:08}.{suffix}", os.O_RDONLY)

    def count(self) -> int:
        """Return how many records the index has now."""
        index = self._files[0]
        return 0 if index is None else os.fstat(index.fileno()).st_size // RECORD.size

    def unread(self, count: int, *, complete: bool) -> Iterator[Records]:
        """Give the records that were not read yet, some at a time; each is read once it is given.

        Args:
            count: Records that there are, from ``count``.
            complete: Nothing will be added any more: if there are bytes without
                a record (the machine lost power), a record of them comes last.
        """
        while True:
            until = min(count, self._place + _STEP)
            raw = self._index(until)
            last = until >= count or not raw
            if last and complete:
                raw += self._unrecorded(Records(raw, self.offsets).totals())
            if raw:
                records = Records(raw, self.offsets)
                self._advance(records)
                yield records
            if last:
                return

    def rewind(self) -> None:
        """Take everything as unread again."""
        self._place = 0
        self.offsets = {STDOUT: 0, STDERR: 0}

    def bytes_at(self, stream: int, offset: int, length: int) -> bytes:
        """Read data; less than *length* where the machine lost it, or the segment was deleted early."""
        file = self._files[stream]
        if file is None:
            self.open()
            file = self._files[stream]
        return b"" if file is None else os.pread(file.fileno(), length, offset)

    def _index(self, until: int) -> bytes:
        """Read the records from the place up to number *until*."""
        index = self._files[0]
        if index is None or until <= self._place:
            return b""
        raw = os.pread(index.fileno(), (until - self._place) * RECORD.size, self._place * RECORD.size)
        return raw[: len(raw) - len(raw) % RECORD.size]

    def _advance(self, records: Records) -> None:
        self._place += len(records.streams)
        for stream, length in records.totals().items():
            self.offsets[stream] += length

    def _unrecorded(self, totals: dict[int, int]) -> bytes:
        missing = b""
        for stream in SUFFIXES:
            file = self._files[stream]
            if file is not None:
                facts = os.fstat(file.fileno())
                surplus = facts.st_size - self.offsets[stream] - totals[stream]
                if surplus > 0:
                    missing += RECORD.pack(facts.st_mtime_ns, surplus, stream)
        return missing
