"""Extended attributes of a name inside an open folder, never through a symbolic link.

There is no setxattrat(2) before Linux 6.13. ``/proc/self/fd/N/name`` names the
same thing: the kernel enters the folder by its descriptor, and the l-forms of
the calls do not follow a link at the end. *name* is always one component.
Source: xattr(7), proc_pid_fd(5).
"""

import errno
import os


def set_at(directory: int, name: bytes, attribute: bytes, value: bytes) -> None:
    """Set *attribute* of *name* in *directory*; see lsetxattr(2).

    Raises:
        OSError: ENOTSUP where the file system or the type of file has no such attributes.
    """
    os.setxattr(_path(directory, name), attribute, value, follow_symlinks=False)


def read_at(directory: int, name: bytes) -> dict[bytes, bytes]:
    """Return all attributes of *name* in *directory*, by name; empty where there are none."""
    path = _path(directory, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as failure:
        if failure.errno == errno.ENOTSUP:
            return {}
        raise
    return {os.fsencode(text): os.getxattr(path, text, follow_symlinks=False) for text in sorted(names)}


def get_at(directory: int, name: bytes, attribute: bytes) -> bytes | None:
    """Return one attribute of *name* in *directory*, or None where it is not set."""
    try:
        return os.getxattr(_path(directory, name), attribute, follow_symlinks=False)
    except OSError as failure:
        if failure.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def _path(directory: int, name: bytes) -> bytes:
    return b"/proc/self/fd/%d/%s" % (directory, name)
