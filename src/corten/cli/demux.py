"""Taking the output of a container apart into stdout and stderr.

Without a terminal the daemon sends frames: a byte for the stream (1 stdout,
2 stderr), three zero bytes, the size as four bytes big-endian, the payload.
Frames and reads do not line up, so a frame may be cut anywhere. Neighbouring
frames of the same stream are written in one go.

Source: Docker Engine API, ContainerAttach, "Stream format".
"""

from __future__ import annotations

import posix
import select

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = 8  # bytes
STREAMS = (1, 1, 2)  # descriptor by stream number; 0 is an echo of stdin


def write(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of *data*, waiting where *descriptor* does not block.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(descriptor, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def plain(data: bytes) -> None:
    """Write output of a terminal, which has no frames, to stdout."""
    write(1, data)


class Demultiplexer:
    """Writes the payload of frames to stdout and stderr.

    Args:
        sink: Called with a descriptor and bytes, by default `write`.
    """

    def __init__(self, sink: Callable[[int, bytes | memoryview], None] = write) -> None:
        self._sink = sink
        self._left = 0  # bytes of the current frame that have not come
        self._descriptor = 1
        self._header = b""  # the beginning of a header that was cut

    def __call__(self, data: bytes) -> None:
        """Take the next bytes of the stream, cut anywhere."""
        if self._header:
            data, self._header = self._header + data, b""
        view, at, size = memoryview(data), 0, len(data)
        pieces: list[memoryview] = []
        descriptor = self._descriptor
        while at < size:
            if not self._left:
                if size - at < HEADER:
                    self._header = data[at:]
                    break
                stream, self._left = data[at], int.from_bytes(data[at + 4 : at + HEADER], "big")
                at += HEADER
                if stream >= len(STREAMS):
                    raise Failure(f"the daemon sent a frame for stream {stream}: expected stdout or stderr")
                if STREAMS[stream] != descriptor:
                    self._flush(descriptor, pieces)
                    descriptor, pieces = STREAMS[stream], []
                continue
            end = min(at + self._left, size)
            pieces.append(view[at:end])
            self._left -= end - at
            at = end
        self._flush(descriptor, pieces)
        self._descriptor = descriptor

    def _flush(self, descriptor: int, pieces: list[memoryview]) -> None:
        if pieces:
            self._sink(descriptor, pieces[0] if len(pieces) == 1 else b"".join(pieces))
