"""Cgroups on the running kernel: every limit is read back, every effect seen on a real process."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from corten.errors import InvalidInput, Unsupported
from corten.linux import cgroups, cgroups_base, namespaces
from corten.linux.cgroups_v1 import CgroupV1
from corten.linux.cgroups_v2 import CgroupV2
from corten.linux.syscalls import KernelError, libc
from tests.kernel.forked import in_child, waiting_child

pytestmark = pytest.mark.root

MIB = 1 << 20
TOP = f"corten-test-{os.getpid()}"


@pytest.fixture
def cgroup() -> Iterator[CgroupV1]:
    """A cgroup in the version 1 hierarchies of this host, below one that vanishes with it."""
    layout = cgroups.probe()
    made = layout.cgroup(f"{TOP}/a")
    if not isinstance(made, CgroupV1):
        pytest.skip("this host has no version 1 controllers")
    try:
        made.create()
        yield made
    finally:
        layout.cgroup(TOP).kill()
        layout.cgroup(TOP).remove()


@pytest.fixture
def unified() -> Iterator[CgroupV2]:
    """A cgroup in the version 2 hierarchy, which here may lack controllers."""
    root = cgroups.probe().unified
    if not root:
        pytest.skip("no version 2 hierarchy is mounted")
    before = set(Path(root, "cgroup.subtree_control").read_text().split())
    made = CgroupV2(root, f"{TOP}/a")
    try:
        made.create()
        yield made
    finally:
        top = CgroupV2(root, TOP)
        top.kill()
        top.remove()
        control = Path(root, "cgroup.subtree_control")
        for name in set(control.read_text().split()) - before:
            control.write_text(f"-{name}")


def _read(cgroup: CgroupV1, controller: str, name: str) -> str:
    return Path(cgroup.file(controller, name)).read_text().strip()


def _directories(cgroup: CgroupV1) -> list[str]:
    return [os.path.dirname(cgroup.file(name, "x")) for name in cgroups.probe().controllers]


def test_is_made_everywhere_and_twice() -> None:
    """Creating makes parents too, is idempotent, and removing what is gone is no error."""
    made = cgroups.probe().cgroup(f"{TOP}/deep/er")
    made.create()
    made.create()

    assert made.pids() == []
    for _ in range(2):
        made.remove()
        cgroups.probe().cgroup(TOP).remove()


def test_a_process_moves_itself(cgroup: CgroupV1) -> None:
    """A child that enters is in the same place of every hierarchy."""

    def enter() -> object:
        cgroup.enter()
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        inside = {
            name
            for line in lines
            if line.endswith(f":/{cgroup.path}")
            for name in line.split(":")[1].split(",")
        }
        return inside == set(cgroups.probe().controllers)

    assert in_child(enter) == "True"


def test_a_process_is_moved_and_listed(cgroup: CgroupV1) -> None:
    """Processes below count as well as those in it."""
    below = cgroups.probe().cgroup(f"{TOP}/a/b")
    below.create()
    with waiting_child(cgroup.enter) as first, waiting_child(lambda: None) as second:
        below.enter(second)

        assert sorted(cgroup.pids()) == sorted([first, second])


def test_a_process_that_has_ended_cannot_be_moved(cgroup: CgroupV1) -> None:
    """The kernel's refusal names the file and the process."""
    with waiting_child(lambda: None) as pid:
        pass

    with pytest.raises(KernelError, match=f"write '{pid}' to .*cgroup.procs: No such process"):
        cgroup.enter(pid)


@pytest.mark.parametrize(
    ("resources", "controller", "name", "text"),
    [
        ({"memory": {"limit": 64 * MIB}}, "memory", "memory.limit_in_bytes", str(64 * MIB)),
        ({"memory": {"reservation": 32 * MIB}}, "memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
        ({"memory": {"swappiness": 10}}, "memory", "memory.swappiness", "10"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"quota": 50000, "period": 200000}}, "cpu", "cpu.cfs_quota_us", "50000"),
        ({"cpu": {"quota": 50000, "period": 200000}}, "cpu", "cpu.cfs_period_us", "200000"),
        ({"cpu": {"quota": -1}}, "cpu", "cpu.cfs_quota_us", "-1"),
        ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"pids": {"limit": 7}}, "pids", "pids.max", "7"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
    ],
)
def test_sets_each_limit(
    cgroup: CgroupV1, resources: dict[str, Any], controller: str, name: str, text: str
) -> None:
    """The kernel shows the limit that was asked for."""
    cgroup.apply(resources)

    assert _read(cgroup, controller, name) == text


def test_memory_and_swap_rise_and_fall(cgroup: CgroupV1) -> None:
    """Whatever was set before, both limits reach their new values."""
    if not os.path.exists(cgroup.file("memory", "memory.memsw.limit_in_bytes")):
        pytest.skip("this kernel does not account for swap")
    for most, swap in (
        (64, 128),
        (256, 512),
        (16, 16),
        (32, 32),
        (8, 1024),
        (2048, 4096),
        (-1, -1),
        (64, -1),
    ):
        cgroup.apply({"memory": {"limit": max(most * MIB, -1), "swap": max(swap * MIB, -1)}})

        limits = [int(_read(cgroup, "memory", f"memory.{kind}limit_in_bytes")) for kind in ("", "memsw.")]
        assert [limit // MIB if limit < 1 << 62 else -1 for limit in limits] == [most, swap]


@pytest.mark.parametrize(
    ("resources", "kind", "words"),
    [
        ({"cpu": {"cpus": "4000"}}, InvalidInput, "cpuset.cpus"),
        ({"cpu": {"cpus": "zero"}}, InvalidInput, "cpuset.cpus"),
        ({"cpu": {"period": 1}}, InvalidInput, "cpu.cfs_period_us"),
        ({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}, InvalidInput, "memory.memsw.limit_in_bytes"),
        ({"memory": {"swappiness": 1000}}, InvalidInput, "memory.swappiness"),
        ({"pids": {"limit": -7}}, InvalidInput, "pids.max"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 1, "rate": 1}]}},
            InvalidInput,
            "blkio.throttle.read_bps_device",
        ),
        ({"unified": {"memory.max": "1"}}, Unsupported, "unified"),
    ],
)
def test_refuses_limits_that_cannot_hold(
    cgroup: CgroupV1, resources: dict[str, Any], kind: type[Exception], words: str
) -> None:
    """What the kernel refuses is the user's to correct, and the limit is named."""
    with pytest.raises(kind, match=words):
        cgroup.apply(resources)


def test_weights_without_a_scheduler_are_skipped(cgroup: CgroupV1) -> None:
    """An I/O weight is a wish: a kernel without a scheduler for it runs the container all the same."""
    cgroup.apply({"blockIO": {"weight": 500}})

    file = cgroup.file("blkio", "blkio.bfq.weight")
    assert not os.path.exists(file) or "500" in Path(file).read_text()


def test_too_many_processes_are_refused(cgroup: CgroupV1) -> None:
    """The limit of tasks makes fork fail inside."""
    cgroup.apply({"pids": {"limit": 1}})

    def fork() -> object:
        cgroup.enter()
        try:
            pid = os.fork()
        except OSError as failure:
            return errno.errorcode[failure.errno or 0]
        if not pid:
            os._exit(0)
        return pid

    assert in_child(fork) == "EAGAIN"


def test_devices_are_denied(cgroup: CgroupV1) -> None:
    """Only what a rule allows can be opened, and the list in the kernel is that of the rules."""
    rules = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}]
    cgroup.apply({"devices": rules})

    def open_both() -> object:
        cgroup.enter()
        answers = []
        for path in ("/dev/null", "/dev/full"):
            try:
                os.close(os.open(path, os.O_RDWR))
                answers.append("ok")
            except OSError as failure:
                answers.append(errno.errorcode[failure.errno or 0])
        return answers

    assert in_child(open_both) == "['ok', 'EPERM']"
    assert _read(cgroup, "devices", "devices.list") == "c 1:3 rw"


def test_too_much_memory_kills_and_is_counted(cgroup: CgroupV1) -> None:
    """A process that passes the limit is killed, and the cgroup knows."""
    cgroup.apply({"memory": {"limit": 32 * MIB, "swap": 64 * MIB}})
    assert cgroup.oom_kills() == 0

    pid = os.fork()
    if not pid:
        cgroup.enter()
        os._exit(len(bytearray(128 * MIB)) & 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    stats: dict[str, Any] = cgroup.stats()
    assert stats["oom_kills"] == 1
    assert stats["memory"]["limit"] == 32 * MIB
    assert stats["memory"]["failures"] > 0


def test_statistics_show_what_was_used(cgroup: CgroupV1) -> None:
    """Processor time in nanoseconds, no limits where none are set, memory by the kernel's names."""

    def burn() -> None:
        cgroup.enter()
        sum(range(200_000))

    with waiting_child(burn):
        stats: dict[str, Any] = cgroup.stats()

    assert 1_000_000 < stats["cpu"]["total"] < 10_000_000_000
    assert len(stats["cpu"]["per_cpu"]) >= 1
    assert stats["memory"]["limit"] is None
    assert "total_inactive_file" in stats["memory"]["stat"]
    assert stats["pids"] == {"current": 1, "limit": None}


def test_frozen_processes_stand_still_until_thawed(cgroup: CgroupV1) -> None:
    """A frozen process does not even take a signal; a thawed one does."""
    with waiting_child(cgroup.enter) as pid:
        cgroup.freeze()
        os.kill(pid, signal.SIGTERM)
        assert _read(cgroup, "freezer", "freezer.state") == "FROZEN"
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)

        cgroup.thaw()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_kill_reaches_frozen_processes_and_those_below(cgroup: CgroupV1) -> None:
    """Nothing in the tree survives, frozen or not."""
    below = cgroups.probe().cgroup(f"{TOP}/a/b")
    below.create()
    with waiting_child(cgroup.enter) as first, waiting_child(below.enter) as second:
        cgroup.freeze()
        cgroup.kill()

        for pid in (first, second):
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.fixture
def reaper() -> Iterator[None]:
    """Make orphans our own children for a while, and let none remain a zombie.

    Children of other tests that live are left alone: whoever is a subreaper
    for longer keeps the ends of orphans from those who watch them by pidfd.
    """
    set_child_subreaper = 36
    assert libc.prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        assert libc.prctl(set_child_subreaper, 0, 0, 0, 0) == 0
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


FORKING = "import os\nwhile True:\n  try:\n    os.fork()\n  except OSError:\n    pass\n"


@pytest.mark.slow
def test_kill_ends_what_forks_without_end(reaper: None, cgroup: CgroupV1) -> None:
    """Processes that fork faster than they are signalled are stopped first."""
    cgroup.apply({"pids": {"limit": 40}})
    pid = os.fork()
    if not pid:
        cgroup.enter()
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", FORKING])
    while len(cgroup.pids()) < 40:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    cgroup.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    cgroup.remove()  # waits for the last ones to be gone
    assert cgroup.pids() == []


def test_renaming_keeps_processes_and_limits(cgroup: CgroupV1) -> None:
    """Under the new name everything is as it was; the old one is free."""
    cgroup.apply({"pids": {"limit": 9}})
    with waiting_child(cgroup.enter) as pid:
        cgroup.rename(f"{TOP}/b")

        assert cgroup.path == f"{TOP}/b"
        assert cgroup.pids() == [pid]
        assert _read(cgroup, "pids", "pids.max") == "9"
        assert cgroups.probe().cgroup(f"{TOP}/a").pids() == []


def test_renaming_is_all_or_nothing(cgroup: CgroupV1) -> None:
    """A name taken in the last hierarchy leaves the first ones as they were."""
    taken = _directories(cgroup)[-1].replace(f"{TOP}/a", f"{TOP}/b")
    os.mkdir(taken)

    with pytest.raises(KernelError, match="rename cgroup"):
        cgroup.rename(f"{TOP}/b")

    assert all(os.path.isdir(directory) for directory in _directories(cgroup))
    assert cgroup.path == f"{TOP}/a"


def test_a_cgroup_in_use_stays(cgroup: CgroupV1, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing waits for ended processes, but does not take living ones' place away."""
    monkeypatch.setattr(cgroups_base, "_REMOVE_DEADLINE", 0.01)
    with waiting_child(cgroup.enter), pytest.raises(KernelError, match="busy"):
        cgroup.remove()


def test_children_are_removed_with_it(cgroup: CgroupV1) -> None:
    """What a container made below its own cgroup does not outlive it."""
    cgroups.probe().cgroup(f"{TOP}/a/b/c").create()

    cgroup.remove()

    assert not any(os.path.exists(directory) for directory in _directories(cgroup))


def test_version_1_has_no_descriptor(cgroup: CgroupV1) -> None:
    """CLONE_INTO_CGROUP works on version 2 only."""
    assert cgroup.directory_fd() is None


def test_version_2_holds_freezes_and_kills(unified: CgroupV2) -> None:
    """The same life on version 2: enter, freeze, kill while frozen, remove."""
    with waiting_child(unified.enter) as pid:
        assert unified.pids() == [pid]
        unified.freeze()
        assert "frozen 1" in Path(unified.directory, "cgroup.events").read_text()
        unified.thaw()
        unified.freeze()
        unified.kill()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    unified.remove()
    unified.kill()
    assert unified.pids() == []


def test_a_child_is_born_in_a_version_2_cgroup(unified: CgroupV2) -> None:
    """The descriptor is what CLONE_INTO_CGROUP takes: no move is needed."""
    fd = unified.directory_fd()
    assert fd is not None
    pid, pidfd = namespaces.fork(0, fd)
    if not pid:
        signal.pause()
        os._exit(1)
    try:
        assert unified.pids() == [pid]
    finally:
        unified.kill()
        os.waitpid(pid, 0)
        os.close(fd)
        os.close(pidfd)


def test_a_version_2_parent_with_processes_hands_nothing_down(unified: CgroupV2) -> None:
    """The rule that a cgroup holds processes or limits children is explained, not just refused."""
    root = cgroups.probe().unified
    if not Path(unified.directory, "cgroup.controllers").read_text().strip():
        pytest.skip("the version 2 hierarchy of this host has no controller")
    with waiting_child(unified.enter), pytest.raises(Unsupported, match="processes live in the cgroup"):
        CgroupV2(root, f"{TOP}/a/b").create()


def test_moves_can_be_made_cheap(tmp_path: Path) -> None:
    """The mount that switches it on lives in a mount namespace and ends with it."""

    def favor() -> object:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        private_recursive = 1 << 18 | 1 << 14
        assert libc.mount(b"none", b"/", None, private_recursive, None) == 0
        try:
            cgroups.favor_dynamic_moves(str(tmp_path))
        except KernelError as failure:
            return errno.errorcode[failure.errno or 0]
        return "favordynmods" in Path("/proc/self/mountinfo").read_text()

    answer = in_child(favor)
    if answer == "EINVAL":
        pytest.skip("this kernel does not know favordynmods")
    assert answer == "True"
    assert "favordynmods" not in Path("/proc/self/mountinfo").read_text()
