"""What is asked: manifests, blobs, and lists of them.

Source: OCI distribution-spec 1.1, "Pull" and "Content Discovery".
"""

from functools import partial

from aiohttp import web

from corten.errors import CortenError, NotFound
from corten.oci.descriptor import OCI_INDEX, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import IndexFields
from corten.serve.registry import naming
from corten.serve.registry.source import Found, Held, Referrer
from corten.serve.registry.wire import answers, sending
from corten.serve.registry.wire.call import Call


async def base(_: Call) -> web.StreamResponse:
    """GET /v2/."""
    return answers.json({})


async def health(call: Call) -> web.StreamResponse:
    """GET /healthz: the registry answers and reads its records."""
    await call.work(lambda: call.behind.source.repositories("", 1))
    return answers.json({"status": "ok"})


async def manifest(call: Call) -> web.StreamResponse:
    """GET or HEAD /v2/NAME/manifests/REFERENCE."""
    held = await _find_manifest(call)
    headers = sending.headers_of(held.digest)
    if ":" not in call.target.reference:
        headers["Cache-Control"] = "no-cache"
    if sending.unchanged(call.request, held.digest):
        return answers.empty(304, headers)
    call.sent += len(held.raw) if call.method == "GET" else 0
    return web.Response(body=held.raw, content_type=held.media_type, headers=headers)


async def _find_manifest(call: Call) -> Held:
    """Return the manifest asked for, with the help of the registry behind this one if there is one."""
    repository, reference = call.target.repository, call.target.reference
    if ":" in reference:
        reference = call.target.digest
    elif not naming.is_tag(reference):
        raise NotFound("manifest", f"{repository}:{reference[:200]}")
    find = partial(call.behind.source.manifest, repository, reference, promise=call.method == "HEAD")
    held, missed = None, NotFound("manifest", f"{repository}:{reference}")
    try:
        held = await call.work(find)
    except NotFound as failure:
        missed = failure
    fallback = call.behind.hooks.fallback
    if fallback is not None and (held is None or ":" not in reference):
        try:
            await fallback.manifest(repository, reference, held.digest if held else None)
            return await call.work(find)
        except CortenError:
            if held is None:
                raise
    if held is None:
        raise missed
    return held


async def blob(call: Call) -> web.StreamResponse:
    """GET or HEAD /v2/NAME/blobs/DIGEST."""
    repository, digest = call.target.repository, call.target.digest
    find = partial(call.behind.source.blob, repository, digest, promise=call.method == "HEAD")
    fallback = call.behind.hooks.fallback
    try:
        found: Found = await call.work(find)
    except NotFound:
        if fallback is None:
            raise
        passing = await fallback.blob(repository, digest)
        if passing is not None:
            return await sending.pass_on(call, digest, passing)
        found = await call.work(find)
    return await sending.send(call, found)


async def tags(call: Call) -> web.StreamResponse:
    """GET /v2/NAME/tags/list?n=&last=."""
    name, source = call.target.repository, call.behind.source
    count, last = answers.asked(call.query, call.behind.limits.page), call.query.get("last", "")
    found = await call.work(lambda: source.tags(name, last, count + 1))
    return answers.json({"name": name, "tags": found[:count]}, _next(call, found, count))


async def catalog(call: Call) -> web.StreamResponse:
    """GET /v2/_catalog?n=&last=."""
    count, last = answers.asked(call.query, call.behind.limits.page), call.query.get("last", "")
    found = await call.work(lambda: call.behind.source.repositories(last, count + 1))
    return answers.json({"repositories": found[:count]}, _next(call, found, count))


def _next(call: Call, found: list[str], count: int) -> dict[str, str]:
    """Return the header that leads to the rest of a list, if there is a rest."""
    if not 0 < count < len(found):
        return {}
    path = call.request.raw_path.partition("?")[0]
    return answers.link(path, {"n": str(count), "last": found[count - 1]})


async def referrers(call: Call) -> web.StreamResponse:
    """GET /v2/NAME/referrers/DIGEST?artifactType=; a long list comes in pages."""
    repository, subject = call.target.repository, call.target.digest
    found = await call.work(lambda: call.behind.source.referrers(repository, subject))
    headers: dict[str, str] = {}
    kind, last = call.query.get("artifactType", ""), call.query.get("last", "")
    if kind:
        found = [each for each in found if each.artifact_type == kind]
        headers["OCI-Filters-Applied"] = "artifactType"
    start = next((place for place, each in enumerate(found, 1) if each.digest == last), 0)
    count = answers.asked(call.query, call.behind.limits.page)
    page = found[start : start + count]
    if page and start + count < len(found):
        path = call.request.raw_path.partition("?")[0]
        parameters = {"artifactType": kind} if kind else {}
        headers |= answers.link(path, {**parameters, "n": str(count), "last": page[-1].digest})
    index = IndexFields(
        schema_version=2, media_type=OCI_INDEX, manifests=tuple(_descriptor(each) for each in page)
    )
    return answers.json(index, headers, OCI_INDEX)


def _descriptor(referrer: Referrer) -> Descriptor:
    return Descriptor(
        media_type=referrer.media_type,
        digest=Digest(referrer.digest),
        size=referrer.size,
        artifact_type=referrer.artifact_type,
        annotations=dict(referrer.annotations) or None,
    )
