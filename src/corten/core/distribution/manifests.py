"""Manifests: what a registry sent as one, checked before anybody looks into it. Pure.

A document is believed only when its digest is the one asked for (and the one
that the registry states), when its media type is the same in the header and
inside, and when its shape is that of its type. Otherwise two readers could
see two images in it (CVE-2021-41190).
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from corten.errors import DataCorrupted, InvalidInput, Unsupported
from corten.oci import codec
from corten.oci.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest

MAX_MANIFEST = 4 << 20  # bytes; OCI distribution-spec, "Pushing Manifests", asks for no more
ACCEPT = f"{OCI_INDEX}, {DOCKER_INDEX}, {OCI_MANIFEST}, {DOCKER_MANIFEST}, */*;q=0.1"
_SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)


class Received(NamedTuple):
    """A manifest or index: what it is, checked, and its bytes as they came."""

    descriptor: Descriptor
    raw: bytes


class _Outline(msgspec.Struct, rename="camel"):
    """What a document says of itself."""

    schema_version: int = 0
    media_type: str = ""
    manifests: Any = None


def check(raw: bytes, content_type: str, stated: str, name: str, image: str) -> Received:
    """Return the manifest or index in *raw*, verified.

    Args:
        raw: The body of the answer.
        content_type: The header of that name, "" if there was none.
        stated: The header ``Docker-Content-Digest``, "" if there was none.
        name: The tag or digest that was asked for.
        image: For messages.

    Raises:
        DataCorrupted: digest, media type or shape are not what they should be.
        Unsupported: it is of Docker's old schema 1.
    """
    digest = _check_digest(raw, stated, name, image)
    outline = codec.decode(raw, _Outline, f"manifest of {image}")
    given = content_type.partition(";")[0].strip().lower()
    if given in _SCHEMA_1 or outline.media_type in _SCHEMA_1 or outline.schema_version == 1:
        raise Unsupported(
            f"{image} is stored in Docker's schema 1, which is unsafe and not supported: have it pushed again"
        )
    kind = _kind(given, outline, image)
    if kind in INDEXES:
        Index.parse(raw)
    else:
        Manifest.parse(raw)
    return Received(Descriptor(media_type=kind, digest=digest, size=len(raw)), raw)


def _check_digest(raw: bytes, stated: str, name: str, image: str) -> Digest:
    """Return the digest of *raw*, in the algorithm asked for; refuse what differs."""
    if ":" in name and not _matches(raw, name):
        raise DataCorrupted(f"the registry sent other bytes than {image} names: try again, or tell its owner")
    if stated and not _matches(raw, stated):
        raise DataCorrupted(f"the registry sent other bytes for {image} than the digest it states: try again")
    return Digest(name) if ":" in name else Digest.of(raw)


def _matches(raw: bytes, text: str) -> bool:
    """Tell whether *text* is the digest of *raw*."""
    try:
        digest = Digest(text)
    except InvalidInput:
        return False
    return hashlib.new(digest.algorithm, raw).hexdigest() == digest.hex


def _kind(given: str, outline: _Outline, image: str) -> str:
    """Return the media type of a document by its header, itself, or at last its shape."""
    known = INDEXES | MANIFESTS
    inner = outline.media_type
    if given in known and inner and inner != given:
        raise DataCorrupted(f"the manifest of {image} is announced as {given} but says it is {inner}")
    if given in known:
        return given
    if inner:
        if inner not in known:
            raise Unsupported(f"{image} is of type {inner[:100]!r}, which is no image")
        return inner
    return OCI_INDEX if outline.manifests is not None else OCI_MANIFEST
