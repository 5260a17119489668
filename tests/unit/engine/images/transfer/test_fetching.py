"""import from an address: what is fetched, and what is refused in one clear line."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import pytest
from aiohttp import web

from corten.engine.images.transfer.fetching import Fetching
from corten.errors import CortenError, Forbidden, InvalidInput, NotFound, Unavailable
from tests.unit.engine.images.samples import Told

DATA = bytes(range(256)) * 40_000  # ten megabytes
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Imports:
    """Reads what it is given, as import does, and remembers the rest."""

    def __init__(self) -> None:
        self.data = b""
        self.words: tuple[Any, ...] = ()

    async def __call__(self, stream: BinaryIO, *words: Any) -> str:
        """Read *stream* in a thread."""
        self.words = words[:-1]
        self.data = await asyncio.to_thread(self._read, stream)
        return "sha256:made"

    def _read(self, stream: BinaryIO) -> bytes:
        return b"".join(iter(lambda: stream.read(1 << 16), b""))


async def _tar(request: web.Request) -> web.StreamResponse:
    assert "Authorization" not in request.headers
    return web.Response(body=DATA)


async def _moved(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/tar")


async def _round(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/round")


async def _metadata(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://169.254.169.254/latest")


async def _broken(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
    await response.prepare(request)
    await response.write(DATA[: 1 << 20])
    assert request.transport is not None
    request.transport.abort()
    return response


async def _sick(_: web.Request) -> web.StreamResponse:
    raise web.HTTPServiceUnavailable


HANDLERS: dict[str, Handler] = {
    "tar": _tar,
    "moved": _moved,
    "round": _round,
    "metadata": _metadata,
    "broken": _broken,
    "sick": _sick,
}


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Serve on loopback; gives the port."""
    app = web.Application()
    app.add_routes([web.get(f"/{name}", handler) for name, handler in HANDLERS.items()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def fetch(path: str, message: str = "", told: Told | None = None) -> Imports:
    """Import what the server has at *path*."""

    async def run() -> Imports:
        imports = Imports()
        async with server() as port:
            fetching = Fetching(imports, {})
            address = f"http://user:secret@127.0.0.1:{port}/{path}?token=secret"
            made = await fetching.import_url(address, "a:1", message, ["CMD x"], "linux", told or Told())
        assert made == "sha256:made"
        return imports

    return asyncio.run(run())


def test_the_whole_body_arrives() -> None:
    """Through a redirect, which is not told the password; the comment says where it is from, without what is secret."""
    imports = fetch("moved")
    assert imports.data == DATA
    name, message, changes, platform = imports.words
    assert (name, changes, platform) == ("a:1", ["CMD x"], "linux")
    assert message.startswith("Imported from http://127.0.0.1:")
    assert "secret" not in message
    assert fetch("moved", "own words").words[1] == "own words"


def test_progress_is_told() -> None:
    """Where from, then how far."""
    told = Told()
    fetch("moved", told=told)
    assert told.messages[0]["status"].startswith("Downloading from http://127.0.0.1")
    details = [message["progressDetail"] for message in told.messages[1:]]
    assert details[-1] == {"current": len(DATA), "total": len(DATA)}


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("nothing", NotFound, r"nothing: check the address"),
        ("sick", Unavailable, r"answers 503 Service Unavailable"),
        ("broken", Unavailable, r"broke off: try again"),
        ("round", Unavailable, r"redirects more than 10 times"),
        ("metadata", Forbidden, r"link-local or metadata address: refused"),
    ],
)
def test_failures_are_one_clear_line(path: str, kind: type[CortenError], words: str) -> None:
    """Each says what is wrong, where, and nothing that is secret."""
    with pytest.raises(kind, match=words) as failure:
        fetch(path)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("ftp://host/x", InvalidInput, "begins with http:// or https://"),
        ("file:///etc/passwd", InvalidInput, "begins with http:// or https://"),
        ("http:///x", InvalidInput, "begins with http:// or https://"),
        ("http://host:port/x", InvalidInput, "begins with http:// or https://"),
        ("http://169.254.169.254/x", Forbidden, "refused"),
        ("http://127.0.0.1:1/x", Unavailable, r"cannot fetch http://127.0.0.1:1/x: .*"),
    ],
)
def test_addresses_that_lead_nowhere(address: str, kind: type[CortenError], words: str) -> None:
    """They are refused before anything is imported."""
    imports = Imports()
    with pytest.raises(kind, match=words):
        asyncio.run(Fetching(imports, {}).import_url(address, None, "", [], None, Told()))
    assert imports.words == ()
