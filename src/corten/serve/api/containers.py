"""Containers: list, inspect, create, the moves of their life, rename, remove."""

import time
from collections.abc import Sequence

from aiohttp import web

from corten.engine.records.config import decode_create
from corten.engine.records.container import Container
from corten.errors import InvalidInput, NotFound
from corten.serve.api import reply, wire
from corten.serve.api.failures import message_of
from corten.serve.api.filters import CONTAINER_FILTERS, container_test, decode_filters
from corten.serve.api.interface import Engine
from corten.serve.api.interface_values import Filters
from corten.serve.api.request import Request
from corten.serve.api.routing import Route

CONDITIONS = frozenset({"not-running", "next-exit", "removed"})
_SHOWN_BY_DEFAULT = frozenset({"running", "paused", "restarting"})


async def list_containers(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/json."""
    query = request.query
    filters = decode_filters(query, CONTAINER_FILTERS)
    limit = query.integer("limit") or 0
    everything = query.flag("all") or limit > 0 or any(filters.get(k) for k in ("status", "before", "since"))
    chosen = await _choose(engine, filters, everything)
    if limit > 0:
        chosen = chosen[:limit]
    now = time.time()
    if not query.flag("size"):
        return reply.json([wire.container_summary(c, now) for c in chosen])
    return reply.json([wire.container_summary(c, now, await engine.containers.size(c.id)) for c in chosen])


async def _choose(engine: Engine, filters: Filters, everything: bool) -> Sequence[Container]:
    """Return the containers that *filters* let through, newest first."""
    test = container_test(filters)
    images = await _ancestors(engine, filters)
    before = min((engine.containers.get(ref).created for ref in filters.get("before", ())), default=None)
    since = max((engine.containers.get(ref).created for ref in filters.get("since", ())), default=None)
    chosen = [
        container
        for container in engine.containers.list()
        if (everything or container.state.status in _SHOWN_BY_DEFAULT)
        and (images is None or container.image_id in images)
        and (before is None or container.created < before)
        and (since is None or container.created > since)
        and test(container)
    ]
    return sorted(chosen, key=lambda container: container.created, reverse=True)


async def _ancestors(engine: Engine, filters: Filters) -> set[str] | None:
    """Return the ids of the images that ``ancestor`` names; None where it was not given."""
    if not filters.get("ancestor"):
        return None
    ids = set()
    for name in filters["ancestor"]:
        try:
            ids.add(str((await engine.images.inspect(name))["Id"]))
        except NotFound:  # as in Docker: an image that is not here has no containers
            continue
    return ids


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/{id}/json."""
    container = engine.containers.get(request.name)
    size = await engine.containers.size(container.id) if request.query.flag("size") else None
    places, running = engine.containers.places(container), engine.execs.running(container.id)
    return reply.json(wire.container_inspect(container, size, places, running))


async def create(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/create."""
    body = await request.raw.read()
    if not body.strip():
        raise InvalidInput("invalid JSON: got EOF while reading request body")
    asked = decode_create(body)
    networks = asked.networking_config.endpoints_config or {}
    name = request.query.text("name").removeprefix("/") or None
    try:
        container, warnings = await engine.containers.create(asked.config, asked.host_config, name, networks)
    except NotFound as failure:
        if failure.what == "image":
            raise
        raise InvalidInput(message_of(failure)) from None  # clients take 404 to mean the image, and pull it
    return reply.json({"Id": container.id, "Warnings": list(warnings)}, 201)


async def start(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/start."""
    await engine.containers.start(request.name)
    return reply.empty()


def _grace(request: Request) -> tuple[float | None, str | None]:
    """Return the seconds to wait before killing, and the signal to stop with; None is the container's own."""
    seconds = request.query.integer("t")
    return None if seconds is None else float(seconds), request.query.text("signal") or None


async def stop(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/stop."""
    await engine.containers.stop(request.name, *_grace(request))
    return reply.empty()


async def restart(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/restart."""
    await engine.containers.restart(request.name, *_grace(request))
    return reply.empty()


async def kill(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/kill."""
    await engine.containers.kill(request.name, request.query.text("signal") or "SIGKILL")
    return reply.empty()


async def pause(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/pause."""
    await engine.containers.pause(request.name)
    return reply.empty()


async def unpause(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/unpause."""
    await engine.containers.unpause(request.name)
    return reply.empty()


async def rename(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/rename."""
    await engine.containers.rename(request.name, request.query.text("name").removeprefix("/"))
    return reply.empty()


async def remove(engine: Engine, request: Request) -> web.StreamResponse:
    """DELETE /containers/{id}."""
    query = request.query
    if query.flag("link"):
        raise InvalidInput("links are not supported: remove the container without link")
    await engine.containers.remove(request.name, query.flag("force"), query.flag("v"))
    return reply.empty()


async def wait(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/wait: headers at once, the exit code when there is one."""
    condition = request.query.text("condition") or "not-running"
    if condition not in CONDITIONS:
        raise InvalidInput(f'invalid condition: "{condition}"')
    ended = await engine.containers.wait(request.name, condition)
    try:
        response = await request.stream("application/json")
        exit_ = await ended
    finally:
        ended.cancel()
    body = {"StatusCode": exit_.code}
    if exit_.error:
        body["Error"] = {"Message": exit_.error}
    await response.write_eof(reply.encode(body))
    return response


async def top(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/{id}/top."""
    titles, rows = await engine.containers.top(request.name, request.query.text("ps_args") or "-ef")
    return reply.json({"Titles": titles, "Processes": rows})


async def resize(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/resize."""
    await engine.containers.resize(request.name, *size_of(request))
    return reply.empty(200)


def size_of(request: Request) -> tuple[int, int]:
    """Return height and width of a terminal in cells.

    Raises:
        InvalidInput: one is missing, or no count of cells.
    """
    height, width = request.query.integer("h"), request.query.integer("w")
    if height is None or width is None or not (0 <= height < 1 << 16 and 0 <= width < 1 << 16):
        raise InvalidInput("invalid terminal size: give h and w as whole numbers below 65536")
    return height, width


ROUTES = [
    Route("GET", "/containers/json", list_containers),
    Route("POST", "/containers/create", create, finishes=True),
    Route("GET", "/containers/{id}/json", inspect),
    Route("POST", "/containers/{id}/start", start, finishes=True),
    Route("POST", "/containers/{id}/stop", stop, finishes=True),
    Route("POST", "/containers/{id}/restart", restart, finishes=True),
    Route("POST", "/containers/{id}/kill", kill, finishes=True),
    Route("POST", "/containers/{id}/pause", pause, finishes=True),
    Route("POST", "/containers/{id}/unpause", unpause, finishes=True),
    Route("POST", "/containers/{id}/rename", rename, finishes=True),
    Route("DELETE", "/containers/{id}", remove, finishes=True),
    Route("POST", "/containers/{id}/wait", wait),
    Route("GET", "/containers/{id}/top", top),
    Route("POST", "/containers/{id}/resize", resize),
]
