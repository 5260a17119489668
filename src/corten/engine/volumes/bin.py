"""Bin: what becomes of removed volumes.

A removed volume stays in the trash for a day, with its snapshots, unless it is
unwanted for sure: an anonymous one, or one removed with ``now``, or pruned. The
trash never takes more than a tenth of the disk: the oldest go first.
"""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from corten.core.volumes import marks
from corten.core.volumes.trash import Trashed
from corten.engine.records.volume import Volume
from corten.engine.threads import finished
from corten.engine.volumes.naming import ANONYMOUS, check
from corten.engine.volumes.shared import Shared, rfc3339
from corten.errors import Conflict, NotFound, OutOfSpace

KEPT = 24 * 3600 * 10**9  # ns
_SHARE = 10  # the trash takes one part in so many of the file system


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A volume in the trash: *removed* and *expires* are RFC 3339, *size* bytes on disk."""

    id: str
    name: str
    removed: str
    expires: str
    size: int
    volume: Volume


class Bin:
    """The verbs on the trash, and what keeps it small; one object for all volumes."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sizes: dict[str, int] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    async def trash(self) -> list[Removed]:
        """Return the removed volumes that can still be had back, the oldest first; counts what is new there."""

        def look() -> list[Removed]:
            return [self._shown(each) for each in self._shared.store.trash.all()]

        return await finished(look)

    def _shown(self, found: Trashed) -> Removed:
        volume = _volume_of(found)
        return Removed(
            id=found.id,
            name=volume.name,
            removed=rfc3339(found.removed),
            expires=rfc3339(found.removed + KEPT),
            size=self._size(found.id),
            volume=volume,
        )

    async def undelete(self, reference: str, new: str = "") -> Volume:
        """Take a volume out of the trash: by its id there, or the one of that name that was removed last.

        Args:
            reference: The id, or the name that it had.
            new: What it shall be called; empty for the name that it had.

        Raises:
            NotFound: it is not in the trash.
            Conflict: a volume has the name.
            InvalidInput: *new* is no name for a volume.
        """
        shared = self._shared
        found = self._find(reference)
        former = _volume_of(found)
        name = check(new or former.name)
        labels = {key: value for key, value in former.labels.items() if key != ANONYMOUS}
        path = shared.store.path(name)
        volume = replace(former, name=name, mountpoint=path, labels=labels, anonymous=False)

        def put_back() -> None:
            shared.store.trash.put_back(found.id, shared.store.folder(name))
            shared.records.put(volume)
            marks.drop(shared.store.folder(name))

        async with shared.lock(name):
            shared.refuse_going(name)
            if shared.records.has(name):
                raise Conflict(f"volume {name} exists: choose another name for the one in the trash")
            await finished(put_back)
        shared.tell("create", name, driver=volume.driver)
        return volume

    def _find(self, reference: str) -> Trashed:
        for found in reversed(self._shared.store.trash.all()):
            if reference in (found.id, _volume_of(found).name):
                return found
        raise NotFound("volume in the trash", reference)

    def throw(self, volume: Volume, *, now: bool) -> None:
        """Take a volume out of the records and its folder away; blocks, and holds the volume's lock.

        On a full disk it is removed at once: keeping it needs a little space.

        Args:
            volume: Recorded, and used by nobody.
            now: Do not keep it.
        """
        shared = self._shared
        keep = not (now or volume.anonymous) and shared.store.exists(volume.name)
        if keep:
            try:
                marks.write(shared.store.folder(volume.name), removed_mark(volume))
            except OutOfSpace:
                keep = False
        shared.records.delete(volume.name)
        if keep:
            shared.store.trash.throw(shared.store.folder(volume.name))
        else:
            shared.store.erase(volume.name)

    def look_after(self) -> None:
        """Keep the trash small from now on, in the background; needs the event loop."""
        self._look.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Stop looking after the trash; the next engine goes on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _keep(self) -> None:
        """Look whenever something was put there, and when the oldest is due, until nothing is left."""
        while True:
            self._look.clear()
            with suppress(OSError):  # the disk has its own troubles: the next look may be luckier
                await finished(self.tidy)
            waiting = self._shared.store.trash.all()
            if not waiting:
                return
            due = (waiting[0].removed + KEPT - time.time_ns()) / 1e9
            with suppress(TimeoutError):
                async with asyncio.timeout(max(1.0, due)):
                    await self._look.wait()

    def expire(self) -> list[Trashed]:
        """Remove what is too old from the trash; return what is left, the oldest first."""
        trash, oldest = self._shared.store.trash, time.time_ns() - KEPT
        found = trash.all()
        for each in found:
            if each.removed < oldest:
                trash.destroy(each.id)
        return [each for each in found if each.removed >= oldest]

    def tidy(self) -> None:
        """Remove what is too old from the trash, and the oldest of what is too much; looks at every file there."""
        trash, kept = self._shared.store.trash, self.expire()
        sizes = Counter({found.id: self._size(found.id) for found in kept})
        most = self._shared.store.capacity() // _SHARE
        for found in kept:
            if sizes.total() <= most:
                break
            trash.destroy(found.id)
            del sizes[found.id]
        self._sizes = dict(sizes)

    def _size(self, identifier: str) -> int:
        if identifier not in self._sizes:
            self._sizes[identifier] = self._shared.store.trash.size(identifier)
        return self._sizes[identifier]


def removed_mark(volume: Volume) -> dict[str, Any]:
    """Return what the folder of a volume is marked with when it is removed now."""
    return {"removed": time.time_ns(), "volume": msgspec.to_builtins(volume)}


def _volume_of(found: Trashed) -> Volume:
    """Return what was recorded; of a folder that no record claimed, what can be said of it."""
    try:
        return msgspec.convert(found.mark["volume"], Volume)
    except (KeyError, msgspec.ValidationError):
        created = rfc3339(found.removed)
        return Volume(name=f"found-{found.id}", created=created, mountpoint="")
