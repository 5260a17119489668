"""What the user asks to see in a container: ``-v``, ``--mount``, ``--tmpfs``, ``--volumes-from``, VOLUME. Pure.

By target, a bind or mount of the user's comes before one that another
container lends, and that before a volume that the image, or ``-v /target``,
declares. Source: Docker's documentation of the flags; Docker Engine API 1.51,
Mount; mount(8).
"""

import posixpath
import re
from collections.abc import Iterable

from msgspec.structs import replace

from corten.engine.containers.host import Host
from corten.engine.containers.mounting.idmap import idmap_option
from corten.engine.containers.mounting.mount import UserMount, depth, recorded
from corten.engine.containers.mounting.paths import PROPAGATION, clean, local
from corten.engine.containers.mounting.tmpfs import flagged_tmpfs, requested_tmpfs
from corten.engine.records.config import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    ImageOptions,
    MountRequest,
    VolumeDriver,
    VolumeOptions,
)
from corten.engine.records.container import Container
from corten.errors import InvalidInput, Unsupported

DRIVER = "local"

_KINDS = (  # of modes after a colon; one of each kind at most
    frozenset({"ro", "rw"}),
    frozenset({"z", "Z"}),
    frozenset(PROPAGATION),
    frozenset({"nocopy"}),
    frozenset({"consistent", "cached", "delegated"}),
)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_TYPES = ("bind", "volume", "tmpfs", "image")
_ELSEWHERE = ("npipe", "cluster")  # on other systems, or over several machines
_OPTIONS = {
    "BindOptions": "bind_options",
    "VolumeOptions": "volume_options",
    "ImageOptions": "image_options",
    "TmpfsOptions": "tmpfs_options",
}


def user_mounts(host_config: HostConfig, host: Host) -> tuple[UserMount, ...]:
    """Return the mounts that flags ask for, in the order in which they are to be made.

    Raises:
        InvalidInput: a malformed mount, or two with one target.
        Unsupported: a type that is not available.
    """
    wanted = [
        *(_bind(text, host_config.volume_driver, host) for text in host_config.binds or ()),
        *(_requested(mount, host) for mount in host_config.mounts or ()),
        *(flagged_tmpfs(target, options) for target, options in (host_config.tmpfs or {}).items()),
    ]
    targets = [mount.target for mount in wanted]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidInput(f"Duplicate mount point: {target}")
    return in_order(wanted)


def all_mounts(
    config: ContainerConfig, host_config: HostConfig, host: Host, lent: Iterable[UserMount] = ()
) -> tuple[UserMount, ...]:
    """Return all mounts of a container, in the order in which they are to be made.

    Args:
        config: As merged with the image's: its volumes are those of both. An image
            must not put one of its own in the place of /proc.
        host_config: The flags.
        host: Facts of the machine.
        lent: The mounts of other containers; a later one takes an earlier one's place.

    Raises:
        InvalidInput, Unsupported: as ``user_mounts``.
    """
    asked = user_mounts(host_config, host)
    chosen = {mount.target: mount for mount in (*lent, *asked)}
    for declared in config.volumes or {}:
        where = f"invalid volume specification: '{declared}'"
        target = clean(f"/{declared}", where)
        if target == "/proc" or target.startswith("/proc/"):  # CVE-2019-16884
            raise InvalidInput(f"{where}: cannot be mounted because it is inside /proc")
        driver = host_config.volume_driver
        chosen.setdefault(target, _volume(target, VolumeOptions(driver_config=_driver(driver))))
    return in_order(chosen.values())


def in_order(mounts: Iterable[UserMount]) -> tuple[UserMount, ...]:
    """Return *mounts* so that none hides one that lies below it."""
    return tuple(sorted(mounts, key=lambda mount: depth(mount.target)))


def mounts_of(container: Container, host: Host) -> tuple[UserMount, ...]:
    """Return the mounts of a recorded container, in the order in which they are to be made.

    Records of earlier versions have no options: there the flags say what to mount.
    """
    if not any(point.options for point in container.mounts):
        return user_mounts(container.host_config, host)
    return in_order(recorded(point) for point in container.mounts)


def lender(text: str) -> tuple[str, str]:
    """Return container and mode of one ``--volumes-from CONTAINER[:MODE]``.

    Raises:
        InvalidInput: no container, or a mode that cannot be.
    """
    name, _, mode = text.partition(":")
    if not name:
        raise InvalidInput(f"invalid volume specification: '{text}'")
    words = _modes(mode, f"invalid volume specification: '{text}'")
    if any(word == "nocopy" or word in PROPAGATION for word in words):
        raise InvalidInput(f"invalid mode: {mode}")
    return name, mode


def lent_by(container: Container, mode: str, host: Host) -> tuple[UserMount, ...]:
    """Return the mounts of *container* as it lends them; those of ``--tmpfs`` it keeps to itself."""
    read_only = "ro" in mode.split(",")
    mounts = [mount for mount in mounts_of(container, host) if mount.listed]
    return tuple(
        replace(
            mount,
            no_copy=True,
            mode="",
            writable=mount.writable and not read_only,
            options=_read_only(mount, host) if read_only and mount.writable else mount.options,
        )
        for mount in mounts
    )


def _read_only(mount: UserMount, host: Host) -> tuple[str, ...]:
    recursive = "rbind" in mount.options and host.recursive_readonly
    return (*(word for word in mount.options if word != "rw"), "ro", *(("rro",) if recursive else ()))


def _modes(mode: str, where: str) -> list[str]:
    """Split what stands after the last colon of ``-v``.

    Raises:
        InvalidInput: a word that is no mode, or two of one kind.
    """
    words = mode.split(",") if mode else []
    for word in words:
        if not any(word in kind for kind in _KINDS):
            raise InvalidInput(f"{where}: invalid mode: {word}")
    if any(len(kind.intersection(words)) > 1 for kind in _KINDS) or len(set(words)) < len(words):
        raise InvalidInput(f"{where}: invalid mode: {mode}")
    return words


def _bind(text: str, driver: str, host: Host) -> UserMount:
    """Read one ``[source:]target[:modes]``."""
    where = f"invalid volume specification: '{text}'"
    parts = text.split(":")
    if not parts[0] or len(parts) > 3:
        raise InvalidInput(where)
    source, target, mode = ("", parts[0], "") if len(parts) == 1 else (*parts, "")[:3]
    if len(parts) == 2 and any(target in kind for kind in _KINDS):
        raise InvalidInput(where)
    words = _modes(mode, where)
    propagation = next((word for word in words if word in PROPAGATION), "")
    is_bind = source.startswith("/")
    request = MountRequest(
        type="bind" if is_bind else "volume",
        source=posixpath.normpath(source) if is_bind else source,
        target=target,
        read_only="ro" in words,
        bind_options=BindOptions(propagation=propagation, create_mountpoint=True)
        if is_bind or propagation
        else None,
        volume_options=VolumeOptions(no_copy="nocopy" in words, driver_config=_driver(driver))
        if not is_bind or "nocopy" in words
        else None,
    )
    mount = _requested(request, host, where)
    return replace(mount, mode=mode or mount.mode)


def _driver(name: str) -> VolumeDriver | None:
    return VolumeDriver(name=name) if name else None


def _requested(mount: MountRequest, host: Host, where: str = "") -> UserMount:
    """Read one ``--mount``."""
    kind = mount.type or "volume"
    where = where or f'invalid mount config for type "{kind}"'
    if kind in _ELSEWHERE:
        raise Unsupported(f"mounts of type {kind} are not available: use {', '.join(_TYPES)}")
    if kind not in _TYPES:
        raise InvalidInput(f"{where}: mount type unknown: use {', '.join(_TYPES)}")
    if not mount.target:
        raise InvalidInput(f"{where}: field Target must not be empty")
    for member, attribute in _OPTIONS.items():
        if getattr(mount, attribute) is not None and attribute != f"{kind}_options":
            raise InvalidInput(f"{where}: field {member} must not be specified")
    if mount.id_map and kind not in ("bind", "volume"):
        raise InvalidInput(f"{where}: idmap is for binds and volumes")
    target = clean(mount.target, where)
    if kind == "tmpfs":
        return requested_tmpfs(mount, target)
    if kind == "volume":
        return _requested_volume(mount, target, where, host)
    if kind == "image":
        return _requested_image(mount, target, where)
    return _requested_bind(mount, target, where, host)


def _requested_bind(mount: MountRequest, target: str, where: str, host: Host) -> UserMount:
    options = mount.bind_options or BindOptions()
    if not mount.source:
        raise InvalidInput(f"{where}: field Source must not be empty")
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise InvalidInput(f"{where}: invalid mount path: '{mount.source}' mount path must be absolute")
    if options.propagation not in ("", *PROPAGATION):
        raise InvalidInput(f"{where}: invalid propagation mode: {options.propagation}")
    return UserMount(
        type="bind",
        source=posixpath.normpath(mount.source),
        target=target,
        options=_words(mount, options, host),
        writable=not mount.read_only,
        propagation=options.propagation or "rprivate",
        create_source=options.create_mountpoint,
    )


def _words(mount: MountRequest, options: BindOptions, host: Host) -> tuple[str, ...]:
    """Return the options of a bind; a read-only one holds for all below it where the kernel can do that."""
    words = ["bind" if options.non_recursive else "rbind", options.propagation or "rprivate"]
    if mount.read_only:
        words.append("ro")
        if options.read_only_force_recursive and not host.recursive_readonly:
            raise Unsupported("this kernel cannot make a bind read-only with all below it: Linux 5.12 can")
        if host.recursive_readonly and not (options.read_only_non_recursive or options.non_recursive):
            words.append("rro")
    if mount.id_map:
        if not host.recursive_readonly:  # came with the same system call
            raise Unsupported("this kernel cannot map the owners of a mount: Linux 5.12 can")
        words.append(idmap_option(mount.id_map))
    return tuple(words)


def _requested_volume(mount: MountRequest, target: str, where: str, host: Host) -> UserMount:
    options = mount.volume_options or VolumeOptions()
    driver = options.driver_config.name if options.driver_config else ""
    if not mount.source:
        if mount.read_only:
            raise InvalidInput(f"{where}: must not set ReadOnly mode when using anonymous volumes")
        if options.subpath:
            raise InvalidInput(f"{where}: must not set Subpath when using anonymous volumes")
    elif driver in ("", DRIVER):
        _check_name(mount.source)
    return replace(
        _volume(target, options, mount.source),
        options=_words(mount, BindOptions(), host),
        subpath=local(options.subpath, where, "volume"),
        mode="z",
        writable=not mount.read_only,
    )


def _check_name(name: str) -> None:
    """Refuse the name of a volume before anything is made; in Docker's words."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) < 2:
        raise InvalidInput("volume name is too short, names should be at least two alphanumeric characters")


def _volume(target: str, options: VolumeOptions, name: str = "") -> UserMount:
    driver = options.driver_config or VolumeDriver()
    return UserMount(
        type="volume",
        target=target,
        options=("rbind", "rprivate"),
        name=name,
        driver=driver.name,
        driver_options=driver.options or {},
        labels=options.labels or {},
        no_copy=options.no_copy,
    )


def _requested_image(mount: MountRequest, target: str, where: str) -> UserMount:
    if not mount.source:
        raise InvalidInput(f"{where}: field Source must not be empty")
    subpath = (mount.image_options or ImageOptions()).subpath
    return UserMount(
        type="image",
        target=target,
        options=("ro",),
        writable=False,
        name=mount.source,
        subpath=local(subpath, where, "image"),
    )
