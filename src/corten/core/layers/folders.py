"""Folders: descriptors of the folders that a layer is being written to.

Every folder is entered component by component from the root, without following
a symbolic link, and held open, so that most entries cost no look-up at all and
no path below the root is ever handed to the kernel as text. A link that stands
where a folder is needed is resolved by openat2(2) as if the root were ``/``,
which is what Docker gets from chroot.
"""

import errno
import os
import stat
from collections.abc import Callable

from corten.core.layers.names import shown
from corten.errors import DataCorrupted
from corten.linux.paths import openat2

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD = 128  # descriptors


class Folders:
    """The folders below *root*, a descriptor that stays the caller's.

    Args:
        root: Where paths start.
        missing: Called with (descriptor of the folder above, name, path) to make
            a folder that is not there, or to replace a whiteout.
    """

    def __init__(self, root: int, missing: Callable[[int, bytes, bytes], None]) -> None:
        self._root = root
        self._missing = missing
        self._held: dict[bytes, int] = {}
        self._retired: list[int] = []

    def open(self, path: bytes, make: bool = True) -> int:
        """Return a descriptor of the folder *path*, which must be clean; valid until ``settle``.

        Raises:
            DataCorrupted: something that is no folder is in the way.
            FileNotFoundError: it is not there, and *make* is False.
        """
        if not path:
            return self._root
        held = self._held.pop(path, None)
        if held is None:
            above, _, name = path.rpartition(b"/")
            held = self._enter(self.open(above, make), name, path, make)
        self._held[path] = held
        if len(self._held) > _HELD:
            self._retired.append(self._held.pop(next(iter(self._held))))
        return held

    def forget(self) -> None:
        """Look everything up again: a folder or link was replaced, so any path may mean something else."""
        self._retired += self._held.values()
        self._held.clear()

    def settle(self) -> None:
        """Close what is no longer held; call it between two entries."""
        while self._retired:
            os.close(self._retired.pop())

    def close(self) -> None:
        """Close all descriptors but the root's."""
        self.forget()
        self.settle()

    def _enter(self, above: int, name: bytes, path: bytes, make: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except OSError as failure:
            if failure.errno == errno.ENOENT and make:
                self._missing(above, name, path)
                return os.open(name, _FOLDER, dir_fd=above)
            if failure.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        return self._enter_other(above, name, path, make)

    def _enter_other(self, above: int, name: bytes, path: bytes, make: bool) -> int:
        """Enter what is no folder: a link to one, or a whiteout that gives way to one."""
        found = os.lstat(name, dir_fd=above)
        if stat.S_ISLNK(found.st_mode):
            try:
                return openat2(self._root, os.fsdecode(path), os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                raise DataCorrupted(f"the layer writes through the dangling link {shown(path)}") from None
        if is_whiteout(found) and make:
            self._missing(above, name, path)
            return os.open(name, _FOLDER, dir_fd=above)
        raise DataCorrupted(f"the layer writes below {shown(path)}, which is no folder")


def is_whiteout(found: os.stat_result) -> bool:
    """Tell whether this is a whiteout as overlay has it: a character device 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
