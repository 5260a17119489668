"""The mounts of a Spec: what every container sees, and what the user asks to see in this one. Pure.

How wishes are read and what becomes of them stands in ``mounting``. Source:
runtime-spec config.md "Mounts"; mount(8).
"""

from collections.abc import Iterable

import msgspec

from corten.engine.containers.host import Files
from corten.engine.containers.mounting.mount import UserMount, bind_sources, depth, mount_points
from corten.engine.containers.mounting.requests import user_mounts
from corten.engine.records.config import HostConfig
from corten.oci.spec import Mount

__all__ = [
    "INIT_TARGET",
    "UserMount",
    "bind_sources",
    "container_mounts",
    "mount_points",
    "root_propagation",
    "user_mounts",
]

INIT_TARGET = "/sbin/docker-init"

_STAYS_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})  # with --read-only
_SAFE = ("nosuid", "noexec", "nodev")


def container_mounts(
    wanted: tuple[UserMount, ...],
    host_config: HostConfig,
    files: Files,
    writable_cgroups: bool,
    init_path: str,
) -> tuple[Mount, ...]:
    """Return all mounts of a container, in the order in which they are to be made.

    A user's mount replaces the engine's at the same target; one at /dev
    replaces all below it too. ``init_path`` is bound for ``--init``, empty for
    none.
    """
    targets = {mount.target for mount in wanted}
    ours = [mount for mount in _kernel_mounts(host_config) if not _replaced(mount.destination, targets)]
    if host_config.readonly_rootfs:
        ours = [mount if mount.destination in _STAYS_WRITABLE else _add(mount, "ro") for mount in ours]
    if host_config.privileged or writable_cgroups:
        writable = {"/sys/fs/cgroup"}
        if host_config.privileged and not host_config.readonly_rootfs:
            writable.add("/sys")
        ours = [_remove(mount, "ro") if mount.destination in writable else mount for mount in ours]
    later = [Mount(mount.target, _kind(mount.type), mount.source, mount.options) for mount in wanted]
    later += [
        mount
        for mount in _file_mounts(files, host_config.readonly_rootfs, init_path)
        if mount.destination not in targets
    ]
    return (*ours, *sorted(later, key=lambda mount: depth(mount.destination)))


def root_propagation(wanted: Iterable[UserMount]) -> str:
    """Return the propagation that the root needs for the binds to keep theirs."""
    modes = {mount.propagation for mount in wanted if mount.type == "bind"}
    if modes & {"shared", "rshared"}:
        return "shared"
    return "rslave" if modes & {"slave", "rslave"} else ""


def _kind(kind: str) -> str:
    """Return what the kernel is to make: the folder of a volume is bound."""
    return "bind" if kind == "volume" else kind


def _kernel_mounts(host_config: HostConfig) -> list[Mount]:
    """Return the file systems of the kernel that every container has."""
    mounts = [
        Mount("/proc", "proc", "proc", _SAFE),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        Mount("/sys", "sysfs", "sysfs", (*_SAFE, "ro")),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", *_SAFE)),
        Mount("/dev/mqueue", "mqueue", "mqueue", _SAFE),
    ]
    if host_config.ipc_mode == "host":
        mounts.append(Mount("/dev/shm", "bind", "/dev/shm", ("rbind", "rprivate")))
    elif host_config.ipc_mode != "none":
        size = f"size={host_config.shm_size or 64 << 20}"
        mounts.append(Mount("/dev/shm", "tmpfs", "shm", (*_SAFE, "mode=1777", size)))
    return mounts


def _file_mounts(files: Files, readonly: bool, init_path: str) -> list[Mount]:
    """Return the binds of the files that the engine writes, and of the init program."""
    options = ("rbind", "rprivate", "ro") if readonly else ("rbind", "rprivate")
    mounts = [
        Mount("/etc/resolv.conf", "bind", files.resolv_conf, options),
        Mount("/etc/hostname", "bind", files.hostname, options),
        Mount("/etc/hosts", "bind", files.hosts, options),
    ]
    if init_path:
        mounts.append(Mount(INIT_TARGET, "bind", init_path, ("bind", "rprivate", "ro")))
    return mounts


def _replaced(target: str, by: set[str]) -> bool:
    """Return whether a user's mount takes the place of the engine's at *target*."""
    return target in by or ("/dev" in by and target.startswith("/dev/"))


def _add(mount: Mount, option: str) -> Mount:
    if option in mount.options:
        return mount
    return msgspec.structs.replace(mount, options=(*mount.options, option))


def _remove(mount: Mount, option: str) -> Mount:
    return msgspec.structs.replace(mount, options=tuple(name for name in mount.options if name != option))
