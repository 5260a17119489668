"""Volumes while containers have them; mounts are in tests/kernel."""

from pathlib import Path

import pytest

from corten.engine.volumes.shared import User
from corten.errors import NotFound, Unavailable
from corten.oci.spec import Mount
from tests.looping import in_loop
from tests.unit.engine.volumes.conftest import World


def root(folder: Path) -> Mount:
    """Return the mount of a plain root, as the copying snapshotter gives it."""
    return Mount("/", "bind", str(folder), ("bind", "rw"))


@in_loop
async def test_holding_is_all_or_nothing(world: World) -> None:
    """When one volume cannot be had none is held; again and again is once."""
    await world.volumes.create("one")
    await world.volumes.create("two")
    world.empty("two")
    with pytest.raises(Unavailable, match="the files of volume two are missing"):
        await world.volumes.hold("web", ["one", "two"])
    with pytest.raises(NotFound):
        await world.volumes.hold("web", ["one", "three"])
    await world.volumes.remove("one", force=False, now=True)
    await world.volumes.create("four")
    await world.volumes.hold("web", ["four", "four"])
    await world.volumes.hold("web", ["four"])
    await world.volumes.let_go("web")
    await world.volumes.let_go("web")
    told = [event for event in world.events if event[1] == "four"]
    assert [event[0] for event in told] == ["create", "mount", "unmount"]
    assert told[1][2] == {"driver": "local", "container": "web"}
    await world.volumes.remove("four", force=False, now=True)
    await world.volumes.close()


@in_loop
async def test_one_of_several_is_let_go(world: World) -> None:
    """A container that has lost a mount keeps hold of its other volumes."""
    for name in ("one", "two"):
        await world.volumes.create(name)
    await world.volumes.hold("web", ["one", "two"])
    await world.volumes.let_go("web", ["two"])
    await world.volumes.remove("one", force=False, now=True)
    with pytest.raises(Exception, match=r"in use - \[web\]"):
        await world.volumes.remove("two", force=False)
    await world.volumes.let_go("web")
    await world.volumes.remove("two", force=False, now=True)
    await world.volumes.close()


@in_loop
async def test_a_new_engine_takes_up_what_is_held(world: World) -> None:
    """A container that ran on keeps its volume."""
    await world.volumes.create("data")
    await world.start().reconcile({"web": ["data"]})
    assert world.volumes.get("data")
    with pytest.raises(Exception, match=r"in use - \[web\]"):
        await world.volumes.remove("data", force=False)
    await world.volumes.let_go("web")
    await world.volumes.remove("data", force=False)
    await world.volumes.close()


@in_loop
async def test_an_empty_volume_takes_what_the_image_has(world: World, tmp_path: Path) -> None:
    """Files, and mode and times of the folder; once."""
    image = tmp_path / "image"
    (image / "srv/data").mkdir(parents=True)
    (image / "srv/data").chmod(0o1751)
    (image / "srv/data/file").write_text("text")
    await world.volumes.create("data")
    assert await world.volumes.populate("data", root(image), "/srv/data")
    assert world.files("data") == {"file": "text"}
    assert world.look("data").st_mode & 0o7777 == 0o1751
    (image / "srv/data/file").write_text("newer")
    assert not await world.volumes.populate("data", root(image), "/srv/data")
    assert world.files("data") == {"file": "text"}


@in_loop
async def test_an_empty_folder_gives_its_mode(world: World, tmp_path: Path) -> None:
    """There is nothing to copy, but a user to write for."""
    (tmp_path / "image/data").mkdir(parents=True, mode=0o700)
    await world.volumes.create("data")
    assert await world.volumes.populate("data", root(tmp_path / "image"), "/data")
    assert world.look("data").st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("path", ["/nothing", "/file", "/file/below", "/out", "/loop"])
@in_loop
async def test_what_is_no_folder_of_the_image_gives_nothing(world: World, tmp_path: Path, path: str) -> None:
    """Also not what a link would lead to outside of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    image = tmp_path / "image"
    image.mkdir()
    (image / "file").write_text("x")
    (image / "out").symlink_to(tmp_path / "outside")
    (image / "loop").symlink_to("loop")
    await world.volumes.create("data")
    assert not await world.volumes.populate("data", root(image), path)
    assert world.files("data") == {}


@in_loop
async def test_a_volume_in_use_keeps_its_folder(world: World, tmp_path: Path) -> None:
    """A container that has it mounted sees the files come; nothing is put in the place of its folder."""
    image = tmp_path / "image/data"
    image.mkdir(parents=True)
    (image / "file").write_text("text")
    await world.volumes.create("data")
    world.used["data"] = [User("c" * 64, "web", up=True)]
    before = world.look("data").st_ino
    assert await world.volumes.populate("data", root(tmp_path / "image"), "/data")
    assert world.look("data").st_ino == before
    assert world.files("data") == {"file": "text"}
