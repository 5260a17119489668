"""Manifests are judged by their bytes alone; what wire/test_push.py shows by HTTP is not repeated."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry.manifests import Wanted, check
from corten.serve.registry.refusal import Code, Refusal
from tests.unit.serve.registry.live import descriptor, digest512, index, manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations"]
)


def test_an_image_wants_its_blobs() -> None:
    """Configuration and layers are wanted as blobs with their sizes; the type falls back to the configuration's."""
    checked = check(manifest(b"{}", b"one"), OCI_MANIFEST)
    assert checked.media_type == OCI_MANIFEST
    assert checked.artifact_type == OCI_CONFIG
    assert checked.wanted == (
        Wanted(Digest.of(b"{}"), 2, manifest=False, blob=True, optional=False),
        Wanted(Digest.of(b"one"), 3, manifest=False, blob=True, optional=False),
    )


def test_an_index_wants_its_manifests() -> None:
    """Manifests are wanted as such; other types may be blobs too."""
    checked = check(index(b"m", manifests=[descriptor(b"m", OCI_MANIFEST), descriptor(b"l", OCI_LAYER)]), "")
    assert checked.media_type == OCI_INDEX
    assert [(each.manifest, each.blob) for each in checked.wanted] == [(True, False), (True, True)]
    assert checked.artifact_type == ""


def test_the_name_decides_the_algorithm() -> None:
    """A manifest that is put by sha512 is known by that."""
    raw = manifest(b"{}")
    assert check(raw, "", digest512(raw)).digest == digest512(raw)
    assert check(raw, "").digest == Digest.of(raw)
    with pytest.raises(Refusal) as caught:
        check(raw, "", digest512(b"other"))
    assert caught.value.code == Code.DIGEST_INVALID


@given(JSON | st.dictionaries(MEMBERS, JSON))
def test_any_document_is_judged(document: object) -> None:
    """Whatever JSON comes, the answer is a judgement, never a crash."""
    raw = json.dumps(document).encode()
    for media_type in ("", OCI_MANIFEST, OCI_INDEX):
        assert judgement(raw, media_type) in {"", Code.MANIFEST_INVALID}


def judgement(raw: bytes, media_type: str) -> str:
    """Return the code of the refusal, empty if the manifest is taken."""
    try:
        check(raw, media_type)
    except Refusal as refusal:
        return refusal.code
    return ""
