"""Blobs come in: at once, in a stream, or in chunks that may be resumed.

Source: OCI distribution-spec 1.1, "Pushing blobs".
"""

import asyncio
import re
from contextlib import suppress
from functools import partial

from aiohttp import web

from corten.errors import Conflict, LimitExceeded, NotFound
from corten.oci.digest import Digest
from corten.serve.registry.hooks import Denied
from corten.serve.registry.refusal import Code, Refusal
from corten.serve.registry.wire import answers
from corten.serve.registry.wire.call import Call
from corten.serve.registry.wire.target import digest_of

_CONTENT_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


async def begin(call: Call) -> web.StreamResponse:
    """POST /v2/NAME/blobs/uploads/: mount (?mount=&from=), take all at once (?digest=), or open an upload."""
    repository, sessions = call.target.repository, call.registry.sessions
    if "mount" in call.query and await _mount(call):
        return _arrived(repository, digest_of(call.query["mount"]))
    digest = digest_of(call.query["digest"]) if "digest" in call.query else None
    _check_size(call, call.request.content_length or 0)
    upload = await call.work(lambda: sessions.begin(repository))
    if digest is None:
        headers = {"OCI-Chunk-Min-Length": str(sessions.least)} if sessions.least else {}
        return answers.empty(202, {**_state(repository, upload, 0), **headers})
    try:
        await _receive(call, upload, 0)
        await call.work(lambda: sessions.finish(repository, upload, digest))
    except Exception:
        with suppress(NotFound):  # nobody was told its id
            await call.work(lambda: sessions.cancel(repository, upload))
        raise
    return _arrived(repository, digest)


async def _mount(call: Call) -> bool:
    """Try to take a blob over from another repository, if the client may pull it there."""
    digest, source = digest_of(call.query["mount"]), call.query.get("from", "")
    if not source:
        return False
    try:
        await call.behind.hooks.gate.check(call.request, source, frozenset({"pull"}))
    except Denied:
        return False
    pushes = call.registry.pushes
    return await call.work(lambda: pushes.mount(call.target.repository, digest, source))


async def add(call: Call) -> web.StreamResponse:
    """PATCH /v2/NAME/blobs/uploads/ID: the next chunk, or all that comes."""
    repository, upload, size = await _resume(call)
    size = await _receive(call, upload, size)
    return answers.empty(202, _state(repository, upload, size))


async def finish(call: Call) -> web.StreamResponse:
    """PUT /v2/NAME/blobs/uploads/ID?digest=: the last chunk, or all, or nothing more."""
    digest = digest_of(call.query.get("digest", ""))
    repository, upload, size = await _resume(call)
    await _receive(call, upload, size)
    await call.work(partial(call.registry.sessions.finish, repository, upload, digest))
    return _arrived(repository, digest)


async def status(call: Call) -> web.StreamResponse:
    """GET /v2/NAME/blobs/uploads/ID."""
    repository, upload = call.target.repository, call.target.reference
    size = await call.work(lambda: call.registry.sessions.size(repository, upload))
    return answers.empty(204, _state(repository, upload, size))


async def cancel(call: Call) -> web.StreamResponse:
    """DELETE /v2/NAME/blobs/uploads/ID."""
    repository, upload = call.target.repository, call.target.reference
    await call.work(lambda: call.registry.sessions.cancel(repository, upload))
    return answers.empty(204, {})


async def _resume(call: Call) -> tuple[str, str, int]:
    """Return repository, upload and its size, if the chunk that comes belongs at its end.

    Raises:
        Refusal: 416, it does not; 400, its range contradicts itself.
        NotFound: there is no such upload.
    """
    repository, upload = call.target.repository, call.target.reference
    size = await call.work(lambda: call.registry.sessions.size(repository, upload))
    length = call.request.content_length
    if "Content-Range" in call.request.headers:
        start, end = _content_range(call.request.headers["Content-Range"])
        if start != size:
            raise _out_of_order(repository, upload, size)
        if length is not None and length != end - start + 1:
            raise Refusal(
                Code.SIZE_INVALID,
                f"the range {start}-{end} has {end - start + 1} bytes, but {length} are sent",
            )
    _check_size(call, size + (length or 0))
    return repository, upload, size


def _content_range(text: str) -> tuple[int, int]:
    """Read ``start-end``, both inclusive."""
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise Refusal(
            Code.BLOB_UPLOAD_INVALID,
            f"the content range {text[:60]!r} is invalid: expected FIRST-LAST, as 0-99",
        )
    return int(found[1]), int(found[2])


async def _receive(call: Call, upload: str, size: int) -> int:
    """Add the body to an upload and return its new size; one piece is stored while the next arrives.

    What had arrived when the client went away is kept.

    Raises:
        Refusal: 416, somebody else added to the upload meanwhile.
        LimitExceeded, OutOfSpace, ConnectionError: as they say.
    """
    sessions = call.registry.sessions
    storing: asyncio.Future[int] | None = None
    await call.begin_body()
    try:
        async for piece in call.pieces(sessions.piece):
            if storing is not None:
                size = await storing
            _check_size(call, size + len(piece))
            storing = asyncio.ensure_future(call.work(partial(sessions.append, upload, size, piece)))
    except BaseException:
        if storing is not None:
            await asyncio.wait([storing])
            storing.exception()  # seen; the first failure is told
        raise
    try:
        return await storing if storing is not None else size
    except Conflict:
        size = await call.work(lambda: sessions.size(call.target.repository, upload))
        raise _out_of_order(call.target.repository, upload, size) from None


def _check_size(call: Call, size: int) -> None:
    limit = call.behind.limits.blob
    if limit and size > limit:
        raise LimitExceeded(f"a blob of {size} bytes or more is larger than the {limit} bytes allowed here")


def _out_of_order(repository: str, upload: str, size: int) -> Refusal:
    return Refusal(
        Code.BLOB_UPLOAD_INVALID,
        f"the upload holds {size} bytes: go on with byte {size}",
        status=416,
        headers=_state(repository, upload, size),
    )


def _state(repository: str, upload: str, size: int) -> dict[str, str]:
    """Return the headers that say where an upload stands; for none and for one byte the range is the same."""
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{upload}",
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }


def _arrived(repository: str, digest: Digest) -> web.Response:
    return answers.empty(
        201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
    )
