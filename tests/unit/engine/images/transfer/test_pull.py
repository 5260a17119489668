"""pull: from a registry of the test's own into real stores."""

import asyncio
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.errors import CortenError, DataCorrupted, InvalidInput, NotFound, Unsupported
from corten.oci.descriptor import OCI_MANIFEST, Descriptor
from corten.oci.image import Manifest
from corten.oci.platform import host
from tests.fakes.registry import FakeRegistry, breaks, lies, refuse, stalls
from tests.unit.engine.images.registries import Told, is_tidy, offer, offer_index, pull, with_remote
from tests.unit.engine.images.samples import Made, docker_archive, make

ONE = make([{"etc/name": b"one"}, {"etc/more": b"more" * 50_000}])
TWO = make([{"etc/name": b"one"}, {"other": b"two"}])
FOREIGN = make([{"a": b"b"}], architecture="s390x")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """An empty registry."""
    with FakeRegistry() as found:
        yield found


def short(manifest: Manifest) -> list[str]:
    """Return the names by which progress calls the layers."""
    return [layer.digest.hex[:12] for layer in manifest.fields.layers]


def nothing_is_left(stores: Stores) -> bool:
    """Tell whether stores hold no image, no blob and no snapshot."""
    return not (stores.images.all() or any(stores.content.walk()) or any(stores.snapshots.walk()))


def test_a_pull_makes_an_image(registry: FakeRegistry, stores: Stores) -> None:
    """Byte for byte what the registry has, under the tag and under the digest."""
    manifest = offer(registry, "app", "1", ONE)

    told = pull(stores, f"{registry.host}/app:1")

    (image,) = stores.images.all()
    assert (image.id, image.manifest) == (ONE.id, manifest.digest)
    assert stores.read(image.manifest) == manifest.raw
    assert image.references == (
        f"{registry.host}/app:1",
        f"{registry.host}/app@{manifest.digest}",
    )
    assert is_tidy(stores)
    assert list(stores.content.partials.walk()) == []
    assert told.lines[0] == "1: Pulling from app"
    assert told.lines[1:3] == [f"{name}: Pulling fs layer" for name in short(manifest)]
    for name in short(manifest):
        mine = [line for line in told.lines if line.startswith(name)]
        assert mine == [f"{name}: Pulling fs layer", f"{name}: Download complete", f"{name}: Pull complete"]
    assert told.lines[-2:] == [
        f"Digest: {manifest.digest}",
        f"Status: Downloaded newer image for {registry.host}/app:1",
    ]


def test_a_second_pull_fetches_nothing(registry: FakeRegistry, stores: Stores) -> None:
    """Neither of the same name, nor of the same image elsewhere under another name."""
    offer(registry, "app", "1", ONE)
    offer(registry, "app", "2", ONE)
    pull(stores, f"{registry.host}/app:1")
    before = len(registry.saw("GET .*/blobs/"))

    again = pull(stores, f"{registry.host}/app:1")
    other = pull(stores, f"{registry.host}/app:2")

    layers = registry.saw("GET .*/blobs/")[before:]
    assert {seen.path.rpartition("/")[2] for seen in layers} <= {ONE.id}
    assert again.lines[-1] == f"Status: Image is up to date for {registry.host}/app:1"
    assert other.lines[-1] == f"Status: Downloaded newer image for {registry.host}/app:2"


def test_layers_that_are_here_are_not_fetched(registry: FakeRegistry, stores: Stores) -> None:
    """A shared base exists already, and is stored once."""
    offer(registry, "app", "1", ONE)
    manifest = offer(registry, "app", "2", TWO)
    pull(stores, f"{registry.host}/app:1")

    told = pull(stores, f"{registry.host}/app:2")

    base, top = short(manifest)
    assert f"{base}: Already exists" in told.lines
    assert f"{top}: Pull complete" in told.lines
    assert len(registry.saw(f"GET .*/blobs/{manifest.fields.layers[0].digest}")) == 1
    assert is_tidy(stores)


def test_a_moved_tag_leaves_the_old_image(registry: FakeRegistry, stores: Stores) -> None:
    """It keeps its digest and loses its tag."""
    offer(registry, "app", "1", ONE)
    pull(stores, f"{registry.host}/app:1")
    offer(registry, "app", "1", TWO)
    pull(stores, f"{registry.host}/app:1")

    old, new = stores.images.get(ONE.id), stores.images.get(TWO.id)
    assert [name for name in old.references if "@" not in name] == []
    assert f"{registry.host}/app:1" in new.references


@pytest.mark.parametrize("form", ["{0}@{1}", "{0}:ignored@{1}"])
def test_a_digest_names_what_it_names(registry: FakeRegistry, stores: Stores, form: str) -> None:
    """Whatever tag stands beside it; no tag is given."""
    manifest = offer(registry, "app", "1", ONE)
    name = form.format(f"{registry.host}/app", manifest.digest)

    told = pull(stores, name)

    assert stores.images.get(ONE.id).references == (f"{registry.host}/app@{manifest.digest}",)
    assert told.lines[-1].endswith(f"{registry.host}/app@{manifest.digest}")


def test_all_tags(registry: FakeRegistry, stores: Stores) -> None:
    """A name alone is the whole repository; the status comes once."""
    offer(registry, "app", "1", ONE)
    offer(registry, "app", "2", TWO)

    told = pull(stores, f"{registry.host}/app")

    tags = [name for image in stores.images.all() for name in image.references if "@" not in name]
    assert sorted(tags) == [f"{registry.host}/app:{number}" for number in (1, 2)]
    assert [line for line in told.lines if line.startswith("Status")] == [
        f"Status: Downloaded newer image for {registry.host}/app"
    ]


def test_the_platform_is_chosen_from_an_index(registry: FakeRegistry, stores: Stores) -> None:
    """That of this machine unless said; digest and bytes of the index are kept."""
    images = {
        str(host()): offer(registry, "app", "own", ONE),
        "linux/s390x": offer(registry, "app", "z", FOREIGN),
    }
    index = offer_index(registry, "app", "1", images)

    pull(stores, f"{registry.host}/app:1")
    assert stores.images.find(f"{registry.host}/app:1") == stores.images.get(ONE.id)
    told = pull(stores, f"{registry.host}/app:1", "linux/s390x")

    image = stores.images.get(FOREIGN.id)
    assert image.references == (f"{registry.host}/app:1", f"{registry.host}/app@{index}")
    assert stores.read(index) == registry.manifests["app", "1"][1]
    assert f"Digest: {index}" in told.lines
    assert is_tidy(stores)


def test_a_missing_platform_is_named(registry: FakeRegistry, stores: Stores) -> None:
    """In an index, and where the only image is for another one."""
    index = {"linux/s390x": offer(registry, "app", "z", FOREIGN)}
    offer_index(registry, "app", "1", index)
    offer_index(
        registry, "app", "2", index, annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )

    for name, platform in (("1", None), ("1", "linux/386"), ("2", "linux/s390x")):
        with pytest.raises(
            NotFound, match=f"no matching manifest for {platform or host()} in the manifest list"
        ):
            pull(stores, f"{registry.host}/app:{name}", platform)
    with pytest.raises(
        NotFound, match="does not match the specified platform: wanted linux/386, actual linux/s390x"
    ):
        pull(stores, f"{registry.host}/app:z", "linux/386")
    assert nothing_is_left(stores)


@pytest.mark.parametrize(
    ("change", "failure", "message"),
    [
        (
            {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}},
            Unsupported,
            "an artifact of type",
        ),
        ({"artifactType": "a/b", "config": {"mediaType": "c/d"}}, Unsupported, "an artifact of type a/b"),
        ({"layers": {"mediaType": "x/foreign"}}, Unsupported, "has a layer of type x/foreign"),
        ({"config": {"size": 3}}, DataCorrupted, "its manifest announces 3"),
        ({"layers": {"size": 3}}, DataCorrupted, "its manifest announces 3"),
        ({"layers": {"size": 1 << 30}}, DataCorrupted, f"its manifest announces {1 << 30}"),
        ({"config": {"size": 1 << 40}}, DataCorrupted, "too many for a document"),
    ],
)
def test_manifests_that_are_no_images(
    registry: FakeRegistry, stores: Stores, change: dict[str, Any], failure: type[CortenError], message: str
) -> None:
    """One line, and nothing is left, not even the record of a name."""
    document = json.loads(offer(registry, "app", "1", ONE).raw)
    for key, value in change.items():
        if key == "layers":
            document[key] = [layer | value for layer in document[key]]
        else:
            document[key] = document[key] | value if isinstance(value, dict) else value
    registry.add_manifest("app", "1", json.dumps(document).encode(), OCI_MANIFEST)

    with pytest.raises(failure, match=message):
        pull(stores, f"{registry.host}/app:1")
    assert nothing_is_left(stores)


def test_a_configuration_for_another_system(registry: FakeRegistry, stores: Stores) -> None:
    """Windows images do not run here, and say so before their layers are fetched."""
    manifest = offer(registry, "app", "1", make([{"a": b"b"}], os="windows"))

    with pytest.raises(Unsupported, match="made for windows: only linux images run here"):
        pull(stores, f"{registry.host}/app:1")
    assert registry.saw(f"GET .*/blobs/{manifest.fields.layers[0].digest}") == []


@pytest.mark.parametrize("part", ["config", "layer", "manifest"])
def test_a_flipped_bit_is_found(registry: FakeRegistry, stores: Stores, part: str) -> None:
    """Wherever it is; nothing becomes visible, and the next try works."""
    manifest = offer(registry, "app", "1", ONE)
    digest = {
        "config": manifest.fields.config.digest,
        "layer": manifest.fields.layers[1].digest,
        "manifest": manifest.digest,
    }[part]
    raw = manifest.raw if part == "manifest" else registry.blobs["app", digest]
    wrong = bytearray(raw)
    wrong[len(raw) // 2] ^= 1
    registry.order(f"GET .*/{digest}", lies(bytes(wrong), len(raw)), times=10)

    with pytest.raises(CortenError):
        pull(stores, f"{registry.host}/app@{manifest.digest}")
    assert stores.images.all() == []
    assert [snapshot for snapshot in stores.snapshots.walk() if snapshot.kind == "active"] == []

    registry._orders.clear()
    pull(stores, f"{registry.host}/app@{manifest.digest}")
    assert stores.images.get(ONE.id).manifest == manifest.digest


def test_a_layer_that_is_not_what_the_configuration_says(registry: FakeRegistry, stores: Stores) -> None:
    """The right blob of another image."""
    swapped = Made(ONE.config, (ONE.layers[0], TWO.layers[1]))
    offer(registry, "app", "1", swapped)

    with pytest.raises(DataCorrupted, match="but the image says"):
        pull(stores, f"{registry.host}/app:1")
    assert nothing_is_left(stores)


def test_what_arrived_is_not_fetched_again(registry: FakeRegistry, stores: Stores) -> None:
    """A pull that gave up leaves its bytes for the next one."""
    data = make([{"big": bytes(range(256)) * 8000}])
    manifest = offer(registry, "app", "1", data, compress=False)
    layer = manifest.fields.layers[0]
    registry.order(f"GET .*/{layer.digest}", breaks(registry, 1_000_000))
    registry.order(f"GET .*/{layer.digest}", refuse(403, "DENIED"))

    with pytest.raises(CortenError):
        pull(stores, f"{registry.host}/app:1")
    assert stores.images.all() == []
    registry.seen.clear()
    pull(stores, f"{registry.host}/app:1")

    (asked,) = registry.saw(f"GET .*/{layer.digest}")
    start = int(asked.headers["Range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= 1_000_000
    assert stores.images.get(data.id)


def test_two_pulls_of_one_image_fetch_it_once(registry: FakeRegistry, stores: Stores) -> None:
    """The second waits for the first; both say how it went."""
    manifest = offer(registry, "app", "1", ONE)
    offer(registry, "app", "2", TWO)
    told = [Told() for _ in range(4)]
    names = ["app:1", "app:1", "app:2", "app:2"]

    async def work(remote: Any) -> None:
        pairs = zip(names, told, strict=True)
        await asyncio.gather(
            *(remote.pull(f"{registry.host}/{name}", "", None, None, each) for name, each in pairs)
        )

    with_remote(stores, work)

    assert {image.id for image in stores.images.all()} == {ONE.id, TWO.id}
    for layer in manifest.fields.layers:
        assert len(registry.saw(f"GET .*/blobs/{layer.digest}")) == 1
    assert all(each.lines[-1].startswith("Status: ") for each in told)
    assert is_tidy(stores)


def test_who_waited_for_a_pull_that_failed_fetches_itself(registry: FakeRegistry, stores: Stores) -> None:
    """The failure of one is not the failure of the other."""
    shared = offer(registry, "app", "1", ONE).fields.layers[0]
    broken = Made(ONE.config, (ONE.layers[0], TWO.layers[1]))
    offer(registry, "app", "broken", broken)

    async def work(remote: Any) -> Any:
        first = asyncio.create_task(remote.pull(f"{registry.host}/app:broken", "", None, None, Told()))
        second = asyncio.create_task(remote.pull(f"{registry.host}/app:1", "", None, None, Told()))
        return await asyncio.gather(first, second, return_exceptions=True)

    failed, well = with_remote(stores, work)
    assert isinstance(failed, DataCorrupted)
    assert well is None
    assert stores.images.get(ONE.id).layers[0] == shared.digest


def test_a_pull_that_is_cancelled_leaves_no_trace(registry: FakeRegistry, stores: Stores) -> None:
    """But what has come, for the next one."""
    data = make([{"big": bytes(range(256)) * 8000}])
    manifest = offer(registry, "app", "1", data, compress=False)
    digest = manifest.fields.layers[0].digest
    registry.order(f"GET .*/{digest}", stalls(registry, registry.blobs["app", digest][:-1]))

    async def work(remote: Any) -> None:
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell(message: dict[str, Any]) -> None:
            if message.get("status") == "Downloading":
                loop.call_soon_threadsafe(arrived.set)

        task = asyncio.create_task(remote.pull(f"{registry.host}/app:1", "", None, None, tell))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_remote(stores, work)
    assert stores.images.all() == []
    assert list(stores.snapshots.walk()) == []
    registry.released.set()
    pull(stores, f"{registry.host}/app:1")
    assert "Range" in registry.saw(f"GET .*/{digest}")[-1].headers


def test_an_image_that_was_loaded_is_only_named(registry: FakeRegistry, stores: Stores) -> None:
    """Its layers are here, whatever their compression; the manifest that the registry has is kept too."""
    load(io.BytesIO(docker_archive({"one": ONE})), stores, host(), Told())
    manifest = offer(registry, "app", "1", ONE)
    pull(stores, f"{registry.host}/app:1")

    image = stores.images.get(ONE.id)
    assert f"{registry.host}/app@{manifest.digest}" in image.references
    assert image.documents == (manifest.digest,)
    assert stores.read(manifest.digest) == manifest.raw
    assert registry.saw(f"GET .*/{manifest.fields.layers[0].digest}") == []
    assert is_tidy(stores)


def test_an_image_without_layers(registry: FakeRegistry, stores: Stores) -> None:
    """It is only a configuration."""
    offer(registry, "app", "1", make([]))
    pull(stores, f"{registry.host}/app:1")
    assert stores.images.all()[0].layers == ()


def test_the_same_layer_twice(registry: FakeRegistry, stores: Stores) -> None:
    """It is fetched once and laid down twice."""
    twice = make([{"a": b"b"}, {"a": b"b"}])
    manifest = offer(registry, "app", "1", twice)
    pull(stores, f"{registry.host}/app:1")

    assert len(registry.saw(f"GET .*/{manifest.fields.layers[0].digest}")) == 1
    assert len(stores.images.get(twice.id).chain_ids) == 2


@pytest.mark.parametrize(
    ("name", "failure"), [("UPPER", InvalidInput), ("a:b:c", InvalidInput), ("", InvalidInput)]
)
def test_names_that_are_none(stores: Stores, name: str, failure: type[CortenError]) -> None:
    """They are refused before anybody is asked."""
    with pytest.raises(failure):
        pull(stores, name)


def test_a_gzip_member_with_a_time_in_it(registry: FakeRegistry, stores: Stores) -> None:
    """What the registry has is stored as it is, not compressed again."""
    blob = gzip.compress(ONE.layers[0], mtime=12345)
    config = registry.add_blob(
        "app", make([{"etc/name": b"one"}]).config, "application/vnd.oci.image.config.v1+json"
    )
    layer: Descriptor = registry.add_blob("app", blob)
    registry.add_manifest("app", "1", Manifest.make(config, [layer]).raw)
    pull(stores, f"{registry.host}/app:1")

    assert stores.read(layer.digest) == blob
