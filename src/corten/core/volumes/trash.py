"""Trash: removed volumes, each with all of its folder, until they are wanted back or too old."""

import os
import time
from contextlib import suppress
from typing import NamedTuple

from corten.core.volumes import marks
from corten.core.volumes.mounting import unmount
from corten.core.volumes.work import DATA, WorkFolder, measure, new_identifier
from corten.errors import Conflict, NotFound
from corten.linux.files import sync_folder


class Trashed(NamedTuple):
    """A removed volume: *removed* in ns since the epoch, *mark* as it was left."""

    id: str
    removed: int
    mark: marks.Mark


class Trash:
    """The folder *directory*, which is made when absent.

    Args:
        directory: On the file system of the volumes.
        work: Where goes what is removed for good.
    """

    def __init__(self, directory: str, work: WorkFolder) -> None:
        self._directory = directory
        self._work = work
        os.makedirs(directory, 0o700, exist_ok=True)

    def throw(self, folder: str) -> str:
        """Put the *folder* of a volume here, with its snapshots and its mark; return its id."""
        unmount(f"{folder}/{DATA}")
        identifier = new_identifier()
        if "removed" not in marks.read(folder):
            marks.write(folder, {**marks.read(folder), "removed": time.time_ns()})
        os.rename(folder, f"{self._directory}/{identifier}")
        return identifier

    def all(self) -> list[Trashed]:
        """Return what is here, the oldest first."""
        found = []
        for identifier in os.listdir(self._directory):
            folder = f"{self._directory}/{identifier}"
            mark = marks.read(folder)
            with suppress(FileNotFoundError):
                removed = mark.get("removed")
                when = removed if isinstance(removed, int) else os.lstat(folder).st_mtime_ns
                found.append(Trashed(identifier, when, mark))
        return sorted(found, key=lambda each: (each.removed, each.id))

    def put_back(self, identifier: str, folder: str) -> None:
        """Give a volume the place *folder* again, durably; it keeps its mark.

        Raises:
            NotFound: it is not here.
            Conflict: the place is taken.
        """
        if os.path.lexists(folder):
            raise Conflict(f"volume {os.path.basename(folder)} exists: choose another name")
        try:
            os.rename(f"{self._directory}/{identifier}", folder)
        except FileNotFoundError:
            raise NotFound("volume in the trash", identifier) from None
        sync_folder(os.path.dirname(folder))

    def destroy(self, identifier: str) -> None:
        """Remove something for good; absent is fine."""
        self._work.doom(f"{self._directory}/{identifier}")

    def size(self, identifier: str) -> int:
        """Return the bytes on disk of something here; 0 for what is gone."""
        with suppress(FileNotFoundError):
            return measure(f"{self._directory}/{identifier}")
        return 0
