"""UserMount: one mount of a container, as asked for, and as a start makes it. Pure."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from corten.engine.containers.host import BindSource
from corten.engine.records.container import MountPoint

SUBDIR = "X-mount.subdir"  # as mount(8) has it: the folder below the source that is bound


class UserMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount that the user, or the image, asked for; *options* are those of mount(8).

    ``type`` is bind, volume, tmpfs or image. Of a volume ``name`` may be empty:
    then the container gets one of its own; ``driver_options`` and ``labels`` are
    for the making of it. Of an image ``name`` is the reference. ``source`` is
    empty for both until they were found. ``listed`` says whether inspect shows it.
    """

    type: str
    target: str
    source: str = ""
    options: tuple[str, ...] = ()
    mode: str = ""
    writable: bool = True
    propagation: str = ""
    create_source: bool = False
    listed: bool = True
    name: str = ""
    driver: str = ""
    driver_options: dict[str, str] = {}
    labels: dict[str, str] = {}
    subpath: str = ""
    no_copy: bool = False


def depth(target: str) -> int:
    """Return the number of path components: what lies deeper is mounted later."""
    return target.count("/")


def bind_sources(mounts: Iterable[UserMount]) -> tuple[BindSource, ...]:
    """Return the paths of the host that have to be there before a start."""
    return tuple(BindSource(mount.source, mount.create_source) for mount in mounts if mount.type == "bind")


def mount_points(mounts: Iterable[UserMount]) -> tuple[MountPoint, ...]:
    """Return what is recorded of mounts whose volumes and images were found."""
    return tuple(
        MountPoint(
            type=mount.type,
            source=mount.source,
            destination=mount.target,
            mode=mount.mode,
            rw=mount.writable,
            propagation=mount.propagation,
            name=mount.name,
            driver=mount.driver,
            subpath=mount.subpath,
            options=mount.options,
            no_copy=mount.no_copy,
            create_source=mount.create_source,
            listed=mount.listed,
        )
        for mount in mounts
    )


def recorded(point: MountPoint) -> UserMount:
    """Return the mount that a record describes."""
    return UserMount(
        type=point.type,
        target=point.destination,
        source=point.source,
        options=point.options,
        mode=point.mode,
        writable=point.rw,
        propagation=point.propagation,
        create_source=point.create_source,
        listed=point.listed,
        name=point.name,
        driver=point.driver,
        subpath=point.subpath,
        no_copy=point.no_copy,
    )


def bound(mount: UserMount, kind: str, source: str, options: Iterable[str]) -> UserMount:
    """Return *mount* as the kernel is to make it: a file system of *kind* from *source*, or what its subpath names."""
    words = tuple(options)
    if mount.subpath:
        words += (f"{SUBDIR}={mount.subpath}",)
    return replace(mount, type=kind, source=source, options=words)
