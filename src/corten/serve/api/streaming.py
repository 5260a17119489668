"""Bodies that are not one piece of JSON: progress lines going out, archives coming in and going out."""

import asyncio
import concurrent.futures
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from aiohttp import StreamReader, web

from corten.serve.api import reply
from corten.serve.api.failures import expected, message_of
from corten.serve.api.interface_values import Progress
from corten.serve.api.request import Request

TAR = "application/x-tar"
_BUFFER = 1 << 20  # bytes asked of the client at a time
_WAITING = 1000  # progress messages kept for a slow client; more are left out

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class Upload(io.RawIOBase):
    """The body of a request as a blocking file, for a worker thread.

    Reads ask the event loop for what has arrived, so that a client is not
    read faster than its archive is used.
    """

    def __init__(self, content: StreamReader) -> None:
        super().__init__()
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._held = memoryview(b"")
        self._pending: concurrent.futures.Future[bytes] | None = None
        self._given_up = False

    def readable(self) -> bool:
        """Say that this file is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* in part; 0 at the end of the body.

        Raises:
            ConnectionError: the client went away, or the request was given up.
        """
        if not self._held:
            self._held = memoryview(self._next())
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _next(self) -> bytes:
        """Wait, in the worker thread, for the next bytes of the body."""
        self._pending = asyncio.run_coroutine_threadsafe(self._content.readany(), self._loop)
        if self._given_up:
            self._pending.cancel()
        try:
            return self._pending.result()
        except concurrent.futures.CancelledError:
            raise ConnectionResetError("the upload was given up") from None

    def give_up(self) -> None:
        """Make further reads fail, and the one that waits; called in the event loop."""
        self._given_up = True
        if self._pending is not None:
            self._pending.cancel()


@contextlib.contextmanager
def upload(request: Request) -> Iterator[io.BufferedReader]:
    """Lend the body of *request* as a file for worker threads, until the block is left."""
    raw = Upload(request.raw.content)
    try:
        yield io.BufferedReader(raw, _BUFFER)
    finally:
        raw.give_up()


async def send_progress(
    request: Request,
    verb: Callable[[Progress], Awaitable[_Result]],
    last: Callable[[_Result], Iterable[dict[str, Any]]] = lambda _: (),
) -> web.StreamResponse:
    """Run *verb* and send what it reports, then what *last* makes of its result, as lines of JSON.

    The status is sent with the first line, so that a failure before it is an
    ordinary error; a later one is a line ``{"errorDetail": ..., "error": ...}``.
    If the client goes, *verb* is cancelled.
    """
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(message: dict[str, Any]) -> None:
        if queue.qsize() < _WAITING or "progressDetail" not in message:
            loop.call_soon_threadsafe(queue.put_nowait, message)

    work = asyncio.ensure_future(verb(report))
    work.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        response = None
        while (message := await queue.get()) is not None:
            response = response or await request.stream("application/json")
            await response.write(_lines(message, queue))
        return await _end_progress(request, response, work, last)
    finally:
        work.cancel()


def _lines(message: dict[str, Any], queue: asyncio.Queue[dict[str, Any] | None]) -> bytes:
    """Return *message* and all that wait behind it as lines; the mark of the end stays in *queue*."""
    lines = [reply.encode(message)]
    while not queue.empty():
        following = queue.get_nowait()
        if following is None:
            queue.put_nowait(None)
            break
        lines.append(reply.encode(following))
    return b"".join(lines)


async def _end_progress(
    request: Request,
    response: web.StreamResponse | None,
    work: asyncio.Future[_Result],
    last: Callable[[_Result], Iterable[dict[str, Any]]],
) -> web.StreamResponse:
    """Send how *work*, which is done, ended."""
    try:
        lines = b"".join(map(reply.encode, last(await work)))
    except Exception as failure:
        if response is None:
            raise
        if not expected(failure):
            log.exception("%s failed", request.raw.path)
        text = message_of(failure)
        lines = reply.encode({"errorDetail": {"message": text}, "error": text})
    response = response or await request.stream("application/json")
    await response.write(lines)
    await response.write_eof()
    return response


async def send_pieces(
    request: Request, pieces: AsyncIterator[bytes], content_type: str
) -> web.StreamResponse:
    """Send *pieces* as the body; a failure before the first one is an ordinary error."""
    async with closing(pieces):
        first = await anext(pieces, b"")
        response = await request.stream(content_type)
        if first:
            await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    await response.write_eof()
    return response


@contextlib.asynccontextmanager
async def closing(iterator: AsyncIterator[_Result]) -> AsyncIterator[AsyncIterator[_Result]]:
    """Close *iterator* at the end of the block, if it is of a kind that can be closed."""
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
