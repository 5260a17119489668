"""System: ping, version, info, events."""

from typing import Any

from aiohttp import web

from corten.__about__ import VERSION
from corten.errors import InvalidInput
from corten.serve.api import reply
from corten.serve.api.filters import EVENT_FILTERS, decode_filters
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route
from corten.serve.api.streaming import closing

_PING = {
    "Builder-Version": "1",  # the classic builder: clients then do not look for BuildKit
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}

# What clients read without asking whether it is there; the engine's facts come over it.
_INFO: dict[str, Any] = {
    "Containers": 0,
    "ContainersRunning": 0,
    "ContainersPaused": 0,
    "ContainersStopped": 0,
    "Images": 0,
    "DriverStatus": None,
    "Plugins": {"Volume": [], "Network": [], "Authorization": None, "Log": []},
    "RegistryConfig": {"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": []},
    "HttpProxy": "",
    "HttpsProxy": "",
    "NoProxy": "",
    "Labels": [],
    "ExperimentalBuild": False,
    "ServerVersion": VERSION,
    "OSType": "linux",
    "Runtimes": {},
    "DefaultRuntime": "",
    "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False},
    "LiveRestoreEnabled": True,
    "Isolation": "",
    "InitBinary": "",
    "SecurityOptions": [],
    "Warnings": None,
}


async def ping(_engine: Engine, _request: Request) -> web.StreamResponse:
    """GET and HEAD /_ping."""
    return web.Response(body=b"OK", headers=reply.COMMON | _PING)


async def version(engine: Engine, _request: Request) -> web.StreamResponse:
    """GET /version."""
    facts = {"Version": VERSION, "Os": "linux", "GitCommit": "", "GoVersion": "", "BuildTime": ""}
    facts |= await engine.system.version()
    api = {"ApiVersion": reply.API_VERSION, "MinAPIVersion": reply.MIN_API_VERSION}
    component = {
        "Name": "Engine",
        "Version": facts["Version"],
        "Details": {k: str(v) for k, v in (facts | api).items() if isinstance(v, str)},
    }
    return reply.json({"Platform": {"Name": "corten"}, "Components": [component]} | facts | api)


async def info(engine: Engine, _request: Request) -> web.StreamResponse:
    """GET /info."""
    return reply.json(_INFO | await engine.system.info())


async def events(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /events: what happens, one line of JSON each, until ``until`` or the client goes."""
    query = request.query
    since, until = query.time("since"), query.time("until")
    if since is not None and until is not None and since > until:
        raise InvalidInput(
            f"`since` time ({query.text('since')}) cannot be after `until` time ({query.text('until')})"
        )
    async with closing(
        engine.events.subscribe(since, until, decode_filters(query, EVENT_FILTERS))
    ) as subscription:
        response = await request.stream("application/json")
        async for event in subscription:
            await response.write(reply.encode(event.wire()))
    await response.write_eof()
    return response


ROUTES = [
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events),
]
