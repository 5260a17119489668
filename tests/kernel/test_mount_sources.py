"""What init binds: folders below a source, other owners, the propagation that the host's mount has."""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from corten.core.runtime.init import filesystem
from corten.core.runtime.init.filesystem import Tree
from corten.linux import idmap, mounts, namespaces
from corten.linux.rename import exchange
from corten.linux.syscalls import KernelError
from tests.descriptors import open_descriptors
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

BIND = ("rbind", "rprivate")


def alone(body: Callable[[], object]) -> Any:
    """Run *body* in a child with mounts of its own; return its result by way of JSON, or the text of a failure."""

    def work() -> object:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        return json.dumps(body())

    text = in_child(work)
    try:
        return json.loads(text)
    except ValueError:
        return text


def tree(root: Path) -> Tree:
    """A container's tree that is the folder *root*, bound to itself."""
    root.mkdir(exist_ok=True)
    made = Tree()
    filesystem.root(made, str(root), "bind", str(root), ["bind"], "")
    return made


def tags(path: Path) -> set[str]:
    """Return the options and the propagation of what is mounted on *path*."""
    for line in reversed(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()):
        fields = line.split()
        if fields[4] == str(path):
            return {*fields[5].split(","), *(tag.partition(":")[0] for tag in fields[6 : fields.index("-")])}
    return set()


def tmpfs(path: Path, mode: int = mounts.MS_PRIVATE) -> None:
    """Mount a tmpfs on *path* with propagation *mode*."""
    path.mkdir(parents=True, exist_ok=True)
    mounts.mount("tmpfs", str(path), "tmpfs")
    mounts.mount("none", str(path), flags=mode)


def test_a_folder_below_the_source(tmp_path: Path) -> None:
    """X-mount.subdir binds what lies below the source, a file as well as a folder."""
    volume = tmp_path / "volume"
    (volume / "a/b").mkdir(parents=True)
    (volume / "a/b/file").write_text("below", encoding="utf-8")
    (volume / "way").symlink_to("a/b")

    def body() -> object:
        root = tree(tmp_path / "root")
        filesystem.mount(root, "/folder", "bind", str(volume), [*BIND, "X-mount.subdir=way"])
        filesystem.mount(root, "/file", "bind", str(volume), [*BIND, "X-mount.subdir=a/b/file", "ro"])
        here = tmp_path / "root"
        return [
            os.listdir(here / "folder"),
            (here / "file").read_text(encoding="utf-8"),
            "ro" in tags(here / "file"),
        ]

    assert alone(body) == [["file"], "below", True]


@pytest.mark.parametrize("path", ["out", "up", "a/../../etc", "loop", "/etc", "proc"])
def test_nothing_leads_out_of_a_volume(tmp_path: Path, path: str) -> None:
    """A link that a container left in a volume, or dots, never show a folder of the host."""
    volume = tmp_path / "volume"
    (volume / "a").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (volume / "out").symlink_to("/etc")
    (volume / "up").symlink_to("../etc")
    (volume / "loop").symlink_to("loop")
    (volume / "proc").symlink_to("/proc/self/root")

    def body() -> object:
        try:
            filesystem.open_source(str(volume), (*BIND, f"X-mount.subdir={path}"))
        except KernelError as failure:
            return errno.errorcode[failure.errno or 0]
        return "opened"

    assert alone(body) in ("EXDEV", "ELOOP")


@contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Swap the folder ``a`` for a link to *outside* and back, over and over, while the block lasts."""
    (folder / "a").mkdir(parents=True)
    (folder / "b").symlink_to(outside)
    ended = threading.Event()
    top = os.open(folder, os.O_PATH)

    def swap() -> None:
        while not ended.is_set():
            exchange(top, "a", top, "b")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        ended.set()
        swapper.join()
        os.close(top)


def test_a_swap_while_a_folder_is_looked_up(tmp_path: Path) -> None:
    """A container that swaps a folder for a link to the host, over and over, is shown its own folder or nothing."""
    volume, canary = tmp_path / "volume", tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").touch()

    def body() -> object:
        seen, found = set(), 0
        for _ in range(2000):
            with suppress(KernelError):
                made = filesystem.open_source(str(volume), (*BIND, "X-mount.subdir=a"))
                folder = os.open(".", os.O_RDONLY, dir_fd=made)
                seen.update(os.listdir(folder))
                os.close(folder)
                os.close(made)
                found += 1
        return [sorted(seen), found > 0]

    with swapping(volume, canary):
        assert alone(body) == [[], True]


def test_a_swap_while_something_is_mounted_below_it(tmp_path: Path) -> None:
    """A target below a folder that a neighbour swaps for a link never makes or covers one of the host's (CVE-2021-30465)."""
    volume, canary = tmp_path / "volume", tmp_path / "canary"
    (canary / "place").mkdir(parents=True)

    def body() -> object:
        root = tree(tmp_path / "root")
        filesystem.mount(root, "/v", "bind", str(volume), list(BIND))
        made = 0
        for number in range(1000):
            with suppress(KernelError):
                filesystem.mount(root, "/v/a/place", "tmpfs", "tmpfs", [])
                filesystem.mount(root, f"/v/a/new{number % 5}", "bind", "/etc/hostname", list(BIND))
                made += 1
        return [os.path.ismount(canary / "place"), made > 0]

    with swapping(volume, canary):
        assert alone(body) == [False, True]
    assert sorted(os.listdir(canary)) == ["place"]


@pytest.mark.parametrize("direct", [True, False])
def test_a_folder_below_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    """A folder of a stack of layers can be mounted alone; before Linux 6.15 by way of a mount that is attached."""
    for name in ("low", "high"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc" / name).touch()
    if not direct:
        clone, attach, state = mounts.clone_tree, mounts.attach, {"attached": False}

        def older(directory: int, path: str = "", recursive: bool = True) -> int:
            if directory >= 0 and not state["attached"]:
                raise KernelError(errno.EINVAL, "clone")
            return clone(directory, path, recursive)

        def attached(detached: int, target: int) -> None:
            attach(detached, target)
            state["attached"] = True

        monkeypatch.setattr(mounts, "attach", attached)
        monkeypatch.setattr(mounts, "clone_tree", older)
    layers = f"lowerdir={tmp_path / 'high'}:{tmp_path / 'low'}"

    def body() -> object:
        before = open_descriptors()
        options = ["ro", layers, "X-mount.subdir=etc"]
        made = filesystem._made("overlay", "overlay", tuple(options))
        held = open_descriptors() - before
        place = tmp_path / "place"
        place.mkdir()
        target = os.open(place, os.O_PATH)
        mounts.attach(made, target)
        return [sorted(os.listdir(place)), held, os.path.exists("/proc/self/stat")]

    assert alone(body) == [["high", "low"], 1, True]


def test_owners_are_mapped(tmp_path: Path) -> None:
    """What belongs to 1000 on the disk is seen as 5000, written as 5000 belongs to 1000, and others are unknown."""
    source = tmp_path / "source"
    source.mkdir()
    os.chown(source, 1000, 1000)
    (source / "theirs").touch()
    os.chown(source / "theirs", 1000, 100)
    (source / "roots").touch()

    def body() -> object:
        root = tree(tmp_path / "root")
        filesystem.mount(
            root, "/m", "bind", str(source), [*BIND, "X-mount.idmap=u:1000:5000:2 g:1000:6000:1"]
        )
        place = tmp_path / "root/m"
        folder = os.open(place, os.O_PATH)
        if not os.fork():
            os.setgroups([])
            os.setgid(6000)
            os.setuid(5000)
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
            os._exit(0)
        os.wait()
        theirs, roots, new = (os.stat(place / name) for name in ("theirs", "roots", "new"))
        unknown = int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
        return [theirs.st_uid, theirs.st_gid == unknown, roots.st_uid == unknown, new.st_uid, new.st_gid]

    assert alone(body) == [5000, True, True, 5000, 6000]
    assert ((source / "new").stat().st_uid, (source / "new").stat().st_gid) == (1000, 1000)


def test_a_file_system_without_owners_to_map(tmp_path: Path) -> None:
    """The reason is one line that names the source."""

    def body() -> object:
        try:
            filesystem.open_source("/proc", ("bind", "X-mount.idmap=b:0:1000:10"))
        except KernelError as failure:
            return str(failure)
        return "mapped"

    assert "/proc, or of a mount below it, cannot map owners" in alone(body)


def test_a_user_namespace_leaves_nothing_behind() -> None:
    """It is made and closed without a process, descriptor or zombie; maps that overlap are refused."""

    def body() -> object:
        before = open_descriptors()
        os.close(idmap.user_namespace("u:0:1000:10 u:10:0:10 g:5:6:7"))
        try:
            idmap.user_namespace("b:0:1000:10 b:5:2000:10")
            failure = ""
        except KernelError as found:
            failure = errno.errorcode[found.errno or 0]
        try:
            os.waitpid(-1, os.WNOHANG)
            children = "some"
        except ChildProcessError:
            children = "none"
        return [open_descriptors() == before, failure, children]

    assert alone(body) == [True, "EINVAL", "none"]


@pytest.mark.parametrize(
    ("mode", "from_host", "to_host"),
    [
        ("rprivate", False, False),
        ("private", False, False),
        ("rslave", True, False),
        ("slave", True, False),
        ("rshared", True, True),
        ("shared", True, True),
    ],
)
def test_propagation(tmp_path: Path, mode: str, from_host: bool, to_host: bool) -> None:
    """A slave sees what the host mounts later, a shared one shows the host its own too, a private one neither."""
    source = tmp_path / "source"

    def body() -> object:
        tmpfs(source, mounts.MS_SHARED)
        root = tree(tmp_path / "root")
        filesystem.mount(root, "/m", "bind", str(source), ["rbind", mode])
        here = tmp_path / "root/m"
        tmpfs(source / "host")
        tmpfs(here / "inner")
        return [bool(tags(here / "host")), bool(tags(source / "inner"))]

    assert alone(body) == [from_host, to_host]


@pytest.mark.parametrize("mode", ["rprivate", "private", "rslave", "slave"])
def test_a_mount_below_is_no_way_back(tmp_path: Path, mode: str) -> None:
    """A shared mount of the host below the source gets nothing of what the container mounts in its copy."""
    source = tmp_path / "source"

    def body() -> object:
        tmpfs(source)
        tmpfs(source / "below", mounts.MS_SHARED)
        root = tree(tmp_path / "root")
        filesystem.mount(root, "/m", "bind", str(source), ["rbind", mode])
        tmpfs(tmp_path / "root/m/below/inner")
        return bool(tags(source / "below/inner"))

    assert alone(body) is False


def test_sources_of_another_mount_namespace(tmp_path: Path) -> None:
    """What the host has mounted since this process left its mount namespace can be bound all the same."""
    source = tmp_path / "source"
    source.mkdir()

    def body() -> object:
        host = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        namespaces.setns(host, namespaces.CLONE_NEWNS)
        tmpfs(source)
        (source / "late").touch()
        namespaces.setns(own, namespaces.CLONE_NEWNS)
        root = tree(tmp_path / "root")
        before = os.listdir(source)
        filesystem.open_sources(root, [[str(source), list(BIND)]], host)
        filesystem.mount(root, "/m", "bind", str(source), list(BIND), opened=0)
        try:
            filesystem.open_sources(root, [["/no/such", list(BIND)]], host)
        except KernelError as failure:
            line = str(failure)
        return [before, os.listdir(tmp_path / "root/m"), os.listdir(source), line]

    *seen, line = alone(body)
    assert seen == [[], ["late"], []]
    assert "mount /no/such: " in line
    assert line.endswith("No such file or directory")
