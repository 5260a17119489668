"""VolumeStore: the folders of volumes, their snapshots, and the trash.

Theory. Below one folder:

    NAME/_data              the files of a volume
    NAME/snapshots/S/_data  those of its snapshot S
    .trash/ID/_data         those of a removed volume, with all of its folder
    .work/ID                what is in the making, or about to be unlinked

No volume can be called ``.trash`` or ``.work``: names begin with a letter or a
digit. What exists is told by records elsewhere; here a change is one rename of
something that was complete before, so that a kill at any instant leaves either
state.

The folder is closed to everybody but root: a volume may hold programs that
change the user (CVE-2021-41091).
"""

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress

from corten.core.volumes import limits, marks
from corten.core.volumes.trash import Trash
from corten.core.volumes.work import DATA, WorkFolder, measure, open_path
from corten.errors import Unavailable
from corten.linux.files import sync_filesystem, sync_folder
from corten.linux.quota import Quota


class VolumeStore:
    """The folders below *directory*, which is made when absent; safe from many threads for different volumes.

    Args:
        directory: One process at a time may own it.
        executor: Runs the unlinking of what was removed; without one it is done at once.

    Attributes:
        trash: The removed volumes that can still be had back.
        work: Where everything is made.
    """

    def __init__(self, directory: str, executor: Executor | None = None) -> None:
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory, 0o700, exist_ok=True)
        os.chmod(self.directory, 0o700)
        self.work = WorkFolder(f"{self.directory}/.work", executor)
        self.trash = Trash(f"{self.directory}/.trash", self.work)

    def folder(self, name: str) -> str:
        """Return the folder of the volume *name*."""
        return f"{self.directory}/{name}"

    def path(self, name: str) -> str:
        """Return where the files of the volume *name* are."""
        return f"{self.folder(name)}/{DATA}"

    def exists(self, name: str) -> bool:
        """Tell whether the volume has its folder."""
        return os.path.isdir(self.path(name))

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Give a descriptor of the files of a volume.

        Raises:
            Unavailable: somebody has taken its folder away.
        """
        if not self.exists(name):
            raise Unavailable(
                f"the files of volume {name} are missing: put {self.path(name)} back, or remove the volume"
            )
        with open_path(self.path(name)) as descriptor:
            yield descriptor

    def make(self, name: str, size: int = 0, fill: Callable[[int], object] | None = None) -> None:
        """Make the folder of a volume, durably.

        Args:
            name: A folder of that name, which no record claims, goes into the trash.
            size: The most bytes that it may ever hold; 0 for no limit.
            fill: Puts the first files into the open folder.

        Raises:
            Unsupported: a size, where the file system keeps none.
            OutOfSpace: the disk is full.
        """
        with self.work.making(size) as (work, data):
            if fill is not None:
                fill(data)
                sync_filesystem(data)
            if os.path.lexists(self.folder(name)):
                self.trash.throw(self.folder(name))
            os.rename(work, self.folder(name))
        sync_folder(self.directory)

    def fill(self, name: str, size: int, write: Callable[[int], object]) -> bool:
        """Let *write* put files into a new folder that takes the place of the volume's empty one, durably.

        Nobody may have the volume mounted.

        Returns:
            False when the volume was not empty at the end: it is as it was.
        """
        with self.work.making(size) as (work, data), self.opened(name) as old:
            write(data)
            sync_filesystem(data)
            project = limits.project_of(old)
            try:
                os.rename(f"{work}/{DATA}", self.path(name))
            except OSError:  # ENOTEMPTY
                if os.listdir(self.path(name)):
                    return False
                raise
            sync_folder(self.folder(name))
            limits.lift(data, project)
        return True

    def move(self, name: str, new: str) -> None:
        """Give the folder of a volume another name, durably."""
        os.rename(self.folder(name), self.folder(new))
        sync_folder(self.directory)

    def erase(self, name: str) -> None:
        """Remove the folder of a volume for good, with its snapshots; needs no space; absent is fine."""
        self.work.doom(self.folder(name))

    def usage(self, name: str) -> int:
        """Return the bytes on disk of a volume's files, without its snapshots; takes a look at each file."""
        return measure(self.path(name))

    def quota(self, name: str) -> Quota | None:
        """Return size and use of a volume that has a size."""
        with self.opened(name) as folder:
            return limits.size_of(folder)

    def capacity(self) -> int:
        """Return the bytes of the file system that the volumes are on."""
        facts = os.statvfs(self.directory)
        return facts.f_blocks * facts.f_frsize

    def recover(self, recorded: Collection[str], renamed: Callable[[marks.Mark], str]) -> list[str]:
        """Undo or finish what was under way when the engine ended; call it before anything else.

        Args:
            recorded: The names of all volumes that exist.
            renamed: Tells of a mark what its folder is to be called; empty when it is not to be renamed.

        Returns:
            A line for each folder that went into the trash since no record claims it.
        """
        notes = []
        for name in self._folders():
            mark = marks.read(self.folder(name))
            new = renamed(mark)
            if name in recorded:
                marks.drop(self.folder(name))
            elif new in recorded and not os.path.lexists(self.folder(new)):
                self.move(name, new)
                marks.drop(self.folder(new))
            elif not mark and self._is_bare(name):
                self.erase(name)
            else:
                self.trash.throw(self.folder(name))
                if not mark:
                    notes.append(
                        f"{self.folder(name)} is no volume's: it is in the trash (volume ls --trash)"
                    )
        self.work.sweep()
        return notes

    def _folders(self) -> list[str]:
        return sorted(
            entry.name
            for entry in os.scandir(self.directory)
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
        )

    def _is_bare(self, name: str) -> bool:
        """Tell whether a folder holds nothing that anybody could miss."""
        with suppress(OSError):
            return os.listdir(self.folder(name)) == [DATA] and not os.listdir(self.path(name))
        return False
