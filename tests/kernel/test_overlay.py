"""OverlaySnapshotter: what is peculiar to the kernel's overlay."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corten.core.snapshots import overlay
from corten.core.snapshots.overlay import OverlaySnapshotter, probe
from corten.linux.mounts import filesystem
from tests.fakes.mounted import mounted

pytestmark = pytest.mark.root


@pytest.fixture
def snapshots(tmp_path: Path) -> OverlaySnapshotter:
    """An empty snapshotter."""
    return OverlaySnapshotter(str(tmp_path / "snapshots"))


def commit(snapshots: OverlaySnapshotter, name: str, parent: str | None, *files: str) -> None:
    """Commit a layer of empty files."""
    directory = snapshots.prepare("key", parent).directory
    for file in files:
        Path(directory, file).touch()
    snapshots.commit(name, "key")


def test_mount_options_name_the_youngest_first(snapshots: OverlaySnapshotter) -> None:
    """The chain is listed top first, below an upper and a work folder of the snapshot's own."""
    commit(snapshots, "one", None)
    commit(snapshots, "two", "one")
    upper = snapshots.prepare("top", "two").directory
    (mount,) = snapshots.mounts("top")
    one, two = (snapshots.info(name).directory for name in ("one", "two"))

    assert (mount.type, mount.destination) == ("overlay", "/")
    assert mount.options[:3] == (
        f"lowerdir={two}:{one}",
        f"upperdir={upper}",
        f"workdir={upper.removesuffix('fs')}work",
    )


def test_mounts_do_not_look_at_the_disk(snapshots: OverlaySnapshotter, tmp_path: Path) -> None:
    """The mounts of a snapshot are known from memory alone: its folder may even be away."""
    commit(snapshots, "one", None)
    snapshots.prepare("key", "one")
    expected = snapshots.mounts("key")
    directory = tmp_path / "snapshots"
    directory.rename(tmp_path / "elsewhere")

    assert snapshots.mounts("key") == expected


def test_one_layer_is_a_bind_mount(snapshots: OverlaySnapshotter) -> None:
    """Where nothing is stacked no overlay is made."""
    commit(snapshots, "one", None)
    snapshots.prepare("empty")
    snapshots.view("view", "one")
    found = [
        (snapshots.mounts(key)[0].type, snapshots.mounts(key)[0].options) for key in ("empty", "view", "one")
    ]

    assert found == [("bind", ("bind", "rw")), ("bind", ("bind", "ro")), ("bind", ("bind", "ro"))]


def test_an_opaque_root_hides_all_that_is_below(snapshots: OverlaySnapshotter) -> None:
    """A layer that hides everything does so, though the kernel ignores the mark on a root."""
    commit(snapshots, "one", None, "old")
    commit(snapshots, "two", "one", "older")
    directory = snapshots.prepare("key", "two").directory
    os.setxattr(directory, "trusted.overlay.opaque", b"y")
    Path(directory, "new").touch()
    snapshots.commit("three", "key")
    snapshots.prepare("container", "three")
    snapshots.view("view", "three")
    for key in ("container", "view", "three"):
        with mounted(snapshots.mounts(key)) as root:
            assert os.listdir(root) == ["new"]


def test_the_work_folder_goes_with_the_commit(snapshots: OverlaySnapshotter) -> None:
    """A committed snapshot keeps its tree only, also after it was mounted."""
    commit(snapshots, "one", None, "a")
    directory = snapshots.prepare("key", "one").directory
    with mounted(snapshots.mounts("key")) as root:
        Path(root, "b").touch()
    snapshots.commit("two", "key")

    assert sorted(os.listdir(Path(directory).parent)) == ["fs", "meta"]


def test_removal_while_mounted(snapshots: OverlaySnapshotter) -> None:
    """A snapshot can go while a mount still shows it, as when a container's last process lingers."""
    commit(snapshots, "one", None, "a")
    snapshots.prepare("key", "one")
    with mounted(snapshots.mounts("key")) as root:
        Path(root, "b").touch()
        snapshots.remove("key")
        snapshots.sweep()
        assert os.listdir(Path(snapshots.info("one").directory).parents[1] / "trash") == []

    assert [snapshot.key for snapshot in snapshots.walk()] == ["one"]


def test_unwanted_defaults_of_the_kernel_are_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redirects and metadata-only copies, which no layer can express, are off whatever the module says."""
    (tmp_path / "redirect_dir").write_text("Y\n")
    (tmp_path / "metacopy").write_text("N\n")
    monkeypatch.setattr(overlay, "_PARAMETERS", str(tmp_path))
    snapshots = OverlaySnapshotter(str(tmp_path / "snapshots"))
    commit(snapshots, "one", None)
    snapshots.prepare("key", "one")

    assert snapshots.mounts("key")[0].options[3:] == ("redirect_dir=off",)


def test_probe_says_yes_here(tmp_path: Path) -> None:
    """A usual file system carries overlay; the probe leaves nothing behind."""
    assert probe(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_probe_says_no_where_overlay_cannot_be() -> None:
    """Where the kernel refuses, or whiteouts cannot be kept, the probe says so and nothing fails."""
    ramfs = filesystem("ramfs", [])  # has no extended attributes, which overlay needs
    try:
        assert not probe(f"/proc/self/fd/{ramfs}")
    finally:
        os.close(ramfs)


@pytest.mark.slow
def test_many_at_once(tmp_path: Path) -> None:
    """Threads that prepare and remove at once get a folder each, and leave none."""
    with ThreadPoolExecutor(8) as pool:
        snapshots = OverlaySnapshotter(str(tmp_path / "snapshots"), pool)
        commit(snapshots, "one", None)
        made = list(pool.map(lambda n: snapshots.prepare(str(n), "one").directory, range(200)))
        list(pool.map(snapshots.remove, map(str, range(200))))

    assert len(set(made)) == 200
    assert os.listdir(tmp_path / "snapshots" / "trash") == []


def test_a_late_parent_shows_and_gives_its_root(snapshots: OverlaySnapshotter) -> None:
    """A tree made without a parent takes mode, owner and time of the root it is put on."""
    commit(snapshots, "base", None, "old")
    commit(snapshots, "copy", None)
    directory = snapshots.prepare("late").directory
    Path(directory, "new").touch()
    below = snapshots.info("base").directory
    os.chown(below, 3, 4)
    os.chmod(below, 0o1711)
    os.utime(below, ns=(5, 5))
    snapshots.commit("top", "late", "base")
    found = os.stat(directory)

    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid, found.st_mtime_ns) == (0o1711, 3, 4, 5)
    assert snapshots.info("top").parent == "base"
    with mounted(snapshots.mounts("top")) as root:
        assert sorted(os.listdir(root)) == ["new", "old"]


def test_a_layer_that_speaks_of_its_root_is_heard(snapshots: OverlaySnapshotter) -> None:
    """A late parent does not change what the layer itself said of its root folder."""
    commit(snapshots, "base", None)
    os.chmod(snapshots.info("base").directory, 0o700)
    directory = snapshots.prepare("late").directory
    snapshots.commit("top", "late", "base", own_root=True)

    assert os.stat(directory).st_mode & 0o7777 == 0o755


def test_folders_that_a_layer_does_not_name_stay_as_they_were(snapshots: OverlaySnapshotter) -> None:
    """A private folder below does not stand open because a layer has a file in it and says nothing of it."""
    base = Path(snapshots.prepare("key").directory)
    (base / "private" / "deep").mkdir(parents=True)
    for path, mode in ((base / "private", 0o2700), (base / "private" / "deep", 0o1750)):
        os.chown(path, 5, 6)
        os.chmod(path, mode)
        os.setxattr(path, "user.note", b"x")
        os.utime(path, ns=(7, 7))
    snapshots.commit("base", "key")
    upper = Path(snapshots.prepare("late").directory)
    for name in ("private/deep", "other"):
        (upper / name).mkdir(parents=True)
        (upper / name / "file").touch()
    snapshots.inherit("late", "base", [b"private", b"private/deep", b"other", b"absent", b"other/file"])
    snapshots.commit("top", "late", "base")

    for name, mode in (("private", 0o2700), ("private/deep", 0o1750)):
        found = os.stat(upper / name)
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid, found.st_mtime_ns) == (mode, 5, 6, 7)
        assert os.getxattr(upper / name, "user.note") == b"x"
    assert os.stat(upper / "other").st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("hidden", ["opaque", "whiteout", "file"])
def test_a_hidden_folder_gives_nothing(snapshots: OverlaySnapshotter, hidden: str) -> None:
    """What a layer in between, or the layer itself, hides is not looked at."""
    base = Path(snapshots.prepare("key").directory, "folder")
    base.mkdir()
    base.chmod(0o700)
    snapshots.commit("base", "key")
    middle = Path(snapshots.prepare("key", "base").directory, "folder")
    if hidden == "file":
        middle.touch()
    elif hidden == "whiteout":
        os.mknod(middle, stat.S_IFCHR, 0)
    snapshots.commit("middle", "key")
    upper = Path(snapshots.prepare("late").directory, "folder")
    upper.mkdir()
    if hidden == "opaque":
        os.setxattr(upper, "trusted.overlay.opaque", b"y")
    snapshots.inherit("late", "middle", [b"folder"])

    assert upper.stat().st_mode & 0o777 == 0o755


def test_links_lead_nowhere_when_inheriting(snapshots: OverlaySnapshotter, tmp_path: Path) -> None:
    """A link in either tree is not followed: nothing outside is changed or taken over."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    outside.chmod(0o700)
    base = Path(snapshots.prepare("key").directory)
    (base / "a").symlink_to(outside)
    (base / "b" / "folder").mkdir(parents=True)
    (base / "b" / "folder").chmod(0o711)
    snapshots.commit("base", "key")
    upper = Path(snapshots.prepare("late").directory)
    (upper / "a" / "folder").mkdir(parents=True)
    (upper / "b").symlink_to(outside)
    snapshots.inherit("late", "base", [b"a", b"a/folder", b"b/folder"])

    assert ((upper / "a").stat().st_mode & 0o777, (outside / "folder").stat().st_mode & 0o777) == (
        0o755,
        0o755,
    )
