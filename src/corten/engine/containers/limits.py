"""Limits of a container that lives: which may change, and what the cgroup is to be told. Pure.

Docker's rules: a limit that a request leaves at its default stays as it is;
``cpus`` and ``cpu_period`` with ``cpu_quota`` are two ways to say one thing and
exclude each other, also over several requests; -1 lifts a limit that can be
lifted. Source: Docker Engine API 1.51, ContainerUpdate.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from corten.engine.containers.host import Host
from corten.engine.containers.resources import NANO, PERIOD, resources, updated
from corten.engine.records.config import HostConfig, Resources
from corten.errors import Conflict, InvalidInput, NotFound
from corten.oci.spec import Device

UNLIMITED = -1
CHANGEABLE = frozenset(
    {
        "blkio_weight",
        "cpu_period",
        "cpu_quota",
        "cpu_realtime_period",
        "cpu_realtime_runtime",
        "cpu_shares",
        "cpuset_cpus",
        "cpuset_mems",
        "memory",
        "memory_reservation",
        "memory_swap",
        "nano_cpus",
        "pids_limit",
    }
)
_NONE = Resources()
_SHARES, _WEIGHT = 1024, 100  # what the kernel gives a cgroup that nobody asked anything for
_SWAP = (
    "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
)
NO_SWAP = (
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
    "Memory limited without swap."
)
NO_WEIGHT = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."


def relimited(current: HostConfig, wanted: Resources, host: Host) -> HostConfig:
    """Return *current* with the limits that *wanted* sets.

    Raises:
        InvalidInput: a value out of range, or one that only a new container can have.
        Conflict: it contradicts a limit that is set already.
        Unsupported: real-time scheduling.
    """
    if wanted == _NONE:
        return current
    for name in Resources.__struct_fields__:
        if name not in CHANGEABLE and _is_given(getattr(wanted, name)):
            raise InvalidInput(
                f"{name.replace('_', ' ')} cannot be changed: make a new container with other settings"
            )
    _check_processors(current, wanted)
    limits = updated(current, wanted)
    if wanted.memory and not wanted.memory_swap:
        limits = replace(limits, memory_swap=_swap(current, wanted.memory))
    if wanted.pids_limit is not None:
        limits = replace(limits, pids_limit=wanted.pids_limit if wanted.pids_limit > 0 else None)
    resources(_without_devices(limits), (), host, _no_devices)
    return limits


def _is_given(value: object) -> bool:
    """Tell whether a client has said it: false, 0, -1 (of swappiness) and nothing at all are ways not to."""
    return value not in (None, 0, "", UNLIMITED, False) and value != ()


def _check_processors(current: HostConfig, wanted: Resources) -> None:
    """Refuse what contradicts the limits set before, in Docker's words."""
    for name, value in (("CPU Period", current.cpu_period), ("CPU Quota", current.cpu_quota)):
        if wanted.nano_cpus and value:
            raise Conflict(f"Conflicting options: Nano CPUs cannot be updated as {name} has already been set")
    for name, value in (("CPU Period", wanted.cpu_period), ("CPU Quota", wanted.cpu_quota)):
        if value and current.nano_cpus:
            raise Conflict(f"Conflicting options: {name} cannot be updated as NanoCPUs has already been set")


def _without_devices(limits: Resources) -> Resources:
    """Return *limits* without those of block devices, which do not change and whose device may be gone."""
    return replace(
        limits,
        blkio_weight_device=None,
        blkio_device_read_bps=None,
        blkio_device_write_bps=None,
        blkio_device_read_iops=None,
        blkio_device_write_iops=None,
    )


def _no_devices(path: str) -> tuple[Device, ...]:
    raise NotFound("device on the host", path)


def _swap(current: HostConfig, memory: int) -> int:
    """Return memory and swap together where a request names memory alone: what was set before, else twice that."""
    before = current.memory_swap
    if before != UNLIMITED and 0 < before < memory:
        raise Conflict(_SWAP)
    return before or memory * 2


def difference(now: HostConfig, then: HostConfig, host: Host) -> dict[str, Any]:
    """Return the limits to write to a cgroup that has those of *now*, so that it has those of *then*.

    A limit that *then* does not have is lifted. Empty where both are the same.
    The form is that of ``linux.resources`` of the OCI runtime specification;
    a memory limit below what is in use is refused, not enforced by killing.
    """
    before, after = _explicit(now, host), _explicit(then, host)
    changed: dict[str, Any] = {}
    for controller, groups in after.items():
        for number, group in enumerate(groups):
            if group != before[controller][number]:
                changed.setdefault(controller, {}).update(group)
    return changed


def _explicit(limits: HostConfig, host: Host) -> dict[str, list[dict[str, Any]]]:
    """Return every limit that can change, by controller, in groups whose members only make sense together."""
    quota, period = limits.cpu_quota or UNLIMITED, limits.cpu_period or PERIOD
    if limits.nano_cpus:
        quota, period = limits.nano_cpus * PERIOD // NANO, PERIOD
    swap = limits.memory_swap or (limits.memory * 2 if limits.memory else UNLIMITED)
    no_reservation = 0 if host.cgroup_mode == "v2" else UNLIMITED  # a share that is kept, or a soft limit
    return {
        "memory": [
            {"limit": limits.memory or UNLIMITED, "swap": swap, "checkBeforeUpdate": True},
            {"reservation": limits.memory_reservation or no_reservation},
        ],
        "cpu": [
            {"shares": limits.cpu_shares or _SHARES},
            {"quota": quota, "period": period},
            {"cpus": limits.cpuset_cpus or host.cpu_list},
            {"mems": limits.cpuset_mems or host.memory_nodes},
        ],
        "pids": [{"limit": limits.pids_limit or UNLIMITED}],
        "blockIO": [{"weight": limits.blkio_weight or _WEIGHT}],
    }


class Kernel(msgspec.Struct, frozen=True):
    """What the kernel can limit beyond the usual."""

    swap: bool = True
    weight: bool = True


def warnings(wanted: Resources, kernel: Kernel) -> list[str]:
    """Return what the user should know of limits that are passed over, in Docker's words."""
    said = []
    if (wanted.memory or wanted.memory_swap) and not kernel.swap:
        said.append(NO_SWAP)
    if wanted.blkio_weight and not kernel.weight:
        said.append(NO_WEIGHT)
    return said
