"""Blobs are sent whole, in every way that registries ask for, and through breaks."""

import io
import os
from collections.abc import Iterator

import pytest
from aiohttp import web

from corten.core.distribution.settings import RegistrySettings
from corten.errors import CortenError, DataCorrupted, Forbidden, LimitExceeded, Unavailable
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest
from tests.fakes.registry import FakeRegistry, Handler, cut, redirect, refuse, reply, takes
from tests.unit.core.distribution.client import ME, QUICK, repository, run, settings

DATA = os.urandom(3 << 20)
BLOB = Descriptor(media_type="", digest=Digest.of(DATA), size=len(DATA))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """An empty registry."""
    with FakeRegistry() as made:
        yield made


def send(
    registry: FakeRegistry, data: bytes = DATA, blob: Descriptor = BLOB, given: RegistrySettings | None = None
) -> list[int]:
    """Upload *data*; returns what was told of the progress."""
    told: list[int] = []

    async def go() -> None:
        async with repository(f"{registry.host}/a/b", ME, given) as one:
            await one.upload(blob, lambda: io.BytesIO(data), told.append)

    run(go())
    return told


def requests(registry: FakeRegistry) -> list[str]:
    """Return the methods of the requests of uploads, in order."""
    return [seen.method for seen in registry.saw("/uploads/")]


def arrived(registry: FakeRegistry) -> bool:
    """Tell whether the blob is there."""
    return registry.blobs.get(("a/b", BLOB.digest)) == DATA


def test_one_request_for_all_bytes(registry: FakeRegistry) -> None:
    """A blob goes with one request after the session is opened; the progress is told."""
    told = send(registry)

    assert arrived(registry)
    assert requests(registry) == ["POST", "PUT"]
    assert told == [1 << 20, 2 << 20, 3 << 20, 3 << 20]
    assert registry.seen[-1].headers["Content-Length"] == str(len(DATA))


def test_empty_blob(registry: FakeRegistry) -> None:
    """A blob without bytes is a blob."""
    blob = Descriptor(digest=Digest.of(b""), size=0)

    assert send(registry, b"", blob) == [0]
    assert registry.blobs["a/b", blob.digest] == b""


@pytest.mark.parametrize("size", [1, 2, 1 << 20, (1 << 20) + 1])
def test_chunks(registry: FakeRegistry, size: int) -> None:
    """Chunks are sent in order with their ranges, when the settings say so."""
    data = DATA[:size]
    blob = Descriptor(digest=Digest.of(data), size=size)

    send(registry, data, blob, settings(chunk=1 << 20))

    assert registry.blobs["a/b", blob.digest] == data
    chunks = registry.saw("PATCH")
    assert len(chunks) == -(-size // (1 << 20))
    assert chunks[0].headers["Content-Range"] == f"0-{min(size, 1 << 20) - 1}"


def test_chunks_are_not_smaller_than_the_registry_asks(registry: FakeRegistry) -> None:
    """OCI-Chunk-Min-Length is kept to, the last chunk aside."""
    registry.minimum = 2 << 20

    send(registry, given=settings(chunk=1 << 20))

    assert arrived(registry)
    assert [seen.headers["Content-Length"] for seen in registry.saw("PATCH")] == [str(2 << 20), str(1 << 20)]


def test_smaller_requests_after_one_that_was_too_large(registry: FakeRegistry) -> None:
    """413, which a proxy may say, leads to chunks."""
    registry.largest = 1 << 20

    send(registry)

    assert arrived(registry)
    assert [seen.headers["Content-Length"] for seen in registry.saw("PATCH")][1:] == [str(3 << 18)] * 4


def test_registry_that_takes_no_size_at_all(registry: FakeRegistry) -> None:
    """Chunks shrink to an end."""
    registry.largest = 100

    with pytest.raises(LimitExceeded, match="too large"):
        send(registry)


@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
def test_location_is_kept_as_it_is(registry: FakeRegistry, absolute: bool) -> None:
    """Its query is the registry's; only the digest is added."""
    registry.absolute = absolute

    send(registry)

    (put,) = registry.saw("PUT")
    assert put.query == {"_state": "a/b=0", "digest": BLOB.digest}


def test_location_at_another_host(registry: FakeRegistry) -> None:
    """The bytes go where the registry says, without our name."""
    with FakeRegistry() as storage:
        storage._sessions, storage.blobs = registry._sessions, registry.blobs
        registry.elsewhere = storage.url("")

        send(registry)

        assert arrived(registry)
        assert [seen.method for seen in storage.seen] == ["PUT"]
        assert "Authorization" not in storage.seen[0].headers


def test_session_without_a_location_is_refused(registry: FakeRegistry) -> None:
    """What opens no session is no registry."""
    registry.order("POST", reply(202))

    with pytest.raises(Unavailable, match="no Location"):
        send(registry)


def test_goes_on_where_a_break_was(registry: FakeRegistry) -> None:
    """What the registry kept of a broken request is not sent again."""
    registry.order("PUT", takes(registry, 1 << 20))

    told = send(registry)

    assert arrived(registry)
    assert requests(registry) == ["POST", "PUT", "GET", "PATCH", "PUT"]
    assert registry.saw("PATCH")[0].headers["Content-Range"] == f"{1 << 20}-{(3 << 20) - 1}"
    assert told[-1] == len(DATA)


def test_breaks_of_chunks(registry: FakeRegistry) -> None:
    """A break in the middle of a chunk costs what the registry did not keep."""
    registry.order("PATCH", takes(registry, 1000), times=2)

    send(registry, given=settings(chunk=1 << 20))

    assert arrived(registry)


def test_begins_anew_where_the_registry_forgot(registry: FakeRegistry) -> None:
    """A registry that keeps nothing of a broken upload gets a new one."""
    registry.keeps = False
    registry.order("PUT", takes(registry, 1 << 20))

    send(registry)

    assert arrived(registry)
    assert requests(registry) == ["POST", "PUT", "GET", "POST", "PUT"]


def test_answer_that_was_lost(registry: FakeRegistry) -> None:
    """A blob that arrived although its answer did not is not sent twice."""

    async def finish(request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        del registry._sessions[name]
        registry.blobs["a/b", BLOB.digest] = await request.content.read()
        return cut(request, web.StreamResponse())

    registry.order("PUT", finish)

    send(registry)

    assert arrived(registry)
    assert requests(registry) == ["POST", "PUT", "GET"]


def test_no_progress_ends(registry: FakeRegistry) -> None:
    """An upload that breaks again and again is given up after some tries."""
    registry.keeps = False
    registry.order("PUT", takes(registry, 1000), times=1000)

    with pytest.raises(Unavailable, match="broke"):
        send(registry)
    assert len(registry.saw("PUT")) <= QUICK.attempts


def test_sending_the_same_again_is_no_progress(registry: FakeRegistry) -> None:
    """A registry that forgets after each chunk does not keep us for ever."""

    async def forgets(request: web.Request) -> web.StreamResponse | None:
        await request.content.read()
        registry._sessions.clear()
        return cut(request, web.StreamResponse())

    registry.order("PUT", forgets, times=1000)

    with pytest.raises(Unavailable):
        send(registry, given=settings(chunk=2 << 20))
    assert len(registry.saw("PUT")) <= QUICK.attempts


def test_registry_that_takes_nothing_ends(registry: FakeRegistry) -> None:
    """An answer of success without any progress is none."""

    def stuck(request: web.Request) -> dict[str, str]:
        return {"Location": request.path, "Range": "0-0"}

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.content.read()
        return web.Response(status=202, headers=stuck(request))

    registry.order("PATCH", handler, times=1000)
    registry.order("GET .*/uploads", handler, times=1000)

    with pytest.raises(Unavailable, match=r"takes no more|lost count"):
        send(registry, given=settings(chunk=1 << 20))


def test_lost_count_is_asked_for(registry: FakeRegistry) -> None:
    """416 says that we are wrong about how much there is; the registry knows."""
    registry.order("PATCH", refuse(416, "BLOB_UPLOAD_INVALID"))

    send(registry, given=settings(chunk=1 << 20))

    assert arrived(registry)
    assert requests(registry)[:3] == ["POST", "PATCH", "GET"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("method", ["POST", "PUT", "GET .*/uploads"])
def test_failing_server_is_tried_again(registry: FakeRegistry, method: str, status: int) -> None:
    """A failure of the server that passes is not noticed."""
    registry.order("PUT", refuse(503, ""))
    registry.order(method, refuse(status, "UNKNOWN"), times=2)

    send(registry)

    assert arrived(registry)


def test_other_bytes_than_announced(registry: FakeRegistry) -> None:
    """A registry that received something else says so, and it is told."""
    with pytest.raises(DataCorrupted, match="received other bytes"):
        send(registry, b"x" * len(DATA))


def test_file_that_is_too_short(registry: FakeRegistry) -> None:
    """A blob that is damaged here is not pushed."""
    with pytest.raises(DataCorrupted, match="ends at"):
        send(registry, DATA[:1000])
    assert not registry.blobs


def test_denied(registry: FakeRegistry) -> None:
    """Who may not push is told so in Docker's words."""
    registry.order("POST", refuse(403, "DENIED"))

    with pytest.raises(Forbidden, match=r"denied: requested access to .*a/b is denied: push may require"):
        send(registry)


def test_redirect_of_an_upload_takes_the_bytes_along(registry: FakeRegistry) -> None:
    """307 repeats the request, body and all."""
    registry.order("PUT", _redirected(registry))

    send(registry)

    assert arrived(registry)


def _redirected(registry: FakeRegistry) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse | None:
        location = registry.url(f"{request.path}?digest={BLOB.digest}&again=1")
        return await redirect(location)(request)

    return handler


@pytest.mark.parametrize("mounts", [True, False])
def test_mount(registry: FakeRegistry, mounts: bool) -> None:
    """A mount costs no bytes; where it does not work its session is used to upload."""
    registry.mounts = mounts
    registry.add_blob("x/y", DATA)

    async def go() -> bool:
        async with repository(f"{registry.host}/a/b") as one:
            assert not await one.exists(BLOB.digest)
            mounted = await one.mount(BLOB.digest, "x/y")
            if not mounted:
                await one.upload(BLOB, lambda: io.BytesIO(DATA), lambda _: None)
            assert await one.exists(BLOB.digest)
            return mounted

    assert run(go()) is mounts
    assert requests(registry) == (["POST"] if mounts else ["POST", "PUT"])
    assert registry.saw("POST")[0].query == {"mount": BLOB.digest, "from": "x/y"}


def test_refused_mount_is_no_failure(registry: FakeRegistry) -> None:
    """Not every source may be read by who pushes."""
    registry.order("POST", refuse(403, "DENIED"))

    async def go() -> bool:
        async with repository(f"{registry.host}/a/b") as one:
            return await one.mount(BLOB.digest, "x/y")

    assert run(go()) is False


def test_existence_that_is_denied(registry: FakeRegistry) -> None:
    """Who may not look is told so."""
    registry.order("HEAD", refuse(403, "DENIED"))

    async def go() -> None:
        async with repository(f"{registry.host}/a/b") as one:
            with pytest.raises(CortenError, match="denied"):
                await one.exists(BLOB.digest)

    run(go())
