"""Images: what is here, names, and archives in and out."""

from functools import partial

from aiohttp import web

from corten.errors import InvalidInput, Unsupported
from corten.serve.api import reply
from corten.serve.api.filters import IMAGE_FILTERS, decode_filters
from corten.serve.api.interface import Engine, Progress
from corten.serve.api.request import Request
from corten.serve.api.routing import Route
from corten.serve.api.streaming import TAR, send_pieces, send_progress, upload


async def list_images(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/json."""
    query = request.query
    filters = decode_filters(query, IMAGE_FILTERS)
    if query.text("filter"):  # how old clients ask for a reference
        filters.setdefault("reference", []).append(query.text("filter"))
    return reply.json(await engine.images.list(filters, query.flag("all")))


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/{name}/json."""
    return reply.json(await engine.images.inspect(request.name))


async def history(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/{name}/history."""
    return reply.json(await engine.images.history(request.name))


async def load(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/load."""
    quiet = request.query.flag("quiet")
    with upload(request) as archive:

        async def verb(progress: Progress) -> None:
            await engine.images.load(archive, partial(_without_details, progress) if quiet else progress)

        return await send_progress(request, verb)


def _without_details(progress: Progress, message: dict[str, object]) -> None:
    """Pass on *message* unless it only tells how far something is."""
    if "progressDetail" not in message:
        progress(message)


def _reference(repository: str, tag: str) -> str:
    """Return one reference of the two parts that the API takes."""
    if not tag:
        return repository
    return f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag}"


async def create(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/create: import an archive; pull is refused."""
    query = request.query
    if query.text("fromImage"):
        raise Unsupported("pull is not available yet: load, import or bootstrap an image")
    source = query.text("fromSrc")
    if not source:
        raise InvalidInput("nothing to create: give fromSrc=- and the archive as the body")
    if source != "-":
        raise Unsupported("import from a URL is not available: fetch the archive and send it as the body")
    reference = _reference(query.text("repo"), query.text("tag")) if query.text("repo") else None
    with upload(request) as archive:

        async def verb(progress: Progress) -> str:
            return await engine.images.import_(
                archive,
                reference,
                query.text("message"),
                query.all("changes"),
                query.text("platform") or None,
                progress,
            )

        return await send_progress(request, verb)


async def save_one(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/{name}/get."""
    return await send_pieces(request, engine.images.save([request.name]), TAR)


async def save(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/get."""
    names = [name for value in request.query.all("names") for name in value.split(",") if name]
    if not names:
        raise InvalidInput("no image to save: give names")
    return await send_pieces(request, engine.images.save(names), TAR)


async def tag(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/{name}/tag."""
    query = request.query
    await engine.images.tag(request.name, _reference(query.text("repo"), query.text("tag")))
    return reply.empty(201)


async def remove(engine: Engine, request: Request) -> web.StreamResponse:
    """DELETE /images/{name}."""
    query = request.query
    removed = await engine.images.remove(request.name, query.flag("force"), query.flag("noprune"))
    return reply.json(removed)


async def bootstrap(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /corten/images/bootstrap: make a base image from a distribution's packages."""
    query = request.query
    distribution = query.text("distribution") or "debian"
    if distribution != "debian":
        raise Unsupported(f"cannot bootstrap {distribution}: only debian is known")
    includes = [name for name in query.text("include").split(",") if name]

    async def verb(progress: Progress) -> str:
        variant = query.text("variant") or "minbase"
        return await engine.images.bootstrap(query.text("suite") or None, includes, variant, progress)

    return await send_progress(request, verb, lambda image_id: [{"aux": {"ID": image_id}}])


ROUTES = [
    Route("GET", "/images/json", list_images),
    Route("GET", "/images/{name}/json", inspect),
    Route("GET", "/images/{name}/history", history),
    Route("POST", "/images/load", load),
    Route("POST", "/images/create", create),
    Route("GET", "/images/get", save),
    Route("GET", "/images/{name}/get", save_one),
    Route("POST", "/images/{name}/tag", tag, finishes=True),
    Route("DELETE", "/images/{name}", remove, finishes=True),
    Route("POST", "/corten/images/bootstrap", bootstrap),
]
