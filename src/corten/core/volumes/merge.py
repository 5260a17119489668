"""What was unpacked in private is put into a volume that containers may be using.

Files appear whole, under their names, by rename(2), which follows no link and
replaces what is there; folders that are there already stay and are united.
Each name is looked up once, in a held folder. Between file systems (a volume
that is a mount, or has a size) renaming is impossible: there it is copied.
"""

import errno
import os
import stat
from contextlib import suppress

from corten.core.volumes.copy import copy_tree, dress_folder, explained, reopened
from corten.errors import Conflict
from corten.linux.files import list_folder, open_folder, remove_tree

_DEPTH = 400  # folders open at once
_RACED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)


def merge(source: int, target: int) -> None:
    """Put all that is in the open folder *source*, which nobody else knows, into the open folder *target*.

    Owner and mode of *target* itself stay. *source* is not needed afterwards:
    what is left in it may be removed.

    Raises:
        OutOfSpace: the disk, or the volume, is full.
        Conflict: somebody puts other things under the same names at the same time.
    """
    try:
        with explained(), reopened(source) as old:
            _merge(old, target)
    except OSError as failure:
        if failure.errno not in _RACED:
            raise
        raise Conflict(
            "files of the volume are changed while they are written: stop what uses it, and try again"
        ) from failure


def _merge(source: int, target: int) -> None:
    try:
        _move(source, target, 0)
    except OSError as failure:
        if failure.errno != errno.EXDEV:
            raise
        copy_tree(source, target, replace=True, dress=False)


def _move(source: int, target: int, depth: int) -> None:
    for name in list_folder(source):
        found = os.lstat(name, dir_fd=source)
        if depth < _DEPTH and stat.S_ISDIR(found.st_mode) and (below := _enter(target, name)) is not None:
            try:
                _unite(source, name, below, depth)
            finally:
                os.close(below)
        else:
            _replace(source, target, name)


def _unite(source: int, name: bytes, below: int, depth: int) -> None:
    inner = open_folder(name, source)
    try:
        _move(inner, below, depth + 1)
        dress_folder(inner, below)
    finally:
        os.close(inner)


def _replace(source: int, target: int, name: bytes) -> None:
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as failure:
        if failure.errno not in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
            raise
        remove_tree(target, name)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


def _enter(target: int, name: bytes) -> int | None:
    """Open the folder *name*; None when there is nothing, or something else."""
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            return open_folder(name, target)
        except OSError as failure:
            if failure.errno != errno.ELOOP:  # a link
                raise
    return None
