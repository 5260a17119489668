"""Mounts added to a container and taken away, while it runs or not.

A running container gets and loses them all at once, or none; what is recorded
makes the next start follow.
"""

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from msgspec.structs import replace

from corten.engine.containers.host import Host
from corten.engine.containers.mounting.mount import UserMount, bound, mount_points, recorded
from corten.engine.containers.mounting.paths import clean
from corten.engine.containers.mounting.requests import user_mounts
from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.update_request import UpdateRequest
from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container, MountPoint
from corten.errors import InvalidInput, NotFound
from corten.oci.spec import Mount

_OURS = ("/proc", "/sys", "/dev", "/etc")  # what the engine mounts there must stay to be seen
_KERNEL = ("/proc/", "/sys/")


class Mounting(Protocol):
    """What changing mounts needs of mounting; see ``mounting.service``."""

    def plan(self, config: ContainerConfig, host_config: HostConfig, /) -> tuple[UserMount, ...]:
        """Return the mounts asked for; makes nothing."""
        ...

    async def create(
        self, container_id: str, config: ContainerConfig, host_config: HostConfig, /
    ) -> tuple[MountPoint, ...]:
        """Make the volumes asked for, claimed by *container_id*."""
        ...

    async def fill(self, container: Container, /) -> None:
        """Copy into empty volumes what the root has at their targets."""
        ...

    def keep(self, container_id: str, /) -> None:
        """Drop the claims: what was made is recorded."""
        ...

    async def abandon(self, container_id: str, /) -> None:
        """Remove what is claimed."""
        ...

    async def add(self, container: Container, points: Sequence[MountPoint], /) -> tuple[UserMount, ...]:
        """Have everything there that further mounts need; returns them as the kernel is to make them, in order."""
        ...

    async def release(self, container: Container, /) -> None:
        """Give back the volumes that the record of a running container names no more."""
        ...


class LiveMounts:
    """Changes of mounts; one object for all containers."""

    def __init__(self, parts: Parts, mounting: Mounting) -> None:
        self._parts, self._mounting = parts, mounting

    def check(self, container: Container, request: UpdateRequest) -> None:
        """Refuse what cannot be, before anything is made.

        Raises:
            NotFound: nothing is mounted at a target to remove; or no such image.
            InvalidInput: a malformed mount, two with one target, or one that would hide another.
            Unsupported: a type that is not available.
        """
        gone = self._removed(container, request)
        left = [point.destination for point in self._points(container) if point.destination not in gone]
        new = [mount.target for mount in self._mounting.plan(*_added(container, request))]
        for target in new:
            if target in left:
                raise InvalidInput(f"Duplicate mount point: {target}")
        if is_up(container):
            _check_visible(new, gone, left)

    def _removed(self, container: Container, request: UpdateRequest) -> set[str]:
        """Return the targets to remove."""
        known = {point.destination for point in self._points(container)}
        gone = {clean(target, f"invalid target '{target}'") for target in request.mount_remove or ()}
        for target in gone:
            if target not in known:
                raise NotFound(f"mount of container {container.name}", target)
        return gone

    def _points(self, container: Container) -> tuple[MountPoint, ...]:
        return all_points(container, self._parts.host)

    @asynccontextmanager
    async def changed(self, container: Container, request: UpdateRequest) -> AsyncIterator[Container]:
        """Lend the record with the mounts that *request* wants; when the block fails, what was made goes again.

        Raises:
            as ``check``; Conflict: a volume of that name is of another kind.
        """
        if not request.changes_mounts:
            yield container
            return
        self.check(container, request)
        gone = self._removed(container, request)
        claim = f"{container.id}-update-{secrets.token_hex(4)}"
        try:
            new = await self._mounting.create(claim, *_added(container, request))
            then = _with_mounts(container, request, self._parts.host, gone, self._points(container), new)
            await self._mounting.fill(replace(then, mounts=new))
            if not is_up(container):
                await self._show_images(container, new)
            yield then
        except BaseException:
            await self._mounting.abandon(claim)
            raise
        self._mounting.keep(claim)
        await self._mounting.abandon(claim)  # what showed images until the container's own views were there

    async def _show_images(self, container: Container, new: tuple[MountPoint, ...]) -> None:
        """Have new images stay for a container that does not run, as those of a new one do."""
        images = tuple(point for point in new if point.type == "image")
        if images:
            await self._mounting.add(replace(container, mounts=()), images)

    async def switch(self, now: Container, then: Container) -> None:
        """Have a running container see the mounts of *then* instead of those of *now*: all of it or nothing.

        Raises:
            InvalidInput: a source is missing, or its place in the container cannot be mounted at.
            NotFound, Unavailable: a volume or image is not there.
            Conflict: the container does not run any more.
        """
        before, after = self._points(now), self._points(then)
        new = tuple(point for point in after if point not in before)
        gone = [point for point in before if point not in after]
        if not new and not gone:
            return
        added = [_mount(mount) for mount in await self._mounting.add(now, new)] if new else []
        removed = [await self._known(now, point) for point in gone]
        await self._parts.runtime.change_mounts(now.id, added, _deepest_first(removed))

    async def _known(self, container: Container, point: MountPoint) -> Mount:
        """Return a mount that is there as it was made."""
        if point.type == "image":
            return _mount((await self._mounting.add(replace(container, mounts=()), (point,)))[0])
        if point.type == "volume":
            return _mount(bound(recorded(point), "bind", point.source, point.options))
        return _mount(recorded(point))


def all_points(container: Container, host: Host) -> tuple[MountPoint, ...]:
    """Return the recorded mounts; those of records that an earlier version wrote as if this one had."""
    if any(point.options for point in container.mounts):
        return container.mounts
    return mount_points(user_mounts(container.host_config, host))


def _added(container: Container, request: UpdateRequest) -> tuple[ContainerConfig, HostConfig]:
    """Return configurations that ask for the new mounts and nothing else."""
    wishes = HostConfig(
        binds=request.bind_add or (),
        mounts=request.mount_add or (),
        volume_driver=container.host_config.volume_driver,
    )
    return replace(container.config, volumes=None), wishes


def _with_mounts(
    container: Container,
    request: UpdateRequest,
    host: Host,
    gone: set[str],
    former: Iterable[MountPoint],
    new: tuple[MountPoint, ...],
) -> Container:
    """Return the record without the mounts at *gone* and with the *new* ones."""
    wishes = container.host_config
    binds = tuple(text for text in wishes.binds or () if _target(HostConfig(binds=(text,)), host) not in gone)
    mounts = tuple(one for one in wishes.mounts or () if _target(HostConfig(mounts=(one,)), host) not in gone)
    tmpfs = {
        path: words
        for path, words in (wishes.tmpfs or {}).items()
        if _target(HostConfig(tmpfs={path: words}), host) not in gone
    }
    wishes = replace(
        wishes,
        binds=(*binds, *(request.bind_add or ())) or None,
        mounts=(*mounts, *(request.mount_add or ())) or None,
        tmpfs=tmpfs or None,
    )
    kept = tuple(point for point in former if point.destination not in gone)
    return replace(container, host_config=wishes, mounts=(*kept, *new))


def _target(wishes: HostConfig, host: Host) -> str:
    """Return the target of the only mount that *wishes* ask for."""
    return user_mounts(wishes, host)[0].target


def _check_visible(new: list[str], gone: set[str], left: list[str]) -> None:
    """Refuse what would hide a mount of a running container, or tear it away with another one."""
    for target in new:
        if target in _OURS or target.startswith(_KERNEL):
            raise InvalidInput(
                f"a running container cannot get a mount at {target}, which would hide the engine's own: "
                "stop it first"
            )
    for target in (*new, *gone):
        below = sorted(path for path in left if path.startswith(f"{target}/"))
        if below:
            raise InvalidInput(
                f"a running container has a mount at {below[0]}, which lies below {target}: "
                "remove that first, or stop the container"
            )


def _mount(mount: UserMount) -> Mount:
    return Mount(mount.target, mount.type, mount.source, mount.options)


def _deepest_first(mounts: Iterable[Mount]) -> list[Mount]:
    """Return *mounts* so that what lies below another comes before it."""
    return sorted(mounts, key=lambda mount: mount.destination.count("/"), reverse=True)
