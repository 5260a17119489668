"""What a container has changed: told, and made into an image."""

from aiohttp import web

from corten.engine.containers.commit import Order
from corten.engine.records.config import decode_create
from corten.errors import InvalidInput
from corten.serve.api import reply
from corten.serve.api.images import reference_of
from corten.serve.api.interface import Engine
from corten.serve.api.request import Request
from corten.serve.api.routing import Route


async def changes(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /containers/{id}/changes."""
    found = await engine.containers.changes(request.name)
    rows = [{"Path": each.path.decode(errors="replace"), "Kind": int(each.kind)} for each in found]
    return reply.json(rows or None)


async def commit(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /commit; the body may hold a configuration."""
    query = request.query
    if not query.text("container"):
        raise InvalidInput("nothing to commit: give container")
    body = (await request.raw.read()).strip()
    order = Order(
        reference=reference_of(query.text("repo"), query.text("tag")) if query.text("repo") else None,
        author=query.text("author"),
        comment=query.text("comment"),
        changes=tuple(query.all("changes")),
        config=decode_create(body).config if body not in (b"", b"null", b"{}") else None,
        pause=query.flag("pause", True),
    )
    return reply.json({"Id": await engine.containers.commit(query.text("container"), order)}, 201)


ROUTES = [
    Route("GET", "/containers/{id}/changes", changes),
    Route("POST", "/commit", commit, finishes=True),
]
