"""The folders of volumes, the trash, and what a start makes of them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.core.volumes import marks
from corten.core.volumes.snapshots import Snapshots
from corten.core.volumes.store import VolumeStore
from corten.errors import Conflict, NotFound, Unavailable, Unsupported


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    """A store without volumes."""
    return VolumeStore(str(tmp_path / "volumes"))


def renamed(mark: marks.Mark) -> str:
    """Return the new name that a mark says."""
    return str(mark.get("renamed", ""))


def writing(name: str, text: str) -> Callable[[int], None]:
    """Return what puts a file into an open folder."""

    def write(folder: int) -> None:
        file = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder)
        os.write(file, text.encode())
        os.close(file)

    return write


def read(store: VolumeStore, name: str) -> dict[str, str]:
    """Return the files of a volume."""
    return {file.name: file.read_text() for file in Path(store.path(name)).iterdir()}


def test_a_volume_is_a_folder(store: VolumeStore) -> None:
    """It is empty, open to all who mount it, and in a folder for root alone."""
    store.make("data")
    assert read(store, "data") == {}
    assert Path(store.path("data")).stat().st_mode & 0o777 == 0o755
    assert Path(store.directory).stat().st_mode & 0o777 == 0o700
    assert os.listdir(f"{store.directory}/.work") == []


def test_a_failure_leaves_nothing(store: VolumeStore) -> None:
    """What could not be filled is no volume, and its files are gone."""

    def fail(folder: int) -> None:
        writing("a", "1")(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.make("data", fill=fail)
    assert not store.exists("data")
    assert os.listdir(f"{store.directory}/.work") == []


def test_a_folder_in_the_way_goes_into_the_trash(store: VolumeStore) -> None:
    """What nobody has a record of does not become part of a new volume."""
    store.make("data", fill=writing("a", "old"))
    store.make("data")
    assert read(store, "data") == {}
    (thrown,) = store.trash.all()
    assert thrown.removed > 0


def test_a_size_is_refused_where_none_is_kept(store: VolumeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that says what would help."""
    monkeypatch.setattr("corten.linux.quota.is_enforced", lambda _: False)
    with pytest.raises(Unsupported, match="prjquota"):
        store.make("data", size=1 << 20)
    assert not store.exists("data")


def test_filling_replaces_an_empty_folder_only(store: VolumeStore) -> None:
    """What is there already stays as it is."""
    store.make("data")
    assert store.fill("data", 0, writing("a", "1"))
    assert not store.fill("data", 0, writing("b", "2"))
    assert read(store, "data") == {"a": "1"}
    assert os.listdir(f"{store.directory}/.work") == []


def test_missing_files_are_told(store: VolumeStore) -> None:
    """Somebody took the folder away: nothing is made up in its place."""
    with pytest.raises(Unavailable, match="the files of volume data are missing"), store.opened("data"):
        pass


def test_out_of_the_trash_again(store: VolumeStore) -> None:
    """A thrown volume comes back with all it had, under any name that is free."""
    store.make("data", fill=writing("a", "1"))
    marks.write(store.folder("data"), {"removed": 5, "volume": {"name": "data"}})
    identifier = store.trash.throw(store.folder("data"))
    assert not store.exists("data")
    (thrown,) = store.trash.all()
    assert (thrown.id, thrown.removed, thrown.mark["volume"]) == (identifier, 5, {"name": "data"})
    assert store.trash.size(identifier) > 0
    store.make("data")
    with pytest.raises(Conflict):
        store.trash.put_back(identifier, store.folder("data"))
    store.trash.put_back(identifier, store.folder("other"))
    assert read(store, "other") == {"a": "1"}
    with pytest.raises(NotFound):
        store.trash.put_back(identifier, store.folder("third"))


def test_destroyed_is_gone(store: VolumeStore) -> None:
    """What leaves the trash for good, or is erased, takes no place."""
    store.make("data", fill=writing("a", "1"))
    store.trash.destroy(store.trash.throw(store.folder("data")))
    store.make("more", fill=writing("a", "1"))
    store.erase("more")
    store.erase("more")
    assert sorted(os.listdir(store.directory)) == [".trash", ".work"]
    assert os.listdir(f"{store.directory}/.trash") == os.listdir(f"{store.directory}/.work") == []


def test_a_restored_snapshot(store: VolumeStore) -> None:
    """The files of then are back, those of now in the trash, and the snapshot can be used again."""
    snapshots = Snapshots(store)
    store.make("data", fill=writing("a", "1"))
    snapshots.take("data", "then")
    with store.opened("data") as folder:
        writing("a", "2")(folder)
    with pytest.raises(Conflict, match="has a snapshot then already"):
        snapshots.take("data", "then")
    identifier = snapshots.restore("data", "then", 0, {"volume": 1})
    assert read(store, "data") == {"a": "1"}
    store.trash.put_back(identifier, store.folder("now"))
    assert read(store, "now") == {"a": "2"}
    assert [each.name for each in snapshots.all("data")] == ["then"]
    snapshots.drop("data", "then")
    with pytest.raises(NotFound, match="no such snapshot of volume data: then"):
        snapshots.restore("data", "then", 0, {})
    assert snapshots.all("data") == []


def test_a_start_keeps_what_is_recorded(store: VolumeStore) -> None:
    """And takes back a mark that came to nothing."""
    store.make("data", fill=writing("a", "1"))
    marks.write(store.folder("data"), {"removed": 1})
    assert store.recover({"data"}, renamed) == []
    assert read(store, "data") == {"a": "1"}
    assert marks.read(store.folder("data")) == {}


def test_a_start_finishes_a_rename(store: VolumeStore) -> None:
    """The records had changed already, the folder had not."""
    store.make("old", fill=writing("a", "1"))
    marks.write(store.folder("old"), {"renamed": "new"})
    assert store.recover({"new"}, renamed) == []
    assert read(store, "new") == {"a": "1"}
    assert not store.exists("old")


def test_a_start_finishes_a_removal(store: VolumeStore) -> None:
    """A marked folder without a record is in the trash, as of when it was removed."""
    store.make("data", fill=writing("a", "1"))
    marks.write(store.folder("data"), {"removed": 7, "volume": {"name": "data"}})
    assert store.recover(set(), renamed) == []
    (thrown,) = store.trash.all()
    assert thrown.removed == 7


def test_a_start_tells_of_unknown_files(store: VolumeStore) -> None:
    """A folder that no record claims is kept in the trash; an empty one, half made, is not."""
    store.make("strange", fill=writing("a", "1"))
    store.make("empty")
    (note,) = store.recover(set(), renamed)
    assert "strange" in note
    assert len(store.trash.all()) == 1


def test_a_start_empties_the_work_folder(store: VolumeStore) -> None:
    """What was in the making when the engine ended goes."""
    Path(store.directory, ".work/half/_data").mkdir(parents=True)
    store.recover(set(), renamed)
    assert os.listdir(f"{store.directory}/.work") == []


def test_a_mark_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Half a file, or something else, never keeps a start from going on."""
    (tmp_path / "mark.json").write_text("{")
    assert marks.read(str(tmp_path)) == {}
    (tmp_path / "mark.json").write_text("[]")
    assert marks.read(str(tmp_path)) == {}
