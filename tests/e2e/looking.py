"""Looking from inside a container: a script's words, a process's status, the table of mounts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.e2e.tools import ALONE

if TYPE_CHECKING:
    from tests.e2e.conftest import Engine

MASKED = [
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
]


class Mounted(NamedTuple):
    """One line of /proc/self/mountinfo; see proc_pid_mountinfo(5)."""

    root: str
    point: str
    options: str
    type: str
    super: str


def run(engine: Engine, *flags: str, script: str, image: str = "debian") -> str:
    """Return what *script* writes in a container with *flags*."""
    out: str = engine.docker("run", "--rm", *ALONE, *flags, image, "sh", "-c", script).stdout
    return out


def fails(engine: Engine, *flags: str, script: str) -> str:
    """Return the complaint of *script*, which must not work in a container with *flags*."""
    done = engine.docker("run", "--rm", *ALONE, *flags, "debian", "sh", "-c", script, check=False)
    assert done.returncode != 0, done.stdout
    complaint: str = done.stderr
    return complaint


def status(engine: Engine, *command: str) -> dict[str, str]:
    """Return the fields of /proc/self/status of a process that the docker command line starts."""
    lines = engine.docker(*command, "cat", "/proc/self/status").stdout.splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def sets(found: dict[str, str]) -> tuple[int, ...]:
    """Return the inheritable, permitted, effective, bounding and ambient set."""
    return tuple(int(found[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))


def mounts(text: str) -> dict[str, Mounted]:
    """Return the mounts of a mountinfo file by their place, the topmost where several are."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        rest = fields[fields.index("-") + 1 :]
        options = ",".join(sorted(fields[5].split(",")))
        found[fields[4]] = Mounted(fields[3], fields[4], options, rest[0], rest[2])
    return found


def host_capabilities() -> int:
    """Return all that the engine can hand on: what this process has."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"CapPrm:\s*(\w+)", text)[1], 16)  # type: ignore[index]
