"""The first use of a volume: what an image has at its place is copied into it."""

import errno
import os

from corten.core.volumes.copy import copy_tree, dress_folder, reopened
from corten.core.volumes.merge import merge
from corten.core.volumes.store import VolumeStore
from corten.linux.paths import openat2
from corten.linux.syscalls import KernelError

_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


def populate(store: VolumeStore, name: str, size: int, root: str, path: str, *, shared: bool) -> bool:
    """Copy the folder *path* of a container's root into the volume *name*, when that is empty.

    The volume itself gets owner, mode, times and attributes of the folder, too,
    even if there is nothing in it. Links in *path* are followed beneath *root* only.

    Args:
        store: Has the volume.
        name: Of the volume.
        size: The most that it may hold, 0 for no limit.
        root: Trusted path of the root's files, on the host.
        path: As the container sees it.
        shared: The volume is mounted somewhere, so that its folder has to stay:
            then its files appear one by one, and else all at once.

    Returns:
        Whether anything was taken over; False too where *path* is no folder.

    Raises:
        OutOfSpace: the disk, or the volume, is full; then it stays empty.
        Unavailable: the files of the volume are missing.
    """
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = openat2(top, path, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as failure:
        if failure.errno not in _NOWHERE:
            raise
        return False
    finally:
        os.close(top)
    try:
        return _populate(store, name, size, source, shared)
    finally:
        os.close(source)


def _populate(store: VolumeStore, name: str, size: int, source: int, shared: bool) -> bool:
    with store.opened(name) as data:
        if os.listdir(data):
            return False
        if not os.listdir(source):
            dress_folder(source, data)
            return True
        if not shared:
            return store.fill(name, size, lambda new: copy_tree(source, new))
        with store.work.making() as (_, scratch):
            copy_tree(source, scratch)
            with reopened(data) as present:
                if os.listdir(present):
                    return False
            merge(scratch, data)
            dress_folder(source, data)
        return True
