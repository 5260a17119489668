"""prune: volumes that nothing uses."""

import pytest

from corten.engine.volumes.shared import User
from corten.errors import InvalidInput
from tests.looping import in_loop
from tests.unit.engine.volumes.conftest import World


async def fill(world: World) -> dict[str, str]:
    """Make volumes with and without names and labels; return the names of the anonymous ones."""
    await world.volumes.create("named")
    await world.volumes.create("keep", "local", {}, {"keep": "yes"})
    found = {}
    for label in ("", "keep"):
        made = await world.volumes.create("", "local", {}, {label: "yes"} if label else {})
        world.write(made.name, "file", "x" * 10_000)
        found[label] = made.name
    return found


def left(world: World) -> set[str]:
    """Return the names of the volumes that are there."""
    return {volume.name for volume in world.volumes.list()}


@in_loop
async def test_anonymous_volumes_go(world: World) -> None:
    """Only those, unless told otherwise, at once; and what that frees is told."""
    made = await fill(world)
    removed, freed = await world.volumes.prune({})
    assert set(removed) == set(made.values())
    assert freed >= 20_000
    assert left(world) == {"named", "keep"}
    assert await world.volumes.trash() == []
    assert world.events[-1] == ("prune", "", {"reclaimed": str(freed)})
    await world.volumes.close()


@in_loop
async def test_all_volumes_go(world: World) -> None:
    """With ``all=true``, but for those that labels choose or that are in use."""
    made = await fill(world)
    world.used["named"] = [User("c" * 64, "web", up=False)]
    world.volumes.claim("new", [made[""]])
    removed, _ = await world.volumes.prune({"all": ["true"], "label!": ["keep"]})
    assert removed == []
    removed, _ = await world.volumes.prune({"all": ["1"], "label": ["keep=yes"]})
    assert set(removed) == {"keep", made["keep"]}
    assert left(world) == {"named", made[""]}
    await world.volumes.close()


@pytest.mark.parametrize("filters", [{"until": ["1h"]}, {"all": ["maybe"]}])
@in_loop
async def test_bad_filters_are_refused(world: World, filters: dict[str, list[str]]) -> None:
    """A filter that volumes do not have, or a value that is none."""
    with pytest.raises(InvalidInput, match="invalid filter"):
        await world.volumes.prune(filters)
