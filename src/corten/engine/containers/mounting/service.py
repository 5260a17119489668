"""Mounting: from what a user asks of mounts to what a start makes of them.

Four moments of a container's life: it is created (volumes are made, and filled
from the image on first use), a run begins (what mounts need is there: sources,
volumes, images), the run ends, the container is removed. Until a container is
recorded, the volumes are told that it claims them, so that no prune takes one.
"""

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine.containers.host import Host, ensure_sources
from corten.engine.containers.mounting.mount import (
    UserMount,
    bind_sources,
    bound,
    mount_points,
    recorded,
)
from corten.engine.containers.mounting.propagation import check_propagation
from corten.engine.containers.mounting.requests import (
    DRIVER,
    all_mounts,
    in_order,
    lender,
    lent_by,
    mounts_of,
)
from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container, MountPoint
from corten.engine.records.images import Image
from corten.engine.records.volume import Volume
from corten.errors import Conflict, InvalidInput, NotFound
from corten.oci.spec import Mount


class VolumeSource(Protocol):
    """What containers need of volumes."""

    async def create(
        self,
        name: str,
        driver: str,
        options: Mapping[str, str],
        labels: Mapping[str, str],
        size: int = 0,
        anonymous: bool = False,
        owner: str = "",
    ) -> Volume:
        """Make a volume, claimed by *owner*; the same name again is the same volume."""
        ...

    def get(self, name: str) -> Volume:
        """Return a volume; NotFound where there is none."""
        ...

    async def remove(self, name: str, force: bool, now: bool = False) -> None:
        """Remove a volume; Conflict while it is in use."""
        ...

    def claim(self, owner: str, names: Sequence[str]) -> None:
        """Keep volumes from being removed for a container that has no record yet; NotFound, Conflict."""
        ...

    def unclaim(self, owner: str) -> None:
        """End the claims of a container; idempotent."""
        ...

    async def hold(self, container: str, names: Sequence[str]) -> None:
        """Make the volumes usable at their mountpoints for a run."""
        ...

    async def let_go(self, container: str, keep: Collection[str] = ()) -> None:
        """Undo hold, but for the volumes to *keep*; idempotent."""
        ...

    async def populate(self, name: str, root: Mount, path: str) -> bool:
        """Copy what *root* has at *path* into an empty volume."""
        ...


class ImageFinder(Protocol):
    """What mounts need of images."""

    def resolve(self, name: str) -> Image:
        """Return the image that *name* means; NotFound in Docker's words."""
        ...


class ContainerFinder(Protocol):
    """What mounts need of the records of containers."""

    def find(self, ref: str) -> Container:
        """Return the container that *ref* means; NotFound where there is none."""
        ...


class Mounting:
    """The mounts of all containers.

    Args:
        snapshots: Shows images, and the roots of containers.
        images: Finds images to mount.
        volumes: Makes and holds volumes.
        records: Finds containers that lend their mounts.
        host: Facts of the machine.
    """

    def __init__(
        self,
        snapshots: Snapshotter,
        images: ImageFinder,
        volumes: VolumeSource,
        records: ContainerFinder,
        host: Host,
    ) -> None:
        self._snapshots, self._images, self._volumes = snapshots, images, volumes
        self._records, self._host = records, host
        self._made: dict[str, list[str]] = {}

    def plan(self, config: ContainerConfig, host_config: HostConfig) -> tuple[UserMount, ...]:
        """Return the mounts asked for, in the order in which they are to be made; makes nothing.

        Args:
            config: As merged with the image's.
            host_config: As sent.

        Raises:
            InvalidInput: a malformed mount, or two with one target.
            NotFound: a container of ``--volumes-from``, or an image.
            Unsupported: a type that is not available, or what this kernel cannot do.
        """
        lent: list[UserMount] = []
        for text in host_config.volumes_from or ():
            name, mode = lender(text)
            lent += lent_by(self._records.find(name), mode, self._host)
        wanted = all_mounts(config, host_config, self._host, lent)
        return tuple(
            replace(mount, source=str(self._images.resolve(mount.name).id))
            if mount.type == "image" and not mount.source
            else mount
            for mount in wanted
        )

    async def create(
        self, container_id: str, config: ContainerConfig, host_config: HostConfig
    ) -> tuple[MountPoint, ...]:
        """Make the volumes of a container that is being created, and what shows it images.

        Follow it by ``keep`` when the container is recorded, by ``abandon`` when that failed.

        Returns:
            What is to be recorded of its mounts.

        Raises:
            InvalidInput, NotFound, Unsupported: as ``plan``, and before anything is made.
            Conflict: a volume of that name has another driver or other options.
        """
        wanted = self.plan(config, host_config)
        sources = [source for source in bind_sources(wanted) if not source.create]
        if sources:
            await asyncio.to_thread(ensure_sources, sources)
        try:
            found = [
                await self._volume(container_id, mount) if mount.type == "volume" else mount
                for mount in wanted
            ]
            for mount in found:
                if mount.type == "image":
                    await asyncio.to_thread(self._view, container_id, mount)
        except BaseException:
            await self.abandon(container_id)
            raise
        return mount_points(found)

    async def _volume(self, container_id: str, mount: UserMount) -> UserMount:
        """Find or make one volume; its own one for a container that names none."""
        volume = self._present(mount)
        if volume is not None:
            self._volumes.claim(container_id, [volume.name])
        else:
            volume = await self._volumes.create(
                mount.name,
                mount.driver or DRIVER,
                mount.driver_options,
                mount.labels,
                anonymous=not mount.name,
                owner=container_id,
            )
        if not mount.name:
            self._made.setdefault(container_id, []).append(volume.name)
        return replace(mount, name=volume.name, source=volume.mountpoint, driver=volume.driver)

    def _present(self, mount: UserMount) -> Volume | None:
        """Return the volume that is there already, as it is, unless the mount asks for another kind."""
        if not mount.name or mount.driver_options:
            return None
        with suppress(NotFound):
            volume = self._volumes.get(mount.name)
            if mount.driver in ("", volume.driver):
                return volume
        return None

    async def fill(self, container: Container) -> None:
        """Give empty volumes what the container's root has at their targets: Docker's first-use copy.

        The container's snapshot has to be there, its record need not.
        """
        for point in container.mounts:
            if point.type == "volume" and not point.no_copy and not point.subpath:
                root = self._snapshots.mounts(container.id)[0]
                await self._volumes.populate(point.name, root, point.destination)

    def keep(self, container_id: str) -> None:
        """The container is recorded: its volumes are in use by that; idempotent."""
        self._volumes.unclaim(container_id)
        self._made.pop(container_id, None)

    async def abandon(self, container_id: str) -> None:
        """Creating the container failed: remove what was made for it alone; idempotent."""
        made = self._made.get(container_id, [])
        self.keep(container_id)
        for name in made:
            await self._remove_anonymous(name)
        await asyncio.to_thread(self._drop_views, container_id)

    async def begin(self, container: Container) -> tuple[UserMount, ...]:
        """Have everything there that the mounts of a run need; ``end`` gives it back, a failed start's too.

        Returns:
            The mounts as the kernel is to make them, in order: what ``build_spec`` takes.

        Raises:
            InvalidInput: a source is missing and may not be made, or cannot propagate.
            NotFound: a volume or image is gone.
            Unavailable: a volume cannot be mounted.
        """
        try:
            return await self._ready(container, mounts_of(container, self._host))
        except BaseException:
            await self.end(container)
            raise

    async def add(self, container: Container, points: Sequence[MountPoint]) -> tuple[UserMount, ...]:
        """As ``begin``, for further mounts of a container that runs; a failure leaves it what it has."""
        wider = replace(container, mounts=(*container.mounts, *points))
        return await self._ready(wider, in_order(recorded(point) for point in points))

    async def _ready(self, container: Container, mounts: tuple[UserMount, ...]) -> tuple[UserMount, ...]:
        binds = [mount for mount in mounts if mount.type == "bind"]
        if binds:
            await asyncio.to_thread(_check_sources, binds)
        names = volumes_of(container)
        if names:
            await self._volumes.hold(container.id, names)
        return tuple([await self._kernel_mount(container.id, mount) for mount in mounts])

    async def _kernel_mount(self, container_id: str, mount: UserMount) -> UserMount:
        """Return one mount as the kernel is to make it."""
        if mount.type == "volume":
            return bound(mount, "bind", self._volumes.get(mount.name).mountpoint, mount.options)
        if mount.type == "image":
            await asyncio.to_thread(self._view, container_id, mount)
            shown = self._snapshots.mounts(view_key(container_id, mount.target))[0]
            return bound(mount, shown.type, shown.source, (*shown.options, *mount.options))
        return mount

    async def end(self, container: Container) -> None:
        """Give back what a run of the container held; idempotent."""
        if volumes_of(container):
            await self._volumes.let_go(container.id)

    async def release(self, container: Container) -> None:
        """Give back the volumes that a running container held and that its record names no more; idempotent."""
        await self._volumes.let_go(container.id, volumes_of(container))

    async def removed(self, container: Container, volumes: bool) -> None:
        """Undo what was made for a container that is recorded no more; idempotent.

        Args:
            container: The record that it had.
            volumes: Whether its anonymous volumes go, those that nobody else uses; with
                ``--rm`` they do in any case.
        """
        if any(point.type == "image" for point in container.mounts):
            await asyncio.to_thread(self._drop_views, container.id)
        if not volumes and not container.host_config.auto_remove:
            return
        flags = container.host_config
        named = {text.partition(":")[0] for text in flags.binds or ()}
        named |= {mount.source for mount in flags.mounts or ()}
        for name in volumes_of(container):
            if name not in named:
                await self._remove_anonymous(name)

    async def _remove_anonymous(self, name: str) -> None:
        """Remove a volume that somebody got without a name, unless others use it."""
        with suppress(NotFound, Conflict):
            if self._volumes.get(name).anonymous:
                await self._volumes.remove(name, False)

    def _view(self, container_id: str, mount: UserMount) -> None:
        """Have an image's tree stay as long as the container does; idempotent."""
        key = view_key(container_id, mount.target)
        try:
            self._snapshots.info(key)
        except NotFound:
            chain = self._images.resolve(mount.source).chain_id
            with suppress(Conflict):  # made by another call meanwhile
                self._snapshots.view(key, chain) if chain else self._snapshots.prepare(key)

    def _drop_views(self, container_id: str) -> None:
        prefix = view_key(container_id, "")[: len(container_id) + 1]
        for snapshot in list(self._snapshots.walk()):
            if snapshot.key.startswith(prefix):
                self._snapshots.remove(snapshot.key)


def view_key(container_id: str, target: str) -> str:
    """Return the key of the snapshot that shows an image at *target* of a container."""
    return f"{container_id}-{hashlib.sha256(target.encode()).hexdigest()[:16]}"


def views(container: Container) -> list[str]:
    """Return the keys of the snapshots that show images to the container: it claims them."""
    return [view_key(container.id, point.destination) for point in container.mounts if point.type == "image"]


def volumes_of(container: Container) -> list[str]:
    """Return the names of the volumes that the container uses, each once."""
    return list(dict.fromkeys(point.name for point in container.mounts if point.type == "volume"))


def _check_sources(binds: list[UserMount]) -> None:
    """Make the missing folders that may be made, and look whether propagation means anything."""
    for source in bind_sources(binds):
        try:
            ensure_sources([source])
        except OSError as failure:
            raise InvalidInput(
                f"error while creating mount source path '{source.path}': {failure.strerror}: make it yourself"
            ) from None
    check_propagation(binds)
