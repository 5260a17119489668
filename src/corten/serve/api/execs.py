"""Execs: further processes in running containers."""

import msgspec
from aiohttp import web

from corten.engine.records.config import decode_exec
from corten.errors import Conflict, InvalidInput
from corten.serve.api import reply, wire
from corten.serve.api.containers import size_of
from corten.serve.api.hijack import Stream, hand_over
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route


class StartBody(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of a start; ``console_size`` is (height, width) in cells."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None


async def create(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/exec."""
    config = decode_exec(await request.raw.read() or b"{}")
    if not config.cmd:
        raise InvalidInput("No exec command specified")
    return reply.json({"Id": await engine.execs.create(request.name, config)}, 201)


async def start(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /exec/{id}/start: at once when detached, else the connection becomes the streams."""
    body = await request.decode(StartBody, StartBody())
    state = await engine.execs.inspect(request.name)
    if state.running or state.exit_code is not None:
        raise Conflict(f"exec command {request.name} has already run")
    if body.detach:
        await engine.execs.start(state.id, True, body.tty, body.console_size, None, b"")
        return reply.empty(200)
    tty = body.tty or state.config.tty

    async def use(stream: Stream) -> None:
        await engine.execs.start(state.id, False, tty, body.console_size, *stream)

    return await hand_over(request, tty=tty, use=use)


async def resize(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /exec/{id}/resize."""
    await engine.execs.resize(request.name, *size_of(request))
    return reply.empty(200)


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /exec/{id}/json."""
    return reply.json(wire.exec_inspect(await engine.execs.inspect(request.name)))


ROUTES = [
    Route("POST", "/containers/{id}/exec", create, finishes=True),
    Route("POST", "/exec/{id}/start", start, hijacks=True),
    Route("POST", "/exec/{id}/resize", resize),
    Route("GET", "/exec/{id}/json", inspect),
]
