"""Download: the bytes of a blob, from where they are, through breaks.

A connection that breaks is taken up again with a Range request from the byte
that is missing next; a server that ignores Range sends everything again, and
what is known is skipped. What a server says of the length is compared with
what the manifest says before a byte is handed on, and no more bytes than
announced ever are.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from aiohttp import ClientResponse

from corten.core.distribution.failures import Broken, Unreachable
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.pace import Again, Attempts, Rate
from corten.core.distribution.http.wire import Call, peek
from corten.core.distribution.servers.channel import Channel
from corten.errors import DataCorrupted

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class Wanted(NamedTuple):
    """A blob to fetch: its path below ``/v2/``, the rights for it, its size, and words for failures."""

    path: str
    scopes: tuple[str, ...]
    size: int
    asked: Asked


async def download(channel: Channel, wanted: Wanted, offset: int, rate: Rate) -> AsyncGenerator[bytes]:
    """Yield the bytes of a blob from *offset* to its end.

    Raises:
        CortenError: of the last try, when no try brings progress any more.
        DataCorrupted: the blob has another size there.
    """
    attempts = Attempts(channel.patience)
    while offset < wanted.size:
        try:
            async with aclosing(_try(channel, wanted, offset, rate)) as pieces:
                async for piece in pieces:
                    offset += len(piece)
                    attempts.progressed(len(piece))
                    yield piece
            if offset < wanted.size:
                raise Broken(
                    f"{wanted.asked.host} ended {wanted.asked.subject} after {offset} of {wanted.size} bytes: try again"
                )
        except (Again, Broken, Unreachable) as failure:
            await attempts.again(failure)


async def _try(channel: Channel, wanted: Wanted, offset: int, rate: Rate) -> AsyncGenerator[bytes]:
    """Yield what one request brings."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    async with channel.open(Call("GET", channel.url(wanted.path), wanted.scopes, headers)) as response:
        await _check(response, wanted)
        skip = _skip(response, wanted, offset)
        left = wanted.size - offset
        while left and (piece := await response.content.read(rate.piece)):
            if skip:
                known = min(skip, len(piece))
                skip, piece = skip - known, piece[known:]
            if len(piece) > left:
                raise DataCorrupted(
                    f"{wanted.asked.host} sends more of {wanted.asked.subject} than its {wanted.size} bytes: try again, or tell its owner"
                )
            if piece:
                await rate.take(len(piece))
                left -= len(piece)
                yield piece


async def _check(response: ClientResponse, wanted: Wanted) -> None:
    """Refuse an answer that does not bring bytes.

    Raises:
        Again: a failure that may pass.
        CortenError: any other.
    """
    if response.status in (200, 206):
        return
    failure = answers.failure(response.status, response.headers, await peek(response), wanted.asked)
    if answers.is_passing(response.status, response.headers):
        raise Again(failure, answers.retry_after(response.headers))
    if response.status == 416:
        raise _other_size(wanted, "fewer")
    raise failure


def _skip(response: ClientResponse, wanted: Wanted, offset: int) -> int:
    """Return how many bytes come before the one at *offset*.

    Raises:
        DataCorrupted: the server's blob has another size, or this is another part of it.
    """
    if response.status == 200:
        if response.content_length is not None and response.content_length != wanted.size:
            raise _other_size(wanted, str(response.content_length))
        return offset
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) > offset:
        raise DataCorrupted(
            f"{wanted.asked.host} sends another part of {wanted.asked.subject} than was asked for: try again"
        )
    if found[3] != "*" and int(found[3]) != wanted.size:
        raise _other_size(wanted, found[3])
    return offset - int(found[1])


def _other_size(wanted: Wanted, size: str) -> DataCorrupted:
    """Return the failure for a blob that is not as long as announced."""
    return DataCorrupted(
        f"{wanted.asked.subject} has {size} bytes at {wanted.asked.host}, "
        f"its manifest announces {wanted.size}: try again, or tell its owner"
    )
