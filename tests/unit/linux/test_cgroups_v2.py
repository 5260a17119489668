"""Version 2 limits, written to plain files: what the kernel of a version 2 host would be asked."""

from pathlib import Path
from typing import Any

import pytest

from corten.errors import InvalidInput, Unsupported
from corten.linux.cgroups_v2 import CgroupV2, shares_to_weight

FILES = [
    "cgroup.procs",
    "cgroup.freeze",
    "cgroup.kill",
    "cpu.weight",
    "cpu.max.burst",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "pids.max",
    "io.weight",
    "io.max",
    "hugetlb.2MB.max",
    "memory.high",
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the control files of a cgroup, and its parents with theirs."""
    made = tmp_path / "corten" / "a"
    made.mkdir(parents=True)
    for above in (tmp_path, tmp_path / "corten"):
        (above / "cgroup.controllers").write_text("cpu memory pids\n")
        (above / "cgroup.subtree_control").write_text("")
    for name in FILES:
        (made / name).write_text("")
    (made / "cpu.max").write_text("max 100000\n")
    return made


@pytest.fixture
def cgroup(directory: Path, tmp_path: Path) -> CgroupV2:
    """The cgroup in that directory."""
    return CgroupV2(str(tmp_path), "corten/a")


@pytest.mark.parametrize(
    ("resources", "name", "text"),
    [
        ({"memory": {"limit": 1000}}, "memory.max", "1000"),
        ({"memory": {"limit": -1}}, "memory.max", "max"),
        ({"memory": {"limit": -1}}, "memory.swap.max", "max"),
        ({"memory": {"limit": 1000, "swap": 3000}}, "memory.swap.max", "2000"),
        ({"memory": {"limit": 1000, "swap": 1000}}, "memory.swap.max", "0"),
        ({"memory": {"limit": 1000, "swap": -1}}, "memory.swap.max", "max"),
        ({"memory": {"reservation": 500}}, "memory.low", "500"),
        ({"cpu": {"shares": 1024}}, "cpu.weight", "100"),
        ({"cpu": {"quota": 50000, "period": 100000}}, "cpu.max", "50000 100000"),
        ({"cpu": {"quota": -1, "period": 100000}}, "cpu.max", "max 100000"),
        ({"cpu": {"period": 200000}}, "cpu.max", "max 200000"),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, "cpuset.cpus", "0-1"),
        ({"pids": {"limit": 7}}, "pids.max", "7"),
        ({"pids": {"limit": 0}}, "pids.max", "0"),
        ({"pids": {"limit": -1}}, "pids.max", "max"),
        ({"blockIO": {"weight": 10}}, "io.weight", "default 1"),
        ({"blockIO": {"weight": 1000}}, "io.weight", "default 10000"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]}},
            "io.max",
            "8:0 rbps=600",
        ),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]}, "hugetlb.2MB.max", "4"),
        ({"unified": {"memory.high": "900"}}, "memory.high", "900"),
    ],
)
def test_writes_each_limit(
    cgroup: CgroupV2, directory: Path, resources: dict[str, Any], name: str, text: str
) -> None:
    """A limit of the specification lands in its file, in the units of version 2."""
    cgroup.apply(resources)

    assert (directory / name).read_text().strip() == text


@pytest.mark.parametrize(
    ("resources", "kind", "words"),
    [
        ({"memory": {"swap": 1000}}, InvalidInput, "needs a memory limit"),
        ({"memory": {"limit": 1000, "swap": 999}}, InvalidInput, "less than memory"),
        ({"memory": {"swappiness": 10}}, Unsupported, "swappiness"),
        ({"memory": {"disableOOMKiller": True}}, Unsupported, "disableOOMKiller"),
        ({"cpu": {"realtimeRuntime": 10}}, Unsupported, "realtimeRuntime"),
        ({"network": {"classID": 1}}, Unsupported, "network"),
        ({"unified": {"../memory.max": "1"}}, InvalidInput, "bad cgroup limit"),
        ({"unified": {"cgroup.procs": "1"}}, InvalidInput, "bad cgroup limit"),
        ({"unified": {"misc.max": "1"}}, Unsupported, "misc.max"),
    ],
)
def test_refuses_what_version_2_cannot_do(
    cgroup: CgroupV2, resources: dict[str, Any], kind: type[Exception], words: str
) -> None:
    """A limit without a counterpart, or one that leaves the cgroup, is refused by name."""
    with pytest.raises(kind, match=words):
        cgroup.apply(resources)


def test_skips_swap_and_weights_that_the_kernel_lacks(cgroup: CgroupV2, directory: Path) -> None:
    """Without swap accounting or an I/O weight, the other limits are still set."""
    (directory / "memory.swap.max").unlink()
    (directory / "io.weight").unlink()

    cgroup.apply({"blockIO": {"weight": 500}, "memory": {"limit": 1000, "swap": 2000}})

    assert (directory / "memory.max").read_text() == "1000"


def test_checks_the_use_before_lowering_a_limit(cgroup: CgroupV2, directory: Path) -> None:
    """On request a limit below the current use is refused instead of killing processes."""
    (directory / "memory.current").write_text("5000\n")

    with pytest.raises(InvalidInput, match="5000 bytes in use"):
        cgroup.apply({"memory": {"limit": 4000, "checkBeforeUpdate": True}})


def test_hands_controllers_down(cgroup: CgroupV2, tmp_path: Path) -> None:
    """Every parent enables for its children what it has itself."""
    cgroup.create()

    for above in (tmp_path, tmp_path / "corten"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_cannot_be_renamed(cgroup: CgroupV2) -> None:
    """The kernel cannot rename a version 2 cgroup; the message says what to do instead."""
    with pytest.raises(Unsupported, match="final name"):
        cgroup.rename("corten/b")


def test_reads_statistics(cgroup: CgroupV2, directory: Path) -> None:
    """Times come in nanoseconds, limits of ``max`` as None, absent counters as 0."""
    (directory / "cpu.stat").write_text(
        "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_throttled 1\nthrottled_usec 4\n"
    )
    (directory / "memory.max").write_text("max\n")
    (directory / "memory.current").write_text("4096\n")
    (directory / "memory.events").write_text("low 0\nmax 6\noom_kill 2\n")
    (directory / "memory.stat").write_text("anon 10\ninactive_file 20\n")
    (directory / "pids.max").write_text("50\n")
    (directory / "io.stat").write_text("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n")

    stats: dict[str, Any] = cgroup.stats()

    assert stats["cpu"] == {
        "total": 5000,
        "user": 3000,
        "system": 2000,
        "per_cpu": [],
        "periods": 0,
        "throttled_periods": 1,
        "throttled_time": 4000,
    }
    assert stats["memory"] == {
        "usage": 4096,
        "limit": None,
        "max": 0,
        "failures": 6,
        "stat": {"anon": 10, "inactive_file": 20},
    }
    assert stats["pids"] == {"current": 0, "limit": 50}
    assert (8, 0, "write", 2) in stats["blkio"]["bytes"]
    assert (8, 0, "read", 3) in stats["blkio"]["operations"]
    assert stats["oom_kills"] == 2


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (1024, 100), (262144, 10000), (10**6, 10000)])
def test_default_shares_are_the_default_weight(shares: int, weight: int) -> None:
    """The ends and the default of one scale are those of the other."""
    assert shares_to_weight(shares) == weight


def test_more_shares_are_never_less_weight() -> None:
    """The conversion keeps the order."""
    weights = [shares_to_weight(shares) for shares in range(2, 262145, 97)]

    assert weights == sorted(weights)
