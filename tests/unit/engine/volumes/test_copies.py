"""Clones and snapshots."""

import pytest

from corten.engine.volumes.shared import User
from corten.errors import Conflict, InvalidInput, NotFound, Unsupported
from tests.looping import in_loop
from tests.unit.engine.volumes.conftest import World

SHARE = {"type": "tmpfs", "device": "tmpfs"}


@in_loop
async def test_a_clone_goes_its_own_way(world: World) -> None:
    """It has the files and labels of now, and what is written to one is not in the other."""
    await world.volumes.create("data", "local", {}, {"a": "b"})
    world.write("data", "file", "1")
    made = await world.volumes.clone("data", "copy")
    world.write("data", "file", "2")
    assert made == world.volumes.get("copy")
    assert made.labels == {"a": "b"}
    assert world.files("copy") == {"file": "1"}
    assert list(world.start().recover()) == []
    assert world.files("copy") == {"file": "1"}


@in_loop
async def test_a_clone_needs_a_name_of_its_own(world: World) -> None:
    """One that is free and allowed, and something to clone."""
    await world.volumes.create("data")
    for new, kind in (("data", Conflict), ("a/b", InvalidInput)):
        with pytest.raises(kind):
            await world.volumes.clone("data", new)
    with pytest.raises(NotFound):
        await world.volumes.clone("nothing", "copy")
    assert world.folders() == ["data"]


@in_loop
async def test_snapshots_of_a_volume(world: World) -> None:
    """They are listed by age, can be restored again and again, and go one by one, or with the volume."""
    volumes = world.volumes
    await volumes.create("data")
    world.write("data", "file", "1")
    assert await volumes.snapshot("data", "first") == "first"
    world.write("data", "file", "2")
    second = await volumes.snapshot("data")
    found = await volumes.snapshots("data")
    assert [each.name for each in found] == ["first", second]
    assert all(each.size > 0 and each.created.endswith("Z") for each in found)
    for name, text in (("first", "1"), (second, "2"), ("first", "1")):
        await volumes.restore("data", name)
        assert world.files("data") == {"file": text}
    await volumes.remove_snapshot("data", "first")
    assert [each.name for each in await volumes.snapshots("data")] == [second]
    await volumes.remove("data", force=False)
    await volumes.undelete("data")
    assert [each.name for each in await volumes.snapshots("data")] == [second]
    await volumes.close()


@in_loop
async def test_restoring_is_refused(world: World) -> None:
    """Under a running container, and from a snapshot that is not there."""
    await world.volumes.create("data")
    await world.volumes.snapshot("data", "then")
    world.used["data"] = [User("c" * 64, "web", up=True)]
    with pytest.raises(Conflict, match="restore data: volume is in use by web: stop"):
        await world.volumes.restore("data", "then")
    world.used["data"] = [User("c" * 64, "web", up=False)]
    with pytest.raises(NotFound, match="no such snapshot of volume data: other"):
        await world.volumes.restore("data", "other")
    with pytest.raises(InvalidInput):
        await world.volumes.restore("data", "../..")
    with pytest.raises(NotFound):
        await world.volumes.remove_snapshot("data", "other")
    await world.volumes.restore("data", "then")
    await world.volumes.close()


@in_loop
async def test_a_mount_has_no_snapshots(world: World) -> None:
    """Its files are not the engine's to keep or to put back."""
    await world.volumes.create("share", "local", SHARE)
    with pytest.raises(Unsupported, match="cannot restore volume share"):
        await world.volumes.restore("share", "then")
