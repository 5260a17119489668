"""The verbs on volumes: create, remove, rename, and what a new engine finds."""

import asyncio
import os

import pytest

from corten.core.volumes import marks
from corten.engine.records.volume import Volume
from corten.engine.volumes.shared import User
from corten.errors import Conflict, InvalidInput, NotFound, Unsupported
from tests.looping import in_loop
from tests.unit.engine.volumes.conftest import World

WEB = User("c" * 64, "web", up=False)


@in_loop
async def test_a_volume_is_made(world: World) -> None:
    """It has a folder, a record that survives, and is told of."""
    made = await world.volumes.create("data", "local", {}, {"a": "b"})
    assert (made.name, made.driver, made.labels, made.anonymous) == ("data", "local", {"a": "b"}, False)
    assert os.listdir(made.mountpoint) == []
    assert world.events == [("create", "data", {"driver": "local"})]
    assert list(world.start().list()) == [made]
    assert world.volumes.status(made) == {}


@in_loop
async def test_without_a_name_it_is_anonymous(world: World) -> None:
    """It gets a long name, and the label that Docker's tools look for."""
    made = await world.volumes.create("", "", {}, {})
    assert len(made.name) == 64
    assert made.anonymous
    assert made.labels == {"com.docker.volume.anonymous": ""}


@in_loop
async def test_the_same_name_is_the_same_volume(world: World) -> None:
    """Asked for without options, or with the same."""
    options = {"type": "tmpfs", "device": "tmpfs"}
    made = await world.volumes.create("data", "local", options, {})
    assert await world.volumes.create("data", "local", {}, {"other": ""}) == made
    assert await world.volumes.create("data", "local", options, {}) == made
    assert [event[0] for event in world.events] == ["create"]
    with pytest.raises(Conflict, match="volume data exists with other options"):
        await world.volumes.create("data", "local", {**options, "o": "ro"}, {})


@in_loop
async def test_two_at_once_make_one(world: World) -> None:
    """Whoever comes second gets what the first has made."""
    made = await asyncio.gather(*(world.volumes.create("data") for _ in range(5)))
    assert len({volume.created for volume in made}) == 1
    assert [event[0] for event in world.events] == ["create"]


@in_loop
async def test_bad_wishes_are_refused(world: World) -> None:
    """Before anything is made."""
    volumes = world.volumes
    with pytest.raises(NotFound, match="no such volume plugin: cloud"):
        await volumes.create("data", "cloud")
    with pytest.raises(InvalidInput, match="invalid option"):
        await volumes.create("data", "local", {"colour": "red"})
    with pytest.raises(InvalidInput, match="invalid characters"):
        await volumes.create("a/b")
    with pytest.raises(InvalidInput, match="a size caps a folder"):
        await volumes.create("data", "local", {"type": "tmpfs", "device": "tmpfs"}, {}, 5)
    assert volumes.list() == []
    assert world.folders() == []


@in_loop
async def test_a_size_without_quotas_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever way it was said; and no volume is there."""
    monkeypatch.setattr("corten.linux.quota.is_enforced", lambda _: False)
    with pytest.raises(Unsupported, match="project quotas"):
        await world.volumes.create("data", size=1 << 20)
    with pytest.raises(Unsupported, match="project quotas"):
        await world.volumes.create("data", "local", {"size": "1m"})
    assert world.folders() == []


@in_loop
async def test_a_removed_volume_is_in_the_trash(world: World) -> None:
    """And can be had back, by its name or another."""
    await world.volumes.create("data", "local", {}, {"a": "b"})
    world.write("data", "file", "text")
    await world.volumes.remove("data", force=False)
    assert world.folders() == []
    with pytest.raises(NotFound, match="no such volume: data"):
        world.volumes.get("data")
    (thrown,) = await world.volumes.trash()
    assert (thrown.name, thrown.size > 0, thrown.volume.labels) == ("data", True, {"a": "b"})
    assert (await world.volumes.undelete(thrown.id, "again")).labels == {"a": "b"}
    assert world.files("again") == {"file": "text"}
    assert await world.volumes.trash() == []
    assert world.events[1:] == [
        ("destroy", "data", {"driver": "local"}),
        ("create", "again", {"driver": "local"}),
    ]
    await world.volumes.close()


@in_loop
async def test_the_last_of_a_name_comes_back(world: World) -> None:
    """Of several in the trash; what is there already is not overwritten."""
    for text in ("first", "second"):
        await world.volumes.create("data")
        world.write("data", "file", text)
        await world.volumes.remove("data", force=False)
    assert (await world.volumes.undelete("data")).name == "data"
    assert world.files("data") == {"file": "second"}
    with pytest.raises(Conflict, match="volume data exists"):
        await world.volumes.undelete("data")
    with pytest.raises(NotFound, match="no such volume in the trash: other"):
        await world.volumes.undelete("other")
    await world.volumes.close()


@pytest.mark.parametrize(("name", "now"), [("data", True), ("", False)])
def test_some_are_not_kept(world: World, name: str, now: bool) -> None:
    """Those removed with *now*, and anonymous ones."""

    async def run() -> None:
        made = await world.volumes.create(name)
        await world.volumes.remove(made.name, force=False, now=now)
        assert await world.volumes.trash() == []
        await world.volumes.close()

    asyncio.run(run())
    assert world.folders() == []
    assert os.listdir(world.folder / "volumes/.work") == []


@in_loop
async def test_a_volume_in_use_stays(world: World) -> None:
    """By a container, running or not, one in the making, or one that runs on without a record."""
    volumes = world.volumes
    await volumes.create("data")
    world.used["data"] = [WEB]
    with pytest.raises(Conflict, match=rf"remove data: volume is in use - \[{'c' * 64}\]"):
        await volumes.remove("data", force=True)
    world.used.clear()
    volumes.claim("new", ["data"])
    with pytest.raises(Conflict, match=r"in use - \[new\]"):
        await volumes.remove("data", force=False)
    volumes.unclaim("new")
    await volumes.hold("old", ["data"])
    with pytest.raises(Conflict, match=r"in use - \[old\]"):
        await volumes.remove("data", force=False)
    await volumes.let_go("old")
    await volumes.remove("data", force=False)
    await volumes.close()


@in_loop
async def test_a_claim_comes_with_creation(world: World) -> None:
    """A container in the making has its volume from the first moment, new or not."""
    await world.volumes.create("data", owner="one")
    await world.volumes.create("data", owner="two")
    for owner in ("one", "two"):
        with pytest.raises(Conflict, match=owner):
            await world.volumes.remove("data", force=False)
        world.volumes.unclaim(owner)
    await world.volumes.remove("data", force=False, now=True)
    await world.volumes.close()


@in_loop
async def test_nothing_begins_with_what_is_going(world: World) -> None:
    """While a volume is removed nobody can claim, hold or make it; afterwards it is gone."""
    await world.volumes.create("data")
    removal = asyncio.create_task(world.volumes.remove("data", force=False))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="being removed"):
        world.volumes.claim("new", ["data"])
    with pytest.raises(NotFound):
        await world.volumes.hold("new", ["data"])
    await removal
    with pytest.raises(NotFound):
        await world.volumes.hold("new", ["data"])
    await world.volumes.close()


@in_loop
async def test_force_forgives_absence(world: World) -> None:
    """With it a volume that is not there is fine, without it NotFound."""
    await world.volumes.remove("nothing", force=True)
    with pytest.raises(NotFound):
        await world.volumes.remove("nothing", force=False)


@in_loop
async def test_on_a_full_disk_removal_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the mark that the trash needs the volume goes at once."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    await world.volumes.create("data")
    monkeypatch.setattr("os.fsync", full)
    await world.volumes.remove("data", force=False)
    monkeypatch.undo()
    assert await world.volumes.trash() == []
    assert world.folders() == []
    await world.volumes.close()


@in_loop
async def test_a_renamed_volume(world: World) -> None:
    """It has its files, labels and age, and is no longer anonymous."""
    made = await world.volumes.create("", "local", {}, {"a": "b"})
    world.write(made.name, "file", "text")
    renamed = await world.volumes.rename(made.name, "data")
    assert renamed == world.volumes.get("data")
    assert (renamed.labels, renamed.anonymous, renamed.created) == ({"a": "b"}, False, made.created)
    assert world.files("data") == {"file": "text"}
    assert world.folders() == ["data"]
    assert world.events[-1] == ("rename", "data", {"driver": "local", "oldName": made.name})


@in_loop
async def test_renaming_is_refused(world: World) -> None:
    """To a name that is taken or none, and while a container knows the volume."""
    volumes = world.volumes
    await volumes.create("one")
    await volumes.create("two")
    with pytest.raises(Conflict, match="volume two exists"):
        await volumes.rename("one", "two")
    with pytest.raises(Conflict, match="volume one exists"):
        await volumes.rename("one", "one")
    with pytest.raises(InvalidInput):
        await volumes.rename("one", "a/b")
    world.used["one"] = [WEB]
    with pytest.raises(Conflict, match="rename one: volume is in use"):
        await volumes.rename("one", "three")
    assert world.folders() == ["one", "two"]


@in_loop
async def test_a_new_engine_finds_what_was(world: World) -> None:
    """A removal and a rename that were cut short are finished, what no record claims is in the trash."""
    for name in ("stays", "renamed", "removed"):
        await world.volumes.create(name)
        world.write(name, "file", name)
    folder, records = world.folder / "volumes", world.records
    marks.write(str(folder / "renamed"), {"renamed": "other"})
    renamed = records.get("renamed")
    records.rename(
        "renamed", Volume(name="other", created=renamed.created, mountpoint=str(folder / "other/_data"))
    )
    records.delete("removed")
    world.plant("strange", "x", "x")
    notes = world.start().recover()
    assert world.folders() == ["other", "stays"]
    assert world.files("other") == {"file": "renamed"}
    assert len(await world.volumes.trash()) == 2
    assert len(notes) == 2
    assert await world.volumes.undelete((await world.volumes.trash())[0].id, "back")


@in_loop
async def test_nothing_is_touched_without_all_records(world: World) -> None:
    """When records had to be set aside a folder without one may be somebody's data."""
    world.plant("strange", "x", "x")
    assert world.volumes.recover(complete=False) == []
    assert world.folders() == ["strange"]


@in_loop
async def test_missing_files_are_told_at_the_start(world: World) -> None:
    """The record stays, and so does every other volume."""
    await world.volumes.create("data")
    world.empty("data")
    assert world.start().recover() == ["the files of volume data are missing"]
    await world.volumes.remove("data", force=False)
    await world.volumes.close()


@in_loop
async def test_the_folder_of_the_engine_may_move(world: World) -> None:
    """The records say where the files are now."""
    made = await world.volumes.create("data")
    world.records.put(Volume(name="data", created=made.created, mountpoint="/elsewhere/data/_data"))
    assert world.start().recover() == []
    assert world.volumes.get("data").mountpoint == made.mountpoint
