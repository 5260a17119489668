"""Mounting: what is made for a container, when, and what becomes of it."""

import asyncio
import os
from collections.abc import Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from corten.core.snapshots.copy import CopySnapshotter
from corten.engine.containers.mounting.mount import UserMount
from corten.engine.containers.mounting.service import Mounting, views
from corten.engine.records.config import (
    ContainerConfig,
    HostConfig,
    ImageOptions,
    MountRequest,
    VolumeDriver,
    VolumeOptions,
)
from corten.engine.records.container import Container, MountPoint
from corten.engine.records.images import Image
from corten.engine.records.volume import Volume
from corten.errors import Conflict, InvalidInput, NotFound, OutOfSpace, Unavailable
from corten.oci.digest import Digest
from corten.oci.image import chain_ids
from corten.oci.spec import Mount
from tests.unit.engine.containers.examples import HOST

T = TypeVar("T")

ID, OTHER = "a" * 64, "b" * 64
DIFF = Digest(f"sha256:{'1' * 64}")
WORDS = ("rbind", "rprivate")


class Volumes:
    """Volumes in memory that notes what happens to them."""

    def __init__(self) -> None:
        self.there: dict[str, Volume] = {}
        self.claimed: dict[str, set[str]] = {}
        self.held: dict[str, list[str]] = {}
        self.filled: list[tuple[str, str, str]] = []
        self.used: set[str] = set()
        self.removed: list[tuple[str, bool, bool]] = []
        self.refused: dict[str, Exception] = {}

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
        """Make a volume."""
        name = name or f"{len(self.there):064x}"
        if name in self.refused:
            raise self.refused[name]
        volume = Volume(
            name=name,
            created="",
            mountpoint=f"/volumes/{name}",
            driver=driver,
            options=dict(options),
            labels=dict(labels),
            anonymous=anonymous,
            size=size,
        )
        self.there.setdefault(name, volume)
        self.claim(owner, [name])
        return self.there[name]

    def claim(self, owner: str, names: Sequence[str]) -> None:
        """Note who is going to use what."""
        for name in names:
            self.get(name)
        self.claimed.setdefault(owner, set()).update(names)

    def unclaim(self, owner: str) -> None:
        """Forget who was going to use what."""
        self.claimed.pop(owner, None)

    def get(self, name: str) -> Volume:
        """Return a volume."""
        if name not in self.there:
            raise NotFound("volume", name)
        return self.there[name]

    async def remove(self, name: str, force: bool, now: bool = False) -> None:
        """Remove a volume that nobody uses."""
        if name in self.used.union(*self.claimed.values()):
            raise Conflict(f"remove {name}: volume is in use")
        self.removed.append((name, force, now))
        del self.there[name]

    async def hold(self, container: str, names: Sequence[str]) -> None:
        """Note who holds what."""
        if "broken" in names:
            raise Unavailable("cannot mount volume broken")
        self.held[container] = list(names)

    async def let_go(self, container: str, keep: Collection[str] = ()) -> None:
        """Forget who held what."""
        if kept := [name for name in self.held.pop(container, ()) if name in keep]:
            self.held[container] = kept

    async def populate(self, name: str, root: Mount, path: str) -> bool:
        """Note what was copied."""
        if name in self.refused:
            raise self.refused[name]
        self.filled.append((name, root.source, path))
        return True


class Images:
    """One image, until it is removed."""

    def __init__(self) -> None:
        self.image: Image | None = Image(
            id=Digest(f"sha256:{'2' * 64}"),
            manifest=DIFF,
            manifest_size=1,
            manifest_type="",
            layers=(DIFF,),
            layer_sizes=(1,),
            diff_ids=(DIFF,),
            created="",
        )

    def resolve(self, name: str) -> Image:
        """Return the image by its name or id."""
        if self.image is None or name not in ("nginx", str(self.image.id)):
            raise NotFound("image", name)
        return self.image


class Box:
    """The services of a test."""

    def __init__(self, folder: Path) -> None:
        self.snapshots = CopySnapshotter(str(folder))
        self.snapshots.prepare("layer")
        self.snapshots.commit(str(chain_ids((DIFF,))[-1]), "layer")
        self.volumes, self.images = Volumes(), Images()
        self.records: dict[str, Container] = {}
        self.mounting = Mounting(self.snapshots, self.images, self.volumes, self, HOST)

    def find(self, ref: str) -> Container:
        """Return a recorded container."""
        try:
            return self.records[ref]
        except KeyError:
            raise NotFound("container", ref) from None

    async def make(self, identifier: str = ID, volumes: tuple[str, ...] = (), **wish: Any) -> Container:
        """Create and record a container."""
        config, host_config = ContainerConfig(volumes={path: {} for path in volumes}), HostConfig(**wish)
        points = await self.mounting.create(identifier, config, host_config)
        made = container(host_config, points, identifier)
        if identifier not in {snapshot.key for snapshot in self.snapshots.walk()}:
            self.snapshots.prepare(identifier)
        await self.mounting.fill(made)
        self.records[identifier] = made
        self.volumes.used.update(point.name for point in points)
        self.mounting.keep(identifier)
        return made

    async def drop(self, container: Container, volumes: bool = False) -> None:
        """Remove a container."""
        del self.records[container.id]
        self.volumes.used = {point.name for other in self.records.values() for point in other.mounts}
        await self.mounting.removed(container, volumes)


def container(host_config: HostConfig, mounts: tuple[MountPoint, ...], identifier: str = ID) -> Container:
    """A recorded container."""
    return Container(
        id=identifier,
        name="box",
        created="",
        image_id="",
        config=ContainerConfig(),
        host_config=host_config,
        path="sh",
        args=(),
        snapshotter="copy",
        mounts=mounts,
    )


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """The services."""
    return Box(tmp_path)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine."""
    return asyncio.run(work)


def test_volumes_are_made_and_filled(box: Box) -> None:
    """Named ones by their name and options, others with a name of their own; then they get the image's content."""
    request = MountRequest(
        source="made",
        target="/c",
        volume_options=VolumeOptions(
            labels={"a": "b"}, driver_config=VolumeDriver(name="local", options={"type": "tmpfs"})
        ),
    )
    made = run(box.make(binds=("data:/a:ro", "bare:/b:nocopy"), mounts=(request,), volumes=("/d",)))
    names = {point.destination: point.name for point in made.mounts}
    anonymous = names.pop("/d")
    assert names == {"/a": "data", "/b": "bare", "/c": "made"}
    assert len(anonymous) == 64
    there = box.volumes.there
    assert {name: volume.anonymous for name, volume in there.items()} == {
        "data": False,
        "bare": False,
        "made": False,
        anonymous: True,
    }
    assert (there["made"].options, there["made"].labels) == ({"type": "tmpfs"}, {"a": "b"})
    (first,) = [point for point in made.mounts if point.destination == "/a"]
    assert (first.type, first.source, first.driver, first.mode, first.rw) == (
        "volume",
        "/volumes/data",
        "local",
        "ro",
        False,
    )
    root = box.snapshots.mounts(ID)[0].source
    assert sorted(box.volumes.filled) == sorted(
        [("data", root, "/a"), ("made", root, "/c"), (anonymous, root, "/d")]
    )


def test_a_volume_that_is_there_is_taken_as_it_is(box: Box) -> None:
    """A volume with options is used by its name alone."""

    async def body() -> None:
        await box.volumes.create("data", "local", {"type": "nfs"}, {})
        made = await box.make(binds=("data:/a",))
        assert made.mounts[0].source == "/volumes/data"
        assert box.volumes.there["data"].options == {"type": "nfs"}

    run(body())


@pytest.mark.parametrize(
    "wish",
    [
        {"mounts": (MountRequest(type="bind", source="/no/such", target="/b"),)},
        {"mounts": (MountRequest(type="image", source="absent", target="/b"),)},
        {"volumes_from": ("absent",)},
        {"tmpfs": {"/a": ""}},
    ],
)
def test_nothing_is_made_when_something_is_refused(box: Box, wish: dict[str, Any]) -> None:
    """A missing source, image or lender, or a target twice, is found before the first volume is made."""
    with pytest.raises((InvalidInput, NotFound)):
        run(box.make(binds=("data:/a", "/x"), **wish))
    assert box.volumes.there == {}


def test_a_source_that_may_be_made_is_made_at_the_start(box: Box, tmp_path: Path) -> None:
    """``-v`` of a missing folder makes none before the container runs."""
    folder = tmp_path / "missing"

    async def body() -> None:
        made = await box.make(binds=(f"{folder}:/a:ro",))
        assert not folder.exists()
        (mount,) = await box.mounting.begin(made)
        assert folder.is_dir()
        assert (mount.type, mount.source, mount.options) == ("bind", str(folder), (*WORDS, "ro", "rro"))
        folder.rmdir()
        await box.mounting.begin(made)
        assert folder.is_dir()

    run(body())


def test_a_source_that_cannot_be_made(box: Box, tmp_path: Path) -> None:
    """The reason is one line that names it."""
    (tmp_path / "file").touch()

    async def body() -> None:
        made = await box.make(binds=(f"{tmp_path}/file/below:/a",))
        with pytest.raises(
            InvalidInput, match=r"error while creating mount source path '.*/below': Not a dir"
        ):
            await box.mounting.begin(made)

    run(body())


def test_a_failed_creation_leaves_named_volumes_alone(box: Box) -> None:
    """Volumes without a name go again, whatever the step that failed; others may be somebody's."""

    async def body() -> None:
        box.volumes.refused["second"] = Conflict("another driver")
        with pytest.raises(Conflict):
            await box.make(binds=("first:/b/b", "second:/c/c/c", "/d"))
        assert list(box.volumes.there) == ["first"]
        await box.volumes.create("third", "local", {}, {}, anonymous=True)
        box.volumes.refused = {"third": OutOfSpace("full")}
        with pytest.raises(OutOfSpace):
            await box.make(binds=("third:/a", "/d"))
        assert "third" in box.volumes.claimed[ID]
        await box.mounting.abandon(ID)
        await box.mounting.abandon(ID)
        assert sorted(box.volumes.there) == ["first", "third"]
        assert ID not in box.volumes.claimed

    run(body())


def test_what_is_being_created_is_claimed(box: Box) -> None:
    """Until the container is recorded its volumes are claimed, so that nobody prunes them."""

    async def body() -> None:
        await box.volumes.create("data", "local", {}, {})
        wish = HostConfig(binds=("data:/b",))
        points = await box.mounting.create(ID, ContainerConfig(volumes={"/a": {}}), wish)
        assert box.volumes.claimed[ID] == {point.name for point in points}
        box.mounting.keep(ID)
        assert ID not in box.volumes.claimed

    run(body())


def test_a_run(box: Box) -> None:
    """Volumes are held while it lasts, each once, and are bound from where they are now."""

    async def body() -> None:
        request = MountRequest(source="data", target="/b/c", volume_options=VolumeOptions(subpath="x/y"))
        made = await box.make(binds=("data:/a",), mounts=(request,), tmpfs={"/t": "size=1m"})
        box.volumes.there["data"] = replace(box.volumes.there["data"], mountpoint="/elsewhere")
        mounts = await box.mounting.begin(made)
        assert [(mount.type, mount.target, mount.source, mount.options) for mount in mounts] == [
            ("bind", "/a", "/elsewhere", WORDS),
            ("tmpfs", "/t", "", ("nosuid", "noexec", "nodev", "rprivate", "size=1m")),
            ("bind", "/b/c", "/elsewhere", (*WORDS, "X-mount.subdir=x/y")),
        ]
        assert box.volumes.held == {ID: ["data"]}
        assert box.volumes.filled == [("data", box.snapshots.mounts(ID)[0].source, "/a")]
        await box.mounting.release(made)
        assert box.volumes.held == {ID: ["data"]}
        await box.mounting.end(made)
        await box.mounting.end(made)
        assert box.volumes.held == {}

    run(body())


@pytest.mark.parametrize("wish", [("broken:/a",), ("data:/a", "gone:/b"), ("data:/a", "/:/b:rshared")])
def test_a_run_that_cannot_begin_holds_nothing(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: tuple[str, ...]
) -> None:
    """A volume that cannot be mounted or is gone, or a source that cannot propagate, leaves nothing held."""
    table = tmp_path / "mountinfo"
    table.write_text("27 1 254:0 / / rw - ext4 /dev/vda rw\n", encoding="utf-8")
    monkeypatch.setattr("corten.engine.containers.mounting.propagation._TABLE", str(table))

    async def body() -> None:
        made = await box.make(binds=wish)
        box.volumes.there.pop("gone", None)
        with pytest.raises((Unavailable, NotFound, InvalidInput)):
            await box.mounting.begin(made)
        assert box.volumes.held == {}

    run(body())


def test_a_further_mount(box: Box) -> None:
    """A mount that a running container gets holds its volume too; one that fails takes nothing away."""

    async def body() -> None:
        made = await box.make(binds=("data:/a",))
        await box.mounting.begin(made)
        more = await box.mounting.create(OTHER, ContainerConfig(), HostConfig(binds=("more:/b",)))
        (mount,) = await box.mounting.add(made, more)
        assert (mount.target, mount.source) == ("/b", "/volumes/more")
        assert box.volumes.held == {ID: ["data", "more"]}
        with pytest.raises(Unavailable):
            await box.mounting.add(made, (replace(more[0], name="broken"),))
        assert box.volumes.held == {ID: ["data", "more"]}

    run(body())


def test_an_image(box: Box) -> None:
    """Its tree is bound read-only, stays when the image is removed, and goes with the container."""

    async def body() -> None:
        request = MountRequest(
            type="image", source="nginx", target="/i", image_options=ImageOptions(subpath="etc")
        )
        made = await box.make(mounts=(request,))
        assert box.images.image is not None
        (point,) = made.mounts
        assert (point.type, point.source, point.name, point.rw) == (
            "image",
            str(box.images.image.id),
            "nginx",
            False,
        )
        (key,) = views(made)
        tree = box.snapshots.info(key).directory
        box.images.image = None
        with pytest.raises(Conflict):
            box.snapshots.remove(str(chain_ids((DIFF,))[-1]))
        (mount,) = await box.mounting.begin(made)
        assert (mount.type, mount.source) == ("bind", tree)
        assert mount.options == ("bind", "ro", "ro", "X-mount.subdir=etc")
        await box.drop(made)
        with pytest.raises(NotFound):
            box.snapshots.info(key)
        assert box.snapshots.info(ID)

    run(body())


def test_a_lost_view_of_an_image_is_made_again(box: Box) -> None:
    """What shows an image can be made anew from the image."""

    async def body() -> None:
        made = await box.make(mounts=(MountRequest(type="image", source="nginx", target="/i"),))
        box.snapshots.remove(views(made)[0])
        assert len(await box.mounting.begin(made)) == 1
        assert box.snapshots.info(views(made)[0])

    run(body())


def test_an_image_without_layers_is_an_empty_folder(box: Box) -> None:
    """It can be mounted as any other."""

    async def body() -> None:
        assert box.images.image is not None
        box.images.image = replace(box.images.image, diff_ids=())
        made = await box.make(mounts=(MountRequest(type="image", source="nginx", target="/i"),))
        (mount,) = await box.mounting.begin(made)
        assert os.listdir(mount.source) == []
        assert mount.options[-1] == "ro"

    run(body())


@pytest.mark.parametrize(
    ("volumes", "wish", "left"),
    [
        (False, {}, True),
        (True, {}, False),
        (False, {"auto_remove": True}, False),
    ],
)
def test_volumes_of_a_removed_container(box: Box, volumes: bool, wish: dict[str, Any], left: bool) -> None:
    """Those without a name go when asked for, or with --rm; named ones stay."""

    async def body() -> None:
        made = await box.make(binds=("data:/a",), volumes=("/b",), **wish)
        await box.drop(made, volumes)
        assert ("data" in box.volumes.there, len(box.volumes.there) == 2) == (True, left)
        await box.mounting.removed(made, volumes)

    run(body())


def test_a_shared_volume_goes_with_the_last_one(box: Box) -> None:
    """What others use, or name, stays when a container goes with its volumes."""

    async def body() -> None:
        first = await box.make(volumes=("/b",))
        second = await box.make(OTHER, volumes_from=(ID,), volumes=("/b",))
        name = first.mounts[0].name
        assert [point.name for point in second.mounts] == [name]
        third = await box.make("c" * 64, binds=(f"{name}:/x",))
        await box.drop(first, True)
        await box.drop(second, True)
        await box.drop(third, True)
        assert name in box.volumes.there

        fourth = await box.make(binds=("/y",))
        fifth = await box.make(OTHER, volumes_from=(f"{ID}:ro",))
        assert not fifth.mounts[0].rw
        await box.drop(fourth, True)
        assert len(box.volumes.there) == 2
        await box.drop(fifth, True)
        assert list(box.volumes.there) == [name]

    run(body())


def test_lent_mounts(box: Box, tmp_path: Path) -> None:
    """Binds and images are lent too, and nothing is copied into a lent volume."""

    async def body() -> None:
        first = await box.make(
            binds=(f"{tmp_path}:/s", "data:/d"),
            mounts=(MountRequest(type="image", source="nginx", target="/i"),),
        )
        filled = list(box.volumes.filled)
        second = await box.make(OTHER, volumes_from=(ID,))
        assert [(p.type, p.source, p.destination) for p in second.mounts] == [
            (p.type, p.source, p.destination) for p in first.mounts
        ]
        assert box.volumes.filled == filled
        assert len(await box.mounting.begin(second)) == 3

    run(body())


def test_records_of_an_earlier_version(box: Box, tmp_path: Path) -> None:
    """A record whose mounts have no options is read by its flags."""

    async def body() -> None:
        old = container(
            HostConfig(binds=(f"{tmp_path}:/a:ro",), tmpfs={"/t": ""}),
            (MountPoint("bind", str(tmp_path), "/a", "ro", False),),
        )
        mounts = await box.mounting.begin(old)
        assert mounts == (
            UserMount(
                type="bind",
                source=str(tmp_path),
                target="/a",
                options=(*WORDS, "ro", "rro"),
                mode="ro",
                writable=False,
                propagation="rprivate",
                create_source=True,
            ),
            UserMount(
                type="tmpfs", target="/t", options=("nosuid", "noexec", "nodev", "rprivate"), listed=False
            ),
        )

    run(body())
