"""Limits hold: memory, processor time, processes, processors; and the kernel has the values that were asked for."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import ALONE, FOREVER, container, state, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20
GREEDY = 'my $x = "x" x (64 << 20); sleep 1000'  # bytes, all of them touched
SPIN = "while :; do :; done"
FORK_BOMB = "perl -e 'while (1) { fork }'"
MEASURED = 1.0  # seconds of processor time that are waited for


def group(engine: Engine, name: str, controller: str) -> Path:
    """Return the folder of a container's cgroup that has the files of *controller*."""
    identity = state(engine, name, "{{.Id}}")
    folders = [Path(folder) for folder in engine.groups(f"/{identity}")]
    return next((folder for folder in folders if folder.parts[-3] == controller), folders[0])


def value(folder: Path, *names: str) -> str:
    """Return the content of the first of *names* that exists: version 1 and 2 call it differently."""
    found = next(folder / name for name in names if (folder / name).exists())
    return found.read_text(encoding="ascii").strip()


@contextmanager
def limited(engine: Engine, *flags: str, script: str = "") -> Iterator[str]:
    """Lend a running container with *flags*."""
    command = ("sh", "-c", script) if script else FOREVER
    with container(engine, *flags, "debian", *command) as name:
        yield name


def test_too_much_memory_kills(engine: Engine) -> None:
    """A program that takes more than it may dies of signal 9, and that it was the kernel's doing is recorded."""
    name = unique()
    flags = ("--name", name, "-m", "32m", "--memory-swap", "32m", *ALONE)
    done = engine.docker("run", *flags, "debian", "perl", "-e", GREEDY, check=False)
    try:
        assert done.returncode == 137
        assert state(engine, name, "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}") == (
            "true 137 exited"
        )
    finally:
        engine.docker("rm", "-f", name)


def test_a_child_that_takes_too_much(engine: Engine) -> None:
    """The first process lives on when the kernel kills another one; the container has been short of memory."""
    script = f"perl -e '{GREEDY}'; echo survived $?; exit 4"
    name = unique()
    flags = ("--name", name, "-m", "32m", "--memory-swap", "32m", *ALONE)
    done = engine.docker("run", *flags, "debian", "sh", "-c", script, check=False)
    try:
        assert (done.returncode, done.stdout) == (4, "survived 137\n")
        assert state(engine, name, "{{.State.OOMKilled}}") == "true"
    finally:
        engine.docker("rm", "-f", name)


def test_enough_memory_kills_nobody(engine: Engine) -> None:
    """A program within its limit ends by itself, and its container says so."""
    with limited(engine, "-m", "512m", script=f"perl -e '{GREEDY.replace('sleep 1000', '')}'") as name:
        assert engine.docker("wait", name).stdout.strip() == "0"
        assert state(engine, name, "{{.State.OOMKilled}}") == "false"


def used(folder: Path) -> float:
    """Return the processor time of a cgroup in seconds."""
    if (folder / "cpuacct.usage").exists():
        return int(value(folder, "cpuacct.usage")) / 1e9
    table = dict(line.split() for line in value(folder, "cpu.stat").splitlines())
    return int(table["usage_usec"]) / 1e6


def test_half_a_processor(engine: Engine) -> None:
    """``--cpus 0.5`` lets two busy programs have half a second of processor time a second, to a tenth."""
    with limited(engine, "--cpus", "0.5", script=f"{SPIN} & {SPIN}") as name:
        folder = group(engine, name, "cpuacct")
        until(lambda: used(folder) > 0.1, "the programs to be busy")
        before, began = used(folder), time.monotonic()
        until(lambda: used(folder) - before >= MEASURED, "processor time to be used")
        spent, took = used(folder) - before, time.monotonic() - began
    assert spent / took < 0.55  # on a busy machine it may be less: then the limit has held all the more
    assert spent / took > 0.3


def test_a_fork_bomb_is_contained(engine: Engine) -> None:
    """With a limit on processes a bomb stays small, the engine answers, and the container can be removed."""
    with limited(engine, "--pids-limit", "32", script=FORK_BOMB) as name:
        folder = group(engine, name, "pids")
        until(lambda: int(value(folder, "pids.current")) >= 30, "the bomb to go off")
        assert int(value(folder, "pids.current")) <= 32
        assert engine.docker("run", "--rm", *ALONE, "debian", "echo", "fine").stdout == "fine\n"
    until(lambda: not folder.exists(), "its cgroup to be gone")


def test_processors_by_number(engine: Engine) -> None:
    """``--cpuset-cpus`` is what the container's processes may run on."""
    with limited(engine, "--cpuset-cpus", "0", "--cpuset-mems", "0") as name:
        out = engine.docker("exec", name, "grep", "_allowed_list", "/proc/self/status").stdout
        assert [line.split() for line in out.splitlines()] == [
            ["Cpus_allowed_list:", "0"],
            ["Mems_allowed_list:", "0"],
        ]


def test_processors_that_are_not_there(engine: Engine) -> None:
    """A processor that the machine does not have is refused, in one line."""
    done = engine.docker("run", "--rm", *ALONE, "--cpuset-cpus", "4000", "debian", "true", check=False)
    assert done.returncode == 125
    assert "4000" in done.stderr


V1 = [
    (("-m", "64m"), "memory", "memory.limit_in_bytes", str(64 * MIB)),
    (("-m", "64m"), "memory", "memory.memsw.limit_in_bytes", str(128 * MIB)),
    (("-m", "64m", "--memory-reservation", "32m"), "memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
    (("--cpus", "1.5"), "cpu", "cpu.cfs_quota_us", "150000"),
    (("--cpus", "1.5"), "cpu", "cpu.cfs_period_us", "100000"),
    (("--cpu-period", "50000", "--cpu-quota", "25000"), "cpu", "cpu.cfs_quota_us", "25000"),
    (("--cpu-shares", "512"), "cpu", "cpu.shares", "512"),
    (("--pids-limit", "77"), "pids", "pids.max", "77"),
    (("--pids-limit", "-1"), "pids", "pids.max", "max"),
    (("--cpuset-cpus", "0"), "cpuset", "cpuset.cpus", "0"),
]
V2 = [
    (("-m", "64m"), "", "memory.max", str(64 * MIB)),
    (("-m", "64m"), "", "memory.swap.max", str(64 * MIB)),
    (("-m", "64m", "--memory-reservation", "32m"), "", "memory.low", str(32 * MIB)),
    (("--cpus", "1.5"), "", "cpu.max", "150000 100000"),
    (("--cpu-period", "50000", "--cpu-quota", "25000"), "", "cpu.max", "25000 50000"),
    (("--pids-limit", "77"), "", "pids.max", "77"),
    (("--pids-limit", "-1"), "", "pids.max", "max"),
    (("--cpuset-cpus", "0"), "", "cpuset.cpus", "0"),
]
IS_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.mark.parametrize(("flags", "controller", "file", "expected"), V2 if IS_V2 else V1)
def test_the_kernel_has_the_values(
    engine: Engine, flags: tuple[str, ...], controller: str, file: str, expected: str
) -> None:
    """Each limit stands in the container's cgroup as it was asked for."""
    with limited(engine, *flags) as name:
        folder = group(engine, name, controller)
        if not (folder / file).exists():
            pytest.skip(f"this kernel has no {file}")
        assert value(folder, file) == expected


def test_limits_hold_for_exec(engine: Engine) -> None:
    """A further process belongs to the container's cgroup in every hierarchy."""
    with limited(engine) as name:
        engine.docker("exec", "-d", name, "sleep", "777")
        identity = state(engine, name, "{{.Id}}")

        def belong() -> bool:
            counts = {len(Path(f, "cgroup.procs").read_text().split()) for f in engine.groups(f"/{identity}")}
            return counts == {3}  # the shell, its sleep, and the new one

        until(belong, "the process in every hierarchy")
