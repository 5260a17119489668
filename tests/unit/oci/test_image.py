"""Manifests, indexes and configurations as received."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import DataCorrupted
from corten.oci import codec
from corten.oci.descriptor import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import MAX_LAYERS, ImageConfig, Index, Manifest, chain_id, chain_ids, layers_of

A, B, C = (Digest.of(text) for text in (b"a", b"b", b"c"))


def descriptor(media_type: str, digest: str = A, **more: Any) -> dict[str, Any]:
    """Return a descriptor in JSON form."""
    return {"mediaType": media_type, "digest": digest, "size": 1, **more}


def manifest(**more: Any) -> bytes:
    """Return a manifest of one layer."""
    body = {"schemaVersion": 2, "config": descriptor(OCI_CONFIG), "layers": [descriptor(OCI_LAYER, B)]}
    return json.dumps(body | more).encode()


def config(**more: Any) -> bytes:
    """Return a configuration of one layer."""
    body = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [B]}}
    return json.dumps(body | more).encode()


def test_a_manifest_keeps_its_bytes() -> None:
    """Unknown members and spacing survive, since the digest names the bytes."""
    raw = manifest(unknown={"a": 1}) + b"\n"
    parsed = Manifest.parse(raw)
    assert (parsed.raw, parsed.digest) == (raw, Digest.of(raw))
    assert parsed.fields.layers[0].digest == B
    assert parsed.media_type == OCI_MANIFEST


def test_nulls_are_absence() -> None:
    """Go programs write null for what is empty."""
    Manifest.parse(manifest(annotations=None, subject=None, manifests=None))
    parsed = ImageConfig.parse(config(config=None, history=None, author=None))
    assert parsed.defaults.cmd is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        manifest()[:-2],
        manifest(schemaVersion=1),
        manifest(mediaType=OCI_INDEX),
        manifest(manifests=[]),
        manifest(config=None),
        manifest(config=descriptor(OCI_CONFIG, digest="sha256:12")),
        manifest(config=descriptor(OCI_CONFIG, size="1")),
        manifest(layers=[descriptor(OCI_LAYER)] * (MAX_LAYERS + 1)),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'"\xff"',
    ],
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    """Damaged, contradictory, ambiguous or absurd documents are all the same kind of failure."""
    with pytest.raises(DataCorrupted, match="invalid manifest"):
        Manifest.parse(raw)


def test_cve_2021_41190_one_document_is_not_two_things() -> None:
    """A document with the members of both a manifest and an index is neither."""
    both = json.loads(manifest()) | {"manifests": [descriptor(OCI_MANIFEST)]}
    raw = json.dumps(both).encode()
    with pytest.raises(DataCorrupted, match="at once"):
        Manifest.parse(raw)
    with pytest.raises(DataCorrupted, match="at once"):
        Index.parse(raw)


def test_docker_types_are_known() -> None:
    """Docker's schema 2 documents read like OCI ones."""
    assert Manifest.parse(manifest(mediaType=DOCKER_MANIFEST)).media_type == DOCKER_MANIFEST


def test_documents_have_a_largest_size() -> None:
    """More bytes than any registry takes are refused before they are read."""
    with pytest.raises(DataCorrupted, match="bytes"):
        Manifest.parse(b" " * (codec.MAX_DOCUMENT + 1))


def test_an_index_names_platforms() -> None:
    """The platform of an entry is typed, with its dotted members."""
    entry = descriptor(OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64", "os.version": "6"})
    raw = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    platform = Index.parse(raw).fields.manifests[0].platform
    assert platform is not None
    assert (str(platform), platform.os_version) == ("linux/arm64", "6")


def test_a_configuration_shows_its_defaults() -> None:
    """The members that containers start from are typed in their own names."""
    defaults = {
        "Env": ["A=1"],
        "Cmd": ["sh"],
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]},
    }
    parsed = ImageConfig.parse(config(config=defaults, variant="v8", **{"os.version": "1"}))
    assert parsed.defaults.env == ("A=1",)
    assert parsed.defaults.healthcheck is not None
    assert parsed.diff_ids == (B,)
    assert parsed.platform.variant == "v8"


@pytest.mark.parametrize("raw", [config(rootfs={"type": "other"}), config(os=None), config(rootfs=None)])
def test_what_is_no_configuration_is_refused(raw: bytes) -> None:
    """A root file system not made of layers, or missing members, end as one kind of failure."""
    with pytest.raises(DataCorrupted):
        ImageConfig.parse(raw)


def test_chain_ids_follow_the_specification() -> None:
    """The first is the diff id; each next one hashes the one before with its diff id."""
    first, second, third = chain_ids([A, B, C])
    assert first == A
    assert second == Digest.of(f"{A} {B}".encode())
    assert third == Digest.of(f"{second} {C}".encode()) == chain_id([A, B, C])
    assert chain_ids([]) == ()


def test_layers_pair_blobs_with_diff_ids() -> None:
    """A manifest and a configuration that disagree on the number of layers are refused."""
    (layer,) = layers_of(Manifest.parse(manifest()), ImageConfig.parse(config()))
    assert (layer.descriptor.digest, layer.diff_id) == (B, B)
    with pytest.raises(DataCorrupted, match="1 layers, configuration 2"):
        layers_of(
            Manifest.parse(manifest()),
            ImageConfig.parse(config(rootfs={"type": "layers", "diff_ids": [A, B]})),
        )


def test_making_is_reproducible() -> None:
    """The same parts give the same bytes, which read back as the same parts."""
    parts = (
        Descriptor(media_type=OCI_CONFIG, digest=A, size=1),
        [Descriptor(media_type=OCI_LAYER, digest=B, size=2)],
    )
    made = Manifest.make(*parts)
    assert made.raw == Manifest.make(*parts).raw
    assert Manifest.parse(made.raw).fields == made.fields
    index = Index.make([Descriptor(media_type=OCI_MANIFEST, digest=made.digest, size=3)])
    assert Index.parse(index.raw).fields == index.fields


@given(
    st.binary(max_size=64)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda part: (
            st.lists(part, max_size=3)
            | st.dictionaries(
                st.sampled_from(["schemaVersion", "config", "layers", "manifests", "rootfs", "os"]),
                part,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_document_or_refused(raw: bytes) -> None:
    """No bytes make a reader fail in another way."""
    for kind in (Manifest, Index, ImageConfig):
        try:
            kind.parse(raw)
        except DataCorrupted:
            continue
