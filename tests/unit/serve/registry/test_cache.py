"""The cache: fetched once, passed on while it arrives, served when the other registry is down."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from corten.errors import CortenError, DataCorrupted, NotFound, Unavailable
from corten.oci.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Manifest
from corten.serve.registry import cache as module
from corten.serve.registry.cache import Cache
from corten.serve.registry.hooks import Passing
from corten.serve.registry.registry import Registry, open_registry
from corten.serve.registry.storage.folder import FolderStorage
from tests.looping import in_loop

PIECES = [bytes([number]) * 1000 for number in range(5)]
DATA = b"".join(PIECES)
FRESH = 60.0


class Received(NamedTuple):
    """What the other registry answers with."""

    descriptor: Descriptor
    raw: bytes


class Other:
    """A registry with one image, which can break; ``asked`` is what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False
        self.pieces = PIECES
        self.gate = asyncio.Event()
        self.gate.set()
        self.manifests: dict[str, Manifest] = {}
        self.set_image("1", "first")

    def set_image(self, tag: str, text: str) -> Manifest:
        """Point *tag* to an image that differs by *text*."""
        config = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(text.encode()), size=len(text))
        layer = Descriptor(media_type=OCI_LAYER, digest=Digest.of(DATA), size=len(DATA))
        made = Manifest.make(config, [layer])
        self.manifests |= {tag: made, made.digest: made}
        return made

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise Unavailable("nobody answers there")

    async def resolve(self, name: str) -> Received:
        """Fetch a manifest."""
        self._answer(f"get {name}")
        await self.gate.wait()
        descriptor = await self.head(name)
        if descriptor is None:
            raise NotFound("manifest", name)
        return Received(descriptor, self.manifests[name].raw)

    async def head(self, name: str) -> Descriptor | None:
        """Look a manifest up."""
        self._answer(f"head {name}")
        found = self.manifests.get(name)
        if found is None:
            return None
        return Descriptor(media_type=OCI_MANIFEST, digest=found.digest, size=len(found.raw))

    async def blob(
        self,
        descriptor: Descriptor,
        offset: int = 0,  # noqa: ARG002  # the cache asks for whole blobs
    ) -> AsyncIterator[bytes]:
        """Send a blob, piece by piece."""
        self._answer(f"blob {descriptor.digest}")
        for piece in self.pieces:
            await self.gate.wait()
            yield piece


class Setting:
    """A cache before another registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.other, self.now = registry, Other(), 0.0
        self.cache = Cache(registry, lambda _: self.other, FRESH, lambda: self.now)

    async def pull(self, tag: str = "1", held: Digest | None = None) -> Digest:
        """Ask for a tag as the door does; return what it points to afterwards."""
        await self.cache.manifest("a/b", tag, held)
        return (await asyncio.to_thread(self.registry.pulls.manifest, "a/b", tag)).digest

    async def blob(self) -> Passing:
        """Ask for the layer."""
        found = await self.cache.blob("a/b", Digest.of(DATA))
        assert found is not None
        return found

    def stored(self) -> bytes:
        """Return the layer as it is stored; NotFound if it is not."""
        found = self.registry.pulls.blob("a/b", Digest.of(DATA))
        return b"".join(self.registry.pulls.read(found.digest, 0, found.size))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry."""
    storage = FolderStorage(tmp_path / "data")
    opened = open_registry(storage, tmp_path / "registry.db")
    yield opened
    opened.close()
    storage.close()


async def read(pieces: AsyncIterator[bytes]) -> bytes:
    """Read all."""
    return b"".join([piece async for piece in pieces])


async def settled(setting: Setting) -> None:
    """Wait until no fetch is under way."""
    while setting.cache._tasks:
        await asyncio.wait(set(setting.cache._tasks))


@in_loop
async def test_a_tag_is_fetched_and_checked_when_it_is_old(registry: Registry) -> None:
    """Within its time it is served without a question; afterwards a HEAD tells whether it moved."""
    setting = Setting(registry)
    first = await setting.pull()
    assert await setting.pull(held=first) == first
    assert setting.other.asked == ["get 1", "head 1"]
    setting.now += FRESH
    assert await setting.pull(held=first) == first
    assert setting.other.asked[2:] == ["head 1"]
    moved = setting.other.set_image("1", "second").digest
    setting.now += FRESH
    assert await setting.pull(held=first) == moved


@in_loop
async def test_serves_what_it_has_when_the_other_is_down(registry: Registry) -> None:
    """A held tag stays as it was, and the other registry is left alone for a while."""
    setting = Setting(registry)
    first = await setting.pull()
    setting.now += FRESH
    setting.other.down = True
    asked = len(setting.other.asked)
    for _ in range(3):
        assert await setting.pull(held=first) == first
    assert len(setting.other.asked) == asked + 1
    setting.now += module.REST
    assert await setting.pull(held=first) == first
    assert len(setting.other.asked) == asked + 2


@in_loop
async def test_a_silent_registry_is_not_waited_for(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that never answers counts as down, where there is something to serve."""
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    setting = Setting(registry)
    first = await setting.pull()
    setting.other.set_image("1", "second")
    setting.other.gate.clear()
    setting.now += FRESH
    assert await setting.pull(held=first) == first


@in_loop
async def test_what_is_nowhere_is_told(registry: Registry) -> None:
    """Without anything held, the other registry's failure is the client's."""
    setting = Setting(registry)
    with pytest.raises(NotFound):
        await setting.pull("none")
    setting.other.down = True
    with pytest.raises(Unavailable):
        await setting.pull()
    assert await setting.cache.blob("a/b", Digest.of(b"unheard of")) is None


@in_loop
async def test_many_misses_fetch_once(registry: Registry) -> None:
    """Clients that come at once share one manifest and one blob; all get all of it."""
    setting = Setting(registry)
    await asyncio.gather(*(setting.pull() for _ in range(5)))
    passing = [await setting.blob() for _ in range(3)]
    assert [found.size for found in passing] == [len(DATA)] * 3
    assert await asyncio.gather(*(read(found.pieces) for found in passing)) == [DATA] * 3
    await settled(setting)
    assert [what.split()[0] for what in setting.other.asked] == ["get", "head", "blob"]
    assert setting.stored() == DATA


@in_loop
async def test_a_blob_is_passed_on_while_it_arrives(registry: Registry) -> None:
    """The first piece is there before the last one has left the other registry."""
    setting = Setting(registry)
    await setting.pull()
    sent: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def slowly(descriptor: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        while (piece := await sent.get()) is not None:
            yield piece

    setting.other.blob = slowly  # type: ignore[method-assign]
    pieces = (await setting.blob()).pieces
    for piece in PIECES[:2]:
        sent.put_nowait(piece)
    assert await anext(pieces) == PIECES[0]
    late = (await setting.blob()).pieces
    for rest in (*PIECES[2:], None):
        sent.put_nowait(rest)
    assert await read(pieces) == DATA[1000:]
    assert await read(late) == DATA


@in_loop
async def test_a_slow_client_holds_nobody_up(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into its queue it reads from the storage later."""
    monkeypatch.setattr(module, "QUEUE", 2500)
    setting = Setting(registry)
    await setting.pull()
    slow = await setting.blob()
    await settled(setting)
    assert setting.stored() == DATA
    assert await read(slow.pieces) == DATA


@in_loop
async def test_a_client_that_goes_does_not_stop_the_fetch(registry: Registry) -> None:
    """The blob is stored for the next one."""
    setting = Setting(registry)
    await setting.pull()
    async with aclosing((await setting.blob()).pieces) as pieces:  # type: ignore[type-var]
        await anext(pieces)
    await settled(setting)
    assert setting.stored() == DATA


@pytest.mark.parametrize(
    "pieces", [[*PIECES[:4], b"?" * 1000], PIECES[:4], [b""]], ids=["other bytes", "too few", "none"]
)
@in_loop
async def test_wrong_bytes_never_make_a_whole_blob(registry: Registry, pieces: list[bytes]) -> None:
    """The last piece is held back until the digest was checked; nothing is stored, and the next try works."""
    setting = Setting(registry)
    await setting.pull()
    setting.other.pieces = pieces
    found, got = await setting.blob(), 0
    try:
        async for piece in found.pieces:
            got += len(piece)
    except DataCorrupted:
        assert got < len(DATA)
    else:
        pytest.fail("the blob seemed whole")
    await settled(setting)
    with pytest.raises(NotFound):
        setting.stored()
    setting.other.pieces = PIECES
    assert await read((await setting.blob()).pieces) == DATA


@in_loop
async def test_closing_ends_fetches(registry: Registry) -> None:
    """Who still waits is told, and what had arrived is dropped."""
    setting = Setting(registry)
    await setting.pull()
    setting.other.gate.clear()
    waiting: asyncio.Task[Any] = asyncio.create_task(read((await setting.blob()).pieces))
    await asyncio.sleep(0)
    await setting.cache.close()
    with pytest.raises(CortenError):
        await waiting
    assert list(registry.shelves.storage.uploads.walk()) == []
