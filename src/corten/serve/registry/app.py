"""The registry's door: finds the handler of a request, asks the gate, turns failures into answers.

Source: OCI distribution-spec 1.1.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from corten.errors import CortenError
from corten.serve.registry.hooks import Action, Finished, Hooks
from corten.serve.registry.refusal import Code, Refusal
from corten.serve.registry.registry import Registry
from corten.serve.registry.source import Source
from corten.serve.registry.wire import answers, pull, push, upload
from corten.serve.registry.wire.call import Behind, Call, Limits
from corten.serve.registry.wire.target import Target, parse, query_of

THREADS = 32
_READ_BUFFER = 1 << 18  # bytes per connection
_LINGERING = 2.0  # seconds to read on when a body was refused, so that the client gets to see the answer

Handler = Callable[[Call], Awaitable[web.StreamResponse]]

_NOTHING: frozenset[Action] = frozenset()
_PULL: frozenset[Action] = frozenset({"pull"})
_PUSH: frozenset[Action] = frozenset({"push"})
_DELETE: frozenset[Action] = frozenset({"delete"})
_CATALOG: frozenset[Action] = frozenset({"catalog"})

HANDLERS: dict[tuple[str, str], tuple[Handler, frozenset[Action]]] = {
    ("GET", "base"): (pull.base, _NOTHING),
    ("GET", "catalog"): (pull.catalog, _CATALOG),
    ("GET", "tags"): (pull.tags, _PULL),
    ("GET", "referrers"): (pull.referrers, _PULL),
    ("GET", "manifest"): (pull.manifest, _PULL),
    ("PUT", "manifest"): (push.put_manifest, _PUSH),
    ("DELETE", "manifest"): (push.delete_manifest, _DELETE),
    ("GET", "blob"): (pull.blob, _PULL),
    ("DELETE", "blob"): (push.delete_blob, _DELETE),
    ("POST", "uploads"): (upload.begin, _PUSH),
    ("GET", "upload"): (upload.status, _PUSH),
    ("PATCH", "upload"): (upload.add, _PUSH),
    ("PUT", "upload"): (upload.finish, _PUSH),
    ("DELETE", "upload"): (upload.cancel, _PUSH),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """How to serve.

    Attributes:
        host: Address to listen at.
        port: 0 for any that is free.
        tls: Certificate and key; None for plain HTTP.
        read_only: Refuse every change.
        limits: Most bytes to take in.
        collect: Seconds between runs of the garbage collection; 0 for none.
        drain: Seconds that requests under way have when the server closes.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    tls: ssl.SSLContext | None = None
    read_only: bool = False
    limits: Limits = field(default_factory=Limits)
    collect: float = 0.0
    drain: float = 30.0


class Door:
    """Answers requests; made by ``serve``."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._under_way = 0
        self._closing: asyncio.Event | None = None

    async def drain(self, patience: float) -> None:
        """Wait for the requests under way, *patience* seconds at most; each ends its connection."""
        self._closing = asyncio.Event()
        if self._under_way:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), patience)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        self._under_way += 1
        try:
            response = await self._answer(request)
        finally:
            self._under_way -= 1
        if self._closing is not None:
            response.force_close()
            if not self._under_way:
                self._closing.set()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        call = Call(request, self._behind, Target("unknown"))
        try:
            response = await self._run(call)
        except Exception as failure:  # noqa: BLE001  # the outermost place: each becomes an answer
            response = _failed(call, failure)
        if isinstance(response, web.Response) and not call.sent and call.method != "HEAD":
            call.sent = len(response.body) if isinstance(response.body, bytes) else 0
        self._behind.hooks.observer.finished(
            Finished(
                request.method,
                call.target.route,
                response.status,
                time.monotonic() - started,
                call.received,
                call.sent,
            )
        )
        return response

    async def _run(self, call: Call) -> web.StreamResponse:
        path, _, query = call.request.raw_path.partition("?")
        page = self._behind.hooks.pages.get(path)
        if page is not None:
            call.target = Target("page")
            return await page(call.request)
        call.target = parse(path)
        if call.target.route == "health":
            return await pull.health(call)
        method = "GET" if call.method == "HEAD" else call.method
        found = HANDLERS.get((method, call.target.route))
        if found is None:
            raise Refusal(
                Code.UNSUPPORTED, f"{call.method[:20]} is not possible here", headers=_allowed(call)
            )
        handler, actions = found
        await self._behind.hooks.gate.check(call.request, call.target.repository, actions)
        call.query = query_of(query)
        return await handler(call)


def _allowed(call: Call) -> dict[str, str]:
    return {"Allow": ", ".join(method for method, route in HANDLERS if route == call.target.route)}


def _failed(call: Call, failure: Exception) -> web.StreamResponse:
    """Return the answer that tells of *failure*, or break a connection that has its headers already."""
    transport = call.request.transport
    begun = call.request.writer.output_size > 0 if transport is not None else True
    if isinstance(failure, ConnectionError) or begun:
        if not isinstance(failure, ConnectionError):
            log.warning("%s %s broke off: %s", call.method, call.request.raw_path[:300], failure)
        if transport is not None:
            transport.abort()
        return web.Response(status=499)
    return answers.failed(failure)


class Serving:
    """A registry that is being served; ``close`` ends it."""

    def __init__(self, config: Config, behind: Behind) -> None:
        self._config, self._behind = config, behind
        self._door = Door(behind)
        server = web.Server(
            self._door.answer, access_log=None, read_bufsize=_READ_BUFFER, lingering_time=_LINGERING
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=config.drain)
        self._collecting: asyncio.Task[None] | None = None
        self.port = config.port

    async def open(self) -> None:
        """Listen, and begin to collect."""
        await self._runner.setup()
        config = self._config
        site = web.TCPSite(self._runner, config.host, config.port, ssl_context=config.tls, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        if config.collect and self._behind.registry is not None:
            self._collecting = asyncio.create_task(_collect(self._behind, config.collect))

    async def close(self) -> None:
        """Stop listening, and let the requests under way end; idempotent.

        What they still send is read, which aiohttp alone would drop from here on.
        """
        for site in list(self._runner.sites):
            await site.stop()
        await self._door.drain(self._config.drain)
        await self._runner.cleanup()
        collecting, self._collecting = self._collecting, None
        if collecting is not None:
            collecting.cancel()
            with suppress(asyncio.CancelledError):
                await collecting
        await asyncio.to_thread(self._behind.pool.shutdown)


async def _collect(behind: Behind, interval: float) -> None:
    """Collect garbage every *interval* seconds; a failed run is logged, and the next one tries again."""
    assert behind.registry is not None
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(interval)
        try:
            report = await loop.run_in_executor(behind.pool, behind.registry.collector.run)
        except (CortenError, OSError) as failure:
            log.warning("the garbage collection failed: %s", failure)
            continue
        if report.size:
            log.info("the garbage collection freed %d bytes of %d blobs", report.size, report.blobs)


async def serve(
    config: Config,
    source: Source,
    registry: Registry | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008  # frozen
) -> Serving:
    """Serve *source*, and let clients change *registry* unless that is None.

    For a registry of its own, *source* is ``registry.pulls``.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    changing = None if config.read_only else registry
    pool = ThreadPoolExecutor(THREADS, "registry")
    serving = Serving(config, Behind(source, changing, hooks, config.limits, pool))
    try:
        await serving.open()
    except BaseException:
        await serving.close()
        raise
    return serving
