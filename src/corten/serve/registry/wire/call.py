"""Call: one request, with what its handler needs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web

from corten.errors import LimitExceeded, Unsupported
from corten.serve.registry.hooks import Hooks
from corten.serve.registry.registry import Registry
from corten.serve.registry.source import Source
from corten.serve.registry.wire.target import Target

_T = TypeVar("_T")
_SMALL = 1 << 16  # bytes


@dataclass(frozen=True)
class Limits:
    """How much a client may send, in bytes (0: any), and get: *page* entries of a list at a time."""

    manifest: int = 8 << 20
    blob: int = 0
    page: int = 10_000


@dataclass(frozen=True)
class Behind:
    """What is behind the door: *registry* is None where nothing can be changed."""

    source: Source
    registry: Registry | None
    hooks: Hooks
    limits: Limits
    pool: ThreadPoolExecutor


@dataclass
class Call:
    """A request on its way; *received* and *sent* count the bytes of bodies."""

    request: web.BaseRequest
    behind: Behind
    target: Target
    query: dict[str, str] = field(default_factory=dict)
    received: int = 0
    sent: int = 0

    @property
    def method(self) -> str:
        """Return the method."""
        return self.request.method

    @property
    def registry(self) -> Registry:
        """Return the registry to change; Unsupported where nothing can be changed."""
        if self.behind.registry is None:
            raise Unsupported("this registry is read-only: push to the one that it serves")
        return self.behind.registry

    async def work(self, blocking: Callable[[], _T]) -> _T:
        """Run something that blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.behind.pool, blocking)

    async def begin_body(self) -> None:
        """Tell a client that waits for it to go on with the body."""
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.writer.output_size = 0  # the answer's headers are still to be written

    async def body(self, limit: int) -> bytes:
        """Read the whole body.

        Raises:
            LimitExceeded: it has more than *limit* bytes.
        """
        gathered = bytearray()
        if (self.request.content_length or 0) > limit:
            raise LimitExceeded(f"{self.request.content_length} bytes are more than the {limit} allowed")
        await self.begin_body()
        async for piece in self.pieces(_SMALL):
            gathered += piece
            if len(gathered) > limit:
                raise LimitExceeded(f"the body has more than the {limit} bytes allowed")
        return bytes(gathered)

    async def pieces(self, size: int) -> AsyncIterator[bytearray]:
        """Yield the body in pieces of about *size* bytes, each a buffer of its own.

        When the client goes away the last piece is what had arrived.

        Raises:
            ConnectionError: the client went away; after the last piece.
        """
        content, gathered = self.request.content, bytearray()
        failure: Exception | None = None
        while failure is None:
            try:
                data = await content.readany()
            except (web.RequestPayloadError, ConnectionError) as broken:
                failure = broken
                break
            if not data:
                break
            self.received += len(data)
            gathered += data
            if len(gathered) >= size:
                yield gathered
                gathered = bytearray()
        if gathered:
            yield gathered
        if failure is not None:
            raise ConnectionResetError("the client went away in the middle of the body") from failure


@contextmanager
def counted(call: Call, response: web.StreamResponse) -> Iterator[None]:
    """Count what the block sends by *response* even if it breaks off."""
    try:
        yield
    finally:
        call.sent += response.body_length if response.prepared else 0
