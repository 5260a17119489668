"""A cgroup's figures in the form of Docker's /stats. Pure.

Source: Docker Engine API, ContainerStats; units: bytes, nanoseconds.
"""

from typing import Any

from corten.engine.containers.parts import timestamp
from corten.engine.records.container import NEVER, Container

TICKS = 10_000_000  # nanoseconds of a clock tick of /proc/stat


def docker_stats(container: Container, sample: dict[str, Any], cpus: int) -> dict[str, Any]:
    """Return one sample; *sample* is what ``Cgroup.stats`` gives, {} for a container that does not run."""
    cpu, memory, pids = sample.get("cpu", {}), sample.get("memory", {}), sample.get("pids", {})
    return {
        "id": container.id,
        "name": f"/{container.name}",
        "os_type": "linux",
        "read": timestamp() if sample else NEVER,
        "preread": NEVER,
        "num_procs": 0,
        "pids_stats": {key: pids[key] for key in ("current", "limit") if pids.get(key)},
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": cpu.get("total", 0),
                "percpu_usage": cpu.get("per_cpu", []),
                "usage_in_usermode": cpu.get("user", 0),
                "usage_in_kernelmode": cpu.get("system", 0),
            },
            "system_cpu_usage": _machine_time() if sample else 0,
            "online_cpus": cpus,
            "throttling_data": {
                key: cpu.get(key, 0) for key in ("periods", "throttled_periods", "throttled_time")
            },
        },
        "precpu_stats": {},
        "memory_stats": _memory(memory),
        "blkio_stats": _block(sample.get("blkio", {})),
        "storage_stats": {},
        "networks": {},
    }


def _memory(memory: dict[str, Any]) -> dict[str, Any]:
    if not memory:
        return {}
    return {
        "usage": memory.get("usage", 0),
        "max_usage": memory.get("max", 0),
        "limit": memory.get("limit") or _machine_memory(),
        "failcnt": memory.get("failures", 0),
        "stats": memory.get("stat", {}),
    }


def _block(block: dict[str, Any]) -> dict[str, Any]:
    """Return bytes and operations by device."""
    return {
        wire: [
            {"major": major, "minor": minor, "op": operation, "value": value}
            for major, minor, operation, value in block.get(ours, ())
        ]
        for wire, ours in (("io_service_bytes_recursive", "bytes"), ("io_serviced_recursive", "operations"))
    }


def _machine_time() -> int:
    """Return the processor time that the whole machine has used, in nanoseconds; see proc_stat(5)."""
    with open("/proc/stat", "rb") as file:
        fields = file.readline().split()[1:9]
    return sum(int(field) for field in fields) * TICKS


def _machine_memory() -> int:
    """Return the machine's memory in bytes; see proc_meminfo(5)."""
    with open("/proc/meminfo", "rb") as file:
        return int(file.readline().split()[1]) * 1024
