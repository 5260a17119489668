"""Mounts by descriptor: what is made, dressed and attached."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.linux import mounts, namespaces
from corten.linux.syscalls import KernelError
from tests.descriptors import open_descriptors
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

UNUSED = 1000  # a system call number that no kernel has


@pytest.fixture(params=["mount_setattr", "mount"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Do a test with the call of Linux 5.12, and without it."""
    if request.param == "mount":
        monkeypatch.setattr(mounts, "NR_MOUNT_SETATTR", UNUSED)
    return str(request.param)


def alone(body: Callable[[], object]) -> str:
    """Run *body* in a child with mounts of its own; return what it returns or raises."""

    def work() -> object:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        return body()

    return in_child(work)


def attached(detached: int, folder: Path) -> int:
    """Attach a mount; return it."""
    place = os.open(folder, os.O_PATH)
    mounts.attach(detached, place)
    os.close(place)
    return detached


def names(detached: int, path: str = ".") -> list[str]:
    """Return what lies in a folder of a mount that is attached nowhere."""
    folder = os.open(path, os.O_RDONLY, dir_fd=detached)
    try:
        return os.listdir(folder)
    finally:
        os.close(folder)


def options(folder: Path) -> set[str]:
    """Return the mount options of what is mounted on *folder*, and its tags."""
    for line in reversed(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()):
        fields = line.split()
        if fields[4] == str(folder):
            return {*fields[5].split(","), *(tag.partition(":")[0] for tag in fields[6 : fields.index("-")])}
    return set()


def test_a_detached_file_system(tmp_path: Path) -> None:
    """A file system can be filled before anybody sees it, and is gone with its descriptor."""
    detached = mounts.filesystem("tmpfs", [("mode", "751"), ("size", "64k")], mounts.ATTR_NOSUID)
    try:
        os.mkdir("made", dir_fd=detached)
        assert names(detached) == ["made"]
        assert os.fstat(detached).st_mode & 0o777 == 0o751
        assert os.fstatvfs(detached).f_flag & os.ST_NOSUID
        assert not os.get_inheritable(detached)
    finally:
        os.close(detached)
    assert os.listdir(tmp_path) == []


def test_a_refused_option_is_named() -> None:
    """The error says which option of which file system, and what the kernel said."""
    with pytest.raises(KernelError, match="configure tmpfs: bogus=1") as failure:
        mounts.filesystem("tmpfs", [("bogus", "1")])
    assert failure.value.errno == errno.EINVAL
    with pytest.raises(KernelError, match="bogusfs"):
        mounts.filesystem("bogusfs", [])


def test_no_descriptor_leaks() -> None:
    """Refused or not, only what is returned stays open."""
    before = open_descriptors()
    for option in ("bogus", "size"):
        with pytest.raises(KernelError):
            mounts.filesystem("tmpfs", [(option, "nonsense")])
    os.close(mounts.filesystem("tmpfs", []))
    assert open_descriptors() == before


@pytest.mark.slow
def test_an_overlay_of_many_layers(tmp_path: Path) -> None:
    """120 folders with long names, more than a page of options, are one tree; the top one wins."""
    layers = [tmp_path / f"{number:03}-{'x' * 80}" for number in range(120)]
    for number, folder in enumerate(layers):
        folder.mkdir()
        (folder / f"own{number}").touch()
        (folder / "common").write_text(str(number), encoding="utf-8")

    def body() -> object:
        detached = mounts.overlay([str(layer) for layer in layers])
        reader = os.open("common", os.O_RDONLY, dir_fd=detached)
        return len(names(detached)), os.read(reader, 10)

    assert alone(body) == "(121, b'0')"


def test_an_overlay_that_can_be_written(tmp_path: Path) -> None:
    """Changes go to the upper folder; names with commas and colons are names."""
    lower, upper, work = (tmp_path / name for name in ("lo,w:er", "up,p:er", "work"))
    for folder in (lower, upper, work):
        folder.mkdir()
    (lower / "file").write_text("old", encoding="utf-8")

    def body() -> object:
        detached = attached(
            mounts.overlay([str(lower)], str(upper), str(work), ("userxattr",)), tmp_path / "work"
        )
        writer = os.open("file", os.O_WRONLY | os.O_TRUNC, dir_fd=detached)
        return os.write(writer, b"new")

    assert alone(body) == "3"
    assert (lower / "file").read_text(encoding="utf-8") == "old"
    assert (upper / "file").read_text(encoding="utf-8") == "new"


def test_a_missing_layer_is_an_error(tmp_path: Path) -> None:
    """A folder that is not there does not lead to the older way, which would say less."""
    with pytest.raises(KernelError, match="lowerdir") as failure:
        mounts.overlay([str(tmp_path / "absent")])
    assert failure.value.errno == errno.ENOENT


@pytest.mark.parametrize(("recursive", "seen"), [(True, "['below']"), (False, "[]")])
def test_a_copy_of_a_tree(tmp_path: Path, recursive: bool, seen: str) -> None:
    """A bind takes the mounts below along only when told so."""
    (tmp_path / "a/b").mkdir(parents=True)

    def body() -> object:
        below = attached(mounts.filesystem("tmpfs", []), tmp_path / "a/b")
        os.mkdir("below", dir_fd=below)
        copy = mounts.clone_tree(mounts.AT_FDCWD, str(tmp_path / "a"), recursive)
        return names(copy, "b")

    assert alone(body) == seen


def test_a_copy_of_what_is_open(tmp_path: Path) -> None:
    """A descriptor can be bound itself, whatever lies at its path by now."""
    (tmp_path / "file").write_text("first", encoding="utf-8")
    (tmp_path / "place").touch()

    def body() -> object:
        opened = os.open(tmp_path / "file", os.O_PATH)
        (tmp_path / "file").rename(tmp_path / "moved")
        (tmp_path / "file").symlink_to("/etc/passwd")
        attached(mounts.clone_tree(opened, recursive=False), tmp_path / "place")
        return (tmp_path / "place").read_text(encoding="utf-8")

    assert alone(body) == "first"


def test_attributes(tmp_path: Path, calls: str) -> None:
    """Attributes are set and cleared one by one; the others stay as they were."""

    def body() -> object:
        made = attached(mounts.filesystem("tmpfs", [], mounts.ATTR_NODEV), tmp_path)
        mounts.set_attributes(made, add=mounts.ATTR_RDONLY | mounts.ATTR_NOSUID)
        first = options(tmp_path) & {"ro", "nosuid", "nodev", "noexec"}
        mounts.set_attributes(made, add=mounts.ATTR_NOEXEC, clear=mounts.ATTR_RDONLY)
        second = options(tmp_path) & {"ro", "nosuid", "nodev", "noexec"}
        return sorted(first), sorted(second)

    assert alone(body) == "(['nodev', 'nosuid', 'ro'], ['nodev', 'noexec', 'nosuid'])"


def test_a_read_only_bind_leaves_the_source_alone(tmp_path: Path, calls: str) -> None:
    """Read-only is the bind, not the file system."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    def body() -> object:
        bind = attached(mounts.clone_tree(mounts.AT_FDCWD, str(tmp_path / "a")), tmp_path / "b")
        mounts.set_attributes(bind, add=mounts.ATTR_RDONLY)
        (tmp_path / "a/file").touch()
        try:
            (tmp_path / "b/other").touch()
        except OSError as failure:
            return errno.errorcode[failure.errno or 0], os.listdir(tmp_path / "b")
        return "written"

    assert alone(body) == "('EROFS', ['file'])"


def test_access_times(tmp_path: Path, calls: str) -> None:
    """Of the ways to keep access times the last one counts."""

    def body() -> object:
        made = attached(mounts.filesystem("tmpfs", []), tmp_path)
        add, clear, *_ = mounts.split_options(("strictatime", "noatime"))
        mounts.set_attributes(made, add=add, clear=clear)
        first = options(tmp_path) & {"noatime", "relatime"}
        add, clear, *_ = mounts.split_options(("noatime", "relatime"))
        mounts.set_attributes(made, add=add, clear=clear)
        return sorted(first), sorted(options(tmp_path) & {"noatime", "relatime"})

    assert alone(body) == "(['noatime'], ['relatime'])"


@pytest.mark.parametrize(
    ("propagation", "tags"),
    [(mounts.MS_PRIVATE, "[]"), (mounts.MS_SHARED, "['shared']"), (mounts.MS_UNBINDABLE, "['unbindable']")],
)
def test_propagation(tmp_path: Path, calls: str, propagation: int, tags: str) -> None:
    """A mount is what it is told to be."""

    def body() -> object:
        made = attached(mounts.filesystem("tmpfs", []), tmp_path)
        mounts.set_attributes(made, propagation=propagation)
        return sorted(options(tmp_path) & {"shared", "master", "unbindable"})

    assert alone(body) == tags


def test_recursive_read_only(tmp_path: Path) -> None:
    """With mount_setattr the mounts below can be made read-only along with the top."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()

    def body() -> object:
        attached(mounts.filesystem("tmpfs", []), tmp_path / "a/b")
        copy = attached(mounts.clone_tree(mounts.AT_FDCWD, str(tmp_path / "a")), tmp_path / "c")
        mounts.set_attributes(copy, add=mounts.ATTR_RDONLY, recursive=True)
        return "ro" in options(tmp_path / "c/b"), "ro" in options(tmp_path / "a/b")

    assert alone(body) == "(True, False)"


def test_nothing_to_change_is_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anything to do not even the descriptor is looked at."""
    monkeypatch.setattr(mounts, "NR_MOUNT_SETATTR", UNUSED)
    mounts.set_attributes(-1)


def test_mount_and_unmount(tmp_path: Path) -> None:
    """The older calls name what failed."""

    def body() -> object:
        mounts.mount("none", str(tmp_path), "tmpfs", mounts.MS_NOEXEC, "size=64k")
        before = "noexec" in options(tmp_path)
        mounts.unmount(str(tmp_path))
        return before, options(tmp_path)

    assert alone(body) == "(True, set())"
    with pytest.raises(KernelError, match=r"mount none on /x type bogusfs \(\)"):
        mounts.mount("none", "/x", "bogusfs")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (0, 0, 0, False, [])),
        (("defaults", "async", "rro"), (0, 0, 0, False, [])),
        (("ro", "nosuid"), (mounts.ATTR_RDONLY | mounts.ATTR_NOSUID, 0, 0, False, [])),
        (("ro", "rw"), (0, mounts.ATTR_RDONLY, 0, False, [])),
        (("rw", "ro"), (mounts.ATTR_RDONLY, 0, 0, False, [])),
        (("bind",), (0, 0, 0, False, [])),
        (("rbind", "rslave"), (0, 0, mounts.MS_SLAVE | mounts.MS_REC, True, [])),
        (("size=5m", "mode=1777"), (0, 0, 0, False, [("size", "5m"), ("mode", "1777")])),
        (("newinstance", "a=b=c"), (0, 0, 0, False, [("newinstance", ""), ("a", "b=c")])),
        (("noatime",), (mounts.ATTR_NOATIME, mounts.ATTR_ATIME_MASK, 0, False, [])),
    ],
)
def test_options_are_sorted(
    words: tuple[str, ...], expected: tuple[int, int, int, bool, list[tuple[str, str]]]
) -> None:
    """Each option of mount(8) goes where the kernel wants it, and the last word counts."""
    assert mounts.split_options(words) == expected
