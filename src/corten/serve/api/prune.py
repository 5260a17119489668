"""What takes space, and getting it back."""

import time
from typing import Any

from aiohttp import web

from corten.errors import InvalidInput, NotFound
from corten.serve.api import reply, volume_wire, wire
from corten.serve.api.filters import decode_filters
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route

_CHOICE = frozenset({"label", "label!", "until"})
_IMAGES = _CHOICE | {"dangling"}
_VOLUMES = frozenset({"all", "label", "label!"})
_NAMED_STAY = (1, 42)  # the version of the API from which on volumes with names are pruned only on request
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
    if "Volumes" in found:
        found["Volumes"] = [row for each in found["Volumes"] for row in _volume(engine, each)]
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


def _volume(engine: Engine, usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a volume with its size and users; nothing for one that is gone by now."""
    try:
        volume = engine.volumes.get(usage["Name"])
    except NotFound:
        return []
    return [volume_wire.volume(volume, usage=(usage["Size"], usage["RefCount"]))]


async def prune_containers(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/prune."""
    removed, freed = await engine.containers.prune(decode_filters(request.query, _CHOICE))
    return reply.json({"ContainersDeleted": removed or None, "SpaceReclaimed": freed})


async def prune_images(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/prune."""
    removed, freed = await engine.images.prune(decode_filters(request.query, _IMAGES))
    return reply.json({"ImagesDeleted": removed or None, "SpaceReclaimed": freed})


async def prune_networks(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /networks/prune."""
    removed = await engine.networks.prune(decode_filters(request.query, _CHOICE))
    return reply.json({"NetworksDeleted": list(removed) or None})


async def prune_volumes(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /volumes/prune: anonymous ones, or with the filter ``all`` those with names, too."""
    filters = decode_filters(request.query, _VOLUMES)
    if request.version < _NAMED_STAY:
        filters.setdefault("all", ["true"])
    removed, freed = await engine.volumes.prune(filters)
    return reply.json({"VolumesDeleted": list(removed) or None, "SpaceReclaimed": freed})


async def prune_build_cache(_engine: Engine, request: Request) -> web.StreamResponse:
    """POST /build/prune: nothing is built yet, so nothing is cached."""
    decode_filters(request.query, _CACHE)
    return reply.json({"CachesDeleted": None, "SpaceReclaimed": 0})


ROUTES = [
    Route("GET", "/system/df", disk_usage),
    Route("POST", "/containers/prune", prune_containers, finishes=True),
    Route("POST", "/images/prune", prune_images, finishes=True),
    Route("POST", "/networks/prune", prune_networks, finishes=True),
    Route("POST", "/volumes/prune", prune_volumes, finishes=True),
    Route("POST", "/build/prune", prune_build_cache),
]
