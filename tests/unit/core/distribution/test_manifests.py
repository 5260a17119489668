"""What a registry sent as a manifest is checked before anybody looks into it."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.distribution.manifests import check
from corten.errors import CortenError, DataCorrupted, Unsupported
from corten.oci.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
)
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest

LAYER = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"layer"), size=5)
CONFIG = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(b"config"), size=6)
MANIFEST = Manifest.make(CONFIG, [LAYER])
INDEX = Index.make([Descriptor(media_type=OCI_MANIFEST, digest=MANIFEST.digest, size=len(MANIFEST.raw))])
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def changed(raw: bytes, **members: Any) -> bytes:
    """Return a document with other members; None takes one away."""
    document = {**json.loads(raw), **members}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def test_manifest_and_index() -> None:
    """What is right is described."""
    for raw, kind in ((MANIFEST.raw, OCI_MANIFEST), (INDEX.raw, OCI_INDEX)):
        assert check(raw, f"{kind}; charset=utf-8", Digest.of(raw), "1", "image").descriptor == Descriptor(
            media_type=kind, digest=Digest.of(raw), size=len(raw)
        )


@pytest.mark.parametrize("given_type", ["", "application/json", "text/plain", "application/octet-stream"])
def test_type_that_the_header_does_not_tell(given_type: str) -> None:
    """Then the document does, or at last its shape."""
    docker = changed(MANIFEST.raw, mediaType=DOCKER_MANIFEST)
    assert check(docker, given_type, "", "1", "image").descriptor.media_type == DOCKER_MANIFEST
    for raw, kind in ((MANIFEST.raw, OCI_MANIFEST), (INDEX.raw, OCI_INDEX)):
        silent = changed(raw, mediaType=None)
        assert check(silent, given_type, "", "1", "image").descriptor.media_type == kind


@pytest.mark.parametrize(
    ("raw", "header"),
    [
        (MANIFEST.raw, DOCKER_MANIFEST),
        (MANIFEST.raw, OCI_INDEX),
        (INDEX.raw, OCI_MANIFEST),
        (INDEX.raw, DOCKER_INDEX),
        (changed(MANIFEST.raw, mediaType=None), OCI_INDEX),
        (changed(INDEX.raw, mediaType=None), OCI_MANIFEST),
        (changed(MANIFEST.raw, manifests=[]), OCI_MANIFEST),
        (changed(INDEX.raw, layers=[], config={}), OCI_INDEX),
        (changed(INDEX.raw, layers=[], mediaType=None), ""),
        (changed(MANIFEST.raw, schemaVersion=3), OCI_MANIFEST),
        (changed(MANIFEST.raw, config=None), OCI_MANIFEST),
        (b"", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (b"\xff\xfe", OCI_MANIFEST),
        (b'{"manifests":' + b"[" * 100_000, OCI_INDEX),
    ],
)
def test_document_that_could_be_two_things(raw: bytes, header: str) -> None:
    """Header, document and shape must say the same (CVE-2021-41190)."""
    with pytest.raises(DataCorrupted):
        check(raw, header, "", "1", "image")


@pytest.mark.parametrize(
    ("raw", "header"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', SCHEMA_1),
        (b'{"schemaVersion": 1, "fsLayers": []}', "application/json"),
        (MANIFEST.raw, SCHEMA_1),
        (changed(MANIFEST.raw, mediaType="application/vnd.cncf.helm"), ""),
        (changed(MANIFEST.raw, mediaType=SCHEMA_1), ""),
    ],
)
def test_other_formats(raw: bytes, header: str) -> None:
    """Docker's schema 1 and what is no image are refused with a reason."""
    with pytest.raises(Unsupported, match=r"schema 1|no image"):
        check(raw, header, "", "1", "image")


def test_digest_of_another_algorithm() -> None:
    """A name by sha512 is checked by sha512, and kept."""
    name = f"sha512:{hashlib.sha512(MANIFEST.raw).hexdigest()}"

    assert check(MANIFEST.raw, OCI_MANIFEST, MANIFEST.digest, name, "image").descriptor.digest == name
    with pytest.raises(DataCorrupted):
        check(INDEX.raw, OCI_INDEX, "", name, "image")


@pytest.mark.parametrize("stated", ["sha256:0", "md5:x", "nonsense", Digest.of(b"else")])
def test_stated_digest_must_hold(stated: str) -> None:
    """A registry that states a digest must be right about it."""
    with pytest.raises(DataCorrupted):
        check(MANIFEST.raw, OCI_MANIFEST, stated, "1", "image")


@given(st.integers(0, len(MANIFEST.raw) * 8 - 1))
def test_no_bit_may_differ(position: int) -> None:
    """Each flipped bit is noticed by the digest."""
    raw = bytearray(MANIFEST.raw)
    raw[position // 8] ^= 1 << position % 8
    with pytest.raises(DataCorrupted):
        check(bytes(raw), OCI_MANIFEST, "", MANIFEST.digest, "image")


@given(st.binary(max_size=200), st.sampled_from(["", OCI_MANIFEST, OCI_INDEX, "text/html"]))
def test_any_bytes_end_as_a_failure(raw: bytes, header: str) -> None:
    """Nothing that a registry sends breaks the check."""
    with pytest.raises(CortenError):
        check(raw, header, "", "1", "image")
