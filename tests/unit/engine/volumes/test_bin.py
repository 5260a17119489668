"""The trash stays small."""

import time

import pytest

from corten.core.volumes.store import VolumeStore
from corten.engine.volumes.bin import KEPT
from tests.looping import in_loop
from tests.unit.engine.volumes.conftest import World


async def throw(world: World, *names: str) -> None:
    """Make volumes with something in them, and remove them, one after the other."""
    for name in names:
        await world.volumes.create(name)
        world.write(name, "file", "x" * 100_000)
        await world.volumes.remove(name, force=False)


async def held(world: World) -> list[str]:
    """Return the names in the trash."""
    return [each.name for each in await world.volumes.trash()]


@in_loop
async def test_the_oldest_go_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the trash takes more than a tenth of the disk."""
    await throw(world, "one", "two", "three")
    await world.volumes.close()
    monkeypatch.setattr(VolumeStore, "capacity", lambda _: 2_500_000)
    world.start().recover()
    world.volumes._bin.tidy()
    assert await held(world) == ["two", "three"]
    monkeypatch.setattr(VolumeStore, "capacity", lambda _: 0)
    await world.volumes.reconcile({})
    assert world.volumes._bin._keeper
    await world.volumes._bin._keeper  # which ends when there is nothing left to look after
    assert await held(world) == []


@in_loop
async def test_after_a_day_they_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the latest when an engine starts; before that they tell when."""
    await throw(world, "one")
    await world.volumes.close()
    (thrown,) = await world.volumes.trash()
    assert thrown.expires > thrown.removed
    later = time.time_ns() + KEPT + 10**9
    monkeypatch.setattr("time.time_ns", lambda: later)
    world.start().recover()
    assert await held(world) == []


@in_loop
async def test_restored_over_files_are_kept(world: World) -> None:
    """What a restore replaces can be had back as a volume of its own."""
    await world.volumes.create("data")
    world.write("data", "file", "1")
    await world.volumes.snapshot("data", "then")
    world.write("data", "file", "2")
    await world.volumes.restore("data", "then")
    assert world.files("data") == {"file": "1"}
    await world.volumes.undelete("data", "now")
    assert world.files("now") == {"file": "2"}
    await world.volumes.close()


@in_loop
async def test_what_was_no_volume_has_a_name_in_the_trash(world: World) -> None:
    """A folder that no record claimed can be had back as one."""
    world.plant("strange", "x", "x")
    world.volumes.recover()
    (thrown,) = await world.volumes.trash()
    assert thrown.name == f"found-{thrown.id}"
    await world.volumes.undelete(thrown.name, "mine")
    assert world.files("mine") == {"x": "x"}
