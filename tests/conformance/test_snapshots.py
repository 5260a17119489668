"""What every Snapshotter must do; a new one joins by one line in KINDS."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter, recover
from corten.errors import Conflict, NotFound
from tests.fakes.mounted import mounted

pytestmark = pytest.mark.root
Make = Callable[[], Snapshotter]
KINDS: dict[str, Callable[[str], Snapshotter]] = {"overlay": OverlaySnapshotter, "copy": CopySnapshotter}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Open the same folder of snapshots, as an engine does at every start."""
    return lambda: KINDS[request.param](str(tmp_path / "snapshots"))


@pytest.fixture
def snapshots(make: Make) -> Snapshotter:
    """An empty snapshotter of each kind in turn."""
    return make()


def layer(snapshots: Snapshotter, name: str, parent: str | None = None, **files: str) -> None:
    """Commit a layer of *files*."""
    snapshot = snapshots.prepare(f"{name}-key", parent)
    for path, text in files.items():
        Path(snapshot.directory, path).write_text(text)
    snapshots.commit(name, f"{name}-key")


def texts(root: str) -> dict[str, str]:
    """Return the text of every file at the top of a tree."""
    return {path.name: path.read_text() for path in Path(root).iterdir() if path.is_file()}


def test_prepare_gives_an_empty_tree(snapshots: Snapshotter) -> None:
    """Without a parent an active snapshot is an empty, writable folder."""
    snapshot = snapshots.prepare("key")

    assert snapshot[:3] == ("key", None, "active")
    assert os.listdir(snapshot.directory) == []
    assert os.stat(snapshot.directory).st_mode & 0o7777 == 0o755
    with mounted(snapshots.mounts("key")) as root:
        Path(root, "new").write_text("1")
        assert texts(root) == {"new": "1"}


def test_mounts_are_for_the_root_of_a_container(snapshots: Snapshotter) -> None:
    """The one mount goes to ``/``, and an active one has no read-only option."""
    layer(snapshots, "base")
    snapshots.prepare("key", "base")
    (mount,) = snapshots.mounts("key")

    assert mount.destination == "/"
    assert "ro" not in mount.options


def test_a_child_shows_its_parent(snapshots: Snapshotter) -> None:
    """An active snapshot shows the parent's files with its own changes; the parent stays."""
    layer(snapshots, "base", a="1", b="2", c="3")
    snapshots.prepare("key", "base")
    with mounted(snapshots.mounts("key")) as root:
        Path(root, "a").write_text("one")
        Path(root, "b").unlink()
        assert texts(root) == {"a": "one", "c": "3"}
    with mounted(snapshots.mounts("base")) as root:
        assert texts(root) == {"a": "1", "b": "2", "c": "3"}


def test_changes_survive_commit_and_restart(make: Make) -> None:
    """What was written through the mount is in the committed snapshot, also for the next process."""
    snapshots = make()
    layer(snapshots, "base", a="1", b="2")
    snapshots.prepare("key", "base")
    with mounted(snapshots.mounts("key")) as root:
        Path(root, "b").unlink()
        Path(root, "new").write_text("3")
    snapshots.commit("top", "key")
    snapshots = make()
    snapshots.prepare("again", "top")

    with mounted(snapshots.mounts("again")) as root:
        assert texts(root) == {"a": "1", "new": "3"}


def test_a_replaced_folder_hides_the_old_one(snapshots: Snapshotter) -> None:
    """A folder removed and made again shows nothing of what the parent had in it."""
    directory = Path(snapshots.prepare("base-key").directory, "folder")
    directory.mkdir()
    (directory / "old").write_text("1")
    snapshots.commit("base", "base-key")
    snapshots.prepare("key", "base")
    with mounted(snapshots.mounts("key")) as root:
        Path(root, "folder", "old").unlink()
        Path(root, "folder").rmdir()
        Path(root, "folder").mkdir()
    snapshots.commit("top", "key")
    snapshots.view("view", "top")

    with mounted(snapshots.mounts("view")) as root:
        assert os.listdir(f"{root}/folder") == []


def test_siblings_do_not_see_each_other(snapshots: Snapshotter) -> None:
    """Two active snapshots of one parent are apart."""
    layer(snapshots, "base", a="1")
    snapshots.prepare("one", "base")
    snapshots.prepare("two", "base")
    with mounted(snapshots.mounts("one")) as root:
        Path(root, "a").write_text("one")
    with mounted(snapshots.mounts("two")) as root:
        assert texts(root) == {"a": "1"}


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_views_are_for_reading_only(snapshots: Snapshotter, depth: int) -> None:
    """A view shows its parent whatever the depth, and refuses writing."""
    for number in range(depth):
        layer(snapshots, str(number), str(number - 1) if number else None, **{f"f{number}": "x"})
    snapshots.view("view", str(depth - 1))

    with mounted(snapshots.mounts("view")) as root:
        assert len(texts(root)) == depth
        with pytest.raises(OSError, match="Read-only"):
            Path(root, "f0").write_text("y")
    with pytest.raises(Conflict):
        snapshots.commit("name", "view")


@pytest.mark.slow
def test_long_chains(snapshots: Snapshotter) -> None:
    """A chain of more layers than one page of mount options could name still mounts."""
    layers = 130
    for number in range(layers):
        layer(snapshots, str(number), str(number - 1) if number else None, **{f"f{number}": "x"})
    snapshots.prepare("key", str(layers - 1))

    with mounted(snapshots.mounts("key")) as root:
        assert len(texts(root)) == layers


def test_the_root_keeps_mode_and_owner(snapshots: Snapshotter) -> None:
    """A child's root folder has the mode and owner of its parent's."""
    directory = snapshots.prepare("base-key").directory
    os.chown(directory, 12, 34)
    os.chmod(directory, 0o1711)
    snapshots.commit("base", "base-key")
    snapshots.prepare("key", "base")

    with mounted(snapshots.mounts("key")) as root:
        found = os.stat(root)
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o1711, 12, 34)


def test_keys_are_taken_once(snapshots: Snapshotter) -> None:
    """A key or name that exists is a conflict, whatever its kind."""
    layer(snapshots, "base")
    snapshots.prepare("key", "base")
    for taken in ("key", "base"):
        with pytest.raises(Conflict, match="exists already"):
            snapshots.prepare(taken)
        with pytest.raises(Conflict, match="exists already"):
            snapshots.view(taken, "base")


def test_a_name_is_committed_once(snapshots: Snapshotter) -> None:
    """The second commit of a name is a conflict, and its key stays as it was."""
    layer(snapshots, "base", a="1")
    snapshots.prepare("key")
    with pytest.raises(Conflict):
        snapshots.commit("base", "key")

    assert snapshots.info("key").kind == "active"
    with mounted(snapshots.mounts("base")) as root:
        assert texts(root) == {"a": "1"}


def test_commit_gives_up_the_key(snapshots: Snapshotter) -> None:
    """After commit the key is free again, and the name stands for the tree."""
    layer(snapshots, "base")

    with pytest.raises(NotFound):
        snapshots.info("base-key")
    assert snapshots.info("base").kind == "committed"
    with pytest.raises(Conflict, match="committed"):
        snapshots.commit("other", "base")


def test_only_committed_parents(snapshots: Snapshotter) -> None:
    """Neither an absent nor an active snapshot can be a parent."""
    snapshots.prepare("active")
    for parent in ("absent", "active"):
        with pytest.raises(NotFound):
            snapshots.prepare("key", parent)
    snapshots.prepare("key")


def test_absent_keys_are_not_found(snapshots: Snapshotter) -> None:
    """Every question about an absent key says so."""
    for ask in (snapshots.info, snapshots.mounts, snapshots.usage):
        with pytest.raises(NotFound, match="no such snapshot"):
            ask("absent")
    with pytest.raises(NotFound):
        snapshots.commit("name", "absent")


def test_parents_cannot_go_before_children(snapshots: Snapshotter) -> None:
    """Removal goes from the top down; in that order everything goes, and twice is fine."""
    layer(snapshots, "base")
    layer(snapshots, "top", "base")
    snapshots.prepare("key", "top")
    for needed in ("base", "top"):
        with pytest.raises(Conflict, match="in use"):
            snapshots.remove(needed)
    for key in ("key", "top", "base", "base", "never"):
        snapshots.remove(key)

    assert list(snapshots.walk()) == []


def test_removal_lasts(make: Make) -> None:
    """What was removed does not come back at the next start, swept or not."""
    snapshots = make()
    layer(snapshots, "base", a="1")
    snapshots.prepare("key", "base")
    snapshots.remove("key")
    snapshots = make()

    assert [snapshot.key for snapshot in snapshots.walk()] == ["base"]
    assert snapshots.prepare("key", "base").kind == "active"


def test_walk_goes_from_parents_to_children(make: Make) -> None:
    """Parents come first, also after a restart and whatever the order of making."""
    snapshots = make()
    layer(snapshots, "z")
    layer(snapshots, "m", "z")
    snapshots.prepare("a", "m")
    snapshots.view("b", "z")
    before = set(snapshots.walk())
    again = make()
    keys = [snapshot.key for snapshot in again.walk()]

    assert set(again.walk()) == before
    assert keys[0] == "z"
    assert keys.index("m") < keys.index("a")
    assert len(keys) == 4


def test_info_is_what_prepare_returned(snapshots: Snapshotter) -> None:
    """A snapshot is the same value however it is asked for."""
    layer(snapshots, "base")
    made = snapshots.prepare("key", "base")

    assert snapshots.info("key") == made
    assert made in list(snapshots.walk())


def test_usage_counts_bytes_and_inodes(snapshots: Snapshotter) -> None:
    """Usage grows with what is written; a hard link is no second inode."""
    snapshot = snapshots.prepare("key")
    empty = snapshots.usage("key")
    Path(snapshot.directory, "file").write_bytes(b"x" * 100_000)
    os.link(f"{snapshot.directory}/file", f"{snapshot.directory}/link")
    full = snapshots.usage("key")
    snapshots.commit("name", "key")

    assert full.inodes == empty.inodes + 1
    assert full.bytes - empty.bytes >= 100_000
    assert snapshots.usage("name") == full


def test_names_may_be_any_text(make: Make) -> None:
    """Keys with slashes, dots, blanks or other alphabets work and survive a restart."""
    names = ["sha256:" + "a" * 64, "../x", "a/b", "with blank", "имя", "."]
    snapshots = make()
    for name in names:
        layer(snapshots, name)

    assert {snapshot.key for snapshot in make().walk()} == set(names)


def test_what_was_half_made_is_gone(make: Make, tmp_path: Path) -> None:
    """Folders of snapshots that a killed process did not finish are removed at the next start."""
    snapshots = make()
    layer(snapshots, "base", a="1")
    half = tmp_path / "snapshots" / "77" / "fs"
    half.mkdir(parents=True)
    (half / "file").write_text("x")
    again = make()

    assert [snapshot.key for snapshot in again.walk()] == ["base"]
    assert not half.exists()


def test_recover_removes_what_nobody_claims(snapshots: Snapshotter) -> None:
    """Claimed snapshots and their parents stay, everything else goes."""
    layer(snapshots, "base")
    layer(snapshots, "used", "base")
    layer(snapshots, "unused", "base")
    snapshots.prepare("container", "used")
    snapshots.prepare("stale", "unused")

    assert set(recover(snapshots, {"container"})) == {"stale", "unused"}
    assert {snapshot.key for snapshot in snapshots.walk()} == {"base", "used", "container"}


def test_one_of_many_threads_wins_a_name(snapshots: Snapshotter) -> None:
    """When several commit the same name at once, one does and the others are told."""
    outcomes: list[str] = []

    def race(number: int) -> None:
        snapshots.prepare(f"key{number}")
        try:
            snapshots.commit("name", f"key{number}")
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["lost"] * 5 + ["won"]
    assert [s.kind for s in snapshots.walk()].count("committed") == 1
