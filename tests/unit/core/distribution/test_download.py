"""Blobs arrive whole, through breaks and in spite of lies, and never more of them than announced."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from aiohttp import web

from corten.core.distribution.repository import Repository
from corten.core.distribution.settings import HostSettings, Patience
from corten.errors import CortenError, DataCorrupted, LimitExceeded, NotFound, Unavailable
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest
from tests.fakes.registry import (
    PATIENCE,
    FakeRegistry,
    Handler,
    breaks,
    cut,
    endless,
    lies,
    redirect,
    refuse,
    reply,
)
from tests.unit.core.distribution.client import QUICK, client, repository, run, settings, whole

DATA = os.urandom(500_000)
BLOB = Descriptor(media_type="", digest=Digest.of(DATA), size=len(DATA))
BLOBS = "GET .*/blobs/"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry with one blob."""
    with FakeRegistry() as made:
        made.add_blob("a/b", DATA)
        yield made


def fetch(registry: FakeRegistry, offset: int = 0, blob: Descriptor = BLOB) -> bytes:
    """Return what a client gets."""

    async def go() -> bytes:
        async with repository(f"{registry.host}/a/b") as one:
            return await whole(one, blob, offset)

    return run(go())


def ranges(registry: FakeRegistry) -> list[str | None]:
    """Return the Range headers of the requests for blobs."""
    return [seen.headers.get("Range") for seen in registry.saw("GET .*/blobs/")]


def honest(headers: dict[str, str] | None = None) -> Handler:
    """Send the blob in chunks, without a length."""
    return lies(DATA, headers=headers)


def test_whole_blob(registry: FakeRegistry) -> None:
    """A blob is fetched with one request."""
    assert fetch(registry) == DATA
    assert ranges(registry) == [None]


def test_rest_of_a_blob(registry: FakeRegistry) -> None:
    """What an earlier pull left is not fetched again."""
    assert fetch(registry, 400_000) == DATA[400_000:]
    assert ranges(registry) == ["bytes=400000-"]


@pytest.mark.parametrize("blob", [BLOB, Descriptor(digest=Digest.of(b""), size=0)])
def test_nothing_left_to_fetch(registry: FakeRegistry, blob: Descriptor) -> None:
    """A blob that is there, or empty, causes no request."""
    assert fetch(registry, blob.size, blob) == b""
    assert not registry.saw("/blobs/")


def test_resumes_where_the_connection_broke(registry: FakeRegistry) -> None:
    """Many breaks cost no byte twice; progress makes earlier ones forgotten."""
    registry.order(BLOBS, breaks(registry, 70_000), times=7)

    assert fetch(registry) == DATA
    assert ranges(registry) == [None, *(f"bytes={70_000 * turn}-" for turn in range(1, 8))]


def test_breaks_without_progress_end(registry: FakeRegistry) -> None:
    """A registry that breaks each connection at once is given up after some tries."""
    registry.order(BLOBS, breaks(registry, 0), times=100)

    with pytest.raises(Unavailable, match="broke"):
        fetch(registry)
    assert len(registry.saw("/blobs/")) == QUICK.attempts


def test_a_byte_at_a_time_is_no_progress(registry: FakeRegistry) -> None:
    """A server cannot keep us for ever with a byte per connection."""
    registry.order(BLOBS, breaks(registry, 1), times=100)

    with pytest.raises(Unavailable):
        fetch(registry)
    assert len(registry.saw("/blobs/")) == QUICK.attempts


def test_skips_what_is_known_without_ranges(registry: FakeRegistry) -> None:
    """A registry that sends everything again is listened to from the byte that was missing."""
    registry.ranges = False
    registry.order(BLOBS, breaks(registry, 200_000))

    assert fetch(registry) == DATA
    assert fetch(registry, 499_999) == DATA[-1:]


def test_registry_that_ended_meanwhile(registry: FakeRegistry) -> None:
    """A registry that is gone in the middle is tried again, then one line says so."""
    pieces: list[bytes] = []
    registry.order(BLOBS, breaks(registry, 100_000))

    async def go() -> None:
        async with repository(f"{registry.host}/a/b") as one, aclosing(one.blob(BLOB)) as blob:
            pieces.append(await anext(blob))
            await asyncio.to_thread(registry.close)
            with pytest.raises(Unavailable, match="cannot reach"):
                pieces.extend([piece async for piece in blob])

    run(go())
    assert b"".join(pieces) == DATA[: sum(map(len, pieces))]


@pytest.mark.parametrize("length", [100, 499_999, 500_001, 1 << 40])
def test_other_length_is_refused_before_a_byte(registry: FakeRegistry, length: int) -> None:
    """A blob that is longer or shorter than its manifest says is not that blob."""
    registry.order(BLOBS, lies(DATA[:50], length))

    with pytest.raises(DataCorrupted, match=f"has {length} bytes at .* announces 500000"):
        fetch(registry)


def test_endless_body_is_left(registry: FakeRegistry) -> None:
    """More bytes than promised end the download; no more than promised are handed on."""
    registry.order(BLOBS, endless())
    received = 0

    async def go() -> None:
        nonlocal received
        async with repository(f"{registry.host}/a/b") as one, aclosing(one.blob(BLOB)) as blob:
            async for piece in blob:
                received += len(piece)

    with pytest.raises(DataCorrupted, match="sends more"):
        run(go())
    assert received <= BLOB.size


def test_body_without_a_length(registry: FakeRegistry) -> None:
    """A length in the header is not needed."""
    registry.order(BLOBS, honest())

    assert fetch(registry) == DATA


def test_body_that_ends_early_is_resumed(registry: FakeRegistry) -> None:
    """An end that comes too soon without a length is a break like any other."""
    registry.order(BLOBS, lies(DATA[:100_000]))

    assert fetch(registry) == DATA
    assert ranges(registry) == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("content_range", "said"),
    [
        ("bytes 20-499999/500000", "another part"),
        ("bytes 10-499999/600000", "has 600000 bytes"),
        ("bytes 10-/500000", "another part"),
        ("", "another part"),
        (f"bytes 10-{'9' * 30}/5", "another part"),
    ],
)
def test_lie_about_the_part_is_refused(registry: FakeRegistry, content_range: str, said: str) -> None:
    """The part that comes must be the one that was asked for, of a blob of the right size."""
    registry.order(BLOBS, reply(206, {"Content-Range": content_range}, DATA[10:]))

    with pytest.raises(DataCorrupted, match=said):
        fetch(registry, 10)


def test_earlier_part_than_asked_for(registry: FakeRegistry) -> None:
    """A server may round the start of a range down."""
    registry.order(BLOBS, reply(206, {"Content-Range": "bytes 400000-499999/*"}, DATA[400_000:]))

    assert fetch(registry, 450_000) == DATA[450_000:]


def test_range_beyond_the_end_means_another_size(registry: FakeRegistry) -> None:
    """416 to a range that the manifest allows says that the blob is shorter."""
    registry.order(BLOBS, refuse(416, ""))

    with pytest.raises(DataCorrupted, match="fewer bytes"):
        fetch(registry, 10)


def test_redirect_to_storage_is_followed_with_the_range(registry: FakeRegistry) -> None:
    """Registries keep blobs elsewhere; a signed address arrives as it was given."""
    registry.add_blob("storage", DATA)
    signed = f"/v2/storage/blobs/{BLOB.digest}?sig=a%2Fb%2Bc%3D&x=%7E&long={'x' * 7000}"
    raw: list[str] = []

    async def record(request: web.Request) -> None:
        raw.append(request.raw_path)

    registry.order("GET /v2/a/b/blobs/", redirect(registry.url(signed)), times=10)
    registry.order("GET /v2/storage", record, times=10)
    registry.order("GET /v2/storage", breaks(registry, 300_000))

    assert fetch(registry) == DATA
    assert raw == [signed, signed]
    assert ranges(registry)[-1] == "bytes=300000-"


def test_redirects_without_end_are_left(registry: FakeRegistry) -> None:
    """A circle of redirects ends."""
    registry.order("GET /v2/a/b/blobs/", redirect(f"/v2/a/b/blobs/{BLOB.digest}"), times=100)

    with pytest.raises(Unavailable, match="redirects more than"):
        fetch(registry)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_failing_server_is_tried_again(registry: FakeRegistry, status: int) -> None:
    """A failure of the server that passes is not noticed."""
    registry.order(BLOBS, refuse(status, "UNKNOWN"), times=2)

    assert fetch(registry) == DATA


def test_failing_server_is_told_in_the_end(registry: FakeRegistry) -> None:
    """A failure that does not pass is one line."""
    registry.order(BLOBS, refuse(503, "UNAVAILABLE"), times=100)

    with pytest.raises(Unavailable, match=r"answered 503 \(unavailable\): try again later"):
        fetch(registry)


def test_rate_limit_is_waited_for(registry: FakeRegistry) -> None:
    """429 with a short time to wait is honoured."""
    registry.order(BLOBS, refuse(429, "TOOMANYREQUESTS", {"Retry-After": "0"}), times=2)

    assert fetch(registry) == DATA


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "86400"}])
def test_rate_limit_is_told(registry: FakeRegistry, headers: dict[str, str]) -> None:
    """429 without a time, or with one that nobody waits, is one line at once."""
    registry.order(BLOBS, refuse(429, "TOOMANYREQUESTS", headers))

    with pytest.raises(LimitExceeded, match=r"toomanyrequests: .* try again (later|in 86400 seconds)"):
        fetch(registry)
    assert len(registry.saw("/blobs/")) == 1


def test_absent_blob(registry: FakeRegistry) -> None:
    """A blob that is not there is named."""
    absent = Descriptor(digest=Digest.of(b"absent"), size=6)

    with pytest.raises(NotFound, match=rf"blob {absent.digest} of .*a/b not found: blob unknown"):
        fetch(registry, 0, absent)


def test_silence_is_a_break(registry: FakeRegistry) -> None:
    """A server that goes silent is left, and the rest fetched by a new connection."""
    registry.order(BLOBS, _silent(registry))
    patience = Patience(attempts=3, pause=0.001, longest=0.01, connect=5, silence=0.05)

    async def go() -> bytes:
        async with repository(f"{registry.host}/a/b", given=settings(patience)) as one:
            return await whole(one, BLOB)

    assert run(go()) == DATA
    assert ranges(registry) == [None, "bytes=100000-"]


def _silent(registry: FakeRegistry) -> Handler:
    """Send the right headers and some bytes, then nothing."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(DATA)
        await response.prepare(request)
        await response.write(DATA[:100_000])
        await asyncio.to_thread(registry.released.wait, PATIENCE)
        return cut(request, response)

    return handler


def test_mirror_breaks_and_the_registry_goes_on(registry: FakeRegistry) -> None:
    """What a mirror could not finish the registry does, from the byte that is missing."""
    with FakeRegistry() as mirror:
        mirror.add_blob("a/b", DATA)
        mirror.order(BLOBS, breaks(mirror, 60_000), times=2)
        mirror.order(BLOBS, refuse(500, ""), times=100)
        hosts = {registry.host: HostSettings(mirrors=(mirror.url(),))}

        async def go() -> bytes:
            async with repository(f"{registry.host}/a/b", given=settings(hosts=hosts)) as one:
                return await whole(one, BLOB)

        assert run(go()) == DATA
        assert ranges(mirror)[:2] == [None, "bytes=60000-"]
        assert ranges(registry) == ["bytes=120000-"]


def test_downloads_at_the_same_time_are_bounded(registry: FakeRegistry) -> None:
    """No more blobs than allowed are fetched at once; the others wait."""
    most = running = 0

    async def one_blob(one: Repository) -> None:
        nonlocal most, running
        async with aclosing(one.blob(BLOB)) as blob:
            async for _ in blob:
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

    async def go() -> None:
        async with repository(f"{registry.host}/a/b", given=settings(downloads=2)) as one:
            await asyncio.gather(*(one_blob(one) for _ in range(6)))

    run(go())
    assert 1 <= most <= 2
    assert len(registry.saw("/blobs/")) == 6


def test_download_that_is_left_gives_its_place_free(registry: FakeRegistry) -> None:
    """A consumer that stops early holds nothing."""

    async def go() -> bytes:
        async with repository(f"{registry.host}/a/b", given=settings(downloads=1)) as one:
            for _ in range(3):
                async with aclosing(one.blob(BLOB)) as blob:
                    await anext(blob)
            return await whole(one, BLOB)

    assert run(go()) == DATA


def test_foreign_urls_of_a_layer_are_not_used(registry: FakeRegistry) -> None:
    """A descriptor's urls are ignored: the registry has the blob, or nobody."""
    with FakeRegistry() as foreign:
        foreign.add_blob("a/b", DATA)
        absent = b"not here"
        blob = Descriptor(
            digest=Digest.of(absent), size=len(absent), urls=(foreign.url(f"/v2/a/b/blobs/{BLOB.digest}"),)
        )
        with pytest.raises(NotFound):
            fetch(registry, 0, blob)
        assert not foreign.seen


def test_closed_client_fails_clearly(registry: FakeRegistry) -> None:
    """Closing twice is fine."""

    async def go() -> None:
        async with client() as registries:
            await registries.close()
            await registries.close()

    run(go())


def test_each_failure_is_one_line(registry: FakeRegistry) -> None:
    """Whatever a registry says is shown without control characters and not at length."""
    nasty = b'{"errors": [{"code": "DENIED", "message": "\\u001b[31m\\r\\nred' + b"x" * 5000 + b'"}]}'
    registry.order("GET .*/manifests/", reply(400, body=nasty.replace(b"DENIED", b"NAME_INVALID")))

    async def go() -> str:
        async with repository(f"{registry.host}/a/b") as one:
            with pytest.raises(CortenError) as caught:
                await one.resolve("1")
            return str(caught.value)

    line = run(go())
    assert line.isprintable()
    assert len(line) < 500
