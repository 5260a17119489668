"""Whiteouts: how a layer says that something below it is gone.

``.wh.NAME`` hides NAME, and ``.wh..wh..opq`` hides all that lower layers have in
its folder; both concern lower layers only, whatever the order of the entries.
Other names that begin with ``.wh..wh.`` are notes of AUFS and are skipped.

Source: image-spec layer.md, "Whiteouts"; overlayfs.rst, "whiteouts and opaque directories".
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from corten.core.layers.folders import Folders
from corten.core.layers.names import OPAQUE, OVERLAY_OPAQUE, RESERVED, hidden_name
from corten.errors import DataCorrupted
from corten.linux.files import remove_tree
from corten.linux.xattrs import set_at

Remove = Callable[[int, bytes], None]


class OverlayWhiteouts:
    """Keeps whiteouts in a tree of changes, for the kernel to carry out."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def add(self, above: bytes, name: bytes) -> None:
        """Take the whiteout *name* in the folder *above*."""
        if name == OPAQUE:
            os.setxattr(self._folders.open(above), OVERLAY_OPAQUE, b"y")
        elif not name.startswith(RESERVED):
            self._hide(self._folders.open(above), hidden_name(name))

    def _hide(self, folder: int, name: bytes) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)
        except FileExistsError:  # the layer has it itself: it hides what is below without help
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                set_at(folder, name, OVERLAY_OPAQUE, b"y")

    def keep(self, path: bytes) -> None:
        """Note that *path* is of this layer."""

    def make_way(self, folder: int, name: bytes, remove: Remove) -> None:
        """See to it that the existing *name* is a folder; what it replaces hides what lies below."""
        found = os.lstat(name, dir_fd=folder)
        if stat.S_ISDIR(found.st_mode):
            return
        remove(folder, name)
        os.mkdir(name, 0o755, dir_fd=folder)
        set_at(folder, name, OVERLAY_OPAQUE, b"y")


class PlainWhiteouts:
    """Carries whiteouts out in a tree that lower layers and this one share.

    Args:
        folders: Those of the tree.
        remember: Told how many bytes are going to be kept in memory; may raise.
    """

    def __init__(self, folders: Folders, remember: Callable[[int], None]) -> None:
        self._folders = folders
        self._remember = remember
        self._kept: set[bytes] = {b""}

    def add(self, above: bytes, name: bytes) -> None:
        """Remove what the whiteout *name* in the folder *above* hides."""
        if name != OPAQUE and name.startswith(RESERVED):
            return
        self._folders.open(above)  # made where it is missing, as for every entry
        self.keep(above)
        with suppress(FileNotFoundError):
            if name == OPAQUE:
                self._clear(above)
            else:
                self._drop(above, hidden_name(name))

    def _drop(self, above: bytes, name: bytes) -> None:
        folder = self._folders.open(above, make=False)
        path = above + b"/" + name if above else name
        if path not in self._kept:
            found = os.lstat(name, dir_fd=folder)
            remove_tree(folder, name)
            if stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode):
                self._folders.forget()
        elif stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            self._clear(path)

    def _clear(self, path: bytes) -> None:
        """Remove what lower layers have in the folder *path*."""
        try:
            folder = self._folders.open(path, make=False)
        except DataCorrupted:  # no folder, hence nothing in it
            return
        for name in os.listdir(folder):
            self._drop(path, os.fsencode(name))

    def keep(self, path: bytes) -> None:
        """Note that *path* and the folders above it are of this layer."""
        while path not in self._kept:
            self._remember(len(path))
            self._kept.add(path)
            path = path.rpartition(b"/")[0]

    def make_way(self, folder: int, name: bytes, remove: Remove) -> None:
        """See to it that the existing *name* is a folder."""
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            remove(folder, name)
            os.mkdir(name, 0o755, dir_fd=folder)
