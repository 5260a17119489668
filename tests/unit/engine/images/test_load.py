"""load: archives of every kind become images, or nothing."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import threading
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.core.content.store import Info
from corten.engine.images.load import load as load_for
from corten.engine.images.stores import Stores
from corten.engine.records.images import Image
from corten.errors import CortenError, DataCorrupted, InvalidInput
from corten.oci.digest import Digest
from corten.oci.platform import Platform, host
from tests.unit.engine.images.samples import (
    Layout,
    Made,
    Told,
    claimed,
    docker_archive,
    kept,
    make,
    read,
    tar,
)

ONE = make([{"etc/name": b"one"}])
TWO = make([{"etc/name": b"one"}, {"etc/more": b"two"}])
NAME = "io.containerd.image.name"
NOTHING: tuple[set[str], set[str]] = (set(), set())


def load(data: bytes, stores: Stores, told: Told | None = None) -> list[Image]:
    """Load for this machine."""
    return load_for(io.BytesIO(data), stores, host(), told or Told())


def test_a_docker_archive(stores: Stores) -> None:
    """Name, id, tree and labels arrive; the layers are stored as they came."""
    told = Told()
    (image,) = load(docker_archive({"me/app:v1": TWO}), stores, told)
    assert image.id == TWO.id
    assert image.references == ("docker.io/me/app:v1",)
    assert image.layers == tuple(Digest.of(layer) for layer in TWO.layers)
    assert read(stores, image, "etc/more") == b"two"
    assert image.labels == {"stage": "test"}
    assert told.lines == ["Loaded image: me/app:v1\n"]
    assert kept(stores) == claimed(image)


def test_progress_is_told_by_layer(stores: Stores) -> None:
    """Each layer has its own bar, which ends at its length."""
    told = Told()
    load(docker_archive({"a": TWO}), stores, told)
    bars = [message for message in told.messages if message.get("status") == "Loading layer"]
    assert [bar["id"] for bar in bars] == [Digest.of(layer).hex[:12] for layer in TWO.layers]
    assert all(bar["progressDetail"]["current"] == bar["progressDetail"]["total"] for bar in bars)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress, lzma.compress, bz2.compress])
def test_the_archive_may_be_compressed(stores: Stores, compress: Callable[[bytes], bytes]) -> None:
    """The format is found out from the bytes."""
    assert [image.id for image in load(compress(docker_archive({"a": ONE})), stores)] == [ONE.id]


def test_layers_may_be_compressed(stores: Stores) -> None:
    """A compressed layer keeps its own digest beside the diff id."""
    packed = gzip.compress(ONE.layers[0], mtime=0)
    item = [{"Config": "c.json", "RepoTags": ["a"], "Layers": ["l.tar.gz"]}]
    files = {"manifest.json": json.dumps(item).encode(), "c.json": ONE.config, "l.tar.gz": packed}
    (image,) = load(tar(files), stores)
    assert (image.layers, image.diff_ids) == ((Digest.of(packed),), (Digest.of(ONE.layers[0]),))


def test_links_between_layers_are_followed(stores: Stores) -> None:
    """Docker 1.10 wrote a layer that comes twice as a link to the first."""
    item = [{"Config": "c.json", "RepoTags": None, "Layers": ["b/layer.tar"]}]
    files = {"manifest.json": json.dumps(item).encode(), "c.json": ONE.config, "a/layer.tar": ONE.layers[0]}
    told = Told()
    (image,) = load(tar(files, {"b/layer.tar": "../a/layer.tar"}), stores, told)
    assert image.references == ()
    assert told.lines == [f"Loaded image ID: {ONE.id}\n"]


def test_several_images_share_layers(stores: Stores) -> None:
    """What two images have in common is there once."""
    first, second = load(docker_archive({"one": ONE, "two:1,two:2": TWO}), stores)
    assert first.chain_id == second.chain_ids[0]
    assert second.references == ("docker.io/library/two:1", "docker.io/library/two:2")
    assert kept(stores) == claimed(first, second)


def test_an_oci_layout_keeps_its_manifest(stores: Stores) -> None:
    """Manifest and compressed blobs are stored with the digests that they came with."""
    layout = Layout()
    entry = layout.manifest(TWO, annotations={NAME: "docker.io/library/app:1"})
    layout.entries = [entry]
    (image,) = load(layout.tar(), stores)
    assert (image.id, image.manifest) == (TWO.id, entry["digest"])
    assert image.references == ("docker.io/library/app:1",)
    assert read(stores, image, "etc/more") == b"two"
    assert kept(stores) == claimed(image)


@pytest.mark.parametrize(("ref", "expected"), [("latest", ()), ("reg.example/a:2", ("reg.example/a:2",))])
def test_a_bare_tag_is_no_name(stores: Stores, ref: str, expected: tuple[str, ...]) -> None:
    """An OCI archive may carry a tag alone, which names nothing here, or a whole name."""
    layout = Layout()
    layout.entries = [layout.manifest(ONE, annotations={"org.opencontainers.image.ref.name": ref})]
    (image,) = load(layout.tar(), stores)
    assert image.references == expected


def test_both_kinds_at_once(stores: Stores) -> None:
    """The OCI side gives the manifest, Docker's side adds names."""
    layout = Layout()
    entry = layout.manifest(ONE)
    layout.entries = [entry]
    item = [{"Config": f"blobs/sha256/{ONE.id.hex}", "RepoTags": ["app:3"], "Layers": []}]
    (image,) = load(layout.tar(manifest_json=json.dumps(item).encode()), stores)
    assert (image.manifest, image.references) == (entry["digest"], ("docker.io/library/app:3",))


def _index(layout: Layout, entries: list[dict[str, Any]]) -> dict[str, Any]:
    body = {"schemaVersion": 2, "manifests": entries}
    return layout.blob(json.dumps(body).encode(), "application/vnd.oci.image.index.v1+json")


def test_the_platform_of_this_machine_is_chosen(stores: Stores) -> None:
    """Of an index within the index one image is taken; attestations and other platforms are left."""
    layout = Layout()
    own = {"os": "linux", "architecture": host().architecture}
    other = layout.manifest(make([{"a": b"x"}]), platform={"os": "linux", "architecture": "s390x"})
    mine = layout.manifest(ONE, platform=own)
    proof = layout.manifest(
        TWO, platform=own, annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    layout.entries = [_index(layout, [other, proof, mine])]
    (image,) = load(layout.tar(), stores)
    assert image.id == ONE.id
    assert kept(stores) == claimed(image)


def test_no_image_for_this_machine(stores: Stores) -> None:
    """An archive for other platforms only is refused, and says so."""
    layout = Layout()
    other = layout.manifest(ONE, platform={"os": "linux", "architecture": "s390x"})
    layout.entries = [_index(layout, [other])]
    with pytest.raises(InvalidInput, match="no image for linux/"):
        load(layout.tar(), stores)
    assert kept(stores) == NOTHING


def test_indexes_do_not_nest_without_end(stores: Stores) -> None:
    """A chain of indexes is cut off."""
    layout = Layout()
    entry = layout.manifest(ONE)
    for _ in range(8):
        entry = _index(layout, [entry])
    layout.entries = [entry]
    with pytest.raises(DataCorrupted, match="too deeply"):
        load(layout.tar(), stores)


def test_an_artifact_is_no_image(stores: Stores) -> None:
    """Charts and signatures in a layout are passed over."""
    layout = Layout()
    config = layout.blob(b"{}", "application/vnd.example.config+json")
    body = {"schemaVersion": 2, "config": config, "layers": []}
    artifact = layout.blob(json.dumps(body).encode(), "application/vnd.oci.image.manifest.v1+json")
    layout.entries = [artifact, layout.manifest(ONE)]
    assert [image.id for image in load(layout.tar(), stores)] == [ONE.id]


def test_blobs_stored_before_may_be_missing(stores: Stores) -> None:
    """A layout need not repeat what is here already."""
    layout = Layout()
    layout.entries = [layout.manifest(ONE)]
    load(layout.tar(), stores)
    layout.files = {name: data for name, data in layout.files.items() if "blobs" not in name}
    assert [image.id for image in load(layout.tar(), stores)] == [ONE.id]


def test_loading_again_changes_nothing(stores: Stores) -> None:
    """The first manifest and blobs stay; what came again in another form is freed."""
    (first,) = load(docker_archive({"a": ONE}), stores)
    layout = Layout()
    layout.entries = [layout.manifest(ONE, annotations={NAME: "b:1"})]
    (second,) = load(layout.tar(), stores)
    assert second.manifest == first.manifest
    assert second.references == ("docker.io/library/a:latest", "docker.io/library/b:1")
    assert kept(stores) == claimed(second)


def test_a_name_moves_and_says_so(stores: Stores) -> None:
    """The image that had the name keeps its id."""
    load(docker_archive({"a": ONE}), stores)
    told = Told()
    load(docker_archive({"a": TWO}), stores, told)
    assert stores.images.find("a").id == TWO.id
    assert stores.images.get(ONE.id).references == ()
    assert str(ONE.id) in told.lines[0]


def test_an_image_without_layers(stores: Stores) -> None:
    """An empty image is an image, without a snapshot."""
    (image,) = load(docker_archive({"empty": make([])}), stores)
    assert (image.chain_id, image.size) == (None, 0)


def _wrong_layer() -> bytes:
    return docker_archive({"a": Made(ONE.config, (tar({"etc/name": b"other"}),))})


def _missing_layer() -> bytes:
    item = [{"Config": "c.json", "RepoTags": ["a"], "Layers": ["gone/layer.tar"]}]
    return tar({"manifest.json": json.dumps(item).encode(), "c.json": ONE.config})


def _too_few_layers() -> bytes:
    return docker_archive({"a": Made(TWO.config, TWO.layers[:1])})


def _blob_under_a_wrong_digest() -> bytes:
    layout = Layout()
    layout.entries = [layout.manifest(ONE)]
    layout.files[f"blobs/sha256/{ONE.id.hex}"] = make([{"etc/name": b"two"}]).config
    return layout.tar()


def _wrong_size() -> bytes:
    layout = Layout()
    layout.entries = [layout.manifest(ONE) | {"size": 7}]
    return layout.tar()


def _links_in_a_circle() -> bytes:
    item = [{"Config": "c", "RepoTags": ["a"], "Layers": []}]
    return tar({"manifest.json": json.dumps(item).encode()}, {"c": "d", "d": "c"})


def _link_out() -> bytes:
    item = [{"Config": "c", "RepoTags": ["a"], "Layers": []}]
    return tar({"manifest.json": json.dumps(item).encode()}, {"c": "../../etc/passwd"})


def _config_is_no_config() -> bytes:
    return docker_archive({"a": Made(b'{"rootfs": 5}', ())})


@pytest.mark.parametrize(
    "archive",
    [
        _wrong_layer,
        _missing_layer,
        _too_few_layers,
        _blob_under_a_wrong_digest,
        _wrong_size,
        _links_in_a_circle,
        _link_out,
        _config_is_no_config,
        lambda: docker_archive({"a": ONE})[:3000],
        lambda: b"x" * 2048,
    ],
)
def test_contradictions_leave_nothing(stores: Stores, archive: Callable[[], bytes]) -> None:
    """Damaged, incomplete or contradictory archives are refused and all they brought is freed."""
    with pytest.raises(DataCorrupted):
        load(archive(), stores)
    assert stores.images.all() == []
    assert kept(stores) == NOTHING


@pytest.mark.parametrize("archive", [b"", tar({}), tar({"bin/sh": b"#!"})])
def test_a_plain_tree_is_no_archive_of_images(stores: Stores, archive: bytes) -> None:
    """What holds no image is refused with a hint at import."""
    with pytest.raises(InvalidInput, match="use import"):
        load(archive, stores)
    assert kept(stores) == NOTHING


def test_a_known_tree_does_not_vouch_for_other_bytes(stores: Stores) -> None:
    """An archive that pairs a tree that is here with bytes of its own is refused, and nothing changes."""
    (image,) = load(docker_archive({"a": ONE}), stores)
    before = kept(stores)
    forged = Layout()
    evil = make([{"etc/name": b"evil"}]).layers
    entry = forged.manifest(Made(make([{"etc/name": b"one"}], author="x").config, evil))
    forged.entries = [entry]
    with pytest.raises(DataCorrupted, match="but the image says"):
        load(forged.tar(), stores)
    assert stores.images.all() == [image]
    assert kept(stores) == before


def test_hostile_names_reach_no_path(stores: Stores, folder: str) -> None:
    """Absolute names and ``..`` in the archive make no file anywhere."""
    names = {"/tmp/images-canary": b"x", "../images-canary": b"x", "a/../../../images-canary": b"x"}
    item = [{"Config": "/tmp/images-canary", "RepoTags": ["a"], "Layers": []}]
    with pytest.raises(DataCorrupted):
        load(tar(names | {"manifest.json": json.dumps(item).encode()}), stores)
    assert kept(stores) == NOTHING


def test_earlier_images_of_an_archive_stay(stores: Stores) -> None:
    """Each image stands for itself: one that fails does not take the others along."""
    bad = Made(TWO.config, (TWO.layers[0], tar({"x": b""})))
    with pytest.raises(DataCorrupted):
        load(docker_archive({"good": ONE, "bad": bad}), stores)
    (image,) = stores.images.all()
    assert image.id == ONE.id
    assert kept(stores) == claimed(image)


def test_two_loads_at_once(stores: Stores) -> None:
    """Loading the same image in several threads gives one image, complete, and no leftovers."""
    archive = docker_archive({"a": TWO})
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        load(archive, stores)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (image,) = stores.images.all()
    assert kept(stores) == claimed(image)


def test_nothing_is_freed_under_a_lease(stores: Stores) -> None:
    """What is discarded while someone else loads goes when they have ended, unless they claim it."""
    blob = stores.write(b"shared")
    with stores.lease():
        stores.discard([blob])
        assert stores.content.info(blob) == Info(blob, 6)
    assert kept(stores) == NOTHING


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_archives_are_refused_or_load(stores: Stores, data: st.DataObject) -> None:
    """Flipped bytes never make load fail in another way, and nothing unclaimed stays."""
    archive = bytearray(docker_archive({"a": ONE}))
    for _ in range(data.draw(st.integers(1, 3))):
        archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CortenError):
        load(bytes(archive), stores)
    assert kept(stores) == claimed(*stores.images.all())


def test_trees_are_made_while_the_archive_passes(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """No layer is read again after the archive has passed, though what it is is said at the end only."""
    monkeypatch.setattr("corten.engine.images.unpack.grow", lambda *_: pytest.fail("read again"))
    (image,) = load(docker_archive({"a": TWO}), stores)

    assert read(stores, image, "etc/more") == b"two"


def test_a_blob_that_is_here_is_not_written_again(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading an image that is here changes nothing, writes nothing and makes no tree."""
    layout = Layout()
    layout.entries = [layout.manifest(TWO)]
    (image,) = load(layout.tar(), stores)
    before = kept(stores)
    for name in ("follow", "Ingest"):
        monkeypatch.setattr(
            f"corten.engine.images.archives.archive.{name}", lambda *_: pytest.fail("done again")
        )

    assert load(layout.tar(), stores) == [image]
    assert kept(stores) == before


def test_a_known_blob_of_another_size_is_refused(stores: Stores) -> None:
    """A name that is known does not vouch for a file of another length."""
    layout = Layout()
    layout.entries = [layout.manifest(ONE)]
    (image,) = load(layout.tar(), stores)
    layout.files[f"blobs/sha256/{image.layers[0].hex}"] += b"more"
    with pytest.raises(DataCorrupted, match="by its digest"):
        load(layout.tar(), stores)


def test_the_same_layer_under_two_names(stores: Stores) -> None:
    """A layer that an old archive repeats for each image is kept once, and no tree is left over."""
    first, second = load(
        docker_archive({"one": ONE, "two": make([{"etc/name": b"one"}], author="x")}), stores
    )

    assert first.layers == second.layers
    assert kept(stores) == claimed(first, second)


def test_what_only_looks_like_a_layer(stores: Stores) -> None:
    """A damaged file that no image names is no reason to refuse the others."""
    item = [{"Config": "c.json", "RepoTags": ["a"], "Layers": ["l.tar"]}]
    odd = {"odd.tar": gzip.compress(b"no tar at all" * 100), "cut.tgz": gzip.compress(bytes(2000))[:-9]}
    files = odd | {"manifest.json": json.dumps(item).encode(), "c.json": ONE.config, "l.tar": ONE.layers[0]}
    (image,) = load(tar(files), stores)

    assert kept(stores) == claimed(image)


def test_a_damaged_layer_is_told(stores: Stores) -> None:
    """What was wrong with a layer that an image names is what the user is told."""
    item = [{"Config": "c.json", "RepoTags": ["a"], "Layers": ["l.tar"]}]
    damaged = ONE.layers[0][:512] + b"\1" * 1024 + ONE.layers[0][1536:]
    config = json.loads(ONE.config)
    config["rootfs"]["diff_ids"] = [Digest.of(damaged)]
    files = {
        "manifest.json": json.dumps(item).encode(),
        "c.json": json.dumps(config).encode(),
        "l.tar": damaged,
    }
    with pytest.raises(DataCorrupted, match="the layer"):
        load(tar(files), stores)
    assert kept(stores) == NOTHING


def test_a_chosen_platform(stores: Stores) -> None:
    """Of an index the image of the platform that was asked for is taken, and nothing else stays."""
    layout = Layout()
    entries = [
        layout.manifest(made, platform={"os": "linux", "architecture": name})
        for made, name in ((ONE, "s390x"), (TWO, "riscv64"))
    ]
    layout.entries = [_index(layout, entries)]
    (image,) = load_for(io.BytesIO(layout.tar()), stores, Platform.parse("linux/riscv64"), Told())

    assert image.id == TWO.id
    assert kept(stores) == claimed(image)
