"""Being told of changes in a directory. Source: inotify(7)."""

import os
import struct

from corten.linux.syscalls import check, libc

IN_MODIFY = 0x00000002
IN_CREATE = 0x00000100
IN_DELETE_SELF = 0x00000400
IN_IGNORED = 0x00008000  # the watch is gone: removed, or its directory was
IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_BUFFER = 1 << 16


class Inotify:
    """A descriptor that becomes readable when something happens in a watched directory.

    A user may have few of these (fs.inotify.max_user_instances, 128 by
    default) and many watches on each: share one.

    Raises:
        KernelError: EMFILE when the user has too many.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        self._descriptor = check(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")

    def fileno(self) -> int:
        """Return the descriptor; it belongs to this object."""
        return self._descriptor

    def add(self, path: str, mask: int) -> int:
        """Watch *path* for the events in *mask*; return the number of the watch.

        A path that is watched already keeps its number, and its mask is replaced.

        Raises:
            KernelError: ENOENT, ENOTDIR with IN_ONLYDIR, ENOSPC when the user has too many watches.
        """
        return check(
            libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask), f"inotify_add_watch {path}"
        )

    def remove(self, watch: int) -> None:
        """End a watch; one last event, IN_IGNORED, tells of it.

        Raises:
            KernelError: EINVAL when the watch has ended, as it does with its directory.
        """
        check(libc.inotify_rm_watch(self._descriptor, watch), f"inotify_rm_watch {watch}")

    def read(self) -> list[tuple[int, int]]:
        """Return what happened as (watch, mask), without waiting; empty when nothing did."""
        try:
            data = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return []
        events, position = [], 0
        while position < len(data):
            watch, mask, _cookie, length = _EVENT.unpack_from(data, position)
            events.append((watch, mask))
            position += _EVENT.size + length
        return events

    def close(self) -> None:
        """Close the descriptor and end its watches; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
