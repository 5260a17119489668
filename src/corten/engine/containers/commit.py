"""commit: what a container has changed becomes a layer, and that an image.

The container is frozen while its files are read, unless asked otherwise, so
that the layer shows one moment. That is not recorded: were the engine to die
meanwhile, the next one finds a container that runs, and thaws it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from corten.core.layers.pack import write_diff
from corten.core.snapshots.browse import tree
from corten.core.snapshots.folders import folders, holds_changes
from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.places import PLACES
from corten.engine.containers.status import Status
from corten.engine.images.changes import apply_changes
from corten.engine.images.derive import Step
from corten.engine.records.config import ContainerConfig
from corten.engine.records.container import Container
from corten.errors import Conflict, NotFound
from corten.oci.image import Defaults, Healthcheck


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How a container shall become an image.

    ``reference`` is a name for it, or None; ``config`` is laid over the
    container's own, None for nothing; ``changes`` are Dockerfile instructions.
    """

    reference: str | None = None
    author: str = ""
    comment: str = ""
    changes: Sequence[str] = ()
    config: ContainerConfig | None = None
    pause: bool = True


class Committing:
    """The verb; one object for all containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def commit(self, ref: str, order: Order) -> str:
        """Make an image of a container that runs or not; return its id.

        Raises:
            NotFound: no such container, or its image is gone.
            InvalidInput: a name or a change.
            Conflict: it is being removed.
            OutOfSpace: the disk is full.
        """
        parts = self._parts
        container = parts.records.find(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"You cannot commit container {container.id} which is {container.state.status}")
        parent = parts.images.resolve(container.image_id)
        step = Step(
            defaults=committed(order.config, container.config, order.changes),
            created_by=" ".join(container.config.cmd or ()),
            author=order.author,
            comment=order.comment,
        )
        async with self._still(container, order.pause):
            image = await parts.images.derive(
                parent, step, lambda out: self._write(container, out), order.reference
            )
        name = order.reference or ""
        parts.tell("commit", container, comment=order.comment, imageID=image.id, imageRef=name)
        return str(image.id)

    @asynccontextmanager
    async def _still(self, container: Container, pause: bool) -> AsyncIterator[None]:
        """Keep the container from moving, and from changing on disk if *pause* is said."""
        parts, path = self._parts, self._parts.cgroup_path(container)
        async with parts.lock(container.id):
            status = parts.records.get(container.id).state.status
            if not pause or status != Status.RUNNING:
                yield
                return
            await asyncio.to_thread(parts.groups.freeze, path)
            parts.tell("pause", container)
            try:
                yield
            finally:
                await self._go_on(container, path)

    async def _go_on(self, container: Container, path: str) -> None:
        """Let the container go on; one that was killed meanwhile has no cgroup any more."""
        try:
            await asyncio.to_thread(self._parts.groups.thaw, path)
        except OSError:
            with suppress(NotFound):
                if is_up(self._parts.records.get(container.id)):
                    raise
        else:
            self._parts.tell("unpause", container)

    def _write(self, container: Container, out: Callable[[bytes], object]) -> None:
        """Write what the container has changed, as a layer."""
        snapshots = self._parts.snapshots
        snapshot, mount = snapshots.info(container.id), snapshots.mounts(container.id)[0]
        upper = folders(mount)["UpperDir"]
        if holds_changes(mount) or snapshot.parent is None:
            write_diff(upper, out, places=PLACES)
            return
        with tree(snapshots.mounts(snapshot.parent)[0]) as lower:
            write_diff(upper, out, lower, places=PLACES)


def committed(config: ContainerConfig | None, own: ContainerConfig, changes: Sequence[str]) -> Defaults:
    """Return the defaults of an image made of a container: *config* and *changes* laid over its *own*.

    The rules are Docker's: maps and the environment are united, an entrypoint
    that was given sets the container's command aside.

    Raises:
        InvalidInput: a change that cannot be applied, or is malformed.
    """
    below = as_defaults(own)
    above = apply_changes(as_defaults(config) if config else below, changes)
    cmd = above.cmd if above.cmd or above.entrypoint else below.cmd
    return msgspec.structs.replace(
        above,
        user=above.user or below.user,
        exposed_ports={**(below.exposed_ports or {}), **(above.exposed_ports or {})} or None,
        env=_united(above.env, below.env),
        entrypoint=below.entrypoint if above.entrypoint is None else above.entrypoint,
        cmd=cmd,
        volumes={**(below.volumes or {}), **(above.volumes or {})} or None,
        working_dir=above.working_dir or below.working_dir,
        labels={**(below.labels or {}), **(above.labels or {})} or None,
        stop_signal=above.stop_signal or below.stop_signal,
        healthcheck=above.healthcheck or below.healthcheck,
    )


def _united(above: tuple[str, ...] | None, below: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the variables of *above*, then those that only *below* has."""
    names = {entry.partition("=")[0] for entry in above or ()}
    rest = (entry for entry in below or () if entry.partition("=")[0] not in names)
    return (*(above or ()), *rest) or None


def as_defaults(config: ContainerConfig) -> Defaults:
    """Return what of a container's configuration an image can hold."""
    health = config.healthcheck
    return Defaults(
        user=config.user or None,
        exposed_ports=config.exposed_ports or None,
        env=config.env or None,
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        volumes=config.volumes or None,
        working_dir=config.working_dir or None,
        labels=config.labels or None,
        stop_signal=config.stop_signal or None,
        stop_timeout=config.stop_timeout,
        healthcheck=Healthcheck(**msgspec.structs.asdict(health)) if health else None,
        on_build=config.on_build or None,
        shell=config.shell or None,
    )
