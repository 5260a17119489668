"""Finding where the last lines of a log begin, by reading it backwards.

The lines of the two streams are in order of their ends, since that is when a
reader has seen them whole. Going back over the runs, every line end met is
one line more, until there are enough; from then on each stream is read only
until the end of the line before its first chosen one. What follows the last
line end of a stream is a line too.
"""

from corten.core.logs.segment import Query, Run, Segment

_BLOCK = 1 << 16

Place = tuple[int, int]  # number of a segment, offset in one stream's data


class Tail:
    """Where each stream begins, so that *lines* lines are left.

    Feed it the segments, the newest first, until ``done``; ``starts`` is then
    valid. Streams without a chosen line begin at the end.
    """

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._seen: set[int] = set()
        self._open: set[int] = set()  # streams whose first chosen line begins farther back
        self.starts: dict[int, Place] = {}

    @property
    def done(self) -> bool:
        """Tell whether all is known."""
        return not self._lines and not self._open

    def feed(self, segment: Segment, count: int, query: Query, *, complete: bool) -> None:
        """Go back over the first *count* records of *segment*, which was not read from."""
        runs: list[Run] = []
        ends = dict(segment.offsets)
        for records in segment.unread(count, complete=complete):
            runs += records.runs(query)
            for stream, length in records.totals().items():
                ends[stream] += length
        segment.rewind()
        for stream, end in ends.items():
            self.starts.setdefault(stream, (segment.number, end))
        for run in reversed(runs):
            if self.done:
                return
            self._back(segment, run)

    def finish(self) -> dict[int, Place]:
        """Return the starts, there being no older segment or no need of one."""
        return self.starts | dict.fromkeys(self._open, (0, 0))

    def _back(self, segment: Segment, run: Run) -> None:
        end = run.offset + run.length
        while end > run.offset and (self._lines or run.stream in self._open):
            begin = max(run.offset, end - _BLOCK)
            data = segment.bytes_at(run.stream, begin, end - begin)
            if data:
                self._lines_of(run.stream, (segment.number, begin), data)
            end = begin

    def _lines_of(self, stream: int, place: Place, data: bytes) -> None:
        """Choose lines of a block that begins at *place*, the last first."""
        if stream not in self._seen:
            self._seen.add(stream)
            if not data.endswith(b"\n"):
                self._choose(stream)
        ends = data.count(b"\n")
        if ends < self._lines:  # all of them are chosen: no need to know where they are
            self._lines -= ends
            self._open |= {stream} if ends else set()
            return
        at = len(data)
        while (self._lines or stream in self._open) and (at := data.rfind(b"\n", 0, at)) >= 0:
            if stream in self._open:
                self._open.discard(stream)
                self.starts[stream] = (place[0], place[1] + at + 1)
            self._choose(stream)

    def _choose(self, stream: int) -> None:
        if self._lines:
            self._lines -= 1
            self._open.add(stream)
