"""What a pushed manifest is, decided from its bytes alone; no I/O.

A registry hands out what it took in, so it refuses what two clients could
read as two things: a media type that contradicts the shape, or a digest that
is not that of the bytes.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from corten.errors import DataCorrupted
from corten.oci import codec
from corten.oci.descriptor import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest
from corten.serve.registry.refusal import Code, Refusal

KNOWN = MANIFESTS | INDEXES
_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


class Wanted(NamedTuple):
    """Something that a manifest refers to and that must be in its repository.

    *manifest*, *blob*: what it may be there. *optional*: it may live elsewhere.
    """

    digest: Digest
    size: int
    manifest: bool
    blob: bool
    optional: bool


class Checked(NamedTuple):
    """A manifest that may be stored, and what the records keep of it."""

    raw: bytes
    digest: Digest
    media_type: str
    wanted: tuple[Wanted, ...]
    subject: str
    artifact_type: str
    annotations: Mapping[str, str]


class _Kind(msgspec.Struct, rename="camel"):
    """What a document says and shows of itself."""

    media_type: str = ""
    manifests: Any = None


def check(raw: bytes, content_type: str, named: Digest | None = None) -> Checked:
    """Read a manifest as it was sent.

    Args:
        raw: The bytes.
        content_type: What the client calls them, without parameters; may be empty.
        named: The digest that the client gave; None if it gave a tag.

    Raises:
        Refusal: MANIFEST_INVALID or DIGEST_INVALID, with the reason.
    """
    digest = _digest(raw, named)
    try:
        media_type = _media_type(raw, content_type)
        if media_type in INDEXES:
            return _index(Index.parse(raw), digest, media_type)
        return _manifest(Manifest.parse(raw), digest, media_type)
    except DataCorrupted as failure:
        raise Refusal(Code.MANIFEST_INVALID, str(failure)) from None


def _digest(raw: bytes, named: Digest | None) -> Digest:
    if named is None:
        return Digest.of(raw)
    found = Digest(f"{named.algorithm}:{hashlib.new(named.algorithm, raw).hexdigest()}")
    if found != named:
        raise Refusal(Code.DIGEST_INVALID, f"the manifest's digest is {found}, not {named}")
    return found


def _media_type(raw: bytes, content_type: str) -> str:
    """Return the one media type that header, document and shape agree on."""
    kind = codec.decode(raw, _Kind, "manifest")
    shape = OCI_INDEX if kind.manifests is not None else OCI_MANIFEST
    media_type = content_type or kind.media_type or shape
    if kind.media_type and kind.media_type != media_type:
        raise DataCorrupted(
            f"invalid manifest: sent as {media_type}, but it says that it is {kind.media_type}"
        )
    if media_type not in KNOWN:
        raise DataCorrupted(f"manifests of type {media_type!r} are not supported: push {OCI_MANIFEST}")
    return media_type


def _manifest(manifest: Manifest, digest: Digest, media_type: str) -> Checked:
    fields = manifest.fields
    wanted = tuple(_wanted(each, index=False) for each in (fields.config, *fields.layers))
    artifact_type = fields.artifact_type or fields.config.media_type
    subject, annotations = _subject(fields.subject), fields.annotations or {}
    return Checked(manifest.raw, digest, media_type, wanted, subject, artifact_type, annotations)


def _index(index: Index, digest: Digest, media_type: str) -> Checked:
    fields = index.fields
    wanted = tuple(_wanted(each, index=True) for each in fields.manifests)
    subject, annotations = _subject(fields.subject), fields.annotations or {}
    return Checked(index.raw, digest, media_type, wanted, subject, fields.artifact_type, annotations)


def _wanted(descriptor: Descriptor, *, index: bool) -> Wanted:
    """Return what a descriptor asks for. Build caches are indexes that list blobs."""
    if descriptor.size < 0:
        raise DataCorrupted(f"invalid manifest: {descriptor.digest} has a negative size")
    foreign = bool(descriptor.urls) or descriptor.media_type.startswith(_FOREIGN)
    return Wanted(
        descriptor.digest, descriptor.size, index, not index or descriptor.media_type not in KNOWN, foreign
    )


def _subject(descriptor: Descriptor | None) -> str:
    return str(descriptor.digest) if descriptor else ""
