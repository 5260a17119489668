"""Cache: another registry behind this one, whose images are kept here once somebody asked for them.

A tag is checked against the upstream registry when it was not for a while; if
that does not answer, what is here is served. Manifests and blobs never change
and are fetched once. A blob goes to whoever asked for it while it is stored;
the fetch does not wait for a client that is slow, nor stop when it goes:

- pieces are handed to each *follower* as far as its queue has room;
- a follower whose queue was full, or who came when the fetch was under way,
  waits until the blob is stored and reads the rest from there;
- the last piece is handed on only after the digest was checked, so that no
  client ever gets a whole blob that is not what it asked for.

Everything here lives in the event loop; what blocks goes to threads.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeVar, cast

from corten.errors import CortenError, DataCorrupted, NotFound, Unavailable
from corten.oci.descriptor import INDEXES, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest
from corten.serve.registry import manifests, records
from corten.serve.registry.hooks import Passing
from corten.serve.registry.registry import Registry

QUEUE = 16 << 20  # bytes that wait for one follower at most
PATIENCE = 10.0  # seconds that the upstream has to answer when there is something to serve without it
REST = 30.0  # seconds that it is left alone after it did not
_MOST_CHECKED = 65536  # tags whose last check is remembered

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Answer(Protocol):
    """A manifest or index as the upstream sent it: what it is, checked, and its bytes."""

    @property
    def descriptor(self) -> Descriptor:
        """Return media type, digest and size."""
        ...

    @property
    def raw(self) -> bytes:
        """Return the bytes."""
        ...


class Upstream(Protocol):
    """One repository of the other registry (core.distribution's Repository is one)."""

    async def resolve(self, name: str) -> Answer:
        """Fetch the manifest or index of a tag or digest; NotFound if there is none."""
        ...

    async def head(self, name: str) -> Descriptor | None:
        """Return what a tag names, without fetching it; None if there is no such thing."""
        ...

    def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes of a blob; never more than it says."""
        ...


class Cache:
    """The Fallback that asks *upstream* (by repository) for what is not in *registry*.

    *fresh* is how many seconds a tag is served without asking whether it has moved.
    """

    def __init__(
        self,
        registry: Registry,
        upstream: Callable[[str], Upstream],
        fresh: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._upstream = upstream
        self._fresh = fresh
        self._clock = clock
        self._checked: dict[tuple[str, str], float] = {}
        self._resting_until = 0.0
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._fetches: dict[tuple[str, Digest], _Fetch] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def manifest(self, repository: str, reference: str, held: Digest | None) -> None:
        """Bring a manifest in, unless what is here is fresh enough; concurrent calls ask once."""
        key = (repository, reference)
        if held is not None and not self._is_due(key):
            return
        task = self._under_way.get(key)
        if task is None:
            task = self._start(self._bring(repository, reference, held))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        await asyncio.shield(task)

    async def blob(self, repository: str, digest: Digest) -> Passing | None:
        """Return a blob while it arrives; None if no manifest of the repository refers to it."""
        fetch = self._fetches.get((repository, digest))
        if fetch is None:
            descriptor = await asyncio.to_thread(self._describe, repository, digest)
            if descriptor is None:
                return None
            fetch = self._fetches.get((repository, digest)) or self._fetch(repository, descriptor)
        return Passing(fetch.descriptor.size, fetch.follow())

    async def close(self) -> None:
        """Give up all fetches; what had arrived of them is dropped. Idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        """Forget a task; its failure was told to who waited, if anybody still did."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def _is_due(self, key: tuple[str, str]) -> bool:
        """Tell whether the upstream is to be asked about a tag that is here."""
        now = self._clock()
        last = self._checked.get(key)
        return (last is None or now - last >= self._fresh) and now >= self._resting_until

    async def _bring(self, repository: str, reference: str, held: Digest | None) -> None:
        upstream = self._upstream(repository)
        if held is None:
            await self._take(repository, reference, upstream)
            return
        try:
            found = await asyncio.wait_for(upstream.head(reference), PATIENCE)
            if found is not None and found.digest != held:
                await asyncio.wait_for(self._take(repository, reference, upstream), 2 * PATIENCE)
            elif found is None:
                log.info("%s:%s is gone upstream: what is here is served", repository, reference)
        except (CortenError, OSError, TimeoutError) as failure:
            self._resting_until = self._clock() + REST
            log.warning(
                "%s:%s is served as it was: %s", repository, reference, failure or "no answer in time"
            )
            return
        self._note((repository, reference))

    async def _take(self, repository: str, reference: str, upstream: Upstream) -> None:
        """Fetch a manifest and store it."""
        answer = await upstream.resolve(reference)
        named = Digest(reference) if ":" in reference else None
        checked = manifests.check(answer.raw, answer.descriptor.media_type, named)
        tag = "" if named else reference
        await asyncio.to_thread(self._registry.pushes.put, repository, checked, tag, complete=False)
        if tag:
            self._note((repository, tag))

    def _note(self, key: tuple[str, str]) -> None:
        """Remember that a tag was checked now."""
        self._checked.pop(key, None)
        self._checked[key] = self._clock()
        if len(self._checked) > _MOST_CHECKED:
            self._checked.pop(next(iter(self._checked)))

    def _describe(self, repository: str, digest: Digest) -> Descriptor | None:
        """Return what a manifest of the repository says about a blob; blocks."""
        database = self._registry.shelves.database
        owner = database.read(lambda c: records.user_of(c, repository, digest))
        if not owner:
            return None
        try:
            held = self._registry.pulls.manifest(repository, owner)
        except NotFound:
            return None
        named = _descriptors(held.media_type, held.raw)
        return next((each for each in named if each.digest == digest), None)

    def _fetch(self, repository: str, descriptor: Descriptor) -> "_Fetch":
        key = (repository, descriptor.digest)
        fetch = _Fetch(self._registry, repository, descriptor)
        self._fetches[key] = fetch
        task = self._start(fetch.run(self._upstream(repository)))
        task.add_done_callback(lambda _: self._fetches.pop(key, None))
        return fetch


class _Follower:
    """One client of a fetch: what waits for it, and how many bytes it was given."""

    __slots__ = ("given", "pieces", "waiting", "wake")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.given = 0
        self.waiting = 0
        self.wake = asyncio.Event()

    def offer(self, offset: int, piece: bytes) -> None:
        """Take a piece if it is the next one and there is room."""
        if offset == self.given and self.waiting + len(piece) <= QUEUE:
            self.pieces.append(piece)
            self.given += len(piece)
            self.waiting += len(piece)
            self.wake.set()


class _Fetch:
    """One blob on its way into *repository*, and those who follow it."""

    def __init__(self, registry: Registry, repository: str, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self._registry = registry
        self._repository = repository
        self._followers: set[_Follower] = set()
        self._passed = 0
        self._ended = False
        self._failure: BaseException | None = None

    async def run(self, upstream: Upstream) -> None:
        """Fetch and store the blob; a failure is told to those who follow."""
        try:
            await self._store(upstream)
        except asyncio.CancelledError:
            self._failure = Unavailable("the registry is closing: try again")
            raise
        except Exception as failure:  # noqa: BLE001  # told to each follower
            log.warning("%s of %s did not arrive: %s", self.descriptor.digest, self._repository, failure)
            self._failure = failure
        finally:
            self._ended = True
            for follower in self._followers:
                follower.wake.set()

    def follow(self) -> AsyncIterator[bytes]:
        """Return the pieces of the blob as they come; the follower counts from now on."""
        follower = _Follower()
        self._followers.add(follower)
        return self._pieces(follower)

    async def _pieces(self, follower: _Follower) -> AsyncIterator[bytes]:
        sent = 0
        try:
            while not (self._ended and not follower.pieces):
                while follower.pieces:
                    piece = follower.pieces.popleft()
                    follower.waiting -= len(piece)
                    sent += len(piece)
                    yield piece
                if not self._ended:
                    await follower.wake.wait()
                    follower.wake.clear()
            if self._failure is not None:
                raise self._failure
            async for piece in self._stored(sent):
                yield piece
        finally:
            self._followers.discard(follower)

    async def _stored(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the rest of the stored blob."""
        left = self.descriptor.size - offset
        reader = self._registry.pulls.read(self.descriptor.digest, offset, left) if left else iter(())
        while piece := await asyncio.to_thread(next, reader, b""):
            yield piece

    async def _store(self, upstream: Upstream) -> None:
        sessions, repository = self._registry.sessions, self._repository
        beginning = asyncio.ensure_future(asyncio.to_thread(sessions.begin, repository))
        try:
            upload = await asyncio.shield(beginning)  # a thread does not end because nobody waits for it
            last = await self._receive(upstream, upload)
            await asyncio.to_thread(sessions.finish, repository, upload, self.descriptor.digest)
        except BaseException:
            upload = await beginning
            with suppress(CortenError):  # gone already if its digest was wrong
                await asyncio.shield(asyncio.to_thread(sessions.cancel, repository, upload))
            raise
        self._pass_on(last)

    async def _receive(self, upstream: Upstream, upload: str) -> bytes:
        """Take all bytes into the upload; return the last piece, which was not passed on yet."""
        sessions = self._registry.sessions
        gathered, offset, last = bytearray(), 0, b""
        async with aclosing(cast("_Closable", upstream.blob(self.descriptor))) as pieces:
            async for piece in pieces:
                self._pass_on(last)
                last = piece
                gathered += piece
                if len(gathered) >= sessions.piece:
                    offset = await asyncio.to_thread(sessions.append, upload, offset, gathered)
                    gathered = bytearray()
        if gathered:
            offset = await asyncio.to_thread(sessions.append, upload, offset, gathered)
        if offset != self.descriptor.size:
            raise DataCorrupted(
                f"{self.descriptor.digest} ended after {offset} of {self.descriptor.size} bytes"
            )
        return last

    def _pass_on(self, piece: bytes) -> None:
        for follower in self._followers if piece else ():
            follower.offer(self._passed, piece)
        self._passed += len(piece)


class _Closable(Protocol):
    """An asynchronous generator, as far as it matters here."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def aclose(self) -> Awaitable[object]: ...


def _descriptors(media_type: str, raw: bytes) -> tuple[Descriptor, ...]:
    """Return all that a manifest or index refers to."""
    if media_type in INDEXES:
        return Index.parse(raw).fields.manifests
    fields = Manifest.parse(raw).fields
    return (fields.config, *fields.layers)
