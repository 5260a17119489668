"""WorkFolder: where volumes come into being, and where they go.

What is made is complete before one rename puts it in its place; what is removed
is renamed to here first and unlinked in the background, never through a mount.
After a crash all that is here may go.
"""

import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress

from corten.core.volumes import limits
from corten.core.volumes.copy import explained
from corten.core.volumes.mounting import has_mounts, unmount
from corten.linux.files import remove_tree, walk

DATA = "_data"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class WorkFolder:
    """The folder *directory*, which is made when absent; safe from many threads.

    Args:
        directory: On the file system of the volumes.
        executor: Runs the unlinking; without one it is done at once.
    """

    def __init__(self, directory: str, executor: Executor | None = None) -> None:
        self._directory = directory
        self._executor = executor
        self._unlinking = threading.Lock()
        os.makedirs(directory, 0o700, exist_ok=True)

    @contextmanager
    def making(self, size: int = 0) -> Iterator[tuple[str, int]]:
        """Give the path of a new folder, and a descriptor of an empty data folder in it.

        What is not renamed away goes at the end.

        Args:
            size: The most bytes that the data folder may ever hold; 0 for no limit.

        Raises:
            Unsupported: a size, where the file system keeps none.
            OutOfSpace: from the block, too: the disk or the size is used up.
        """
        identifier = new_identifier()
        work = f"{self._directory}/{identifier}"
        try:
            with explained():
                os.mkdir(work, 0o700)
                os.mkdir(f"{work}/{DATA}", 0o755)
                os.chmod(f"{work}/{DATA}", 0o755)
                with open_path(f"{work}/{DATA}") as data:
                    if size:
                        limits.set_size(data, size)
                    yield work, data
        finally:
            if os.path.lexists(work):
                self._unlink_later(identifier)

    def doom(self, folder: str) -> None:
        """Take *folder* out of sight at once, to be unlinked; absent is fine, and no space is needed."""
        identifier = new_identifier()
        unmount(folder)
        with suppress(FileNotFoundError):
            os.rename(folder, f"{self._directory}/{identifier}")
            self._unlink_later(identifier)

    def sweep(self) -> None:
        """Unlink what an engine that ended has left."""
        for identifier in os.listdir(self._directory):
            self._unlink_later(identifier)

    def _unlink_later(self, identifier: str) -> None:
        if self._executor is None:
            self._unlink(identifier)
        else:
            self._executor.submit(self._unlink, identifier)

    def _unlink(self, identifier: str) -> None:
        """Unlink one folder; what cannot go yet stays for the next start."""
        folder = f"{self._directory}/{identifier}"
        with self._unlinking, suppress(OSError), open_path(self._directory) as work:
            unmount(folder)
            if has_mounts(folder):
                return
            project = _project(f"{folder}/{DATA}")
            remove_tree(work, identifier.encode())
            limits.lift(work, project)


def new_identifier() -> str:
    """Return a name that nothing else has."""
    return secrets.token_hex(6)


@contextmanager
def open_path(path: str) -> Iterator[int]:
    """Give a descriptor of the folder at a path of ours."""
    descriptor = os.open(path, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def measure(folder: str) -> int:
    """Return the bytes on disk of a tree, itself included; a hard link counts once.

    Raises:
        LimitExceeded: folders are nested more than 400 deep.
    """
    with open_path(folder) as top:
        found = os.fstat(top)
        blocks = {(found.st_dev, found.st_ino): found.st_blocks}
        for node in walk(top):
            blocks[node.found.st_dev, node.found.st_ino] = node.found.st_blocks
    return sum(blocks.values()) * 512


def _project(folder: str) -> int:
    with suppress(OSError), open_path(folder) as data:
        return limits.project_of(data)
    return 0
