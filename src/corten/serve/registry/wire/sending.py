"""Sending a blob: whole or a range, by sendfile(2) where the storage has it in a file.

Source: RFC 9110, sections 13 (conditions) and 14 (ranges).
"""

import asyncio
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from aiohttp import web

from corten.errors import NotFound
from corten.serve.registry.hooks import Passing
from corten.serve.registry.refusal import Code, Refusal
from corten.serve.registry.source import Found
from corten.serve.registry.wire.answers import VERSION, empty
from corten.serve.registry.wire.call import Call, counted

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_FOREVER = "max-age=31536000"  # seconds; bytes named by their digest never change


class Span(NamedTuple):
    """A part of a blob: *length* bytes from *start*; *partial* if the client asked for a range."""

    start: int
    length: int
    partial: bool


def etag(digest: str) -> str:
    """Return the entity tag of bytes with this digest."""
    return f'"{digest}"'


def unchanged(request: web.BaseRequest, digest: str) -> bool:
    """Tell whether the client says that it has these bytes already."""
    given = request.headers.get("If-None-Match", "")
    tags = {text.strip().removeprefix("W/") for text in given.split(",")}
    return etag(digest) in tags or "*" in tags


def span_of(request: web.BaseRequest, digest: str, size: int) -> Span:
    """Return what part of a blob is asked for; several ranges at once, or nonsense, mean all of it.

    Raises:
        Refusal: 416, the range begins behind the end.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    given = request.headers.get("If-Range", "")
    if found is None or found[0] == "bytes=-" or (given and given != etag(digest)):
        return Span(0, size, partial=False)
    first, last = found[1], found[2]
    if not first:
        start, end = max(size - int(last), 0), size
        satisfiable = int(last) > 0 and size > 0
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        satisfiable = start < size
        if last and int(last) < start:
            return Span(0, size, partial=False)
    if not satisfiable:
        raise Refusal(
            Code.SIZE_INVALID,
            f"the blob has {size} bytes: ask for a range inside it",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Span(start, end - start, partial=True)


def headers_of(digest: str) -> dict[str, str]:
    """Return the headers of every answer about these bytes."""
    return {**VERSION, "Docker-Content-Digest": digest, "ETag": etag(digest), "Cache-Control": _FOREVER}


async def send(call: Call, found: Found) -> web.StreamResponse:
    """Answer a GET or HEAD of a blob."""
    headers = headers_of(found.digest)
    if unchanged(call.request, found.digest):
        return empty(304, headers)
    span = span_of(call.request, found.digest, found.size)
    response = _start(span, found.size, headers)
    if call.method == "HEAD" or span.length == 0:
        return response
    if found.path is not None:
        file = await call.work(lambda: _open(found))
        try:
            await _send_file(call, response, file, span)
        finally:
            file.close()
    else:
        await _send_pieces(call, response, call.behind.source.read(found.digest, span.start, span.length))
    return response


def _start(span: Span, size: int, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=206 if span.partial else 200, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = span.length
    response.headers["Accept-Ranges"] = "bytes"
    if span.partial:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{size}"
    return response


def _open(found: Found) -> BinaryIO:
    """Open a blob's file; NotFound if it was deleted since it was looked up."""
    assert found.path is not None
    try:
        file = open(found.path, "rb", buffering=0)  # noqa: SIM115  # the caller closes it
    except FileNotFoundError:
        raise NotFound("blob", found.digest) from None
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return file


async def _send_file(call: Call, response: web.StreamResponse, file: BinaryIO, span: Span) -> None:
    """Let the kernel move the bytes; with TLS the loop reads and encrypts them instead."""
    await response.prepare(call.request)
    transport = call.request.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    call.sent += await asyncio.get_running_loop().sendfile(transport, file, span.start, span.length)
    await response.write_eof()


async def _send_pieces(call: Call, response: web.StreamResponse, pieces: Iterator[bytes]) -> None:
    """Send what the storage yields; the first piece is there before the client is told that all is well."""
    piece = await call.work(lambda: next(pieces, b""))
    await response.prepare(call.request)
    with counted(call, response):
        while piece:
            await response.write(piece)
            piece = await call.work(lambda: next(pieces, b""))
        await response.write_eof()


async def pass_on(call: Call, digest: str, passing: Passing) -> web.StreamResponse:
    """Answer a GET or HEAD of a blob with bytes that are just arriving from elsewhere; never a range."""
    response = _start(Span(0, passing.size, partial=False), passing.size, headers_of(digest))
    if call.method == "HEAD":
        return response
    await response.prepare(call.request)
    with counted(call, response):
        async for piece in passing.pieces:
            await response.write(piece)
        await response.write_eof()
    return response
