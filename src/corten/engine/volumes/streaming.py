"""A writer in a thread becomes a stream of bytes in the event loop.

The writer waits when the reader is slow, and is ended when the reader leaves.
"""

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable

_BLOCK = 1 << 18  # bytes handed over at a time
_AHEAD = 4  # blocks

Out = Callable[[bytes], object]


class _Left(Exception):
    """The reader has left; nobody wants more."""


async def written(write: Callable[[Out], object]) -> AsyncGenerator[bytes, None]:
    """Yield what *write* writes, in large blocks; *write* is called with a function that takes the bytes.

    Its failure is raised here, after what it wrote before.
    """
    handover = _Handover()
    writer = asyncio.get_running_loop().run_in_executor(None, handover.run, write)
    try:
        while (block := await asyncio.to_thread(handover.blocks.get)) is not None:
            yield block
        await writer
    finally:
        handover.leave()
        await asyncio.wait([writer])
        writer.exception()  # told above, or of no interest to who has left
        handover.blocks.put_nowait(None)  # for a thread that still waits


class _Handover:
    """Blocks on their way, None after the last one."""

    def __init__(self) -> None:
        self.blocks: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._left = False
        self._waiting = bytearray()

    def run(self, write: Callable[[Out], object]) -> None:
        """Call *write* and hand over what it writes."""
        try:
            write(self._out)
            self._put(bytes(self._waiting))
        except _Left:
            pass
        finally:
            if not self._left:
                self._put(None)

    def leave(self) -> None:
        """Make the writer end; whatever it is about to hand over is dropped."""
        self._left = True
        while not self.blocks.empty():
            self.blocks.get_nowait()

    def _out(self, data: bytes) -> None:
        if self._left:
            raise _Left
        self._waiting += data
        if len(self._waiting) >= _BLOCK:
            self._put(bytes(self._waiting))
            self._waiting.clear()

    def _put(self, block: bytes | None) -> None:
        if block is None or block:
            self.blocks.put(block)
