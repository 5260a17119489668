"""What goes over the wire: a call, its body, its answer."""

import asyncio
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple

from aiohttp import ClientResponse, payload
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from corten.errors import DataCorrupted, Unsupported

_PIECE = 1 << 20  # bytes
_SAID = 64 << 10  # bytes


class Answer(NamedTuple):
    """A whole small response."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: URL

    @property
    def ok(self) -> bool:
        """Tell whether the request was fulfilled."""
        return 200 <= self.status < 300


class Part(payload.Payload):
    """A range of a file as a body, opened anew each time that it is sent.

    Args:
        source: Opens the file at its start.
        start: First byte to send.
        length: Bytes to send.
        sent: Told after each piece how many bytes of the file were handed to the kernel.
        silence: Seconds after which a peer that takes nothing is given up.
    """

    _autoclose = True
    _consumed = True  # never sent twice by the HTTP client itself: what may be sent is asked for first

    def __init__(
        self,
        source: Callable[[], BinaryIO],
        start: int,
        length: int,
        sent: Callable[[int], None],
        silence: float,
    ) -> None:
        super().__init__(source, content_type="application/octet-stream")
        self._source, self._start, self._size = source, start, length
        self._sent, self._silence = sent, silence

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: a blob is no text."""
        raise Unsupported(f"a blob is not {encoding} text ({errors})")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the whole range."""
        await self.write_with_length(writer, self._size)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - the length is fixed
    ) -> None:
        """Send the range; its length is fixed and *content_length* the same.

        Raises:
            DataCorrupted: the file is shorter than it should be.
            TimeoutError: the peer takes nothing.
        """
        position, end = self._start, self._start + (self._size or 0)
        with await asyncio.to_thread(self._source) as file:
            await asyncio.to_thread(file.seek, position)
            while position < end:
                piece = await asyncio.to_thread(file.read, min(_PIECE, end - position))
                if not piece:
                    raise DataCorrupted(f"a blob to send ends at {position} of {end} bytes")
                async with asyncio.timeout(self._silence):
                    await writer.write(piece)
                position += len(piece)
                self._sent(position)


class Call(NamedTuple):
    """One request, whatever it takes (redirects, authentication) to have it answered.

    Attributes:
        method: As in HTTP.
        url: Absolute.
        scopes: The rights it needs, as ``repository:library/debian:pull``.
        headers: Beside those that every request has.
        body: Bytes, or part of a file.
    """

    method: str
    url: URL
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | Part | None = None

    def head(self) -> CIMultiDict[str]:
        """Return the headers to send, in a mapping of its own."""
        return CIMultiDict(self.headers)


async def peek(response: ClientResponse) -> bytes:
    """Return the start of a response, enough for what a registry says of a failure."""
    pieces, size = [], 0
    while size < _SAID and (piece := await response.content.read(_SAID)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
