"""What changes: manifests and tags put, things deleted.

Source: OCI distribution-spec 1.1, "Pushing Manifests" and "Content Management".
"""

from functools import partial

from aiohttp import web

from corten.oci.digest import Digest
from corten.serve.registry import manifests, naming
from corten.serve.registry.pushes import Condition
from corten.serve.registry.refusal import Code, Refusal
from corten.serve.registry.wire import answers
from corten.serve.registry.wire.call import Call


async def put_manifest(call: Call) -> web.StreamResponse:
    """PUT /v2/NAME/manifests/REFERENCE; If-Match and If-None-Match are honoured for tags."""
    repository, reference = call.target.repository, call.target.reference
    pushes = call.registry.pushes
    named = call.target.digest if ":" in reference else None
    if named is None and not naming.is_tag(reference):
        raise Refusal(
            Code.MANIFEST_INVALID, f"{reference[:200]!r} is no tag: use up to 128 letters, digits, and ._-"
        )
    raw = await call.body(call.behind.limits.manifest)
    content_type = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    checked = manifests.check(raw, content_type, named)
    tag = "" if named else reference
    await call.work(partial(pushes.put, repository, checked, tag, condition=_condition(call)))
    headers = {
        "Location": f"/v2/{repository}/manifests/{reference}",
        "Docker-Content-Digest": checked.digest,
    }
    if checked.subject:
        headers["OCI-Subject"] = checked.subject
    return answers.empty(201, headers)


def _condition(call: Call) -> Condition:
    """Read what the tag must point to before (RFC 9110, 13.1.1 and 13.1.2)."""
    matches = call.request.headers.get("If-Match", "").strip()
    digests = frozenset(part.strip().strip('"') for part in matches.split(","))
    absent = call.request.headers.get("If-None-Match", "").strip() == "*"
    return Condition(digests if matches not in {"", "*"} else None, absent)


async def delete_manifest(call: Call) -> web.StreamResponse:
    """DELETE /v2/NAME/manifests/REFERENCE: a tag, or a manifest with all its tags."""
    repository, reference = call.target.repository, call.target.reference
    pushes = call.registry.pushes
    if ":" in reference:
        digest = call.target.digest
        await call.work(lambda: pushes.delete_manifest(repository, digest))
    else:
        await call.work(lambda: pushes.delete_tag(repository, reference))
    return answers.empty(202, {})


async def delete_blob(call: Call) -> web.StreamResponse:
    """DELETE /v2/NAME/blobs/DIGEST."""
    digest: Digest = call.target.digest
    pushes = call.registry.pushes
    await call.work(lambda: pushes.delete_blob(call.target.repository, digest))
    return answers.empty(202, {"Docker-Content-Digest": digest})
