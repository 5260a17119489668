"""Finding files in a volume by a path that a user gave, beneath its root only."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from corten.core.volumes.copy import attributes_of, read_link
from corten.errors import InvalidInput, NotFound
from corten.linux.files import open_folder, walk
from corten.linux.paths import openat2
from corten.linux.syscalls import KernelError
from corten.linux.xattrs import read_at

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


class Found(NamedTuple):
    """One file: *path* as it stands in an archive, *file* open for reading if it is a regular one, else -1.

    *link* is where a symbolic link leads. *file* is valid until the next is asked for.
    """

    path: bytes
    info: os.stat_result
    link: bytes
    attributes: dict[bytes, bytes]
    file: int


@contextmanager
def folder(root: int, path: str) -> Iterator[int]:
    """Give a descriptor of the folder *path* below the open folder *root*.

    Raises:
        NotFound: there is nothing.
        InvalidInput: it is no folder.
    """
    try:
        descriptor = openat2(root, path or "/", os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as failure:
        if failure.errno == errno.ENOTDIR:
            raise InvalidInput(f"{path} is not a folder: name the folder to write into") from None
        raise _explained(failure, path) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def files(root: int, path: str) -> Iterator[Found]:
    """Yield the file or folder *path* below the open folder *root*, then all that lies in it.

    Names begin with the last part of *path*, or with ``.`` where that ends with
    a slash or a dot. A link as the last part is given as a link.

    Raises:
        NotFound: there is nothing.
        LimitExceeded: folders are nested more than 400 deep.
    """
    above, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        with folder(root, path) as top:
            yield from _tree(top, b".")
        return
    with folder(root, above) as parent:
        try:
            info = os.lstat(name, dir_fd=parent)
        except OSError as failure:
            raise _explained(failure, path) from None
        label = os.fsencode(name)
        if not stat.S_ISDIR(info.st_mode):
            yield from _one(label, parent, label, info)
            return
        try:
            top = open_folder(label, parent)
        except OSError as failure:  # swapped since it was looked at
            raise _explained(failure, path) from None
        try:
            yield from _tree(top, label)
        finally:
            os.close(top)


def _tree(top: int, label: bytes) -> Iterator[Found]:
    yield Found(label, os.fstat(top), b"", read_at(top, b"."), -1)
    for node in walk(top):
        yield from _one(label + b"/" + node.path, node.folder, node.name, node.found)


def _one(path: bytes, above: int, name: bytes, info: os.stat_result) -> Iterator[Found]:
    """Yield one file, opened; nothing when it has vanished or was swapped since *info* was read."""
    if not stat.S_ISREG(info.st_mode):
        with suppress(FileNotFoundError):
            link = read_link(above, name) if stat.S_ISLNK(info.st_mode) else b""
            attributes = read_at(above, name)
            if link is not None:
                yield Found(path, info, link, attributes, -1)
        return
    try:
        file = os.open(name, _READ, dir_fd=above)
    except OSError as failure:
        if failure.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            raise
        return
    try:
        if stat.S_ISREG((opened := os.fstat(file)).st_mode):
            yield Found(path, opened, b"", attributes_of(file), file)
    finally:
        os.close(file)


def _explained(failure: OSError, path: str) -> Exception:
    return NotFound("file in the volume", path) if failure.errno in _ABSENT else failure
