"""Archives of volumes: in, out, and in the way of Docker's cp."""

import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corten.errors import Conflict, DataCorrupted, InvalidInput, NotFound
from tests.kernel.trees import describe
from tests.looping import in_loop
from tests.unit.engine.volumes.conftest import World


async def collected(stream: AsyncIterator[bytes]) -> bytes:
    """Return all of a stream."""
    return b"".join([block async for block in stream])


def packed(*members: tuple[str, str]) -> io.BytesIO:
    """Return a tar of files; a name with a slash at its end is a folder, a text with an arrow a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members:
            member = tarfile.TarInfo(name)
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif text.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, text[2:]
            member.size = len(text) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(text.encode()))
    buffer.seek(0)
    return buffer


def names(tar: bytes) -> dict[str, bytes]:
    """Return the members of a tar, files with their text."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {
            member.name: (archive.extractfile(member) or io.BytesIO()).read() if member.isreg() else b""
            for member in archive
        }


@in_loop
async def test_an_export_can_be_imported(world: World) -> None:
    """The other volume has the same files: times to the nanosecond, links, modes, holes."""
    data = Path((await world.volumes.create("data")).mountpoint)
    (data / "deep").mkdir(mode=0o750)
    (data / "deep/file").write_text("x" * 700_000)
    (data / "hard").hardlink_to(data / "deep/file")
    (data / "link").symlink_to("/etc/passwd")
    os.utime(data / "deep/file", ns=(1, 1234567890123456789))
    with (data / "holes").open("wb") as file:
        file.truncate(100 << 20)
    tar = await collected(world.volumes.export("data"))
    assert len(tar) < 2 << 20
    other = await world.volumes.create("other")
    await world.volumes.import_("other", io.BytesIO(tar))
    expected, found = describe(data), describe(other.mountpoint)
    expected.pop(""), found.pop("")
    assert {**found, "deep": None} == {**expected, "deep": None}
    assert world.events[-1][:2] == ("import", "other")


@in_loop
async def test_an_import_adds_and_replaces(world: World) -> None:
    """What the archive does not name stays."""
    await world.volumes.create("data")
    world.write("data", "old", "old")
    world.write("data", "both", "old")
    await world.volumes.import_("data", packed(("both", "new"), ("a/", ""), ("a/b", "B")))
    assert world.files("data") == {"old": "old", "both": "new", "a/b": "B"}


@pytest.mark.parametrize("damage", [b"no tar at all" * 100, b"\x1f\x8b\x08half"])
@in_loop
async def test_a_damaged_archive_changes_nothing(world: World, damage: bytes) -> None:
    """It is told as one, and the volume is as it was."""
    await world.volumes.create("data")
    world.write("data", "file", "text")
    with pytest.raises(DataCorrupted, match="archive"):
        await world.volumes.import_("data", io.BytesIO(damage))
    assert world.files("data") == {"file": "text"}
    assert os.listdir(world.folder / "volumes/.work") == []


@in_loop
async def test_an_archive_leads_nowhere(world: World) -> None:
    """Names and links that would lead out of the volume do not."""
    await world.volumes.create("data")
    (world.folder / "canary").write_text("safe")
    with pytest.raises(DataCorrupted, match="outside"):
        await world.volumes.import_("data", packed(("../../canary", "evil")))
    with pytest.raises(DataCorrupted):
        await world.volumes.import_("data", packed(("out", f"->{world.folder}"), ("out/canary", "evil")))
    assert (world.folder / "canary").read_text() == "safe"


@in_loop
async def test_copying_out(world: World) -> None:
    """A file or a folder under its own name; what is not there fails before the first bytes."""
    await world.volumes.create("data")
    await world.volumes.import_("data", packed(("a/", ""), ("a/b", "B"), ("link", "->a")))
    assert names(await collected(world.volumes.archive_get("data", "/a"))) == {"a": b"", "a/b": b"B"}
    assert names(await collected(world.volumes.archive_get("data", "a/b"))) == {"b": b"B"}
    assert names(await collected(world.volumes.archive_get("data", "/link/b"))) == {"b": b"B"}
    assert names(await collected(world.volumes.archive_get("data", "/"))) == {
        ".": b"", "./a": b"", "./a/b": b"B", "./link": b"",
    }  # fmt: skip
    with pytest.raises(NotFound, match="no such file in the volume: /x"):
        await collected(world.volumes.archive_get("data", "/x"))
    with pytest.raises(NotFound, match="no such volume: other"):
        await collected(world.volumes.archive_get("other", "/x"))


@in_loop
async def test_copying_in(world: World) -> None:
    """Into a folder that is there."""
    await world.volumes.create("data")
    await world.volumes.import_("data", packed(("a/", ""), ("file", "x")))
    await world.volumes.archive_put("data", "/a", packed(("c", "C")))
    assert world.files("data") == {"a/c": "C", "file": "x"}
    with pytest.raises(NotFound):
        await world.volumes.archive_put("data", "/x", packed(("c", "C")))
    with pytest.raises(InvalidInput, match="not a folder"):
        await world.volumes.archive_put("data", "/file", packed(("c", "C")))


@in_loop
async def test_a_volume_that_is_read_stays(world: World) -> None:
    """While an export is under way it cannot be removed; when the reader leaves early it can."""
    await world.volumes.create("data")
    world.write("data", "file", "x" * 5_000_000)
    stream = world.volumes.export("data")
    assert await anext(stream)
    with pytest.raises(Conflict, match="in use - \\[export 1\\]"):
        await world.volumes.remove("data", force=False)
    await stream.aclose()  # type: ignore[attr-defined]
    await world.volumes.remove("data", force=False)
    await world.volumes.close()
