"""Copies of volumes: clones, which are volumes, and snapshots, which belong to one.

Blocks are shared where the file system can. A copy is as good as what is
written meanwhile lets it be: stop or pause what writes for a copy of one moment.
"""

import time
from typing import NamedTuple

from corten.core.volumes.copy import copy_tree
from corten.core.volumes.snapshots import Snapshots
from corten.engine.records.volume import Volume
from corten.engine.threads import finished
from corten.engine.volumes.bin import Bin, removed_mark
from corten.engine.volumes.naming import ANONYMOUS, check, check_snapshot
from corten.engine.volumes.shared import Shared, now, rfc3339
from corten.errors import Conflict


class VolumeSnapshot(NamedTuple):
    """A snapshot of a volume; *created* is RFC 3339, *size* in bytes on disk with what it shares."""

    name: str
    created: str
    size: int


class Copies:
    """The verbs; one object for all volumes."""

    def __init__(self, shared: Shared, trash: Bin) -> None:
        self._shared = shared
        self._bin = trash
        self._snapshots = Snapshots(shared.store)

    async def clone(self, name: str, new: str) -> Volume:
        """Make the volume *new* with the files, labels and size of *name*; the clone of a mount is a plain folder.

        Raises:
            NotFound: no such volume.
            Conflict: *new* exists.
            InvalidInput: *new* is no name for a volume.
            OutOfSpace: the disk is full.
        """
        shared, check_name = self._shared, check(new)
        async with shared.reading(name, f"clone {new}") as source, shared.lock(check_name):
            shared.refuse_going(new)
            if shared.records.has(new):
                raise Conflict(f"volume {new} exists: choose another name")
            labels = {key: value for key, value in source.labels.items() if key != ANONYMOUS}
            volume = Volume(
                name=new, created=now(), mountpoint=shared.store.path(new), labels=labels, size=source.size
            )
            await finished(lambda: self._clone(name, volume))
        shared.tell("create", new, driver=volume.driver, origin=name)
        return volume

    def _clone(self, name: str, volume: Volume) -> None:
        store = self._shared.store

        def fill(target: int) -> None:
            with store.opened(name) as data:
                copy_tree(data, target)

        store.make(volume.name, volume.size, fill)
        try:
            self._shared.records.put(volume)
        except BaseException:
            store.erase(volume.name)
            raise

    async def snapshot(self, name: str, snapshot: str = "") -> str:
        """Keep a copy of the files of a volume as they are now; return its name, made of the time when none is given.

        Raises:
            NotFound: no such volume.
            Conflict: it has a snapshot of that name.
            InvalidInput: no name for a snapshot.
            Unsupported: the volume is a mount.
            OutOfSpace: the disk is full.
        """
        shared = self._shared
        label = check_snapshot(snapshot or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        async with shared.reading(name, f"snapshot {label}") as volume:
            shared.refuse_device(volume, "snapshot")
            await finished(lambda: self._snapshots.take(name, label))
        shared.tell("snapshot", name, driver=volume.driver, snapshot=label)
        return label

    async def snapshots(self, name: str) -> list[VolumeSnapshot]:
        """Return the snapshots of a volume, the oldest first; NotFound for no such volume."""
        self._shared.records.get(name)

        def look() -> list[VolumeSnapshot]:
            return [
                VolumeSnapshot(each.name, rfc3339(each.created), self._snapshots.usage(name, each.name))
                for each in self._snapshots.all(name)
            ]

        async with self._shared.lock(name):
            return await finished(look)

    async def restore(self, name: str, snapshot: str) -> str:
        """Give a volume the files of a snapshot; those that it has go into the trash. Return their id there.

        Raises:
            NotFound: no such volume, or snapshot.
            Conflict: a running container uses the volume.
            OutOfSpace: the disk is full; the volume is as it was.
        """
        shared = self._shared
        async with shared.lock(name):
            volume = shared.records.get(name)
            shared.refuse_device(volume, "restore")
            shared.refuse_going(name)
            shared.refuse_mounted(name, "restore")
            mark = removed_mark(volume)
            identifier = await finished(
                lambda: self._snapshots.restore(name, check_snapshot(snapshot), volume.size, mark)
            )
        shared.tell("restore", name, driver=volume.driver, snapshot=snapshot)
        self._bin.look_after()
        return identifier

    async def remove_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot; NotFound for no such volume, or snapshot."""
        self._shared.records.get(name)
        async with self._shared.lock(name):
            await finished(lambda: self._snapshots.drop(name, check_snapshot(snapshot)))
