"""Snapshots of volumes: copies of their files, sharing blocks where the file system can."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from corten.core.volumes import marks
from corten.core.volumes.copy import copy_tree
from corten.core.volumes.store import VolumeStore
from corten.core.volumes.work import DATA, measure, open_path
from corten.errors import Conflict, NotFound
from corten.linux.files import sync_filesystem, sync_folder
from corten.linux.rename import exchange

_SNAPSHOTS = "snapshots"


class Taken(NamedTuple):
    """A snapshot; *created* in ns since the epoch."""

    name: str
    created: int


class Snapshots:
    """Those of all volumes of *store*, kept in their folders."""

    def __init__(self, store: VolumeStore) -> None:
        self._store = store

    def take(self, volume: str, name: str) -> None:
        """Keep a copy of the files of *volume* as they are now, durably.

        Raises:
            Conflict: it has a snapshot of that name.
            OutOfSpace: the disk is full.
        """
        shelf, target = self._at(volume), self._at(volume, name)
        _refuse_taken(volume, name, target)
        with self._store.work.making() as (work, data), self._store.opened(volume) as source:
            copy_tree(source, data)
            sync_filesystem(data)
            os.makedirs(shelf, 0o700, exist_ok=True)
            _refuse_taken(volume, name, target)
            os.rename(work, target)
        sync_folder(shelf)

    def all(self, volume: str) -> list[Taken]:
        """Return the snapshots of *volume*, the oldest first."""
        found = []
        with suppress(FileNotFoundError):
            found = [
                Taken(entry.name, entry.stat(follow_symlinks=False).st_mtime_ns)
                for entry in os.scandir(self._at(volume))
            ]
        return sorted(found, key=lambda each: (each.created, each.name))

    def drop(self, volume: str, name: str) -> None:
        """Remove a snapshot; NotFound if absent."""
        with self._opened(volume, name):
            self._store.work.doom(self._at(volume, name))

    def restore(self, volume: str, name: str, size: int, mark: marks.Mark) -> str:
        """Put a copy of a snapshot in the place of the volume's files, at once; those go into the trash.

        Nobody may have the volume mounted.

        Args:
            volume: Its name.
            name: The snapshot, which stays as it is.
            size: The most bytes that the volume may hold; 0 for no limit.
            mark: What the trash shall say of the files that were there.

        Returns:
            The id of those in the trash.

        Raises:
            NotFound: no such snapshot.
            OutOfSpace: the disk is full.
        """
        with self._store.work.making(size) as (work, data), self._opened(volume, name) as source:
            copy_tree(source, data)
            sync_filesystem(data)
            marks.write(work, {**mark, "removed": time.time_ns()})
            with open_path(work) as new, open_path(self._store.folder(volume)) as present:
                exchange(new, DATA, present, DATA)
                os.fsync(present)
            return self._store.trash.throw(work)

    def usage(self, volume: str, name: str) -> int:
        """Return the bytes on disk of a snapshot; what it shares with the volume counts as well."""
        return measure(f"{self._at(volume, name)}/{DATA}")

    def _at(self, volume: str, *name: str) -> str:
        return "/".join((self._store.folder(volume), _SNAPSHOTS, *name))

    @contextmanager
    def _opened(self, volume: str, name: str) -> Iterator[int]:
        try:
            with open_path(f"{self._at(volume, name)}/{DATA}") as descriptor:
                yield descriptor
        except FileNotFoundError:
            raise NotFound(f"snapshot of volume {volume}", name) from None


def _refuse_taken(volume: str, name: str, target: str) -> None:
    if os.path.lexists(target):
        raise Conflict(f"volume {volume} has a snapshot {name} already: remove it, or choose another name")
