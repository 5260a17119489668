"""From what a user asks to what a container sees: real volumes, images and a real runtime, no daemon."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.core.layers.unpack import apply
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.volumes.mounting import unmount
from corten.engine.containers.host import Host
from corten.engine.containers.mounting.service import Mounting
from corten.engine.records.config import (
    ContainerConfig,
    HostConfig,
    ImageOptions,
    MountRequest,
    VolumeDriver,
    VolumeOptions,
)
from corten.engine.records.container import Container
from corten.engine.records.database import Database
from corten.engine.records.images import Image
from corten.engine.records.volumes import VolumeRepository
from corten.engine.volumes.service import Volumes
from corten.engine.volumes.shared import User
from corten.errors import NotFound
from corten.oci.digest import Digest
from corten.oci.image import chain_ids
from tests.kernel.supervised import Engine, engine_test
from tests.kernel.test_container_mounts import start
from tests.unit.core.layers.archives import archive, member

pytestmark = [pytest.mark.root, pytest.mark.slow]

DIFF = Digest(f"sha256:{'1' * 64}")
IMAGE = Image(
    id=Digest(f"sha256:{'2' * 64}"),
    manifest=DIFF,
    manifest_size=1,
    manifest_type="",
    layers=(DIFF,),
    layer_sizes=(1,),
    diff_ids=(DIFF,),
)


class World:
    """The services of one engine that mounts need, and the containers that are recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "engine.db")
        self.records: dict[str, Container] = {}
        self.snapshots = OverlaySnapshotter(str(folder / "snapshots"))
        self.volumes = Volumes(
            VolumeRepository(self.database), str(folder / "volumes"), self._users, lambda *_: None
        )
        self.mounting = Mounting(self.snapshots, self, self.volumes, self, Host())
        layer = self.snapshots.prepare("layer").directory
        files = [
            member("srv/data/seed", data=b"from the image", uid=7, gid=8, mode=0o640),
            member("srv/other/deep/seed", data=b"x"),
        ]
        apply(io.BytesIO(archive(files)), layer)
        os.chown(f"{layer}/srv/data", 7, 8)
        self.snapshots.commit(str(chain_ids((DIFF,))[-1]), "layer")

    def _users(self, name: str) -> list[User]:
        used = [c for c in self.records.values() if name in {point.name for point in c.mounts}]
        return [User(container.id, container.name, up=False) for container in used]

    def find(self, ref: str) -> Container:
        """Return a recorded container."""
        if ref not in self.records:
            raise NotFound("container", ref)
        return self.records[ref]

    def resolve(self, name: str) -> Image:
        """Return the only image."""
        if name not in ("seeded", str(IMAGE.id)):
            raise NotFound("image", name)
        return IMAGE

    async def create(self, identifier: str, declared: tuple[str, ...], wish: HostConfig) -> Container:
        """Create a container of the image."""
        config = ContainerConfig(volumes={path: {} for path in declared})
        points = await self.mounting.create(identifier, config, wish)
        self.snapshots.prepare(identifier, str(chain_ids((DIFF,))[-1]))
        made = Container(
            id=identifier,
            name=identifier,
            created="",
            image_id=str(IMAGE.id),
            config=config,
            host_config=wish,
            path="sh",
            args=(),
            snapshotter="overlay",
            mounts=points,
        )
        await self.mounting.fill(made)
        self.records[identifier] = made
        self.mounting.keep(identifier)
        return made

    async def run(self, engine: Engine, container: Container, script: str) -> list[str]:
        """Run *script* with the mounts of *container*; return the lines that it says."""
        (engine.logs / "c").mkdir(exist_ok=True)
        for segment in (engine.logs / "c").iterdir():
            segment.unlink()
        wanted = await self.mounting.begin(container)
        try:
            return await start(engine, script, *wanted)
        finally:
            await self.mounting.end(container)

    async def remove(self, container: Container) -> None:
        """Remove a container with its volumes."""
        del self.records[container.id]
        self.snapshots.remove(container.id)
        await self.mounting.removed(container, True)


def mount_table() -> str:
    """Return what is mounted."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The services."""
    (tmp_path / "world").mkdir()
    made = World(tmp_path / "world")
    yield made
    made.database.close()
    unmount(str(tmp_path))


def test_the_life_of_volumes(world: World, tmp_path: Path) -> None:
    """Filled from the image, kept from run to run, lent to another container, and gone with the last one."""

    async def body(engine: Engine) -> None:
        first = await world.create("first", ("/srv/data",), HostConfig(binds=("named:/srv/other",)))
        script = (
            "stat -c %u:%g:%a /srv/data /srv/data/seed; cat /srv/data/seed; echo; echo kept >/srv/data/new"
        )
        assert await world.run(engine, first, script) == ["7:8:755", "7:8:640", "from the image"]
        assert await world.run(engine, first, "cat /srv/data/new; ls /srv/other/deep") == ["kept", "seed"]

        second = await world.create("second", ("/srv/data",), HostConfig(volumes_from=("first:ro",)))
        lines = await world.run(engine, second, "cat /srv/data/new; touch /srv/data/x 2>&1")
        assert lines == ["kept", "touch: cannot touch '/srv/data/x': Read-only file system"]

        anonymous = next(point.name for point in first.mounts if point.destination == "/srv/data")
        await world.remove(first)
        assert world.volumes.get(anonymous).anonymous
        await world.remove(second)
        assert [volume.name for volume in world.volumes.list()] == ["named"]
        assert [snapshot.key for snapshot in world.snapshots.walk()] == [str(chain_ids((DIFF,))[-1])]

    engine_test(tmp_path / "engine", body)


def test_a_volume_that_is_a_mount(world: World, tmp_path: Path) -> None:
    """A volume with a driver's options is mounted while a run lasts, and the container sees that mount."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=700"}
    request = MountRequest(
        source="memory",
        target="/srv/data",
        volume_options=VolumeOptions(
            no_copy=True, driver_config=VolumeDriver(name="local", options=options), labels={"a": "b"}
        ),
    )

    async def body(engine: Engine) -> None:
        made = await world.create("first", (), HostConfig(mounts=(request,)))
        assert world.volumes.get("memory").labels == {"a": "b"}
        lines = await world.run(engine, made, "stat -f -c %T /srv/data; stat -c %a /srv/data; ls /srv/data")
        assert lines == ["tmpfs", "700"]
        assert world.volumes.get("memory").mountpoint not in mount_table()

    engine_test(tmp_path / "engine", body)


def test_folders_of_volumes_and_images(world: World, tmp_path: Path) -> None:
    """A folder below a named volume, with other owners, beside a folder of an image."""

    async def body(engine: Engine) -> None:
        await world.create("first", (), HostConfig(binds=("named:/srv",)))
        wish = HostConfig(
            mounts=(
                MountRequest(
                    source="named",
                    target="/a",
                    volume_options=VolumeOptions(subpath="data"),
                    id_map="uids=7-1007-1;gids=8-1008-1",
                ),
                MountRequest(
                    type="image", source="seeded", target="/b", image_options=ImageOptions(subpath="srv")
                ),
            )
        )
        second = await world.create("second", (), wish)
        lines = await world.run(
            engine, second, "stat -c %u:%g /a/seed; cat /b/other/deep/seed; touch /b/x 2>&1"
        )
        assert lines == ["1007:1008", "xtouch: cannot touch '/b/x': Read-only file system"]
        await world.remove(second)
        assert sorted(snapshot.kind for snapshot in world.snapshots.walk()) == ["active", "committed"]

    engine_test(tmp_path / "engine", body)
