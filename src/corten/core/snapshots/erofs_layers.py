"""Layers as tars: what is in their folders, and the mounts that show them.

A folder has the tar and its index, which layers.index wrote: names and the mark
are agreed upon with it. One detached mount per layer serves all containers, so
that they share the pages of its files. It is made when first needed, held by
this process alone, and named ``/proc/PID/fd/N`` to the processes that stack it.

What is read goes through the pages of the tar into those of the file, so it is
in memory twice until the first are taken back. Reading past the pages of the
tar avoids that, but then each file is a read of the disk by itself, where the
kernel would have read on through the tar: ruinous for small files, right for
large ones. So that is decided by the mean size of the files in a layer.

Source: linux/fs/erofs/erofs_fs.h; proc_pid_fd(5).
"""

import errno
import os
import stat
import struct
import threading
import weakref
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import NamedTuple

from corten.errors import DataCorrupted
from corten.linux.mounts import erofs
from corten.linux.paths import RESOLVE_NO_SYMLINKS, openat2

TAR, IMAGE = "layer.tar", "layer.erofs"
MARK = "trusted.corten.layer"

_SUPERBLOCK, _MAGIC, _SLOT = 1024, 0xE0F5E1E2, 32
_LARGE = 256 << 10  # bytes of a tar for each inode
_OPAQUE = "trusted.overlay.opaque"
_DAMAGED = (
    errno.EINVAL,
    errno.EUCLEAN,
    errno.EIO,
    errno.EBADMSG,
    errno.EOPNOTSUPP,
    errno.ENOENT,
    errno.EFBIG,
)


class Attributes(NamedTuple):
    """What an inode says of itself: permission bits, owner, time in ns since 1970."""

    mode: int
    uid: int
    gid: int
    mtime: int


class Layers:
    """The mounts of layers by number; safe from many threads."""

    def __init__(self) -> None:
        self._mounts: dict[int, int] = {}
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _close_all, self._mounts)

    def mounted(self, number: int, folder: str) -> int:
        """Return the descriptor of the mount of the layer *number*, which lies in *folder*; it stays ours.

        Raises:
            DataCorrupted: the kernel cannot read it.
        """
        found = self._mounts.get(number)
        if found is not None:
            return found
        made = _mount(folder)
        with self._lock:
            kept = self._mounts.setdefault(number, made)
        if kept != made:
            os.close(made)
        return kept

    def drop(self, number: int) -> None:
        """Let go of the mount of the layer *number*; what still shows it keeps it."""
        with self._lock:
            found = self._mounts.pop(number, None)
        if found is not None:
            os.close(found)


def _close_all(mounts: dict[int, int]) -> None:
    while mounts:
        os.close(mounts.popitem()[1])


def _mount(folder: str) -> int:
    image, tar = f"{folder}/{IMAGE}", f"{folder}/{TAR}"
    try:
        if _has_large_files(image, tar):
            with suppress(OSError):  # the file system of the tar may not know how
                return erofs(image, tar, direct=True)
        return erofs(image, tar)
    except OSError as failure:
        if failure.errno not in _DAMAGED:
            raise
        raise DataCorrupted(
            f"the layer in {folder} cannot be read ({failure}): remove its images and fetch them again"
        ) from failure


def _has_large_files(image: str, tar: str) -> bool:
    with open(image, "rb", buffering=0) as file:
        head = os.pread(file.fileno(), 24, _SUPERBLOCK)
    return len(head) == 24 and os.path.getsize(tar) >= _LARGE * struct.unpack_from("<Q", head, 16)[0]


def mark(folder: str) -> str:
    """Return ``root`` or ``plain`` for a folder that holds an index, which speaks of its root or does not; else empty."""
    try:
        return os.getxattr(folder, MARK).decode()
    except OSError as failure:
        if failure.errno not in (errno.ENODATA, errno.ENOENT):
            raise
        return ""


def set_root(image: str, root: Attributes) -> None:
    """Change the root of an index.

    Raises:
        DataCorrupted: it is no index.
    """
    with open(image, "r+b", buffering=0) as file:
        nid, base = _superblock(file.fileno())
        _patch(file.fileno(), base + nid * _SLOT, root)


def inherit(folder: str, below: str, folders: Iterable[bytes]) -> None:
    """Give *folders* of the index in *folder* owner, mode and time of those that they cover.

    Extended attributes are not given: an index has no room for more than it was
    written with. A folder that covers none, or only what is hidden, stays.

    Args:
        folder: Holds a layer that nobody shows yet.
        below: The tree that the layers below show.
        folders: Clean paths in the layer.

    Raises:
        DataCorrupted: the index cannot be read.
    """
    with ExitStack() as stack:
        own = _mount(folder)
        stack.callback(os.close, own)
        lower = os.open(below, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, lower)
        file = os.open(f"{folder}/{IMAGE}", os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, file)
        _, base = _superblock(file)
        for path in folders:
            here, covered = _look(own, path), _look(lower, path)
            if here is not None and covered is not None and not _is_opaque(own, path):
                mode = stat.S_IMODE(covered.st_mode)
                attributes = Attributes(mode, covered.st_uid, covered.st_gid, covered.st_mtime_ns)
                _patch(file, base + here.st_ino * _SLOT, attributes)


def _look(tree: int, path: bytes) -> os.stat_result | None:
    """Return what is known of the folder *path* of a tree; None where there is none, or links lead to it."""
    try:
        found = openat2(tree, os.fsdecode(path), os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
    except OSError:
        return None
    try:
        return os.fstat(found)
    finally:
        os.close(found)


def _is_opaque(tree: int, path: bytes) -> bool:
    """Tell whether *path* or a folder above it hides what is below."""
    parts = path.split(b"/")
    tops = (b"/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return any(_OPAQUE in os.listxattr(b"/proc/self/fd/%d/%b" % (tree, top)) for top in tops)


def _superblock(file: int) -> tuple[int, int]:
    """Return the nid of the root, and the offset that nids count from."""
    head = os.pread(file, 44, _SUPERBLOCK)
    if len(head) < 44 or struct.unpack_from("<I", head)[0] != _MAGIC:
        raise DataCorrupted("the index of a layer is damaged: fetch the layer again")
    root, base = struct.unpack_from("<H24xI", head, 14)
    return root, base << head[12]


def _patch(file: int, place: int, attributes: Attributes) -> None:
    """Change the inode at *place*."""
    kind = struct.unpack("<H", os.pread(file, 2, place + 4))[0] & 0o170000
    seconds, part = divmod(attributes.mtime, 1_000_000_000)
    os.pwrite(file, struct.pack("<H", kind | attributes.mode), place + 4)
    os.pwrite(file, struct.pack("<IIqI", attributes.uid, attributes.gid, seconds, part), place + 24)


def sync(folder: int) -> bool:
    """Make the two files in an open folder durable; False where they are not there."""
    try:
        files = [os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder) for name in (TAR, IMAGE)]
    except FileNotFoundError:
        return False
    for file in files:
        try:
            os.fsync(file)
        finally:
            os.close(file)
    os.fsync(folder)
    return True
