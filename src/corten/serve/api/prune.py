"""What takes space, and getting it back."""

import time
from typing import Any

from aiohttp import web

from corten.errors import InvalidInput, NotFound
from corten.serve.api import reply, wire
from corten.serve.api.filters import decode_filters
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route

_CHOICE = frozenset({"label", "label!", "until"})
_IMAGES = _CHOICE | {"dangling"}
_CACHE = frozenset(
    {"description", "id", "inuse", "label", "parent", "private", "shared", "type", "until", "unused-for"}
)
_KINDS = frozenset({"build-cache", "container", "image", "volume"})
_USAGES = {
    "ImageUsage": "Images",
    "ContainerUsage": "Containers",
    "VolumeUsage": "Volumes",
    "BuildCacheUsage": "BuildCache",
}


async def disk_usage(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /system/df."""
    kinds = [kind for value in request.query.all("type") for kind in value.split(",") if kind]
    for kind in kinds:
        if kind not in _KINDS:
            raise InvalidInput(f"unknown object type: {kind}")
    found = await engine.system.disk_usage(kinds)
    if "Containers" in found:
        found["Containers"] = [row for each in found["Containers"] for row in _container(engine, each)]
    if request.query.flag("verbose"):
        for member, items in _USAGES.items():
            if member in found:
                found[member] = {**found[member], "Items": found[items]}
    return reply.json(found)


def _container(engine: Engine, sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a container as in the list; nothing for one that is gone by now."""
    try:
        container = engine.containers.get(sizes["Id"])
    except NotFound:
        return []
    return [wire.container_summary(container, time.time(), (sizes["SizeRw"], sizes["SizeRootFs"]))]


async def prune_containers(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/prune."""
    removed, freed = await engine.containers.prune(decode_filters(request.query, _CHOICE))
    return reply.json({"ContainersDeleted": removed or None, "SpaceReclaimed": freed})


async def prune_images(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/prune."""
    removed, freed = await engine.images.prune(decode_filters(request.query, _IMAGES))
    return reply.json({"ImagesDeleted": removed or None, "SpaceReclaimed": freed})


async def prune_networks(_engine: Engine, request: Request) -> web.StreamResponse:
    """POST /networks/prune: those that are there always stay, as in Docker, and others there are none yet."""
    decode_filters(request.query, _CHOICE)
    return reply.json({"NetworksDeleted": None})


async def prune_volumes(_engine: Engine, request: Request) -> web.StreamResponse:
    """POST /volumes/prune: there are no volumes yet."""
    decode_filters(request.query, _CHOICE | {"all"})
    return reply.json({"VolumesDeleted": None, "SpaceReclaimed": 0})


async def prune_build_cache(_engine: Engine, request: Request) -> web.StreamResponse:
    """POST /build/prune: nothing is built yet, so nothing is cached."""
    decode_filters(request.query, _CACHE)
    return reply.json({"CachesDeleted": None, "SpaceReclaimed": 0})


ROUTES = [
    Route("GET", "/system/df", disk_usage),
    Route("POST", "/containers/prune", prune_containers, finishes=True),
    Route("POST", "/images/prune", prune_images, finishes=True),
    Route("POST", "/networks/prune", prune_networks),
    Route("POST", "/volumes/prune", prune_volumes),
    Route("POST", "/build/prune", prune_build_cache),
]
