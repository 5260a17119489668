"""disk: every block of the state folder has a place."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from corten.core.content.local import LocalContentStore
from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine.disk import Disk, measure
from corten.oci.digest import Digest

DATA = os.urandom(50_000)
CHAIN = str(Digest.of(b"chain"))


def used(path: Path) -> int:
    """Return what du(1) says of *path*, in bytes."""
    blocks: dict[int, int] = {}

    def walk(top: Path) -> None:
        blocks[top.lstat().st_ino] = top.lstat().st_blocks
        if top.is_dir() and not top.is_symlink():
            for name in top.iterdir():
                walk(name)

    walk(path)
    return sum(blocks.values()) * 512


def file(path: Path, size: int) -> int:
    """Write a file of *size* bytes; return what it takes on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path.stat().st_blocks * 512


@pytest.fixture(params=[OverlaySnapshotter, CopySnapshotter])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshotter:
    """Snapshots of each kind: a layer, a container on it, a view, and a layer in the making."""
    name = "overlay" if request.param is OverlaySnapshotter else "copy"
    made: Snapshotter = request.param(str(tmp_path / "snapshots" / name))
    file(Path(made.prepare("layer").directory, "a"), 20_000)
    made.commit(CHAIN, "layer")
    file(Path(made.prepare("c1", CHAIN).directory, "b"), 30_000)
    made.view("look", CHAIN)
    file(Path(made.prepare("unpack-1", None).directory, "c"), 40_000)
    return made


@pytest.fixture
def disk(tmp_path: Path, snapshots: Snapshotter) -> Disk:
    """What is found in a state folder that has something of everything."""
    content = LocalContentStore(tmp_path / "content")
    with content.ingest(Digest.of(DATA), len(DATA), resume=True) as ingest:
        ingest.write(DATA)
    with suppress(ConnectionError), content.ingest(Digest.of(b"x"), 60_000, resume=True) as ingest:
        ingest.write(DATA)
        raise ConnectionError
    file(tmp_path / "containers" / "c1" / "logs" / "1", 70_000)
    file(tmp_path / "trash" / "c0" / "deep" / "1", 80_000)
    file(tmp_path / "snapshots" / "other" / "trash" / "9" / "fs" / "1", 90_000)
    file(tmp_path / "content" / "trash" / "1", 100_000)
    file(tmp_path / "volumes" / "data" / "_data" / "deep" / "1", 120_000)
    file(tmp_path / "volumes" / "data" / "snapshots" / "s1" / "_data" / "1", 130_000)
    file(tmp_path / "volumes" / "other" / "_data" / "1", 140_000)
    file(tmp_path / "volumes" / ".trash" / "1" / "_data" / "1", 150_000)
    file(tmp_path / "volumes" / ".work" / "1" / "_data" / "1", 160_000)
    file(tmp_path / "engine.db", 110_000)
    return measure(str(tmp_path), snapshots)


def test_the_sum_is_what_is_on_disk(disk: Disk, tmp_path: Path) -> None:
    """No block is left out and none is counted twice."""
    assert disk.total == used(tmp_path)


def test_all_has_its_place(disk: Disk, tmp_path: Path, snapshots: Snapshotter) -> None:
    """Blobs, trees, containers, volumes, what is unfinished, what is going, and the rest."""
    assert disk.blobs == {
        Digest.of(DATA): (tmp_path / "content/blobs/sha256" / Digest.of(DATA).hex).stat().st_blocks * 512
    }
    assert set(disk.trees) >= {CHAIN, "c1"}
    assert disk.trees[CHAIN] >= snapshots.usage(CHAIN).bytes
    assert disk.trees["c1"] == snapshots.usage("c1").bytes
    assert disk.containers["c1"] > 70_000
    assert set(disk.volumes) == {"data", "other"}
    assert 120_000 < disk.volumes["data"] < 140_000
    assert 140_000 < disk.volumes["other"] < 150_000
    assert 130_000 < disk.kept < 150_000
    assert 40_000 + 50_000 + 160_000 < disk.partial < 300_000
    assert 270_000 + 150_000 < disk.trash < 490_000
    assert 110_000 < disk.engine < 220_000


def test_an_empty_state_folder(tmp_path: Path) -> None:
    """There is nothing but folders."""
    disk = measure(str(tmp_path), CopySnapshotter(str(tmp_path / "snapshots" / "copy")))
    assert disk.total == disk.engine == used(tmp_path)
