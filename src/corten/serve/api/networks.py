"""Networks: list, inspect, create, connect, disconnect, remove; and who can reach what on them."""

from collections.abc import Sequence

from aiohttp import web

from corten.engine.networks.requests import decode_connect, decode_disconnect, decode_network_create
from corten.engine.records.container import Container
from corten.engine.records.network import Network
from corten.errors import NotFound
from corten.serve.api import network_wire, reply
from corten.serve.api.filters import NETWORK_FILTERS, decode_filters, network_test
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route

_SUMMARY_ALONE = (1, 28)  # the version of the API from which on the list does not say who is attached


async def list_networks(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /networks."""
    test = network_test(decode_filters(request.query, NETWORK_FILTERS))
    up = [c for c in engine.containers.list() if c.state.status in network_wire.RUNNING]
    used = {endpoint.network_id for container in up for endpoint in container.endpoints}
    chosen = [network for network in engine.networks.list() if test(network, network.id in used)]
    if request.version >= _SUMMARY_ALONE:
        return reply.json([network_wire.network(network) for network in chosen])
    return reply.json([network_wire.network(network, _members(engine, network)) for network in chosen])


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /networks/{id}."""
    network, scope = engine.networks.get(request.name), request.query.text("scope")
    if scope and network.scope != scope:
        raise NotFound("network", request.name)
    return reply.json(network_wire.network(network, _members(engine, network)))


def _members(engine: Engine, network: Network) -> Sequence[Container]:
    return [] if network.config_only else engine.networks.members(network)


async def create(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /networks/create."""
    wanted = decode_network_create(await request.raw.read())
    network, warnings = await engine.networks.create(wanted)
    return reply.json({"Id": network.id, "Warning": "; ".join(warnings)}, 201)


async def connect(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /networks/{id}/connect."""
    wanted = decode_connect(await request.raw.read())
    await engine.networks.connect(request.name, wanted.container, wanted.endpoint_config)
    return reply.empty(200)


async def disconnect(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /networks/{id}/disconnect."""
    wanted = decode_disconnect(await request.raw.read())
    await engine.networks.disconnect(request.name, wanted.container, wanted.force)
    return reply.empty(200)


async def remove(engine: Engine, request: Request) -> web.StreamResponse:
    """DELETE /networks/{id}."""
    await engine.networks.remove(request.name)
    return reply.empty(204)


async def ports(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /corten/networks/ports: each way to a port of a running container, on ``network`` or on all.

    Members: Container, Network, Protocol, ContainerPort, HostIp and HostPort
    (empty and 0 where the port is not published), Who.
    """
    ways = engine.networks.reach(request.query.text("network") or None)
    return reply.json([network_wire.reach(way) for way in ways])


ROUTES = [
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove, finishes=True),
    Route("POST", "/networks/create", create, finishes=True),
    Route("POST", "/networks/{id}/connect", connect, finishes=True),
    Route("POST", "/networks/{id}/disconnect", disconnect, finishes=True),
    Route("GET", "/corten/networks/ports", ports),
]
