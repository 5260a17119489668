"""Volumes: list, inspect, create, remove; and below ``/corten`` what Docker has no verb for.

Copies, snapshots and the trash answer with JSON; content goes in and out as
tar streams.
"""

from typing import Any

import msgspec
from aiohttp import web

from corten.errors import InvalidInput, Unsupported
from corten.serve.api import reply, volume_wire
from corten.serve.api.filters import VOLUME_FILTERS, decode_filters, volume_test
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route
from corten.serve.api.streaming import TAR, send_pieces, upload


class Wanted(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of a create request; ``Size`` in bytes is ours, 0 for no limit."""

    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str | None] | None = None
    labels: dict[str, str | None] | None = None
    cluster_volume_spec: dict[str, Any] | None = None
    size: int | None = None


async def list_volumes(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /volumes."""
    test = volume_test(decode_filters(request.query, VOLUME_FILTERS))
    used = {m.name for c in engine.containers.list() for m in c.mounts if m.type == "volume"}
    rows = [volume_wire.volume(v) for v in engine.volumes.list() if test(v, v.name in used)]
    return reply.json({"Volumes": rows, "Warnings": None})


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /volumes/{name}."""
    volume = engine.volumes.get(request.name)
    return reply.json(volume_wire.volume(volume, engine.volumes.status(volume)))


async def create(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /volumes/create: Docker's members, and ``Size``, the most bytes that the volume may hold."""
    wanted = await request.decode(Wanted, Wanted())
    if wanted.cluster_volume_spec:
        raise Unsupported("volumes over several machines are not available: leave ClusterVolumeSpec out")
    if (wanted.size or 0) < 0:
        raise InvalidInput(f"invalid size: {wanted.size}: give a number of bytes, or 0 for no limit")
    volume = await engine.volumes.create(
        wanted.name or "",
        wanted.driver or "",
        _texts(wanted.driver_opts),
        _texts(wanted.labels),
        wanted.size or 0,
    )
    return reply.json(volume_wire.volume(volume), 201)


def _texts(sent: dict[str, str | None] | None) -> dict[str, str]:
    """Return a map as Docker reads it: null is an empty text."""
    return {key: value or "" for key, value in (sent or {}).items()}


async def remove(engine: Engine, request: Request) -> web.StreamResponse:
    """DELETE /volumes/{name}: ``force`` as in Docker; with ``now`` it does not go to the trash first."""
    await engine.volumes.remove(request.name, request.query.flag("force"), request.query.flag("now"))
    return reply.empty(204)


async def export(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /corten/volumes/{name}/export: the content as a tar."""
    return await send_pieces(request, engine.volumes.export(request.name), TAR)


async def import_(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/import: unpack the body, a tar, into the volume."""
    with upload(request) as archive:
        await engine.volumes.import_(request.name, archive)
    return reply.empty(204)


async def archive_get(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /corten/volumes/{name}/archive?path=PATH: a file or folder as a tar, under its own last name."""
    return await send_pieces(request, engine.volumes.archive_get(request.name, _needed(request, "path")), TAR)


async def archive_put(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/archive?path=PATH: unpack the body, a tar, into the folder PATH."""
    path = _needed(request, "path")
    with upload(request) as archive:
        await engine.volumes.archive_put(request.name, path, archive)
    return reply.empty(204)


async def clone(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/clone?name=NEW: another volume of the same content."""
    volume = await engine.volumes.clone(request.name, _needed(request, "name"))
    return reply.json(volume_wire.volume(volume), 201)


async def rename(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/rename?name=NEW."""
    await engine.volumes.rename(request.name, _needed(request, "name"))
    return reply.empty(204)


async def list_snapshots(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /corten/volumes/{name}/snapshots: Name, CreatedAt and Size of each, the oldest first."""
    return reply.json([volume_wire.snapshot(s) for s in await engine.volumes.snapshots(request.name)])


async def snapshot(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/snapshots?snapshot=NAME: keep the content of now; answers with the Name, made of the time where none is given."""
    name = await engine.volumes.snapshot(request.name, request.query.text("snapshot"))
    return reply.json({"Name": name}, 201)


async def remove_snapshot(engine: Engine, request: Request) -> web.StreamResponse:
    """DELETE /corten/volumes/{name}/snapshots?snapshot=NAME."""
    await engine.volumes.remove_snapshot(request.name, _needed(request, "snapshot"))
    return reply.empty(204)


async def restore(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/restore?snapshot=NAME: bring the content of a snapshot back.

    Answers with ``Trash``, the id in the trash of what was there.
    """
    return reply.json({"Trash": await engine.volumes.restore(request.name, _needed(request, "snapshot"))})


async def trash(engine: Engine, _request: Request) -> web.StreamResponse:
    """GET /corten/volumes/trash: each volume that can be taken back: Id, Name, RemovedAt, ExpiresAt, Size (-1 while not known)."""
    return reply.json([volume_wire.trashed(each) for each in await engine.volumes.trash()])


async def undelete(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/volumes/{name}/undelete?name=NEW: take a volume, by name or id, out of the trash."""
    volume = await engine.volumes.undelete(request.name, request.query.text("name"))
    return reply.json(volume_wire.volume(volume), 201)


def _needed(request: Request, name: str) -> str:
    """Return a value of the query that must be there."""
    value = request.query.text(name)
    if not value:
        raise InvalidInput(f"{name} is missing: give {name}=... in the query")
    return value


_OWN = "/corten/volumes"

ROUTES = [
    Route("GET", "/volumes", list_volumes),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove, finishes=True),
    Route("POST", "/volumes/create", create, finishes=True),
    Route("GET", f"{_OWN}/{{name}}/export", export),
    Route("POST", f"{_OWN}/{{name}}/import", import_),
    Route("GET", f"{_OWN}/{{name}}/archive", archive_get),
    Route("POST", f"{_OWN}/{{name}}/archive", archive_put),
    Route("POST", f"{_OWN}/{{name}}/clone", clone, finishes=True),
    Route("POST", f"{_OWN}/{{name}}/rename", rename, finishes=True),
    Route("GET", f"{_OWN}/{{name}}/snapshots", list_snapshots),
    Route("POST", f"{_OWN}/{{name}}/snapshots", snapshot, finishes=True),
    Route("DELETE", f"{_OWN}/{{name}}/snapshots", remove_snapshot, finishes=True),
    Route("POST", f"{_OWN}/{{name}}/restore", restore, finishes=True),
    Route("GET", f"{_OWN}/trash", trash),
    Route("POST", f"{_OWN}/{{name}}/undelete", undelete, finishes=True),
]
