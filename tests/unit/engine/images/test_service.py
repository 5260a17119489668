"""Images: the verbs as the doors see them."""

import asyncio
import io
import os
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from corten.core.distribution.registries import Registries
from corten.core.distribution.settings import RegistrySettings
from corten.engine.images.bootstrap import Machine
from corten.engine.images.remove import User
from corten.engine.images.service import Images
from corten.engine.images.stores import Stores
from corten.errors import DataCorrupted, InvalidInput, NotFound
from tests.unit.engine.images.samples import Told, claimed, docker_archive, kept, make, tar

ONE = make([{"etc/name": b"one"}])


class Published:
    """An events callable that remembers, and insists on the thread of the loop."""

    def __init__(self) -> None:
        self.actions: list[tuple[str, str]] = []
        self._thread = threading.get_ident()

    def __call__(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        """Take one event."""
        assert (kind, threading.get_ident()) == ("image", self._thread)
        assert identifier.startswith("sha256:")
        self.actions.append((action, attributes["name"]))


@pytest.fixture
def events() -> Published:
    """What was published."""
    return Published()


@pytest.fixture
def users() -> list[User]:
    """The containers made from any image."""
    return []


@pytest.fixture
def images(stores: Stores, folder: str, events: Published, users: list[User]) -> Images:
    """The service over empty stores."""
    machine = Machine(os_release=Path(folder, "none"))
    registries = Registries(RegistrySettings())
    return Images(stores, f"{folder}/making", lambda _: users, events, machine, registries)


def load(images: Images) -> None:
    """Load an image named one."""
    asyncio.run(images.load(io.BytesIO(docker_archive({"one": ONE})), Told()))


def test_the_life_of_a_name(images: Images, stores: Stores, events: Published) -> None:
    """Load, tag, untag and delete are told as events, in order."""
    load(images)
    asyncio.run(images.tag("one", "two:2"))
    asyncio.run(images.remove("one", False, False))
    asyncio.run(images.remove("two:2", False, False))
    assert events.actions == [
        ("load", ONE.id),
        ("tag", "two:2"),
        ("untag", "one:latest"),
        ("untag", "two:2"),
        ("delete", ONE.id),
    ]
    assert kept(stores) == (set(), set())


def test_import_tells_its_id(images: Images, events: Published) -> None:
    """The id is returned, and is the last message."""
    told = Told()
    stream = io.BytesIO(tar({"a": b"b"}))
    made = asyncio.run(images.import_(stream, "me/tree:1", "m", ["USER 1"], "linux/arm64", told))
    image = images.resolve("me/tree:1")
    assert (made, told.messages[-1]) == (image.id, {"status": image.id})
    assert images.config(image).defaults.user == "1"
    assert images.config(image) is images.config(image)
    assert events.actions == [("tag", "me/tree:1"), ("import", image.id)]


@pytest.mark.parametrize(
    ("reference", "change", "platform"),
    [
        ("UPPER", "USER 1", "linux"),
        (None, "RUN x", "linux"),
        (None, "USER 1", "windows/amd64"),
        ("a@sha256:" + "0" * 64, "USER 1", "linux"),
    ],
)
def test_import_checks_words_before_bytes(
    images: Images, reference: str | None, change: str, platform: str
) -> None:
    """A bad name, change or platform is refused without reading the stream."""
    stream = io.BytesIO(b"unread")
    with pytest.raises(InvalidInput):
        asyncio.run(images.import_(stream, reference, "", [change], platform, Told()))
    assert stream.tell() == 0


def test_save_streams_a_tar(images: Images, events: Published) -> None:
    """The pieces together are a tar, and the end is told."""
    load(images)

    async def collect() -> bytes:
        return b"".join([part async for part in images.save(["one"])])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(collect()))) as file:
        assert "index.json" in file.getnames()
    assert events.actions[-1] == ("save", ONE.id)


def test_save_that_is_left_early_gives_its_lease_back(images: Images, stores: Stores) -> None:
    """A client that goes away does not keep removed images on disk."""
    load(images)

    async def leave() -> None:
        parts = images.save(["one"])
        await anext(parts)
        await images.remove("one", False, False)
        assert kept(stores)[0]
        await parts.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert kept(stores) == (set(), set())


def test_missing_images(images: Images) -> None:
    """Every verb on a name that is not there is NotFound."""
    for verb in (
        images.inspect("gone"),
        images.history("gone"),
        images.tag("gone", "x"),
        images.remove("gone", True, False),
    ):
        with pytest.raises(NotFound, match="gone:latest"):
            asyncio.run(verb)


def test_inspect_list_and_history(images: Images) -> None:
    """The three views are those of show."""
    load(images)
    assert asyncio.run(images.inspect("one"))["Id"] == ONE.id
    assert [row["Id"] for row in asyncio.run(images.list({}, False))] == [ONE.id]
    assert asyncio.run(images.history("one"))[0]["Tags"] == ["one:latest"]


def test_a_tree_that_was_lost_is_made_again(images: Images, stores: Stores) -> None:
    """Unpacking makes the snapshot from the blobs, and reports blobs that are damaged."""
    load(images)
    image = images.resolve("one")
    assert image.chain_id is not None
    stores.snapshots.remove(image.chain_id)
    assert asyncio.run(images.unpack(image)) == image.chain_id
    assert kept(stores) == claimed(image)
    stores.snapshots.remove(image.chain_id)
    with stores.content.open(image.layers[0]) as file:
        path = os.readlink(f"/proc/self/fd/{file.fileno()}")
    Path(path).write_bytes(tar({"etc/name": b"two"}))
    with pytest.raises(DataCorrupted):
        asyncio.run(images.unpack(image))


def test_a_cancelled_load_has_ended_when_it_returns(images: Images, stores: Stores) -> None:
    """After a cancellation nothing of it is at work, and nothing half done is left."""
    archive = docker_archive({"one": ONE})
    reading, go = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reading.set()
            go.wait()
            return super().read(size)

    async def cancel() -> None:
        task = asyncio.create_task(images.load(Slow(archive[:2000]), Told()))
        await asyncio.to_thread(reading.wait)
        task.cancel()
        asyncio.get_running_loop().call_soon(go.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert kept(stores) == (set(), set())


def test_bootstrap_needs_a_suite_elsewhere(images: Images) -> None:
    """On a machine that is not Debian the release must be named."""
    with pytest.raises(InvalidInput, match="name a suite"):
        asyncio.run(images.bootstrap(None, [], "", Told()))


def test_recover_empties_what_was_in_the_making(images: Images, stores: Stores, folder: str) -> None:
    """Folders, blobs and trees of a process that was killed go; images stay."""
    load(images)
    os.makedirs(f"{folder}/making/bootstrap-x/root")
    stores.write(b"half")
    images.recover()
    assert os.listdir(f"{folder}/making") == []
    assert kept(stores) == claimed(images.resolve("one"))
