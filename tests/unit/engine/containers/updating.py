"""An engine whose kernel and networks only note what they were asked: for tests of updating."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from corten.engine.containers.mounting.mount import UserMount, bound, mount_points, recorded
from corten.engine.containers.mounting.requests import in_order, user_mounts
from corten.engine.containers.parts import Parts
from corten.engine.containers.update import Updating
from corten.engine.containers.update_request import Bindings, UpdateRequest
from corten.engine.records.config import ContainerConfig, EndpointSettings, HostConfig
from corten.engine.records.container import Container, Endpoint, MountPoint, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.errors import Conflict, CortenError
from corten.oci.spec import Mount
from tests.unit.engine.containers.examples import HOST

ID = "c" * 64


class Engine:
    """All that updating works with; ``asked`` is what it did, ``refuse`` names what fails from now on."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(str(folder / "engine.db"))
        self.records = ContainerRepository(self.database)
        self.asked: list[tuple[Any, ...]] = []
        self.refuse: dict[str, CortenError | OSError] = {}
        self.offered = True
        self.held: set[str] = set()  # volumes
        self.lock = asyncio.Lock()
        parts = SimpleNamespace(
            records=self.records,
            host=HOST,
            groups=SimpleNamespace(apply=self.apply, offers=lambda *_: self.offered),
            runtime=self,
            lock=lambda _: self.lock,
            cgroup_path=lambda container: f"tests/{container.id[:4]}",
            tell=lambda action, container: self._note(action, container.name),
        )
        self.updating = Updating(cast("Parts", parts), self, self)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _note(self, verb: str, *facts: Any) -> None:
        self.asked.append((verb, *facts))
        if verb in self.refuse:
            raise self.refuse[verb]

    def put(self, status: str = "running", config: ContainerConfig | None = None, **wishes: Any) -> Container:
        """Record a container of the name web."""
        host_config = HostConfig(**{"network_mode": "none", **wishes})
        record = Container(
            id=ID,
            name="web",
            created="2020-01-01T00:00:00Z",
            image_id="",
            config=config or ContainerConfig(),
            host_config=host_config,
            path="",
            args=(),
            snapshotter="",
            state=State(status=status, pid=5),
            mounts=mount_points(_found(user_mounts(host_config, HOST))),
            endpoints=(Endpoint("first", "1" * 64),),
        )
        self.records.put(record)
        return record

    def update(self, **request: Any) -> list[str]:
        """Carry a request out."""
        return asyncio.run(self.updating.update("web", UpdateRequest(**request)))

    @property
    def record(self) -> Container:
        """The container as it is recorded now."""
        return self.records.get(ID)

    # the kernel

    def apply(self, path: str, limits: dict[str, Any]) -> None:
        """Be the cgroups."""
        self._note("apply", path, limits)

    async def change_mounts(self, task: str, add: Sequence[Mount], remove: Sequence[Mount]) -> None:
        """Be the runtime."""
        assert task == ID
        added, removed = ([mount.destination for mount in mounts] for mounts in (add, remove))
        self._note("mounts", added, removed)

    # mounting

    def plan(self, config: ContainerConfig, host_config: HostConfig) -> tuple[UserMount, ...]:
        """Read the wishes."""
        assert not config.volumes
        return user_mounts(host_config, HOST)

    async def create(
        self, container_id: str, config: ContainerConfig, host_config: HostConfig
    ) -> tuple[MountPoint, ...]:
        """Make volumes."""
        assert container_id.startswith(f"{ID}-update-")
        self._note("create", *(mount.target for mount in self.plan(config, host_config)))
        return mount_points(_found(user_mounts(host_config, HOST)))

    async def fill(self, container: Container) -> None:
        """Copy what the image has."""
        self._note("fill", *(point.destination for point in container.mounts))

    def keep(self, container_id: str) -> None:
        """Drop the claims."""
        assert container_id != ID
        self._note("keep")

    async def abandon(self, container_id: str) -> None:
        """Remove what is claimed."""
        assert container_id != ID
        self._note("abandon")

    async def add(self, container: Container, points: Sequence[MountPoint]) -> tuple[UserMount, ...]:
        """Hold volumes and show images."""
        assert container.id == ID
        mounts = in_order(recorded(point) for point in points)
        self.held |= {mount.name for mount in mounts if mount.type == "volume"}
        self._note("add", *(mount.target for mount in mounts))
        return tuple(
            bound(mount, "overlay" if mount.type == "image" else "bind", mount.source, mount.options)
            if mount.type in ("volume", "image")
            else mount
            for mount in mounts
        )

    async def release(self, container: Container) -> None:
        """Let go of volumes that are not mounted any more."""
        self.held &= {point.name for point in container.mounts}

    # networks

    async def publish(self, container: Container, bindings: Bindings) -> Container:
        """Publish other ports."""
        assert self.lock.locked()
        self._note("publish", dict(bindings))
        container = replace(container, host_config=replace(container.host_config, port_bindings=bindings))
        self.records.put(container)
        return container

    async def connect(self, reference: str, container: Container, settings: EndpointSettings) -> Container:
        """Join a network."""
        async with self.lock:
            self._note("connect", reference)
            endpoint = Endpoint(reference, wishes=settings)
            return self._attach(container, (*container.endpoints, endpoint))

    async def disconnect(self, reference: str, container: Container) -> Container:
        """Leave a network."""
        async with self.lock:
            self._note("disconnect", reference)
            left = tuple(e for e in container.endpoints if reference not in (e.network, e.network_id))
            if left == container.endpoints:
                raise Conflict(f"not on {reference}")
            return self._attach(container, left)

    def _attach(self, container: Container, endpoints: tuple[Endpoint, ...]) -> Container:
        container = replace(container, endpoints=endpoints)
        self.records.put(container)
        return container


def _found(mounts: Sequence[UserMount]) -> list[UserMount]:
    """Return mounts with the sources that volumes and images have."""
    sources = {"volume": "/volumes/{}/_data", "image": "sha256:{}"}
    return [
        replace(mount, source=sources[mount.type].format(mount.name)) if mount.type in sources else mount
        for mount in mounts
    ]
