"""The door itself: it finds the handler of a request, and turns failures into answers.

Built on aiohttp's server without its application layer: with two look-ups for
routing and no middleware, the door's own share of a request stays in the tens
of microseconds.
"""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Coroutine
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from corten.errors import Conflict
from corten.serve.api import (
    commits,
    container_streams,
    containers,
    distribution,
    execs,
    images,
    networks,
    prune,
    reply,
    system,
    updates,
    volumes,
)
from corten.serve.api.connection import Connection
from corten.serve.api.failures import expected
from corten.serve.api.interface import Engine
from corten.serve.api.query import Query
from corten.serve.api.request import BODY_LIMIT, Request
from corten.serve.api.routing import Match, Router

ROUTER = Router(
    commits.ROUTES
    + containers.ROUTES
    + container_streams.ROUTES
    + distribution.ROUTES
    + execs.ROUTES
    + images.ROUTES
    + networks.ROUTES
    + prune.ROUTES
    + system.ROUTES
    + updates.ROUTES
    + volumes.ROUTES,
)
CLOSING_GRACE = 1.0  # seconds for what must finish when the door closes
_BODY_AHEAD = 1 << 20  # bytes of an upload that wait for a thread that is behind
_LAST_WORDS = 0.1  # seconds for answers to leave after that; streams are then cut
_PROBE = 1.0  # seconds that a socket's owner has to accept

log = logging.getLogger(__name__)


class Door:
    """Answers the requests of one socket; ``serve`` makes it, ``close`` ends it."""

    def __init__(self, engine: Engine, path: str) -> None:
        self.path = path
        self._engine = engine
        self._tasks: set[asyncio.Task[Any]] = set()
        self._manager = web.Server(
            self._answer,
            request_factory=self._make_request,
            handler_cancellation=True,
            access_log=None,
        )
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on ``path``; root alone may connect.

        Raises:
            Conflict: another process answers there.
        """
        loop = asyncio.get_running_loop()
        listener = _listen(self.path)
        self._server = await loop.create_unix_server(
            lambda: Connection(
                self._manager,
                lambda: self._server is not None,
                loop=loop,
                access_log=None,
                read_bufsize=_BODY_AHEAD,
            ),
            sock=listener,
            start_serving=False,
        )
        await self._server.start_serving()

    async def close(self) -> None:
        """Stop listening, end the requests under way, and remove the socket; idempotent.

        What must finish, such as a start, gets ``CLOSING_GRACE`` seconds to do so.

        Connections taken over by attach and exec are not touched: they are the engine's.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._manager.pre_shutdown()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_GRACE)
        await self._manager.shutdown(_LAST_WORDS)

    async def cleanup(self) -> None:
        """Do what ``close`` does, under the name that aiohttp's runners have."""
        await self.close()

    @property
    def busy(self) -> bool:
        """Tell whether any client is connected."""
        return bool(self._manager.connections)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        """Make the request that aiohttp has parsed, with our limit to its body."""
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)

    def _background(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run *work*, which may outlive its request, and keep hold of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        connection = raw.protocol
        assert isinstance(connection, Connection)
        started: Request | None = None
        connection.begin(raw)
        try:
            path, _, query = raw.raw_path.partition("?")
            match = ROUTER.find(raw.method, path)
            if not match.route.hijacks:
                connection.forget()
            started = Request(raw, match.name, Query(query), match.version, self._background)
            response = await self._run(match, started)
        except Exception as failure:  # noqa: BLE001  # the outermost place: each becomes an answer and, if unexpected, a log entry
            response = _failed(raw, started, failure)
        connection.finish(response)
        return response

    async def _run(self, match: Match, request: Request) -> web.StreamResponse:
        """Run the handler; one that finishes is not cancelled when its client goes."""
        handler = match.route.handler(self._engine, request)
        if match.route.finishes:
            return await asyncio.shield(self._background(_coroutine(handler)))
        return await handler


async def _coroutine(work: Any) -> web.StreamResponse:
    """Await *work*; tasks are made of coroutines only."""
    result: web.StreamResponse = await work
    return result


def _failed(raw: web.BaseRequest, request: Request | None, failure: Exception) -> web.StreamResponse:
    """Return the answer that tells of *failure*, or break a connection that has its headers already."""
    started = request.started if request is not None else None
    if isinstance(failure, ConnectionError) and (raw.transport is None or raw.transport.is_closing()):
        return started or reply.failed(failure)
    if not expected(failure):
        log.error("%s %s failed", raw.method, raw.path, exc_info=failure)
    if started is None:
        return reply.failed(failure)
    log.warning("%s %s broke off: %s", raw.method, raw.path, failure)
    if raw.transport is not None:
        raw.transport.abort()
    return started


def _listen(path: str) -> socket.socket:
    """Return a listening socket at *path*, mode 0600; one that nobody answers at is replaced."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        previous = os.umask(0o177)  # the socket must not be open to others even for an instant
        try:
            listener.bind(path)
        finally:
            os.umask(previous)
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket at *path* that nobody answers at.

    Raises:
        Conflict: a process answers there, or it is not a socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Conflict(f"{path} exists and is not a socket: move it away, or choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except TimeoutError:
            pass
    raise Conflict(f"another daemon answers at {path}: stop it, or choose another path")


async def serve(engine: Engine, path: str) -> Door:
    """Open the Docker Engine API of *engine* on a unix socket at *path*.

    Raises:
        Conflict: another process answers there.
        OSError: the socket cannot be made.
    """
    door = Door(engine, path)
    await door.open()
    return door
