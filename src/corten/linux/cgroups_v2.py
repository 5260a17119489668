"""Cgroups version 2: one hierarchy, controllers handed down from parent to child.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroups(7).
"""

import errno
import math
import os
import select
import time

from corten.errors import InvalidInput, Unsupported
from corten.linux.cgroups_base import (
    Cgroup,
    device_number,
    limit,
    make_tree,
    read,
    read_int,
    read_table,
    remove_tree,
    tree_pids,
    write,
)
from corten.linux.devices_bpf import attach, program
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False  # not from typing: that import is slow
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FREEZE_DEADLINE = 10.0  # seconds
_POLL_MILLISECONDS = 50
_MICROSECOND = 1000  # in nanoseconds

# OCI name -> key of io.max
_THROTTLES = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}
_IO_OPERATIONS = (("read", "r"), ("write", "w"), ("discard", "d"))


class CgroupV2(Cgroup):
    """A cgroup in the version 2 hierarchy mounted at *root*."""

    def __init__(self, root: str, path: str) -> None:
        super().__init__(path)
        self._root = root

    @property
    def directory(self) -> str:
        """Where its control files are."""
        return f"{self._root}/{self.path}"

    def create(self) -> None:
        """Make it and let every parent hand its controllers down."""
        make_tree(self._root, self.path)
        above = self._root
        for name in self.path.split("/"):
            _delegate(above)
            above = f"{above}/{name}"

    def enter(self, pid: int = 0) -> None:
        """Move one process."""
        write(f"{self.directory}/cgroup.procs", str(pid))

    def directory_fd(self) -> int | None:
        """Open the directory by O_PATH, for CLONE_INTO_CGROUP."""
        try:
            return os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        except OSError as failure:
            raise KernelError(failure.errno or 0, f"open cgroup {self.directory}") from None

    def apply(self, resources: "dict[str, Any]") -> None:
        """Write limits to the files of version 2, shares and weights converted."""
        for key, value in resources.items():
            if not value:
                continue
            step = _STEPS.get(key)
            if step is None:
                raise Unsupported(f"cgroups version 2 cannot set {key!r}: leave it out")
            step(self, value)

    def freeze(self) -> None:
        """Ask once and wait for the event."""
        write(f"{self.directory}/cgroup.freeze", "1")
        if not self._await_frozen(1):
            write(f"{self.directory}/cgroup.freeze", "0")
            raise KernelError(errno.ETIMEDOUT, f"freeze cgroup {self.path}")

    def thaw(self) -> None:
        """Let the processes run again."""
        write(f"{self.directory}/cgroup.freeze", "0")

    def pids(self) -> list[int]:
        """Walk the tree."""
        return tree_pids(self.directory)

    def kill(self) -> None:
        """Write cgroup.kill, or signal each process where the kernel lacks it."""
        try:
            write(f"{self.directory}/cgroup.kill", "1")
        except KernelError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            self._kill_each(self.directory)  # before Linux 5.14, or it is gone

    def stats(self) -> dict[str, object]:
        """Read the counters."""
        return {
            "cpu": self._cpu_stats(),
            "memory": {
                "usage": self._number("memory.current") or 0,
                "limit": self._number("memory.max"),
                "max": self._number("memory.peak") or 0,
                "failures": self._table("memory.events").get("max", 0),
                "stat": self._table("memory.stat"),
            },
            "pids": {"current": self._number("pids.current") or 0, "limit": self._number("pids.max")},
            "blkio": self._blkio(),
            "oom_kills": self.oom_kills(),
        }

    def oom_kills(self) -> int:
        """Read memory.events."""
        return self._table("memory.events").get("oom_kill", 0)

    def rename(self, path: str) -> None:
        """Always raise Unsupported."""
        raise Unsupported(
            f"cgroups version 2 cannot rename {self.path} to {path}: create it under its final name"
        )

    def remove(self) -> None:
        """Remove the tree."""
        remove_tree(self.directory)

    def put(self, name: str, value: object) -> None:
        """Write one limit; None writes nothing, -1 is ``max``. Errors are those of ``apply``."""
        if value is not None:
            limit(f"{self.directory}/{name}", "max" if value == -1 else str(value))

    def has(self, name: str) -> bool:
        """Say whether the kernel offers this control file here."""
        return os.path.exists(f"{self.directory}/{name}")

    def _number(self, name: str) -> int | None:
        return read_int(f"{self.directory}/{name}")

    def _table(self, name: str) -> dict[str, int]:
        return read_table(f"{self.directory}/{name}")

    def _await_frozen(self, wanted: int) -> bool:
        """Wait for ``frozen`` in cgroup.events; the kernel wakes poll(2) at each change of that file."""
        deadline = time.monotonic() + _FREEZE_DEADLINE
        events = os.open(f"{self.directory}/cgroup.events", os.O_RDONLY)
        try:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while f"frozen {wanted}" not in os.pread(events, 4096, 0).decode():
                if time.monotonic() > deadline:
                    return False
                poll.poll(_POLL_MILLISECONDS)
        finally:
            os.close(events)
        return True

    def _cpu_stats(self) -> dict[str, object]:
        stat = self._table("cpu.stat")
        return {
            "total": stat.get("usage_usec", 0) * _MICROSECOND,
            "user": stat.get("user_usec", 0) * _MICROSECOND,
            "system": stat.get("system_usec", 0) * _MICROSECOND,
            "per_cpu": [],
            "periods": stat.get("nr_periods", 0),
            "throttled_periods": stat.get("nr_throttled", 0),
            "throttled_time": stat.get("throttled_usec", 0) * _MICROSECOND,
        }

    def _blkio(self) -> dict[str, list[tuple[int, int, str, int]]]:
        found: dict[str, list[tuple[int, int, str, int]]] = {"bytes": [], "operations": []}
        try:
            text = read(f"{self.directory}/io.stat")
        except KernelError:
            return found
        for line in text.splitlines():
            device, *pairs = line.split()
            major, _, minor = device.partition(":")
            counters = dict(pair.split("=") for pair in pairs if "=" in pair)
            for kind, suffix in (("bytes", "bytes"), ("operations", "ios")):
                for operation, letter in _IO_OPERATIONS:
                    count = int(counters.get(letter + suffix, 0))
                    found[kind].append((int(major), int(minor), operation, count))
        return found


def _delegate(directory: str) -> None:
    """Hand every controller of *directory* down to its children.

    A cgroup other than the root either holds processes or hands out
    controllers, never both; the kernel says EBUSY.
    """
    missing = set(read(f"{directory}/cgroup.controllers").split())
    missing -= set(read(f"{directory}/cgroup.subtree_control").split())
    if not missing:
        return
    try:
        write(f"{directory}/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))
    except KernelError as failure:
        if failure.errno != errno.EBUSY:
            raise
        reason = f"processes live in the cgroup {directory} itself, so it cannot limit child cgroups"
        raise Unsupported(f"{reason}: move them to a child of it, or name another parent cgroup") from None


def shares_to_weight(shares: int) -> int:
    """Turn version 1 CPU shares (2..262144) into a weight (1..10000), default 1024 into default 100.

    A curve through (2, 1), (1024, 100) and (262144, 10000), quadratic in the logarithm.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def _io_weight(weight: int) -> int:
    """Turn a version 1 I/O weight (10..1000) into one of ``io.weight`` (1..10000)."""
    return 1 + (weight - 10) * 9999 // 990


def _memory(cgroup: CgroupV2, memory: "dict[str, Any]") -> None:
    for key in ("swappiness", "disableOOMKiller", "kernelTCP"):
        if memory.get(key):
            raise Unsupported(f"cgroups version 2 cannot set memory {key}: leave it out")
    most, swap = memory.get("limit") or None, memory.get("swap") or None
    if memory.get("checkBeforeUpdate") and most is not None and most != -1:
        used = read_int(f"{cgroup.directory}/memory.current") or 0
        if used > most:
            raise InvalidInput(
                f"the memory limit {most} is below the {used} bytes in use: choose a higher one"
            )
    if swap is None and most == -1:
        swap = -1
    alone = _swap_alone(most, swap)
    if alone is not None and cgroup.has("memory.swap.max"):
        cgroup.put("memory.swap.max", alone)
    cgroup.put("memory.max", most)
    cgroup.put("memory.low", memory.get("reservation"))


def _swap_alone(most: int | None, swap: int | None) -> int | None:
    """Turn memory-and-swap, as OCI counts, into swap alone, as version 2 counts."""
    if swap is None or swap == -1:
        return swap
    if most is None or most == -1:
        raise InvalidInput("a swap limit needs a memory limit: set both")
    if swap < most:
        raise InvalidInput(
            f"memory and swap together ({swap}) are less than memory ({most}): raise the former"
        )
    return swap - most


def _cpu(cgroup: CgroupV2, cpu: "dict[str, Any]") -> None:
    for key in ("realtimePeriod", "realtimeRuntime"):
        if cpu.get(key):
            raise Unsupported(f"cgroups version 2 cannot set cpu {key}: leave it out")
    if cpu.get("shares"):
        cgroup.put("cpu.weight", shares_to_weight(cpu["shares"]))
    quota, period = cpu.get("quota") or None, cpu.get("period") or None
    if period and quota is None:
        quota = read(f"{cgroup.directory}/cpu.max").split()[0]
    if quota is not None:
        most = "max" if quota in (-1, "max") else str(quota)
        cgroup.put("cpu.max", f"{most} {period}" if period else most)
    cgroup.put("cpu.max.burst", cpu.get("burst"))
    cgroup.put("cpu.idle", cpu.get("idle"))
    cgroup.put("cpuset.cpus", cpu.get("cpus") or None)
    cgroup.put("cpuset.mems", cpu.get("mems") or None)


def _pids(cgroup: CgroupV2, pids: "dict[str, Any]") -> None:
    cgroup.put("pids.max", pids.get("limit"))


def _block_io(cgroup: CgroupV2, block: "dict[str, Any]") -> None:
    weight = block.get("weight")
    if weight and cgroup.has("io.bfq.weight"):
        cgroup.put("io.bfq.weight", weight)
    elif weight and cgroup.has("io.weight"):
        cgroup.put("io.weight", f"default {_io_weight(weight)}")
    for device in block.get("weightDevice", ()):
        if cgroup.has("io.bfq.weight"):
            cgroup.put("io.bfq.weight", f"{device_number(device)} {device['weight']}")
        elif cgroup.has("io.weight"):
            cgroup.put("io.weight", f"{device_number(device)} {_io_weight(device['weight'])}")
    for key, name in _THROTTLES.items():
        for device in block.get(key, ()):
            cgroup.put("io.max", f"{device_number(device)} {name}={device['rate']}")


def _devices(cgroup: CgroupV2, rules: "list[dict[str, Any]]") -> None:
    fd = os.open(cgroup.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        attach(fd, program(rules))
    finally:
        os.close(fd)


def _huge_pages(cgroup: CgroupV2, pages: "list[dict[str, Any]]") -> None:
    for page in pages:
        if cgroup.has(f"hugetlb.{page['pageSize']}.rsvd.max"):
            cgroup.put(f"hugetlb.{page['pageSize']}.rsvd.max", page["limit"])
        cgroup.put(f"hugetlb.{page['pageSize']}.max", page["limit"])


def _unified(cgroup: CgroupV2, files: "dict[str, str]") -> None:
    for name, text in files.items():
        if "/" in name or "." not in name or name.startswith("cgroup."):
            raise InvalidInput(
                f"bad cgroup limit {name!r}: use the name of a controller's file, such as memory.high"
            )
        for line in text.splitlines():
            cgroup.put(name, line)


_STEPS: "dict[str, Callable[[CgroupV2, Any], None]]" = {
    "memory": _memory,
    "cpu": _cpu,
    "pids": _pids,
    "blockIO": _block_io,
    "devices": _devices,
    "hugepageLimits": _huge_pages,
    "unified": _unified,
}
