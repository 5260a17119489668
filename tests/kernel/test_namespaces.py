"""Forks into namespaces, and what a child does before it is a container."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.linux import mounts, namespaces, pidfd
from corten.linux.syscalls import KernelError
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

FLAGS = {"pid": namespaces.CLONE_NEWPID, "uts": namespaces.CLONE_NEWUTS, "ipc": namespaces.CLONE_NEWIPC}


def forked(flags: int, body: Callable[[], object]) -> str:
    """Return what *body* returns in a child that was forked with *flags*."""

    def work() -> str:
        reader, writer = os.pipe()
        pid, descriptor = namespaces.fork(flags)
        if pid == 0:
            try:
                os.write(writer, str(body()).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(pid, 0)
        assert not os.get_inheritable(descriptor)
        return os.read(reader, 1 << 16).decode()

    return in_child(work)


def inode(kind: str) -> str:
    """Name a namespace of this process."""
    return os.readlink(f"/proc/thread-self/ns/{kind}")


def test_a_plain_fork() -> None:
    """Without flags it is a fork: the child has what its parent has."""
    assert forked(0, lambda: inode("pid")) == inode("pid")


@pytest.mark.parametrize("kind", FLAGS)
def test_a_fork_into_one_namespace(kind: str) -> None:
    """Each flag makes one namespace, and no other."""
    found = forked(FLAGS[kind], lambda: [inode(name) for name in FLAGS])
    assert [text in found for text in map(inode, FLAGS)] == [name != kind for name in FLAGS]


def test_the_first_process_of_a_pid_namespace() -> None:
    """A child in a new pid namespace is number 1 there."""
    assert forked(namespaces.CLONE_NEWPID, os.getpid) == "1"


def test_names_are_set_for_the_own_namespace_only() -> None:
    """Host and domain name of a child's namespace do not reach the host."""
    before = os.uname().nodename

    def body() -> object:
        namespaces.set_hostname("inner")
        namespaces.set_domainname("example")
        return os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text(encoding="ascii").strip()

    assert forked(namespaces.CLONE_NEWUTS, body) == "('inner', 'example')"
    assert os.uname().nodename == before


def test_an_impossible_fork_is_an_error() -> None:
    """What the kernel refuses is told to the parent, and there is no child."""
    with pytest.raises(KernelError, match="fork"):
        namespaces.fork(0, cgroup=-1)


def test_entering_by_pidfd() -> None:
    """A pidfd opens several namespaces at once."""

    def body() -> object:
        pid, descriptor = namespaces.fork(namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC)
        if pid == 0:
            signal.pause()
            os._exit(0)
        wanted = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("uts", "ipc")]
        namespaces.setns(descriptor, namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return wanted == [inode("uts"), inode("ipc")]

    assert in_child(body) == "True"


def test_entering_what_is_no_namespace() -> None:
    """Any other descriptor is refused."""
    with pytest.raises(KernelError, match="enter namespaces"):
        namespaces.setns(0, namespaces.CLONE_NEWUTS)


def test_pivot_root_leaves_nothing_of_the_host(tmp_path: Path) -> None:
    """After it the new root is all there is: no other mount, and dots end there."""
    (tmp_path / "root").mkdir()

    def body() -> object:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        detached = mounts.filesystem("tmpfs", [])
        os.mkdir("only", dir_fd=detached)
        os.mkdir("proc", dir_fd=detached)
        place = os.open(tmp_path / "root", os.O_PATH)
        mounts.attach(detached, place)
        os.close(place)
        namespaces.pivot_root(detached)
        mounts.mount("proc", "/proc", "proc")
        with open("/proc/self/mountinfo", "rb") as file:  # no codec can be looked up here
            return os.getcwd(), sorted(os.listdir("/../..")), len(file.read().splitlines())

    assert in_child(body) == "('/', ['only', 'proc'], 2)"
    assert os.listdir(tmp_path / "root") == []


@pytest.mark.parametrize("keep", [3, 4, 77])
def test_descriptors_are_closed_all_but_one(keep: int) -> None:
    """Of those from 3 on only the one that is kept stays open, wherever it is in the row."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.dup2(writer, keep)
            os.dup2(2, 500)
            namespaces.close_all_but(keep)
            os.write(keep, str([number for number in range(600) if _is_open(number)]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    assert os.read(reader, 1000).decode() == str([0, 1, 2, keep])
    os.close(reader)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_descriptors_are_marked() -> None:
    """Marked ones stay open until exec."""

    def body() -> object:
        os.dup2(2, 50, inheritable=True)
        namespaces.close_on_exec_from(3)
        return os.get_inheritable(50), os.get_inheritable(2)

    assert in_child(body) == "(False, True)"


def test_a_child_dies_with_its_parent() -> None:
    """The parent's death brings the signal asked for."""
    reader, writer = os.pipe()
    parent = os.fork()
    if not parent:
        pid, descriptor = namespaces.fork()
        if pid == 0:
            namespaces.set_parent_death_signal(signal.SIGKILL)
            os.write(writer, str(os.getpid()).encode())
            while True:
                signal.pause()
        signal.pause()
        os._exit(descriptor)
    os.close(writer)
    child = int(os.read(reader, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(reader, 1) == b"", "the pipe closes with its last holder, the child"
    os.close(reader)
    deadline = time.monotonic() + 5
    while _stands(child) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert not _stands(child)


def _stands(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_undumpable_process_keeps_its_proc_to_root() -> None:
    """The /proc entries of a process that is not dumpable belong to root, whatever its user."""

    def body() -> object:
        os.setresuid(1234, 1234, 1234)
        namespaces.set_dumpable(True)
        before = os.stat("/proc/self/fd").st_uid
        namespaces.set_dumpable(False)
        return before, os.stat("/proc/self/fd").st_uid

    assert in_child(body) == "(1234, 0)"


def test_orphans_come_to_a_subreaper() -> None:
    """A process whose parent ends is adopted by the nearest ancestor that asked for it."""

    def body() -> object:
        namespaces.set_subreaper()
        reader, writer = os.pipe()
        middle, _ = namespaces.fork()
        if middle == 0:
            orphan, _ = namespaces.fork()
            if orphan == 0:
                os.read(reader, 1)
                os._exit(42)
            os._exit(0)
        os.waitpid(middle, 0)
        os.write(writer, b"x")
        return pidfd.exit_code(os.waitpid(-1, 0)[1])

    assert in_child(body) == "42"
