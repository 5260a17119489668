"""Host: what building a Spec needs to know of this machine, and how that is found.

A ``Host`` is made once, at daemon start; from there on building a Spec is a
pure function of it. The functions below are the few that look at the machine.
"""

import glob
import os
import resource
import stat
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from corten.errors import InvalidInput, NotFound
from corten.oci.spec import Device

NETWORK_SYSCTLS = {
    "net.ipv4.ping_group_range": "0 2147483647",  # ping without a capability
    "net.ipv4.ip_unprivileged_port_start": "0",  # port 80 without a capability
}

DevicesAt = Callable[[str], tuple[Device, ...]]

_NOT_DEVICES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of the machine.

    Args:
        hostname: The machine's name, for containers that share its UTS or network namespace.
        cgroup_mode: ``v1``, ``hybrid`` or ``v2``.
        cgroup_parent: Where containers' cgroups are made unless asked otherwise.
        cpus: Processors online.
        cpu_list: The same as ``cpuset.cpus`` writes them (``0-3``).
        memory_nodes: Memory nodes online, as ``cpuset.mems`` writes them.
        capabilities: What the engine holds and can hand on, as ``CAP_CHOWN``.
        seccomp: The profile a container gets by default; None where the kernel has no seccomp.
        apparmor_profile: The AppArmor profile a container gets by default; empty without AppArmor.
        init_path: A small init program for ``--init``; empty when none is installed.
        thermal_paths: ``thermal_throttle`` folders of the possible processors.
        rlimit_caps: The most that each ``RLIMIT_*`` can be set to; those not named can be raised freely.
        network_sysctls: What a container with a network namespace of its own gets.
        recursive_readonly: Whether a bind can be made read-only with all below it.
    """

    hostname: str = "localhost"
    cgroup_mode: str = "v2"
    cgroup_parent: str = "corten"
    cpus: int = 1
    cpu_list: str = "0"
    memory_nodes: str = "0"
    capabilities: tuple[str, ...] = ()
    seccomp: dict[str, Any] | None = None
    apparmor_profile: str = ""
    init_path: str = ""
    thermal_paths: tuple[str, ...] = ()
    rlimit_caps: dict[str, int] = {}
    network_sysctls: dict[str, str] = msgspec.field(default_factory=NETWORK_SYSCTLS.copy)
    recursive_readonly: bool = True


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """The per-container files that the engine writes, by their paths on the host."""

    hosts: str
    hostname: str
    resolv_conf: str


class BindSource(msgspec.Struct, frozen=True):
    """A path of the host that a container binds; with *create* a missing one is made as a folder."""

    path: str
    create: bool


def device_at(path: str) -> Device | None:
    """Return the node at *path* with its owner and permission bits, None for anything else.

    A symbolic link is followed, as ``--device /dev/cdrom`` expects.

    Raises:
        OSError: *path* does not exist or cannot be read.
    """
    facts = os.stat(path)
    if stat.S_ISCHR(facts.st_mode):
        kind = "c"
    elif stat.S_ISBLK(facts.st_mode):
        kind = "b"
    else:
        return None
    return Device(
        path,
        kind,
        os.major(facts.st_rdev),
        os.minor(facts.st_rdev),
        stat.S_IMODE(facts.st_mode),
        facts.st_uid,
        facts.st_gid,
    )


def devices_at(path: str) -> tuple[Device, ...]:
    """Return the device at *path*, or each device below the folder *path*; see stat(2).

    Below a folder links, ``/dev/console`` and the folders that every container
    has of its own are left out.

    Raises:
        NotFound: nothing is there.
        InvalidInput: a file that is neither a device nor a folder.
    """
    try:
        single = device_at(path)
    except OSError:
        raise NotFound("device on the host", path) from None
    if single is not None:
        return (single,)
    if not os.path.isdir(path):
        raise InvalidInput(f"{path} is not a device node: name one below /dev")
    return tuple(_devices_below(path))


def _devices_below(folder: str) -> Iterable[Device]:
    """Yield each device below *folder*, in the order of names; a node that vanishes is passed over."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_symlink() or entry.name in _NOT_DEVICES or entry.path == "/dev/console":
            continue
        if entry.is_dir():
            yield from _devices_below(entry.path)
            continue
        try:
            device = device_at(entry.path)
        except OSError:
            continue
        if device is not None:
            yield device


def ensure_sources(sources: Iterable[BindSource]) -> None:
    """Make the missing folders that may be made; idempotent.

    Raises:
        InvalidInput: a source is missing and may not be made.
    """
    for source in sources:
        if os.path.lexists(source.path):
            continue
        if not source.create:
            raise InvalidInput(
                f'invalid mount config for type "bind": bind source path does not exist: {source.path}'
            )
        os.makedirs(source.path, 0o755, exist_ok=True)


def thermal_paths() -> tuple[str, ...]:
    """Return the folders that tell how often the processors were throttled: a side channel between containers."""
    return tuple(sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")))


def rlimit_caps() -> dict[str, int]:
    """Return the hard limit of this process for each ``RLIMIT_*`` that has one; see getrlimit(2).

    Without CAP_SYS_RESOURCE no container can get more than that.
    """
    kinds = [name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"]
    hard = {name: resource.getrlimit(getattr(resource, name))[1] for name in kinds}
    return {name: limit for name, limit in hard.items() if limit != resource.RLIM_INFINITY}
