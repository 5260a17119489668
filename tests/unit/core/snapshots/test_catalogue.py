"""Catalogue: records beside their data, and what a crash leaves."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corten.core.snapshots.catalogue import Catalogue, Record
from corten.errors import Conflict, NotFound, OutOfSpace


def fill(number: int) -> None:
    """Put nothing into the folder."""


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """An empty catalogue."""
    return Catalogue(str(tmp_path))


def test_commit_is_durable_in_order(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """All data is synced before the name appears, and the name before commit returns."""
    steps: list[str] = []
    rename, fsync = os.rename, os.fsync
    monkeypatch.setattr(
        "corten.core.snapshots.catalogue.sync_filesystem", lambda _: steps.append("sync data")
    )

    def record_rename(source: str, target: str) -> None:
        steps.append("name")
        rename(source, target)

    def record_fsync(descriptor: int) -> None:
        steps.append("sync folder")
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", record_rename)
    monkeypatch.setattr(os, "fsync", record_fsync)
    catalogue.add("key", None, "active", fill)
    catalogue.commit("name", "key")

    assert steps == ["sync data", "name", "sync folder"]


def test_prepare_syncs_nothing(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """An active snapshot waits for no disk: a start pays for it."""
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("synced"))
    catalogue.add("key", None, "active", fill)

    assert catalogue.find("key").kind == "active"


def test_a_failed_fill_leaves_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    """When the tree cannot be made the key is free again and no folder remains."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutOfSpace, match="no space left"):
        catalogue.add("key", None, "active", full)

    assert [path.name for path in tmp_path.iterdir()] == ["trash"]
    assert catalogue.add("key", None, "active", fill).key == "key"


def test_a_commit_that_was_cut_short_can_be_repeated(catalogue: Catalogue, tmp_path: Path) -> None:
    """The record of an unfinished commit neither counts nor stands in the way."""
    number = catalogue.add("key", None, "active", fill).number
    os.symlink('["committed", null, "name"]', tmp_path / str(number) / "meta.new")
    again = Catalogue(str(tmp_path))

    assert again.find("key").kind == "active"
    assert again.commit("name", "key").kind == "committed"


@pytest.mark.parametrize("text", ["", "{", "[]", '["active", null]', "null", "7"])
def test_a_garbled_record_does_not_stop_the_start(tmp_path: Path, text: str) -> None:
    """A folder whose record makes no sense is taken out; the others are there."""
    catalogue = Catalogue(str(tmp_path))
    catalogue.add("good", None, "active", fill)
    bad = catalogue.path(catalogue.add("bad", None, "active", fill).number, "meta")
    os.unlink(bad)
    if text:
        os.symlink(text, bad)

    assert [record.key for record in Catalogue(str(tmp_path)).all()] == ["good"]


def test_orphans_are_left_out_but_kept_on_disk(tmp_path: Path) -> None:
    """A snapshot whose parent is lost cannot be used; its data is not thrown away."""
    catalogue = Catalogue(str(tmp_path))
    catalogue.add("key", None, "active", fill)
    parent = catalogue.commit("parent", "key")
    child = catalogue.add("child", "parent", "active", fill)
    os.unlink(catalogue.path(parent.number, "meta"))
    again = Catalogue(str(tmp_path))

    assert list(again.all()) == []
    assert os.path.isdir(catalogue.path(child.number))
    assert again.add("child", None, "active", fill).number > child.number


def test_numbers_are_not_reused(tmp_path: Path) -> None:
    """A folder in the trash keeps its number to itself."""
    catalogue = Catalogue(str(tmp_path))
    number = catalogue.add("key", None, "active", fill).number
    catalogue.remove("key")

    assert Catalogue(str(tmp_path)).add("key", None, "active", fill).number > number


def test_removal_unlinks_in_the_background(tmp_path: Path) -> None:
    """With an executor the disk is freed without anybody asking."""
    with ThreadPoolExecutor(1) as executor:
        catalogue = Catalogue(str(tmp_path), executor)
        catalogue.add("key", None, "active", lambda n: os.mkdir(catalogue.path(n, "fs")))
        catalogue.remove("key")

    assert os.listdir(tmp_path / "trash") == []


def test_the_trash_of_a_former_engine_goes(tmp_path: Path) -> None:
    """What an engine had no time to unlink is unlinked by the next, in the background."""
    catalogue = Catalogue(str(tmp_path))
    catalogue.add("key", None, "active", fill)
    catalogue.remove("key")
    with ThreadPoolExecutor(1) as executor:
        Catalogue(str(tmp_path), executor)

    assert os.listdir(tmp_path / "trash") == []


def test_sweep_unlinks_the_rest(catalogue: Catalogue, tmp_path: Path) -> None:
    """Without an executor removal waits in the trash for the sweep."""
    catalogue.add("key", None, "active", fill)
    catalogue.remove("key")
    waiting = os.listdir(tmp_path / "trash")
    catalogue.sweep()

    assert len(waiting) == 1
    assert os.listdir(tmp_path / "trash") == []


def test_a_late_parent_counts_from_the_commit_on(tmp_path: Path) -> None:
    """A parent given at commit is recorded, keeps its place, and is there after a restart."""
    catalogue = Catalogue(str(tmp_path))
    catalogue.add("base-key", None, "active", fill)
    catalogue.add("key", None, "active", fill)
    catalogue.commit("base", "base-key")
    assert catalogue.commit("top", "key", "base").parent == "base"
    for each in (catalogue, Catalogue(str(tmp_path))):
        with pytest.raises(Conflict, match="in use by 1"):
            each.remove("base")
    catalogue.remove("top")
    catalogue.remove("base")

    assert list(Catalogue(str(tmp_path)).all()) == []


def test_a_late_parent_must_be_committed_and_the_first(catalogue: Catalogue) -> None:
    """An absent or active parent is not found, and a snapshot that has a parent keeps it."""
    catalogue.add("key", None, "active", fill)
    catalogue.add("other", None, "active", fill)
    for parent in ("absent", "other"):
        with pytest.raises(NotFound, match="no such"):
            catalogue.commit("name", "key", parent)
    catalogue.commit("base", "other")
    catalogue.add("child", "base", "active", fill)
    with pytest.raises(Conflict, match="built on base"):
        catalogue.commit("name", "child", None)

    assert catalogue.commit("name", "child", "base").parent == "base"


def test_the_last_hand_comes_before_the_sync(tmp_path: Path) -> None:
    """What is done to the data at commit is durable with it; when it fails the key stays."""
    steps: list[str] = []
    catalogue = Catalogue(str(tmp_path), sync=lambda _: steps.append("sync"))
    catalogue.add("key", None, "active", fill)

    def full(_: Record) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutOfSpace):
        catalogue.commit("name", "key", finish=full)
    assert catalogue.find("key").kind == "active"
    catalogue.commit("name", "key", finish=lambda record: steps.append(record.key))

    assert steps == ["name", "sync"]
