"""Garbage is collected, and nothing else."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.errors import OutOfSpace
from corten.oci.descriptor import OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry.collect import Report
from corten.serve.registry.shelves import Terms
from tests.unit.serve.registry.live import Clock, Live, descriptor, index, manifest, served

LAYER, OTHER = b"layer" * 100, b"other" * 1000
LONG = 48 * 3600.0  # seconds, more than any lease


def collect(live: Live) -> Report:
    """Collect; the dry run before, and the files after, must say the same."""
    plan, before = live.registry.collector.plan(), sum(live.blobs().values())
    report = live.registry.collector.run()
    assert report == plan
    assert before - sum(live.blobs().values()) == report.size
    assert live.registry.collector.plan() == Report()
    return report


def test_what_is_in_use_stays(live: Live, clock: Clock) -> None:
    """Images under a tag or only a digest keep all that they refer to, for ever."""
    raw = live.push_image("a", "v1", LAYER, OTHER)
    alone = live.push_image("a", "", LAYER)
    parent = index(raw, alone)
    live.put_manifest("b", "x", live.push_image("b", "", LAYER))
    live.put_manifest("a", "multi", parent)
    clock.now += LONG
    assert collect(live) == Report()
    for blob in (LAYER, OTHER):
        assert live.get_blob("a", Digest.of(blob)).body == blob


def test_what_nothing_needs_goes(live: Live, clock: Clock) -> None:
    """Blobs that were pushed and never used go when their lease ends, not before."""
    live.push_blob("a", OTHER)
    live.push_image("a", "v1", LAYER)
    assert collect(live) == Report()
    clock.now += LONG
    assert collect(live) == Report(blobs=1, size=len(OTHER))
    assert live.call("HEAD", f"/v2/a/blobs/{Digest.of(OTHER)}").code == ""
    assert live.get_blob("a", Digest.of(OTHER)).code == "BLOB_UNKNOWN"


def test_a_deleted_image_goes(live: Live, clock: Clock) -> None:
    """Manifest, configuration and layers that no other image has are freed to the byte."""
    raw = live.push_image("a", "v1", LAYER, OTHER)
    live.push_image("b", "v1", LAYER)
    clock.now += LONG
    live.call("DELETE", f"/v2/a/manifests/{Digest.of(raw)}")
    assert collect(live) == Report(blobs=2, size=len(OTHER) + len(raw))
    assert live.get_blob("b", Digest.of(LAYER)).body == LAYER
    assert live.call("GET", "/v2/_catalog").json()["repositories"] == ["b"]


@pytest.mark.parametrize("way", ["head", "mount", "upload", "get manifest"])
def test_who_was_told_can_rely_on_it(live: Live, clock: Clock, way: str) -> None:
    """HEAD, mount and upload of a blob keep it for the grace period, also when its image is deleted."""
    digest = Digest.of(LAYER)
    config = b'{"architecture": "amd64", "os": "linux", "tag": "v1"}'
    raw = live.push_image("a", "v1", LAYER)
    clock.now += LONG
    target = "a"
    if way == "mount":
        target = "b"
        assert live.call("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a").status == 201
        live.push_blob("b", config)
    elif way == "upload":
        live.push_blob("a", LAYER)
    elif way == "head":
        assert live.call("HEAD", f"/v2/a/blobs/{digest}").status == 200
    live.call("DELETE", f"/v2/a/manifests/{Digest.of(raw)}")
    clock.now += 23 * 3600
    collect(live)
    answer = live.call("HEAD", f"/v2/{target}/blobs/{digest}")
    assert answer.status == (404 if way == "get manifest" else 200)
    if way != "get manifest":
        live.push_blob(target, config)
        assert live.put_manifest(target, "new", manifest(config, LAYER)).status == 201


def test_a_lease_is_renewed(live: Live, clock: Clock) -> None:
    """Each HEAD promises a whole grace period."""
    live.push_blob("a", LAYER)
    for _ in range(10):
        clock.now += 20 * 3600
        assert live.call("HEAD", f"/v2/a/blobs/{Digest.of(LAYER)}").status == 200
        collect(live)
    clock.now += LONG
    collect(live)
    assert live.call("HEAD", f"/v2/a/blobs/{Digest.of(LAYER)}").status == 404


def test_a_hidden_blob_goes_with_its_lease(live: Live, clock: Clock) -> None:
    """A blob that was deleted while it was leased is freed when the lease ends."""
    live.push_blob("a", LAYER)
    live.call("DELETE", f"/v2/a/blobs/{Digest.of(LAYER)}")
    assert collect(live) == Report()
    clock.now += LONG
    assert collect(live) == Report(blobs=1, size=len(LAYER))


def test_untagged_manifests_are_kept(live: Live, clock: Clock) -> None:
    """Without the option a manifest that no tag leads to stays."""
    raw = live.push_image("a", "v1", LAYER)
    live.call("DELETE", "/v2/a/manifests/v1")
    clock.now += LONG
    assert collect(live) == Report()
    assert live.get_manifest("a", Digest.of(raw)).body == raw


@pytest.fixture
def tidy(tmp_path: Path, clock: Clock) -> Iterator[Live]:
    """A registry that collects untagged manifests too."""
    with served(tmp_path / "tidy", Terms(untagged=True), clock) as live:
        yield live


def test_untagged_manifests_go_if_asked(tidy: Live, clock: Clock) -> None:
    """With the option they go after the grace period; what tags and indexes lead to stays."""
    tagged = tidy.push_image("a", "v1", LAYER)
    child = tidy.push_image("a", "", OTHER)
    tidy.put_manifest("a", "multi", index(child))
    alone = tidy.push_image("a", "", b"alone")
    assert collect(tidy) == Report()
    clock.now += LONG
    report = collect(tidy)
    assert (report.manifests, report.blobs) == (1, 2)
    assert tidy.get_manifest("a", Digest.of(alone)).status == 404
    for raw in (tagged, child):
        assert tidy.get_manifest("a", Digest.of(raw)).body == raw


def test_referrers_stay_with_their_subject(tidy: Live, clock: Clock) -> None:
    """Signatures live as long as what they sign, and those of them too."""
    image = tidy.push_image("a", "v1", LAYER)
    signature = tidy.push_image("a", "", b"sig", subject=descriptor(image, OCI_MANIFEST))
    stamp = tidy.push_image("a", "", b"stamp", subject=descriptor(signature, OCI_MANIFEST))
    clock.now += LONG
    assert collect(tidy) == Report()
    assert tidy.get_manifest("a", Digest.of(stamp)).body == stamp
    tidy.call("DELETE", f"/v2/a/manifests/{Digest.of(image)}")
    assert collect(tidy).manifests == 2
    assert tidy.blobs() == {}


def test_a_nested_index_goes_as_a_whole(tidy: Live, clock: Clock) -> None:
    """When the tag of an index goes, its children follow in the same run."""
    child = tidy.push_image("a", "", LAYER)
    parent = index(child)
    tidy.put_manifest("a", "multi", parent)
    tidy.call("DELETE", "/v2/a/manifests/multi")
    clock.now += LONG
    assert collect(tidy).manifests == 2
    assert tidy.blobs() == {}
    assert list((tidy.folder / "notes").rglob("*")) == []


def test_expired_uploads_go(live: Live, clock: Clock) -> None:
    """An upload that nobody adds to for a week is cancelled; its bytes count."""
    location = live.begin("a")
    live.call("PATCH", location, OTHER)
    (upload,) = (live.folder / "uploads").iterdir()
    clock.now = upload.stat().st_mtime + 6 * 24 * 3600
    assert live.registry.collector.run() == Report()
    assert live.call("GET", location).status == 204
    clock.now += LONG
    assert live.registry.collector.plan() == Report(uploads=1, size=len(OTHER))
    assert live.registry.collector.run() == Report(uploads=1, size=len(OTHER))
    assert live.call("GET", location).status == 404
    assert live.registry.collector.run() == Report()


def test_an_upload_during_the_deletion_wins(live: Live, clock: Clock) -> None:
    """A blob that is pushed again between mark and sweep stays, and is counted as kept."""
    live.push_blob("a", LAYER)
    clock.now += LONG
    digest = Digest.of(LAYER)
    found = live.registry.shelves.database.write(live.registry.collector._mark)
    assert found.dead == {digest: len(LAYER)}
    assert live.call("HEAD", f"/v2/a/blobs/{digest}").status == 404
    live.push_blob("a", LAYER)
    assert live.registry.collector._sweep(found.dead) == (0, 0, len(LAYER))
    assert live.get_blob("a", digest).body == LAYER


def test_an_upload_waits_for_the_deletion(live: Live, clock: Clock) -> None:
    """A blob that is pushed again while its file is being deleted is there afterwards."""
    live.push_blob("a", LAYER)
    clock.now += LONG
    digest, deleting, go_on = Digest.of(LAYER), threading.Event(), threading.Event()
    storage = live.registry.shelves.storage.blobs
    delete = storage.delete

    def slowly(digest: Digest) -> None:
        deleting.set()
        assert go_on.wait(30)
        delete(digest)

    storage.delete = slowly  # type: ignore[method-assign]
    collector = threading.Thread(target=live.registry.collector.run)
    collector.start()
    assert deleting.wait(30)
    pusher = threading.Thread(target=live.push_blob, args=("a", LAYER))
    pusher.start()
    go_on.set()
    pusher.join(30)
    collector.join(30)
    assert live.get_blob("a", digest).body == LAYER


def test_a_full_disk_can_be_emptied(live: Live, clock: Clock) -> None:
    """When the records cannot be written the ballast is given up, and the run goes on."""
    live.push_blob("a", LAYER)
    clock.now += LONG
    database, ballast = live.registry.shelves.database, live.folder / "registry.db.ballast"
    mark, full = live.registry.collector._mark, [OutOfSpace("full")]

    def once(c: object) -> object:
        if full:
            raise full.pop()
        assert not ballast.exists()
        return mark(c)  # type: ignore[arg-type]

    live.registry.collector._mark = once  # type: ignore[assignment,method-assign]
    assert ballast.exists()
    assert live.registry.collector.run().blobs == 1
    database.write(lambda _: None)
    assert ballast.exists()
