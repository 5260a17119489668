"""Cgroups version 1: the same path in one hierarchy per controller.

Source: Documentation/admin-guide/cgroup-v1/*.rst, cgroups(7).
"""

import errno
import os
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
from corten.linux.devices_bpf import device_lines
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False  # not from typing: that import is slow
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FREEZE_DEADLINE = 10.0  # seconds
_UNLIMITED = 1 << 62  # at and above this, the kernel's page counter means no limit
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

_THROTTLES = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}
_WEIGHTS = ("blkio.weight", "blkio.bfq.weight")


class CgroupV1(Cgroup):
    """A cgroup in every version 1 hierarchy.

    Args:
        controllers: Controller -> mount point of its hierarchy.
        path: Below each mount point.
    """

    def __init__(self, controllers: dict[str, str], path: str) -> None:
        super().__init__(path)
        self._controllers = controllers
        self._roots = tuple(dict.fromkeys(controllers.values()))

    def create(self) -> None:
        """Make it in every hierarchy, with the processors and memory nodes of its parent."""
        for root in self._roots:
            make_tree(root, self.path)
        if "cpuset" in self._controllers:
            _inherit_cpuset(self._controllers["cpuset"], self.path)

    def enter(self, pid: int = 0) -> None:
        """Move one process, hierarchy by hierarchy."""
        for root in self._roots:
            write(f"{root}/{self.path}/cgroup.procs", str(pid))

    def apply(self, resources: "dict[str, Any]") -> None:
        """Write limits to the files of version 1."""
        for key, value in resources.items():
            if not value:
                continue
            step = _STEPS.get(key)
            if step is None:
                raise Unsupported(f"cgroups version 1 cannot set {key!r}: leave it out")
            step(self, value)

    def freeze(self) -> None:
        """Ask the freezer again until it says FROZEN."""
        state = self.file("freezer", "freezer.state")
        deadline, pause = time.monotonic() + _FREEZE_DEADLINE, 0.0002
        write(state, "FROZEN")
        while read(state).strip() != "FROZEN":
            if time.monotonic() > deadline:
                write(state, "THAWED")
                raise KernelError(errno.ETIMEDOUT, f"freeze cgroup {self.path}")
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
            write(state, "FROZEN")  # a process that forked meanwhile is caught only by asking again

    def thaw(self) -> None:
        """Release the freezer."""
        write(self.file("freezer", "freezer.state"), "THAWED")

    def pids(self) -> list[int]:
        """Walk the first hierarchy: all hold the same processes."""
        return tree_pids(f"{self._roots[0]}/{self.path}")

    def kill(self) -> None:
        """Signal each process, then thaw."""
        self._kill_each(f"{self._roots[0]}/{self.path}")
        if "freezer" in self._controllers:
            _thaw_tree(f"{self._controllers['freezer']}/{self.path}")

    def stats(self) -> dict[str, object]:
        """Read the counters of each hierarchy."""
        return {
            "cpu": self._cpu_stats(),
            "memory": self._memory_stats(),
            "pids": {
                "current": self._number("pids", "pids.current") or 0,
                "limit": self._number("pids", "pids.max"),
            },
            "blkio": {
                "bytes": self._blkio("io_service_bytes"),
                "operations": self._blkio("io_serviced"),
            },
            "oom_kills": self.oom_kills(),
        }

    def oom_kills(self) -> int:
        """Read memory.oom_control."""
        return self._table("memory", "memory.oom_control").get("oom_kill", 0)

    def rename(self, path: str) -> None:
        """Rename in every hierarchy, or in none."""
        done: list[str] = []
        try:
            for root in self._roots:
                os.rename(f"{root}/{self.path}", f"{root}/{path}")
                done.append(root)
        except OSError as failure:
            for root in done:
                os.rename(f"{root}/{path}", f"{root}/{self.path}")
            raise KernelError(failure.errno or 0, f"rename cgroup {self.path} to {path}") from None
        self.path = path

    def remove(self) -> None:
        """Remove it from every hierarchy."""
        for root in self._roots:
            remove_tree(f"{root}/{self.path}")

    def file(self, controller: str, name: str) -> str:
        """Return the path of a control file.

        Raises:
            Unsupported: the controller is not mounted.
        """
        root = self._controllers.get(controller)
        if root is None:
            raise Unsupported(
                f"this host has no {controller} cgroup controller: mount it, or leave {name} out"
            )
        return f"{root}/{self.path}/{name}"

    def _number(self, controller: str, name: str) -> int | None:
        return read_int(self.file(controller, name)) if controller in self._controllers else None

    def _table(self, controller: str, name: str) -> dict[str, int]:
        return read_table(self.file(controller, name)) if controller in self._controllers else {}

    def _cpu_stats(self) -> dict[str, object]:
        throttling = self._table("cpu", "cpu.stat")
        user, system = (self._number("cpuacct", f"cpuacct.usage_{kind}") for kind in ("user", "sys"))
        if user is None or system is None:  # before Linux 4.6
            ticks = self._table("cpuacct", "cpuacct.stat")
            user, system = ticks.get("user", 0) * _TICK, ticks.get("system", 0) * _TICK
        try:
            per_cpu = [int(word) for word in read(self.file("cpuacct", "cpuacct.usage_percpu")).split()]
        except (KernelError, Unsupported):
            per_cpu = []
        return {
            "total": self._number("cpuacct", "cpuacct.usage") or 0,
            "user": user,
            "system": system,
            "per_cpu": per_cpu,
            "periods": throttling.get("nr_periods", 0),
            "throttled_periods": throttling.get("nr_throttled", 0),
            "throttled_time": throttling.get("throttled_time", 0),
        }

    def _memory_stats(self) -> dict[str, object]:
        most = self._number("memory", "memory.limit_in_bytes")
        return {
            "usage": self._number("memory", "memory.usage_in_bytes") or 0,
            "limit": None if most is None or most >= _UNLIMITED else most,
            "max": self._number("memory", "memory.max_usage_in_bytes") or 0,
            "failures": self._number("memory", "memory.failcnt") or 0,
            "stat": self._table("memory", "memory.stat"),
        }

    def _blkio(self, name: str) -> list[tuple[int, int, str, int]]:
        """Return the counters of the first accounting that this kernel has."""
        if "blkio" not in self._controllers:
            return []
        for policy in ("throttle", "bfq"):
            try:
                text = read(self.file("blkio", f"blkio.{policy}.{name}_recursive"))
            except KernelError:
                continue
            rows = (line.replace(":", " ").split() for line in text.splitlines())
            return [(int(row[0]), int(row[1]), row[2], int(row[3])) for row in rows if len(row) == 4]
        return []

    def put(self, controller: str, name: str, value: object) -> None:
        """Write one limit; None writes nothing. Errors are those of ``apply``."""
        if value is not None:
            limit(self.file(controller, name), str(value))


def _thaw_tree(directory: str) -> None:
    """Release every freezer from *directory* down: each of version 1 keeps even SIGKILL waiting."""
    for folder, _, _ in os.walk(directory):
        try:
            write(f"{folder}/freezer.state", "THAWED")
        except KernelError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                raise


def _inherit_cpuset(root: str, path: str) -> None:
    """Give a new cgroup its parent's processors and memory nodes: empty sets admit no process."""
    parent = path.rpartition("/")[0]
    above = f"{root}/{parent}" if parent else root
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not read(f"{root}/{path}/{name}").strip():
            inherited = read(f"{above}/{name}")
            if not inherited.strip() and parent:
                _inherit_cpuset(root, parent)
                inherited = read(f"{above}/{name}")
            write(f"{root}/{path}/{name}", inherited)


def _memory(cgroup: CgroupV1, memory: "dict[str, Any]") -> None:
    _memory_and_swap(cgroup, memory.get("limit") or None, memory.get("swap") or None)
    cgroup.put("memory", "memory.soft_limit_in_bytes", memory.get("reservation"))
    cgroup.put("memory", "memory.swappiness", memory.get("swappiness"))
    cgroup.put("memory", "memory.kmem.tcp.limit_in_bytes", memory.get("kernelTCP"))
    if memory.get("disableOOMKiller") is not None:
        cgroup.put("memory", "memory.oom_control", int(memory["disableOOMKiller"]))


def _memory_and_swap(cgroup: CgroupV1, most: int | None, swap: int | None) -> None:
    """Set both limits in the order that keeps memory <= memory and swap at every moment."""
    if most == -1 and swap is None:
        swap = -1
    swap_file = cgroup.file("memory", "memory.memsw.limit_in_bytes")
    if swap is not None and not os.path.exists(swap_file):
        swap = None  # a kernel that does not account for swap
    try:
        cgroup.put("memory", "memory.limit_in_bytes", most)
    except InvalidInput:
        if swap is None:
            raise
        limit(swap_file, str(swap))  # the limit rises above the old sum: raise the sum first
        cgroup.put("memory", "memory.limit_in_bytes", most)
        return
    if swap is not None:
        limit(swap_file, str(swap))


def _cpu(cgroup: CgroupV1, cpu: "dict[str, Any]") -> None:
    cgroup.put("cpu", "cpu.shares", cpu.get("shares") or None)
    quota, period = cpu.get("quota") or None, cpu.get("period") or None
    try:
        cgroup.put("cpu", "cpu.cfs_period_us", period)
        cgroup.put("cpu", "cpu.cfs_quota_us", quota)
    except InvalidInput:
        # The new period with the old quota may ask for more than the parent has.
        if period is None or quota is None:
            raise
        cgroup.put("cpu", "cpu.cfs_quota_us", quota)
        cgroup.put("cpu", "cpu.cfs_period_us", period)
    cgroup.put("cpu", "cpu.cfs_burst_us", cpu.get("burst"))
    cgroup.put("cpu", "cpu.rt_period_us", cpu.get("realtimePeriod"))
    cgroup.put("cpu", "cpu.rt_runtime_us", cpu.get("realtimeRuntime"))
    cgroup.put("cpu", "cpu.idle", cpu.get("idle"))
    cgroup.put("cpuset", "cpuset.cpus", cpu.get("cpus") or None)
    cgroup.put("cpuset", "cpuset.mems", cpu.get("mems") or None)


def _pids(cgroup: CgroupV1, pids: "dict[str, Any]") -> None:
    most = pids.get("limit")
    cgroup.put("pids", "pids.max", "max" if most == -1 else most)


def _block_io(cgroup: CgroupV1, block: "dict[str, Any]") -> None:
    for name in _WEIGHTS:
        if os.path.exists(cgroup.file("blkio", name)):
            cgroup.put("blkio", name, block.get("weight"))
    for device in block.get("weightDevice", ()):
        for name in _WEIGHTS:
            if os.path.exists(cgroup.file("blkio", f"{name}_device")):
                cgroup.put("blkio", f"{name}_device", f"{device_number(device)} {device['weight']}")
    for key, name in _THROTTLES.items():
        for device in block.get(key, ()):
            cgroup.put("blkio", name, f"{device_number(device)} {device['rate']}")


def _devices(cgroup: CgroupV1, rules: "list[dict[str, Any]]") -> None:
    for allow, line in device_lines(rules):
        write(cgroup.file("devices", "devices.allow" if allow else "devices.deny"), line)


def _huge_pages(cgroup: CgroupV1, pages: "list[dict[str, Any]]") -> None:
    for page in pages:
        reserved = f"hugetlb.{page['pageSize']}.rsvd.limit_in_bytes"
        if os.path.exists(cgroup.file("hugetlb", reserved)):
            cgroup.put("hugetlb", reserved, page["limit"])
        cgroup.put("hugetlb", f"hugetlb.{page['pageSize']}.limit_in_bytes", page["limit"])


def _network(cgroup: CgroupV1, network: "dict[str, Any]") -> None:
    cgroup.put("net_cls", "net_cls.classid", network.get("classID"))
    for entry in network.get("priorities", ()):
        cgroup.put("net_prio", "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")


_STEPS: "dict[str, Callable[[CgroupV1, Any], None]]" = {
    "memory": _memory,
    "cpu": _cpu,
    "pids": _pids,
    "blockIO": _block_io,
    "devices": _devices,
    "hugepageLimits": _huge_pages,
    "network": _network,
}
