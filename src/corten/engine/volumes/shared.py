"""Shared: what all verbs on volumes use, and who uses a volume.

A volume has *users*, the containers whose records name it; *claims* of
containers that are being made and have no record yet; and *holders*, those that
run, or a verb that reads it. Each keeps it from being removed. All of this is
looked at and changed in the event loop only, with no wait between a look and
what follows from it, so that nothing can begin to use what is being removed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from corten.core.volumes import options
from corten.core.volumes.mounting import is_mounted, mount, unmount
from corten.core.volumes.store import VolumeStore
from corten.engine.records.volume import Volume
from corten.engine.records.volumes import VolumeRepository
from corten.engine.threads import finished
from corten.errors import Conflict, Unavailable, Unsupported

T = TypeVar("T")

Publish = Callable[[str, str, str, Mapping[str, str]], object]
"""Takes type, action, id and attributes of an event; called in the event loop."""


class User(NamedTuple):
    """A container that uses a volume: its id and name, and whether it has a process."""

    id: str
    name: str
    up: bool


@dataclass(frozen=True)
class Shared:
    """The parts that the verbs are made of.

    ``users`` names the containers whose records have a volume. ``claims`` and
    ``holders`` are by volume; ``going`` are volumes on their way out.
    """

    records: VolumeRepository
    store: VolumeStore
    users: Callable[[str], Sequence[User]]
    publish: Publish
    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    claims: dict[str, set[str]] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    going: set[str] = field(default_factory=set)

    def lock(self, name: str) -> asyncio.Lock:
        """Return the lock that orders what is done to one volume; never hold two but by ``both``."""
        return self.locks.setdefault(name, asyncio.Lock())

    @asynccontextmanager
    async def both(self, name: str, other: str) -> AsyncIterator[None]:
        """Hold the locks of two volumes."""
        async with AsyncExitStack() as held:
            for each in sorted({name, other}):
                await held.enter_async_context(self.lock(each))
            yield

    def tell(self, action: str, name: str, **attributes: str) -> None:
        """Publish an event about a volume."""
        self.publish("volume", action, name, attributes)

    def used_by(self, name: str) -> list[str]:
        """Return who uses a volume, each once: ids of containers, and verbs that read it."""
        found = [user.id for user in self.users(name)]
        found += [*self.claims.get(name, ()), *self.holders.get(name, ())]
        return list(dict.fromkeys(found))

    def in_use(self, name: str) -> bool:
        """Tell whether a running container, or a verb, has the volume open."""
        return bool(self.holders.get(name)) or any(user.up for user in self.users(name))

    def refuse_used(self, name: str, action: str) -> None:
        """Refuse to do *action* to a volume that anything uses, whether it runs or not.

        Raises:
            Conflict: something does.
        """
        if users := self.used_by(name):
            raise Conflict(f"{action} {name}: volume is in use - [{', '.join(users)}]")

    def refuse_mounted(self, name: str, action: str) -> None:
        """Refuse to do *action* to a volume that is open somewhere.

        Raises:
            Conflict: it is.
        """
        users = [user.name for user in self.users(name) if user.up] or sorted(self.holders.get(name, ()))
        if users:
            raise Conflict(
                f"{action} {name}: volume is in use by {', '.join(users)}: stop what uses it first"
            )

    def refuse_going(self, name: str) -> None:
        """Refuse to begin with a volume that is being removed.

        Raises:
            Conflict: it is.
        """
        if name in self.going:
            raise Conflict(f"volume {name} is being removed: wait a moment, or choose another name")

    @asynccontextmanager
    async def reading(self, name: str, verb: str) -> AsyncIterator[Volume]:
        """Keep a volume there and mounted for a *verb* that needs its files; see ``grip``."""
        volume = self.records.get(name)
        await self.grip(volume, verb)
        try:
            yield volume
        finally:
            await self.loose(name, verb)

    async def grip(self, volume: Volume, holder: str) -> None:
        """Hold a volume for *holder*, mounting it when its driver options ask for that.

        Raises:
            Conflict: it is being removed.
            NotFound: it was, meanwhile.
            Unavailable: its files are missing, or the mount fails.
        """
        async with self.lock(volume.name):
            await self.grip_locked(self.records.get(volume.name), holder)

    async def grip_locked(self, volume: Volume, holder: str) -> None:
        """Do what ``grip`` does, for a caller that has the lock."""
        name = volume.name
        self.refuse_going(name)
        device = device_of(volume)
        if not self.store.exists(name):
            raise Unavailable(
                f"the files of volume {name} are missing: put {volume.mountpoint} back, or remove the volume"
            )
        if device is not None:
            await finished(lambda: mount(device, volume.mountpoint))
        self.holders.setdefault(name, set()).add(holder)

    async def loose(self, name: str, holder: str) -> None:
        """Let *holder* go; what nobody holds any more is unmounted. Idempotent."""
        async with self.lock(name):
            await self.loose_locked(name, holder)

    async def loose_locked(self, name: str, holder: str) -> None:
        """Do what ``loose`` does, for a caller that has the lock."""
        held = self.holders.get(name, set())
        held.discard(holder)
        if held:
            return
        self.holders.pop(name, None)
        if self.records.has(name) and device_of(self.records.get(name)) is not None:
            await finished(lambda: _unmount(self.store.path(name)))

    def refuse_device(self, volume: Volume, action: str) -> None:
        """Refuse what can be done to the engine's own folders only.

        Raises:
            Unsupported: the volume is a mount.
        """
        if device_of(volume) is not None:
            raise Unsupported(
                f"cannot {action} volume {volume.name}: its files are those of {volume.options['device']}"
            )


def device_of(volume: Volume) -> options.Device | None:
    """Return what has to be mounted for a volume; None for a folder of ours."""
    return options.parse(volume.options)[0]


def now() -> str:
    """Return the present time as RFC 3339, to the second, as Docker has it for volumes."""
    return rfc3339(time.time_ns())


def rfc3339(nanoseconds: int) -> str:
    """Return a time as RFC 3339, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 10**9))


def _unmount(folder: str) -> None:
    if is_mounted(folder):
        unmount(folder)
