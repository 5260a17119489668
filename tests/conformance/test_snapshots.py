"""What every Snapshotter must do; a new one joins by one line in KINDS."""

import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.core.layers.index import index
from corten.core.layers.limits import DEFAULT
from corten.core.layers.unpack import Applied, apply
from corten.core.snapshots import erofs
from corten.core.snapshots.browse import tree
from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter, recover
from corten.errors import Conflict, NotFound
from tests.fakes.mounted import mounted
from tests.unit.core.layers.archives import archive, member

pytestmark = pytest.mark.root
Make = Callable[[], Snapshotter]
Member = tuple[tarfile.TarInfo, bytes]
KINDS: dict[str, Callable[[str], Snapshotter]] = {
    "overlay": OverlaySnapshotter,
    "copy": CopySnapshotter,
    "erofs": erofs.ErofsSnapshotter,
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Open the same folder of snapshots, as an engine does at every start."""
    if request.param == "erofs" and not erofs.probe(str(tmp_path), index):
        pytest.skip("erofs layers need Linux 6.15 and a disk's file system")
    return lambda: KINDS[request.param](str(tmp_path / "snapshots"))


@pytest.fixture
def snapshots(make: Make) -> Snapshotter:
    """An empty snapshotter of each kind in turn."""
    return make()


def put(snapshots: Snapshotter, key: str, members: list[Member] | bytes) -> Applied:
    """Apply a layer to the active *key* in the form that its snapshotter wants."""
    directory, data = (
        snapshots.info(key).directory,
        members if isinstance(members, bytes) else archive(members),
    )
    if snapshots.form == "index":
        return index(io.BytesIO(data), directory)
    return apply(io.BytesIO(data), directory, DEFAULT, snapshots.form)


def stack(snapshots: Snapshotter, *layers: list[Member] | bytes) -> str:
    """Commit *layers*, the lowest first; return the name of the top."""
    parent = None
    for members in layers:
        key = f"key-{parent}"
        snapshots.prepare(key, parent)
        applied = put(snapshots, key, members)
        if parent is not None:
            snapshots.inherit(key, parent, applied.implied)
        parent = snapshots.commit(f"layer-{parent}", key, own_root=applied.own_root).key
    assert parent is not None
    return parent


def layer(snapshots: Snapshotter, name: str, parent: str | None = None, **files: str) -> None:
    """Commit a layer of *files*."""
    snapshots.prepare(f"{name}-key", parent)
    put(snapshots, f"{name}-key", [member(path, data=text.encode()) for path, text in files.items()])
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


def names(root: str) -> list[str]:
    """Return the paths of all that lies in a tree."""
    found = Path(root).rglob("*")
    return sorted(str(path.relative_to(root)) for path in found)


def test_whiteouts_hide_what_is_below(snapshots: Snapshotter) -> None:
    """Deleted files and folders are gone, opaque folders show their own files only, in any depth."""
    top = stack(
        snapshots,
        [member("a/one"), member("a/two"), member("b/one"), member("c"), member("d/e/f")],
        [member("a/.wh.one"), member("b/.wh..wh..opq"), member("b/two"), member(".wh.c"), member("d/.wh.e")],
        [member("d/e/new"), member("b/three")],
    )
    with mounted(snapshots.mounts(top)) as root:
        assert names(root) == ["a", "a/two", "b", "b/three", "b/two", "d", "d/e", "d/e/new"]


def test_kinds_change_between_layers(snapshots: Snapshotter) -> None:
    """A file takes the place of a folder, and a folder that of a file, without what was below."""
    top = stack(
        snapshots,
        [member("a/below"), member("b", data=b"1"), member("c", "link", link="b")],
        [member("a", data=b"2"), member("b", "folder"), member("b/new"), member("c", data=b"3")],
    )
    with mounted(snapshots.mounts(top)) as root:
        assert names(root) == ["a", "b", "b/new", "c"]
        assert texts(root) == {"a": "2", "c": "3"}


def test_an_opaque_root_hides_everything(snapshots: Snapshotter) -> None:
    """A layer may hide all that lies below it, for views and for containers."""
    top = stack(snapshots, [member("old")], [member("older")], [member(".wh..wh..opq"), member("new")])
    snapshots.prepare("container", top)
    for key in (top, "container"):
        with mounted(snapshots.mounts(key)) as root:
            assert names(root) == ["new"]


def test_files_keep_what_they_are(snapshots: Snapshotter) -> None:
    """Modes, owners, times, targets, devices, hard links and attributes are those of the layer."""
    capability = "\x01\x00\x00\x02" + "\x00\x04" + "\x00" * 14
    top = stack(
        snapshots,
        [
            member("d", "folder", mode=0o2711, uid=1, gid=2, mtime=3),
            member("d/file", data=b"x" * 1000, mode=0o4755, uid=70000, mtime=1.25),
            member("d/hard", "hard", link="d/file"),
            member("link", "link", link="/d/file", mtime=4),
            member("null", "char", mode=0o666, device=(1, 3)),
            member("disk", "block", mode=0o600, device=(254, 300)),
            member("pipe", "fifo", mode=0o622),
            member("cap", pax={"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.x": "1"}),
        ],
    )
    with mounted(snapshots.mounts(top)) as root:
        found = {name: os.lstat(f"{root}/{name}") for name in names(root)}
        attributes = {name: os.getxattr(f"{root}/cap", name) for name in ("security.capability", "user.x")}
        target = os.readlink(f"{root}/link")
    file = found["d/file"]
    assert (file.st_mode, file.st_uid, file.st_mtime_ns, file.st_nlink) == (0o104755, 70000, 1_250_000_000, 2)
    assert os.path.samestat(file, found["d/hard"])
    folder = found["d"]
    assert (folder.st_mode, folder.st_uid, folder.st_gid, folder.st_mtime) == (0o42711, 1, 2, 3)
    assert (target, found["link"].st_mtime) == ("/d/file", 4)
    assert (found["null"].st_rdev, found["disk"].st_rdev) == (os.makedev(1, 3), os.makedev(254, 300))
    assert [oct(found[name].st_mode) for name in ("null", "disk", "pipe")] == [
        "0o20666",
        "0o60600",
        "0o10622",
    ]
    assert attributes == {"security.capability": capability.encode(), "user.x": b"1"}


def test_odd_names(snapshots: Snapshotter) -> None:
    """Names of 255 bytes, deep folders, other alphabets, bytes that are no text, and empty folders are there."""
    deep = "/".join(["deep"] * 200)
    wanted = ["n" * 255, "имя/名前", "\udcff\udcfe", "a b\nc", f"{deep}/file"]
    top = stack(snapshots, [*(member(name) for name in wanted), member("empty", "folder")])
    with mounted(snapshots.mounts(top)) as root:
        for name in wanted:
            assert stat.S_ISREG(os.lstat(f"{root}/{name}").st_mode)
        assert os.listdir(f"{root}/empty") == []


def test_sparse_files_read_as_they_were(snapshots: Snapshotter, tmp_path: Path) -> None:
    """The pieces of a sparse file are where they belong, with zeros between, and the holes take no disk."""
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(40 << 20)
        file.write(b"end")
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str((40 << 20) + 3)}
    pieces = f"2\n0\n5\n{40 << 20}\n3\n".encode().ljust(512, b"\0") + b"beginend"
    top = stack(snapshots, [member("sparse", data=pieces, pax={"GNU.sparse.name": "sparse", **pax})])
    assert snapshots.usage(top).bytes < 1 << 20
    with mounted(snapshots.mounts(top)) as root:
        assert Path(root, "sparse").read_bytes() == (tmp_path / "sparse").read_bytes()


@pytest.mark.slow
def test_a_folder_of_many_files(snapshots: Snapshotter) -> None:
    """Each of 50,000 files in one folder is listed once and found by name."""
    top = stack(snapshots, [member(f"many/{number}", data=b"%d" % number) for number in range(50_000)])
    with mounted(snapshots.mounts(top)) as root:
        assert sorted(map(int, os.listdir(f"{root}/many"))) == list(range(50_000))
        for number in range(0, 50_000, 499):
            assert Path(root, "many", str(number)).read_text() == str(number)


def test_containers_change_what_layers_brought(snapshots: Snapshotter) -> None:
    """Files of a layer can be written, renamed, linked and removed by a container; the layer stays."""
    top = stack(snapshots, [member("a", data=b"1"), member("b", data=b"2"), member("d/e", data=b"3")])
    snapshots.prepare("container", top)
    with mounted(snapshots.mounts("container")) as root:
        with Path(root, "a").open("a") as file:
            file.write("+")
        os.unlink(f"{root}/b")
        os.rename(f"{root}/d/e", f"{root}/d/f")
        os.link(f"{root}/a", f"{root}/l")
        os.chown(f"{root}/d", 5, 6)
    with mounted(snapshots.mounts("container")) as root:
        assert names(root) == ["a", "d", "d/f", "l"]
        assert texts(root) == {"a": "1+", "l": "1+"}
        assert os.stat(f"{root}/d").st_uid == 5
    with mounted(snapshots.mounts(top)) as root:
        assert names(root) == ["a", "b", "d", "d/e"]


def test_a_committed_container_is_a_parent_like_any(snapshots: Snapshotter) -> None:
    """Layers go on top of what a container left, as that went on top of layers."""
    top = stack(snapshots, [member("a", data=b"1"), member("b", data=b"2")])
    snapshots.prepare("container", top)
    with mounted(snapshots.mounts("container")) as root:
        os.unlink(f"{root}/b")
        Path(root, "c").write_text("3")
    snapshots.commit("committed", "container")
    layer(snapshots, "above", "committed", d="4")

    with mounted(snapshots.mounts("above")) as root:
        assert texts(root) == {"a": "1", "c": "3", "d": "4"}


def test_the_root_of_a_layer(snapshots: Snapshotter) -> None:
    """A layer's entry for its root counts, and one without leaves the parent's."""
    top = stack(
        snapshots, [member("./", "folder", mode=0o1711, uid=12, gid=34, mtime=5), member("a")], [member("b")]
    )
    snapshots.prepare("container", top)
    for key in (top, "container"):
        with mounted(snapshots.mounts(key)) as root:
            found = os.stat(root)
            assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o1711, 12, 34)


def test_folders_that_a_layer_does_not_name(snapshots: Snapshotter) -> None:
    """A folder that a layer only has entries in is as the layers below made it, unless nothing of that is left."""
    private = {"mode": 0o700, "uid": 5, "gid": 6, "mtime": 7}
    top = stack(
        snapshots,
        [member(name, "folder", **private) for name in ("a", "a/b", "c", "d", "f")],  # type: ignore[arg-type]
        [member("e", "link", link="/a"), member("f", "folder", mode=0o711)],
        [
            member("a/b/file"),
            member("c/new/file"),
            member("d/.wh..wh..opq"),
            member("d/file"),
            member("f/file"),
            member("e/file"),
        ],
    )
    with mounted(snapshots.mounts(top)) as root:
        found = {name: os.lstat(f"{root}/{name}") for name in ("a", "a/b", "c", "c/new", "d", "f", "e")}
    seen = {name: (oct(info.st_mode & 0o7777), info.st_uid) for name, info in found.items()}
    assert seen["a"] == seen["a/b"] == seen["c"] == ("0o700", 5)
    assert seen["f"] == ("0o711", 0)
    assert seen["c/new"] == ("0o755", 0)
    assert found["a"].st_gid == 6
    if snapshots.form != "plain":  # there a new file changes the time, and the link leads to a folder
        assert found["a/b"].st_mtime == 7
        assert seen["d"] == seen["e"] == ("0o755", 0)


def test_a_parent_given_late(snapshots: Snapshotter) -> None:
    """A layer applied before its parent was there shows it, and takes its root unless it has its own."""
    if not snapshots.late_parent:
        pytest.skip("this snapshotter wants parents at once")
    base = stack(snapshots, [member("./", "folder", mode=0o1711, uid=12, mtime=5), member("a", data=b"1")])
    for name, members in {"mute": [], "loud": [member("./", "folder", mode=0o700, uid=3)]}.items():
        snapshots.prepare(name)
        applied = put(snapshots, name, [*members, member("b", data=b"2")])
        snapshots.commit(f"{name}-top", name, base, own_root=applied.own_root)
    roots = {}
    for name in ("mute", "loud"):
        with mounted(snapshots.mounts(f"{name}-top")) as root:
            roots[name] = (os.stat(root).st_mode & 0o7777, os.stat(root).st_uid)
            assert texts(root) == {"a": "1", "b": "2"}

    assert roots == {"mute": (0o1711, 12), "loud": (0o700, 3)}
    assert snapshots.info("mute-top").parent == base


def test_layers_survive_a_restart(make: Make) -> None:
    """A chain of layers is there for the next process, which can remove it from the top."""
    top = stack(make(), [member("a", data=b"1")], [member("b", data=b"2")])
    snapshots = make()
    with mounted(snapshots.mounts(top)) as root:
        assert texts(root) == {"a": "1", "b": "2"}
    for snapshot in reversed(list(snapshots.walk())):
        snapshots.remove(snapshot.key)

    assert list(make().walk()) == []


def test_removal_while_a_container_shows_it(snapshots: Snapshotter) -> None:
    """What is mounted can still be read after the snapshots are gone."""
    top = stack(snapshots, [member("a", data=b"1" * 5000)], [member("b", data=b"2")])
    snapshots.prepare("container", top)
    if snapshots.form == "plain":
        pytest.skip("a bind mount of a copy shows its removal")
    with mounted(snapshots.mounts("container")) as root:
        for snapshot in reversed(list(snapshots.walk())):
            snapshots.remove(snapshot.key)
        assert Path(root, "a").read_text() == "1" * 5000


def test_usage_of_a_layer(snapshots: Snapshotter) -> None:
    """A layer takes its bytes on disk, and the next process says the same."""
    top = stack(snapshots, [member("a", data=os.urandom(200_000)), member("b")])
    usage = snapshots.usage(top)

    assert 200_000 <= usage.bytes < 300_000
    assert usage.inodes >= 3


def test_looking_into_snapshots(snapshots: Snapshotter) -> None:
    """Layers and containers can be looked into without a mount that anybody sees."""
    top = stack(snapshots, [member("a", data=b"1")], [member("b", data=b"2")])
    snapshots.prepare("container", top)
    before = Path("/proc/self/mountinfo").read_text()
    for key in (top, "container", "layer-None"):
        with tree(snapshots.mounts(key)[0]) as directory:
            assert Path(directory, "a").read_text() == "1"
            assert Path("/proc/self/mountinfo").read_text() == before
