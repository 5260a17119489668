"""Incoming: blobs that arrive in the event loop, as files for the threads that unpack them.

Each stream is a bounded queue between two sides that run at their own pace: a
task takes pieces from the network and stops when a thread is behind; the
thread sleeps when the network is. Small pieces wake it only now and then, since
a switch of threads costs more than they bring. A failure of one side ends the
other: what the network says is raised by ``read``, and a reader that closes
its file ends the transfer.
"""

import asyncio
import io
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, BinaryIO, Protocol, cast

from corten.oci.descriptor import Descriptor

QUEUE = 1 << 20  # bytes held for a thread that is behind; what a crash may cost
_WAKE = 128 << 10  # bytes that are worth a switch of threads
_PATIENCE = 0.1  # seconds that fewer bytes wait


class Source(Protocol):
    """Where blobs come from; a repository of the registry client is one."""

    def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes of a blob from *offset* on."""
        ...


class _Incoming(io.RawIOBase):
    """One blob: ``read`` for a worker thread, ``pump`` for the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._changed = threading.Condition()
        self._pieces: deque[bytes | memoryview] = deque()
        self._held = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._room = asyncio.Event()
        self._woken = 0.0  # when the reader was last told, by the loop's clock
        self.task: asyncio.Task[None] | None = None

    def readable(self) -> bool:
        """Say that this file is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read at most *size* bytes (all for -1), possibly fewer; empty at the end.

        Raises:
            CortenError: what the registry client raised.
            ConnectionError: the transfer was given up.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(QUEUE), b""))
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended)
            if not self._pieces and self._failure is not None:
                raise self._failure
            taken = self._take(size)
            full = self._held > QUEUE // 2
        if not full:
            self._call(self._room.set)
        return taken

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* in part; 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _take(self, size: int) -> bytes:
        """Return what is held, up to *size* bytes; the lock is held."""
        taken: list[bytes | memoryview] = []
        while self._pieces and size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                view = memoryview(piece)
                self._pieces.appendleft(view[size:])
                piece = view[:size]
            taken.append(piece)
            size -= len(piece)
            self._held -= len(piece)
        return bytes(taken[0]) if len(taken) == 1 else b"".join(taken)

    async def pump(self, pieces: AsyncIterator[bytes]) -> None:
        """Move *pieces* into the queue until their end, in the event loop."""
        try:
            async with aclosing(cast("Any", pieces)):
                async for piece in pieces:
                    self._put(piece)
                    while self._held > QUEUE:
                        self._room.clear()
                        if self._held > QUEUE:
                            await self._room.wait()
        except asyncio.CancelledError:
            self.end(ConnectionResetError("the transfer was given up"))
        except Exception as failure:  # noqa: BLE001  it is the reader's to handle
            self.end(failure)
        else:
            self.end(None)

    def _put(self, piece: bytes) -> None:
        if not piece:
            return
        with self._changed:
            self._pieces.append(piece)
            self._held += len(piece)
            if self._held >= _WAKE or self._loop.time() - self._woken > _PATIENCE:
                self._woken = self._loop.time()
                self._changed.notify()

    def end(self, failure: BaseException | None) -> None:
        """Let the reader see the end, or *failure*, once it has read what is held."""
        with self._changed:
            if not self._ended:
                self._ended, self._failure = True, failure
            self._changed.notify()

    def close(self) -> None:
        """End the transfer; from any thread, may be called again."""
        if not self.closed and self.task is not None:
            self._call(self.task.cancel)
        super().close()

    def _call(self, what: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            self._loop.call_soon_threadsafe(what)


class Feed:
    """The streams of one transfer, so that all of them can be ended at once.

    Made and ended in the event loop; ``open`` is for worker threads.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._streams: set[_Incoming] = set()
        self._ended = False

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """Return the bytes of a blob from *offset* on; short reads happen, the caller closes it.

        Raises:
            ConnectionError: by this and by ``read``: the transfer was given up.
        """
        stream = _Incoming(self._loop)
        asyncio.run_coroutine_threadsafe(self._begin(stream, descriptor, offset), self._loop).result()
        return cast("BinaryIO", stream)

    async def _begin(self, stream: _Incoming, descriptor: Descriptor, offset: int) -> None:
        if self._ended:
            raise ConnectionResetError("the transfer was given up")
        stream.task = asyncio.create_task(stream.pump(self._source.blob(descriptor, offset)))
        self._streams.add(stream)
        stream.task.add_done_callback(lambda _: self._done(stream))

    def _done(self, stream: _Incoming) -> None:
        """Forget a stream whose task is over; one that was cancelled before it began has not said so itself."""
        self._streams.discard(stream)
        stream.end(ConnectionResetError("the transfer was given up"))

    async def end(self) -> None:
        """Make all reads fail, now and from now on; idempotent."""
        self._ended = True
        tasks = [stream.task for stream in self._streams if stream.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
