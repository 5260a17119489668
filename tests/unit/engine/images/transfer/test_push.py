"""push: from real stores into a registry of the test's own."""

import gzip
import io
import json
import random
from collections.abc import Iterator

import pytest

from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.engine.images.transfer.packing import compressed
from corten.errors import CortenError, InvalidInput, NotFound
from corten.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from corten.oci.digest import Digest
from corten.oci.platform import Platform, host
from corten.oci.reference import Reference
from tests.fakes.registry import FakeRegistry, refuse, takes
from tests.unit.engine.images.registries import Told, is_tidy, offer, pull, push, with_remote
from tests.unit.engine.images.samples import docker_archive, make

ONE = make([{"etc/name": b"one"}, {"etc/more": b"more" * 50_000}])
TWO = make([{"etc/name": b"one"}, {"other": b"two"}])


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """An empty registry."""
    with FakeRegistry() as found:
        yield found


def load_as(stores: Stores, **names: object) -> None:
    """Load images from an archive, which holds their layers as plain tar."""
    for name, made in names.items():
        load(io.BytesIO(docker_archive({name: made})), stores, host(), Told())  # type: ignore[dict-item]


def tag(stores: Stores, identifier: Digest, name: str) -> None:
    """Give an image a name."""
    stores.images.tag(identifier, Reference.parse(name))


def test_what_was_pulled_is_pushed_byte_for_byte(registry: FakeRegistry, stores: Stores) -> None:
    """Into another registry: the same manifest, the same layers, the same digest."""
    manifest = offer(registry, "app", "1", ONE)
    pull(stores, f"{registry.host}/app:1")
    with FakeRegistry() as other:
        tag(stores, ONE.id, f"{other.host}/team/app:2")
        told = push(stores, f"{other.host}/team/app:2")

        assert other.manifests["team/app", "2"] == (manifest.media_type, manifest.raw)
        assert {key[1] for key in other.blobs} == {
            manifest.fields.config.digest,
            *(layer.digest for layer in manifest.fields.layers),
        }
        assert told.lines[0] == f"The push refers to repository [{other.host}/team/app]"
        for diff_id in (Digest.of(layer).hex[:12] for layer in ONE.layers):
            assert f"{diff_id}: Preparing" in told.lines
            assert f"{diff_id}: Pushed" in told.lines
        size = len(manifest.raw)
        assert told.lines[-1] == f"2: digest: {manifest.digest} size: {size}"
        aux = {"Tag": "2", "Digest": manifest.digest, "Size": size}
        assert told.messages[-1] == {"progressDetail": {}, "aux": aux}
        assert f"{other.host}/team/app@{manifest.digest}" in stores.images.get(ONE.id).references


def test_a_second_push_sends_the_manifest_only(registry: FakeRegistry, stores: Stores) -> None:
    """The digest stays the same, also of an image whose layers were plain tar."""
    load_as(stores, one=ONE)
    tag(stores, ONE.id, f"{registry.host}/app:1")
    first = push(stores, f"{registry.host}/app:1")
    registry.seen.clear()

    second = push(stores, f"{registry.host}/app:1")

    assert first.messages[-1] == second.messages[-1]
    assert [f"{seen.method} {seen.path}" for seen in registry.seen if seen.method not in ("HEAD", "GET")] == [
        "PUT /v2/app/manifests/1"
    ]
    assert len([line for line in second.lines if line.endswith(": Layer already exists")]) == 2
    assert is_tidy(stores)


@pytest.mark.parametrize(
    ("compression", "media_type", "magic"),
    [
        ("", OCI_LAYER_GZIP, b"\x1f\x8b"),
        ("gzip", OCI_LAYER_GZIP, b"\x1f\x8b"),
        ("zstd", OCI_LAYER_ZSTD, b"\x28\xb5"),
    ],
)
def test_plain_layers_are_compressed(
    registry: FakeRegistry, stores: Stores, compression: str, media_type: str, magic: bytes
) -> None:
    """And what was sent can be pulled into empty stores; the image has the same id."""
    load_as(stores, one=ONE)
    tag(stores, ONE.id, f"{registry.host}/app:1")
    push(stores, f"{registry.host}/app:1", compression)

    image = stores.images.get(ONE.id)
    manifest = stores.manifest(image.manifest)
    assert {layer.media_type for layer in manifest.fields.layers} == {media_type}
    assert all(registry.blobs["app", layer.digest].startswith(magic) for layer in manifest.fields.layers)
    assert sum(layer.size for layer in manifest.fields.layers) < sum(map(len, ONE.layers)) / 10
    assert image.layers == tuple(layer.digest for layer in manifest.fields.layers)
    stores.images.remove(image.id)
    stores.discard(image.blobs, image.chain_ids)
    pull(stores, f"{registry.host}/app:1")
    assert stores.images.get(ONE.id).manifest == image.manifest


def test_compression_is_reproducible() -> None:
    """Equal bytes give equal bytes, in any pieces; the usual tools read them."""
    data = b"some text " * 300_000
    for kind in ("gzip", "zstd"):
        packed = [b"".join(compressed(io.BytesIO(data), kind)) for _ in range(2)]
        assert packed[0] == packed[1]
    assert gzip.decompress(b"".join(compressed(io.BytesIO(data), "gzip"))) == data


def test_equal_layers_are_compressed_once(registry: FakeRegistry, stores: Stores) -> None:
    """Two images on one base share its compressed form, whoever is pushed first."""
    load_as(stores, one=ONE, two=TWO)
    for made, name in ((ONE, "a"), (TWO, "b")):
        tag(stores, made.id, f"{registry.host}/{name}:1")
        told = push(stores, f"{registry.host}/{name}:1")

    one, two = stores.images.get(ONE.id), stores.images.get(TWO.id)
    assert one.layers[0] == two.layers[0]
    assert f"{one.diff_ids[0].hex[:12]}: Mounted from a" in told.lines
    assert is_tidy(stores)


def test_blobs_are_mounted_from_where_they_are(registry: FakeRegistry, stores: Stores) -> None:
    """A repository of the same registry, known by a digest; not sent a second time."""
    offer(registry, "base", "1", ONE)
    pull(stores, f"{registry.host}/base:1")
    tag(stores, ONE.id, f"{registry.host}/mine/app:1")
    registry.seen.clear()

    told = push(stores, f"{registry.host}/mine/app:1")

    assert len([line for line in told.lines if line.endswith(": Mounted from base")]) == 2
    assert registry.saw("PATCH|PUT .*/uploads") == []


def test_a_registry_that_does_not_mount(registry: FakeRegistry, stores: Stores) -> None:
    """It is sent the bytes."""
    registry.mounts = False
    offer(registry, "base", "1", ONE)
    pull(stores, f"{registry.host}/base:1")
    tag(stores, ONE.id, f"{registry.host}/mine/app:1")

    told = push(stores, f"{registry.host}/mine/app:1")

    assert len([line for line in told.lines if line.endswith(": Pushed")]) == 2


def test_all_tags_of_a_repository(registry: FakeRegistry, stores: Stores) -> None:
    """A name without a tag; others stay. An image with two of them is packed once."""
    load_as(stores, one=ONE, two=TWO)
    for made, name in ((ONE, "app:1"), (ONE, "app:1b"), (TWO, "app:2"), (TWO, "other:1")):
        tag(stores, made.id, f"{registry.host}/{name}")

    told = push(stores, f"{registry.host}/app")

    pushed = sorted(name for repository, name in registry.manifests if ":" not in name)
    assert pushed == ["1", "1b", "2"]
    assert registry.manifests["app", "1"] == registry.manifests["app", "1b"]
    assert len([message for message in told.messages if "aux" in message]) == 3


@pytest.mark.parametrize(
    ("name", "failure", "message"),
    [
        ("nothing:1", NotFound, "An image does not exist locally with the tag: {host}/nothing"),
        ("nothing", NotFound, "An image does not exist locally with the tag: {host}/nothing"),
        ("app:2", NotFound, "tag does not exist: {host}/app:2"),
        (f"app@{ONE.id}", InvalidInput, "cannot push a digest reference"),
    ],
)
def test_what_is_not_here(
    registry: FakeRegistry, stores: Stores, name: str, failure: type[CortenError], message: str
) -> None:
    """In Docker's words; the registry is not asked."""
    load_as(stores, one=ONE)
    tag(stores, ONE.id, f"{registry.host}/app:1")

    with pytest.raises(failure) as caught:
        push(stores, f"{registry.host}/{name}")
    assert str(caught.value) == message.format(host=registry.host)
    assert registry.seen == []


def test_an_image_for_another_platform(registry: FakeRegistry, stores: Stores) -> None:
    """It is refused when one is asked for."""
    load_as(stores, one=ONE)
    name = f"{registry.host}/app:1"
    tag(stores, ONE.id, name)

    def work(platform: str) -> None:
        with_remote(stores, lambda remote: remote.push(name, "", Platform.parse(platform), "", None, Told()))

    with pytest.raises(NotFound, match=r"does not provide the specified platform \(linux/s390x\)"):
        work("linux/s390x")
    work(str(host()))
    assert ("app", "1") in registry.manifests


def test_a_registry_that_refuses(registry: FakeRegistry, stores: Stores) -> None:
    """One line; no tag appears there, no digest here, and the next try works."""
    load_as(stores, one=ONE)
    tag(stores, ONE.id, f"{registry.host}/app:1")
    registry.order("(POST|PATCH|PUT) .*", refuse(403, "DENIED"), times=50)

    with pytest.raises(CortenError, match="denied"):
        push(stores, f"{registry.host}/app:1")
    assert registry.manifests == {}
    assert not any("@" in name for name in stores.images.get(ONE.id).references)

    registry._orders.clear()
    push(stores, f"{registry.host}/app:1")
    assert ("app", "1") in registry.manifests


def test_an_upload_that_breaks_goes_on(registry: FakeRegistry, stores: Stores) -> None:
    """What the registry has taken is not sent again."""
    noise = make([{"noise": random.Random(1).randbytes(400_000)}])
    load_as(stores, one=noise)
    tag(stores, noise.id, f"{registry.host}/app:1")
    registry.order("(PATCH|PUT) .*/uploads/", takes(registry, 20_000), times=1)

    push(stores, f"{registry.host}/app:1")

    assert json.loads(registry.manifests["app", "1"][1])["config"]["digest"] == noise.id


def test_an_unknown_compression(registry: FakeRegistry, stores: Stores) -> None:
    """It names those that are known."""
    load_as(stores, one=ONE)
    tag(stores, ONE.id, f"{registry.host}/app:1")
    with pytest.raises(InvalidInput, match='unknown compression "lzma": choose gzip or zstd'):
        push(stores, f"{registry.host}/app:1", "lzma")
