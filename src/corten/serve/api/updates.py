"""Updates: limits, restart policy, labels, ports, mounts and networks of a container that exists."""

from aiohttp import web

from corten.engine.containers.update_request import decode_update
from corten.errors import InvalidInput
from corten.serve.api import reply
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route


async def update(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /containers/{id}/update.

    Beside Docker's members (Resources, RestartPolicy) the body may have ``LabelAdd`` (an
    object) and ``LabelRemove`` (names); ``PublishAdd`` and ``PublishRemove`` in the form of
    PortBindings, where an empty text of a binding to remove fits any; ``MountAdd`` (objects
    as in HostConfig.Mounts), ``BindAdd`` (as in HostConfig.Binds) and ``MountRemove``
    (targets); ``NetworkAdd`` (EndpointSettings by network) and ``NetworkRemove`` (networks).
    """
    body = await request.raw.read()
    if not body.strip():
        raise InvalidInput("invalid JSON: got EOF while reading request body")
    warnings = await engine.containers.update(request.name, decode_update(body))
    return reply.json({"Warnings": list(warnings)})


ROUTES = [Route("POST", "/containers/{id}/update", update, finishes=True)]
