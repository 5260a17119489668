"""Registries: what they have, logging in, search."""

from aiohttp import web

from corten.errors import Forbidden, InvalidInput
from corten.serve.api import reply
from corten.serve.api.credentials import AuthConfig, credential_of
from corten.serve.api.failures import message_of
from corten.serve.api.filters import decode_filters
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route

_SEARCH_FILTERS = frozenset({"is-official", "is-automated", "stars"})


def _unauthorized(failure: Forbidden) -> web.Response:
    """Return the answer after which clients ask for another password."""
    return reply.json({"message": message_of(failure)}, 401)


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /distribution/{name}/json."""
    try:
        return reply.json(await engine.images.remote.inspect(request.name, credential_of(request)))
    except Forbidden as failure:
        return _unauthorized(failure)


async def image(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /distribution/{name}/image: an image that was not pulled, as ``GET /images/{name}/json`` shows one."""
    platform = request.query.text("platform") or None
    try:
        found = await engine.images.remote.image(request.name, platform, credential_of(request))
    except Forbidden as failure:
        return _unauthorized(failure)
    return reply.json(found)


async def manifest(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /distribution/{name}/manifest: the bytes that a registry has under a name, as they are."""
    try:
        media_type, digest, raw = await engine.images.remote.manifest(request.name, credential_of(request))
    except Forbidden as failure:
        return _unauthorized(failure)
    headers = {"Content-Type": media_type, "Docker-Content-Digest": str(digest)}
    return web.Response(body=raw, headers=reply.COMMON | headers)


async def auth(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /auth."""
    given = await request.decode(AuthConfig, AuthConfig())
    credential = given.credential
    if credential is None:
        raise InvalidInput("no credentials: give a user name and a password, or a token")
    try:
        token = await engine.images.remote.login(given.serveraddress or "", credential)
    except Forbidden as failure:
        return _unauthorized(failure)
    return reply.json({"Status": "Login Succeeded", "IdentityToken": token})


async def search(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/search."""
    query = request.query
    if not query.text("term"):
        raise InvalidInput("nothing to search for: give term")
    limit = query.integer("limit") or None
    filters = decode_filters(query, _SEARCH_FILTERS)
    found = await engine.images.remote.search(query.text("term"), limit, filters, credential_of(request))
    return reply.json(found)


ROUTES = [
    Route("GET", "/distribution/{name}/json", inspect),
    Route("GET", "/distribution/{name}/image", image),
    Route("GET", "/distribution/{name}/manifest", manifest),
    Route("GET", "/images/search", search),
    Route("POST", "/auth", auth),
]
