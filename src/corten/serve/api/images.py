"""Images: what is here, names, archives in and out, and the ways from and to registries."""

from functools import partial

from aiohttp import web

from corten.errors import InvalidInput, Unsupported
from corten.serve.api import reply
from corten.serve.api.credentials import credential_of
from corten.serve.api.filters import IMAGE_FILTERS, decode_filters
from corten.serve.api.interface import Engine
from corten.serve.api.interface_values import Progress
from corten.serve.api.platforms import platform, platforms
from corten.serve.api.request import Request
from corten.serve.api.routing import Route
from corten.serve.api.streaming import TAR, send_pieces, send_progress, upload


async def list_images(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/json."""
    query = request.query
    filters = decode_filters(query, IMAGE_FILTERS)
    if query.text("filter"):  # how old clients ask for a reference
        filters.setdefault("reference", []).append(query.text("filter"))
    extras = [name for name in ("layers", "manifests", "shared-size") if query.flag(name)]
    return reply.json(await engine.images.list(filters, query.flag("all"), extras))


async def inspect(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/{name}/json."""
    wanted = platform(request.query)
    return reply.json(await engine.images.inspect(request.name, wanted, request.query.flag("manifests")))


async def history(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/{name}/history."""
    return reply.json(await engine.images.history(request.name, platform(request.query)))


async def load(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/load."""
    quiet, wanted = request.query.flag("quiet"), platform(request.query)
    with upload(request) as archive:

        async def verb(progress: Progress) -> None:
            told = partial(_without_details, progress) if quiet else progress
            await engine.images.load(archive, told, wanted)

        return await send_progress(request, verb)


def _without_details(progress: Progress, message: dict[str, object]) -> None:
    """Pass on *message* unless it only tells how far something is."""
    if "progressDetail" not in message:
        progress(message)


def reference_of(repository: str, tag: str) -> str:
    """Return one reference of the two parts that the API takes."""
    if not tag:
        return repository
    return f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag}"


async def create(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/create: pull an image, or import an archive."""
    if request.query.text("fromImage"):
        return await pull(engine, request)
    return await import_(engine, request)


async def pull(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/create?fromImage=NAME."""
    query, credential = request.query, credential_of(request)

    async def verb(progress: Progress) -> None:
        name, platform = query.text("fromImage"), query.text("platform") or None
        await engine.images.remote.pull(name, query.text("tag"), platform, credential, progress)

    return await send_progress(request, verb)


async def push(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/{name}/push."""
    query, credential = request.query, credential_of(request)
    wanted = platform(query)

    async def verb(progress: Progress) -> None:
        tag, compression = query.text("tag"), query.text("compression")
        await engine.images.remote.push(request.name, tag, wanted, compression, credential, progress)

    return await send_progress(request, verb)


async def import_(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/create?fromSrc=SOURCE: the body where that is ``-``, else an address."""
    query = request.query
    source = query.text("fromSrc")
    if not source:
        raise InvalidInput("nothing to create: give fromSrc=- and the archive as the body")
    reference = reference_of(query.text("repo"), query.text("tag")) if query.text("repo") else None
    rest = reference, query.text("message"), query.all("changes"), query.text("platform") or None
    with upload(request) as archive:

        async def verb(progress: Progress) -> str:
            if source != "-":
                return await engine.images.import_url(source, *rest, progress)
            return await engine.images.import_(archive, *rest, progress)

        return await send_progress(request, verb)


async def save_one(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/{name}/get."""
    return await send_pieces(request, engine.images.save([request.name], platforms(request.query)), TAR)


async def save(engine: Engine, request: Request) -> web.StreamResponse:
    """GET /images/get."""
    names = [name for value in request.query.all("names") for name in value.split(",") if name]
    if not names:
        raise InvalidInput("no image to save: give names")
    return await send_pieces(request, engine.images.save(names, platforms(request.query)), TAR)


async def tag(engine: Engine, request: Request) -> web.StreamResponse:
    """POST /images/{name}/tag."""
    query = request.query
    await engine.images.tag(request.name, reference_of(query.text("repo"), query.text("tag")))
    return reply.empty(201)


async def remove(engine: Engine, request: Request) -> web.StreamResponse:
    """DELETE /images/{name}."""
    query = request.query
    removed = await engine.images.remove(
        request.name, query.flag("force"), query.flag("noprune"), platforms(query, "platforms")
    )
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
    Route("POST", "/images/{name}/push", push),
    Route("GET", "/images/get", save),
    Route("GET", "/images/{name}/get", save_one),
    Route("POST", "/images/{name}/tag", tag, finishes=True),
    Route("DELETE", "/images/{name}", remove, finishes=True),
    Route("POST", "/corten/images/bootstrap", bootstrap),
]
