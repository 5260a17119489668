"""Mounts: what the user asks to see in a container, and what every container sees. Pure.

The three forms that a user has (``-v``, ``--mount``, ``--tmpfs``) become
``UserMount`` values; from these come both the mounts of the Spec and what
``inspect`` shows. Targets are cleaned as text only: where they lead is decided
at start, beneath the container's root. Source: Docker's documentation of the
three flags; mount(8); runtime-spec config.md "Mounts".
"""

import posixpath
from collections.abc import Iterable

import msgspec

from corten.engine.containers.host import BindSource, Files, Host
from corten.engine.records.config import BindOptions, HostConfig, MountRequest, TmpfsOptions
from corten.engine.records.container import MountPoint
from corten.errors import InvalidInput, Unsupported
from corten.oci.spec import Mount

NO_VOLUMES = "volumes are not available yet: use a folder (-v /path:{target})"
INIT_TARGET = "/sbin/docker-init"

_PROPAGATION = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_MODES = frozenset({"ro", "rw", "z", "Z", "consistent", "cached", "delegated", *_PROPAGATION})
_STAYS_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})  # with --read-only
_SAFE = ("nosuid", "noexec", "nodev")
_OPPOSITE = {
    "ro": "rw",
    "noexec": "exec",
    "nosuid": "suid",
    "nodev": "dev",
    "noatime": "atime",
    "nodiratime": "diratime",
    "norelatime": "relatime",
    "strictatime": "nostrictatime",
    "sync": "async",
}
_TMPFS_FLAGS = frozenset({*_OPPOSITE, *_OPPOSITE.values(), *_PROPAGATION, "defaults"})
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


class UserMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount that the user asked for; *options* are those of mount(8)."""

    type: str
    target: str
    source: str = ""
    options: tuple[str, ...] = ()
    mode: str = ""
    writable: bool = True
    propagation: str = ""
    create_source: bool = False
    listed: bool = True


def user_mounts(host_config: HostConfig, host: Host) -> tuple[UserMount, ...]:
    """Return the mounts asked for, in the order in which they are to be made.

    Raises:
        InvalidInput: a malformed mount, or two with one target.
        Unsupported: a volume, or a type that is not available.
    """
    wanted = [
        *(_bind(text, host) for text in host_config.binds or ()),
        *(_requested(mount, host) for mount in host_config.mounts or ()),
        *(_tmpfs_flag(target, options) for target, options in (host_config.tmpfs or {}).items()),
    ]
    targets = [mount.target for mount in wanted]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidInput(f"Duplicate mount point: {target}")
    return tuple(sorted(wanted, key=lambda mount: _depth(mount.target)))


def mount_points(mounts: Iterable[UserMount]) -> tuple[MountPoint, ...]:
    """Return what ``inspect`` shows of the mounts; those of ``--tmpfs`` stand in the HostConfig alone."""
    return tuple(
        MountPoint(mount.type, mount.source, mount.target, mount.mode, mount.writable, mount.propagation)
        for mount in mounts
        if mount.listed
    )


def bind_sources(mounts: Iterable[UserMount]) -> tuple[BindSource, ...]:
    """Return the paths of the host that have to be there before a start."""
    return tuple(BindSource(mount.source, mount.create_source) for mount in mounts if mount.type == "bind")


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
    later = [Mount(mount.target, mount.type, mount.source, mount.options) for mount in wanted]
    later += [
        mount
        for mount in _file_mounts(files, host_config.readonly_rootfs, init_path)
        if mount.destination not in targets
    ]
    return (*ours, *sorted(later, key=lambda mount: _depth(mount.destination)))


def root_propagation(wanted: Iterable[UserMount]) -> str:
    """Return the propagation that the root needs for the binds to keep theirs."""
    modes = {mount.propagation for mount in wanted if mount.type == "bind"}
    if modes & {"shared", "rshared"}:
        return "shared"
    return "rslave" if modes & {"slave", "rslave"} else ""


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


def _depth(target: str) -> int:
    """Return the number of path components: what lies deeper is mounted later."""
    return target.count("/")


def _clean(target: str, where: str) -> str:
    """Return *target* without ``.``, ``..`` and doubled slashes.

    Raises:
        InvalidInput: not absolute, or the root itself; *where* says which mount.
    """
    if not target.startswith("/") or "\0" in target:
        raise InvalidInput(f"{where}: invalid mount path: '{target}' mount path must be absolute")
    cleaned = "/" + posixpath.normpath(target).lstrip("/")
    if cleaned == "/":
        raise InvalidInput(f"{where}: invalid specification: destination can't be '/'")
    return cleaned


def _bind(text: str, host: Host) -> UserMount:
    """Read one ``source:target[:options]``."""
    where = f"invalid volume specification: '{text}'"
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or ":" in mode:
        raise InvalidInput(where)
    cleaned = _clean(target, where)
    if not source.startswith("/"):
        raise Unsupported(NO_VOLUMES.format(target=cleaned))
    words = mode.split(",") if mode else []
    for word in words:
        if word not in _MODES:
            raise InvalidInput(f"{where}: invalid mode: {word}")
    propagation = [word for word in words if word in _PROPAGATION]
    if len(propagation) > 1 or {"ro", "rw"} <= set(words):
        raise InvalidInput(f"{where}: invalid mode: {mode}")
    return _bind_mount(
        posixpath.normpath(source),
        cleaned,
        "ro" in words,
        BindOptions(propagation=propagation[0] if propagation else "", create_mountpoint=True),
        host,
        mode,
    )


def _bind_mount(
    source: str, target: str, read_only: bool, options: BindOptions, host: Host, mode: str = ""
) -> UserMount:
    """Return a bind; a read-only one holds for all below it where the kernel can do that."""
    propagation = options.propagation or "rprivate"
    words = ["bind" if options.non_recursive else "rbind", propagation]
    if read_only:
        words.append("ro")
        if options.read_only_force_recursive and not host.recursive_readonly:
            raise Unsupported("this kernel cannot make a bind read-only with all below it: Linux 5.12 can")
        if host.recursive_readonly and not (options.read_only_non_recursive or options.non_recursive):
            words.append("rro")
    return UserMount(
        type="bind",
        source=source,
        target=target,
        options=tuple(words),
        mode=mode,
        writable=not read_only,
        propagation=propagation,
        create_source=options.create_mountpoint,
    )


def _requested(mount: MountRequest, host: Host) -> UserMount:
    """Read one ``--mount``."""
    kind = mount.type or "volume"
    where = f'invalid mount config for type "{kind}"'
    if not mount.target:
        raise InvalidInput(f"{where}: field Target must not be empty")
    target = _clean(mount.target, where)
    if kind == "tmpfs":
        return _requested_tmpfs(mount, target, where)
    if kind == "volume":
        raise Unsupported(NO_VOLUMES.format(target=target))
    if kind != "bind":
        raise Unsupported(f"mounts of type {kind} are not available: use bind or tmpfs")
    options = mount.bind_options or BindOptions()
    if not mount.source:
        raise InvalidInput(f"{where}: field Source must not be empty")
    if not mount.source.startswith("/"):
        raise InvalidInput(f"{where}: invalid mount path: '{mount.source}' mount path must be absolute")
    if options.propagation not in ("", *_PROPAGATION):
        raise InvalidInput(f"{where}: invalid propagation mode: {options.propagation}")
    return _bind_mount(posixpath.normpath(mount.source), target, mount.read_only, options, host)


def _requested_tmpfs(mount: MountRequest, target: str, where: str) -> UserMount:
    """Read one ``--mount type=tmpfs``."""
    if mount.source:
        raise InvalidInput(f"{where}: field Source must not be specified")
    given = mount.tmpfs_options or TmpfsOptions()
    words = ["ro"] if mount.read_only else []
    if given.size_bytes:
        words.append(f"size={given.size_bytes}")
    if given.mode:
        words.append(f"mode={given.mode:o}")
    words += ["=".join(pair) for pair in given.options or ()]
    return _tmpfs(target, words, where)


def _tmpfs_flag(target: str, options: str) -> UserMount:
    """Read one ``--tmpfs target:options``."""
    where = 'invalid mount config for type "tmpfs"'
    mount = _tmpfs(_clean(target, where), [word for word in options.split(",") if word], where)
    return msgspec.structs.replace(mount, listed=False)


def _tmpfs(target: str, words: list[str], where: str) -> UserMount:
    """Return a tmpfs with Docker's defaults and *words*, of which a later one undoes an earlier one.

    Raises:
        InvalidInput: an option that tmpfs does not have.
    """
    options: dict[str, str] = {}
    for word in (*_SAFE, "rprivate", *words):
        key, separator, value = word.partition("=")
        if key not in (_TMPFS_KEYS if separator else _TMPFS_FLAGS) or (separator and not value):
            raise InvalidInput(f'{where}: Invalid tmpfs option "{word}"')
        for one, other in _OPPOSITE.items():
            if key in (one, other):
                options.pop(other if key == one else one, None)
        if key in _PROPAGATION:
            options = {name: text for name, text in options.items() if name not in _PROPAGATION}
        options[key] = word
    kept = tuple(options.values())
    return UserMount(type="tmpfs", source="", target=target, options=kept, writable="ro" not in options)
