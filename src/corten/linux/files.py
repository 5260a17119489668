"""Files and trees by descriptor: durability, removal, the umask.

Source: syncfs(2), sync_file_range(2), unlinkat(2), proc_pid_status(5).
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from corten.errors import LimitExceeded
from corten.linux.syscalls import check, libc

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_DEPTH = 400  # folders open at once while walking


class Node(NamedTuple):
    """One file of a tree: *path* from its top, and *name* in the open *folder*; *found* is lstat(2)."""

    path: bytes
    folder: int
    name: bytes
    found: os.stat_result


def sync_filesystem(directory: int) -> None:
    """Make everything written to the file system of *directory* durable; see syncfs(2).

    Raises:
        KernelError: EIO or ENOSPC when something written before was lost.
    """
    check(libc.syncfs(directory), "sync file system")


def start_writeback(file: int, offset: int, length: int) -> None:
    """Have the kernel begin to write a range of an open file to the disk, without waiting.

    A later fsync then finds most of the work done. It promises nothing by
    itself; see sync_file_range(2), SYNC_FILE_RANGE_WRITE.
    """
    libc.sync_file_range(file, ctypes.c_long(offset), ctypes.c_long(length), 2)


def sync_folder(path: str) -> None:
    """Make the names inside the folder *path* durable; see fsync(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_umask() -> int:
    """Return the umask of this process without changing it, as umask(2) would; Linux 4.7."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"Umask:"):
                return int(line[6:], 8)
    return 0o777


def remove_tree(directory: int, name: bytes) -> None:
    """Remove *name* in *directory* and, for a folder, all that lies below; absent is fine.

    Links are removed, never followed. At most two descriptors are open at once
    however deep the tree is, since a layer may nest thousands of folders.
    """
    if _unlink(directory, name):
        return
    here = os.open(name, _FOLDER, dir_fd=directory)
    trail = [name]
    waiting = [_empty(here)]  # for each folder of the trail, those inside it that are still to go
    try:
        while trail:
            if waiting[-1]:
                trail.append(waiting[-1].pop())
                here = _move(here, trail[-1])
                waiting.append(_empty(here))
            else:
                waiting.pop()
                here = _move(here, b"..")
                os.rmdir(trail.pop(), dir_fd=here)
    finally:
        os.close(here)


def _move(here: int, name: bytes) -> int:
    """Open *name* in *here* and close *here*; when that fails *here* stays open."""
    entered = os.open(name, _FOLDER, dir_fd=here)
    os.close(here)
    return entered


def _empty(here: int) -> list[bytes]:
    """Unlink what is no folder in *here*; return the names of the folders."""
    return [name for name in map(os.fsencode, os.listdir(here)) if not _unlink(here, name)]


def _unlink(directory: int, name: bytes) -> bool:
    """Unlink *name*; return False for a folder, and True when it is gone."""
    with suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=directory)
        except OSError as failure:
            if failure.errno not in (errno.EISDIR, errno.EPERM):
                raise
            if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                raise  # EPERM of an immutable file, not of a folder
            return False
    return True


def list_folder(descriptor: int) -> list[bytes]:
    """Return the names in an open folder, sorted by their bytes."""
    return sorted(map(os.fsencode, os.listdir(descriptor)))


def open_folder(name: bytes, directory: int) -> int:
    """Open the folder *name* in *directory* for reading, never through a link; the caller closes it."""
    return os.open(name, _FOLDER, dir_fd=directory)


def walk(top: int) -> Iterator[Node]:
    """Yield all that lies below the open folder *top*, sorted, folders before what is in them.

    A node is valid until the next is asked for. What vanishes or is swapped
    while walking is left out; no link is ever followed.

    Raises:
        LimitExceeded: folders are nested more than 400 deep.
    """
    held: list[tuple[int, bytes, Iterator[bytes]]] = [(top, b"", iter(list_folder(top)))]
    try:
        while held:
            folder, above, names = held[-1]
            name = next(names, None)
            if name is None:
                held.pop()
                if folder != top:
                    os.close(folder)
                continue
            with suppress(FileNotFoundError, NotADirectoryError):
                found = os.lstat(name, dir_fd=folder)
                yield Node(above + name, folder, name, found)
                if stat.S_ISDIR(found.st_mode):
                    below = open_folder(name, folder)
                    held.append((below, above + name + b"/", iter(list_folder(below))))
            if len(held) > _DEPTH:
                raise LimitExceeded(f"folders are nested more than {_DEPTH} deep")
    finally:
        for folder, _, _ in held[1:]:
            os.close(folder)


def data_pieces(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of what is no hole in an open file of *size* bytes; see lseek(2), SEEK_DATA."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as failure:
            if failure.errno == errno.ENXIO:  # no data up to the end
                return
            raise
        end = min(os.lseek(file, start, os.SEEK_HOLE), size)
        if start < end:
            yield start, end - start
