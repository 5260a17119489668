"""Containers as streams: logs, attach, export, stats."""

import asyncio
import re

from aiohttp import web

from corten.errors import Conflict, InvalidInput, Unsupported
from corten.serve.api import reply, wire
from corten.serve.api.hijack import Stream, frame, hand_over, stream_type
from corten.serve.api.interface import Engine
from corten.serve.api.interface_values import LogQuery
from corten.serve.api.request import Request
from corten.serve.api.routing import Route
from corten.serve.api.streaming import TAR, closing, send_pieces

STATS_EVERY = 1.0  # seconds, as in Docker
_SMALL = 1 << 14  # bytes up to which header and data of a frame are joined into one write

_DETACH_KEY = re.compile(r"[a-zA-Z]|ctrl-[a-z@\[\\\]^_]")


def _log_query(request: Request) -> LogQuery:
    """Return what the query asks of the log.

    Raises:
        InvalidInput: neither stream is asked for, or a value is malformed.
    """
    query = request.query
    stdout, stderr = query.flag("stdout"), query.flag("stderr")
    if not (stdout or stderr):
        raise InvalidInput("Bad parameters: you must choose at least one stream")
    tail = None if query.text("tail") in ("", "all") else query.integer("tail")
    return LogQuery(
        stdout=stdout,
        stderr=stderr,
        since_ns=query.time("since"),
        until_ns=query.time("until"),
        tail=None if tail is None or tail < 0 else tail,
        timestamps=query.flag("timestamps"),
    )


async def logs(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/{id}/logs."""
    container = engine.containers.get(request.name)
    query, follow = _log_query(request), request.query.flag("follow")
    if container.host_config.log_config.type == "none":
        raise Unsupported("configured logging driver does not support reading")
    tty = container.config.tty
    async with closing(engine.containers.logs(container.id, query, follow)) as chunks:
        first = None if follow else await anext(chunks, None)
        response = await request.stream(stream_type(request.version, tty))
        if first is not None:
            await _write_chunk(response, first.stream, first.data, tty)
        async for chunk in chunks:
            await _write_chunk(response, chunk.stream, chunk.data, tty)
    await response.write_eof()
    return response


async def _write_chunk(
    response: web.StreamResponse, stream: int, data: bytes | memoryview, tty: bool
) -> None:
    """Write *data* of *stream* in a frame, or as it is where a terminal made it."""
    if not data:
        return
    if tty:
        await response.write(data)
    elif len(data) <= _SMALL:
        await response.write(b"".join((frame(stream, len(data)), data)))
    else:
        await response.write(frame(stream, len(data)))
        await response.write(data)


def detach_keys(request: Request) -> str | None:
    """Return the keys that detach, checked; None where the engine's default holds.

    Raises:
        InvalidInput: a key is not a letter or ``ctrl-`` with one; Docker's wording.
    """
    keys = request.query.text("detachKeys")
    if keys and not all(_DETACH_KEY.fullmatch(key) for key in keys.split(",")):
        raise InvalidInput(f"Invalid detach keys ({keys}) provided")
    return keys or None


async def attach(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/attach."""
    await request.raw.read()
    container = engine.containers.get(request.name)
    if container.state.status == "paused":
        raise Conflict(f"container {request.name} is paused, unpause the container before attach")
    if container.state.status == "restarting":
        raise Conflict(f"container {request.name} is restarting, wait until the container is running")
    keys, query, tty = detach_keys(request), request.query, container.config.tty

    async def use(stream: Stream) -> None:
        await engine.containers.attach(
            container.id,
            *stream,
            stdin=query.flag("stdin"),
            stdout=query.flag("stdout"),
            stderr=query.flag("stderr"),
            logs=query.flag("logs"),
            stream=query.flag("stream"),
            detach_keys=keys,
            multiplexed=not tty,
        )

    return await hand_over(request, tty=tty, use=use)


async def export(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/{id}/export."""
    return await send_pieces(request, engine.containers.export(request.name), TAR)


async def stats(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/{id}/stats: one sample, or one each second until the client goes."""
    query = request.query
    sample = await engine.containers.stats(request.name)
    if query.flag("stream", default=True):
        return await _stream_stats(engine, request, sample)
    if query.flag("one-shot"):
        return reply.json(wire.stats_with_previous(sample, None))
    await asyncio.sleep(STATS_EVERY)
    return reply.json(wire.stats_with_previous(await engine.containers.stats(request.name), sample))


async def _stream_stats(engine: Engine, request: Request, sample: dict[str, object]) -> web.StreamResponse:
    """Send *sample* and those that follow, one line of JSON each."""
    response = await request.stream("application/json")
    await response.write(reply.encode(wire.stats_with_previous(sample, None)))
    while True:
        await asyncio.sleep(STATS_EVERY)
        previous, sample = sample, await engine.containers.stats(request.name)
        await response.write(reply.encode(wire.stats_with_previous(sample, previous)))


ROUTES = [
    Route("GET", "/containers/{id}/logs", logs),
    Route("POST", "/containers/{id}/attach", attach, hijacks=True),
    Route("GET", "/containers/{id}/export", export),
    Route("GET", "/containers/{id}/stats", stats),
]
