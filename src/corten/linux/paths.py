"""Opening paths that a container controls, without ever being led out of its root.

Each look-up is one openat2(2) with ``RESOLVE_IN_ROOT``: the kernel resolves
symbolic links and ``..`` as if the descriptor were ``/`` and refuses to follow
magic links. String paths below a container's root are never handed to any
other call. Source: openat2(2).
"""

import ctypes
import errno
import os

from corten.linux.syscalls import NR_OPENAT2, KernelError, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

MOST_LINKS = 40  # as the kernel follows at most, path_resolution(7)

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: str, flags: int, mode: int = 0, resolve: int = _INSIDE) -> int:
    """Open *path* as seen from the descriptor *directory*; see openat2(2).

    Args:
        directory: Descriptor of the folder that acts as root.
        path: Any text a container may have chosen; absolute names start at *directory*.
        flags: As open(2); ``O_CLOEXEC`` is added.
        mode: Permission bits for a file that ``O_CREAT`` makes.
        resolve: ``RESOLVE_*`` bits.

    Returns:
        A descriptor that the caller closes.

    Raises:
        KernelError: as open(2), EXDEV or ELOOP for a path that tries to leave.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        try:
            return syscall(
                f"open {path}",
                NR_OPENAT2,
                directory,
                os.fsencode(path),
                ctypes.byref(how),
                ctypes.sizeof(how),
            )
        except KernelError as failure:  # EAGAIN: a rename elsewhere raced with ".."; the manual says retry
            if failure.errno != errno.EAGAIN:
                raise


def _step(directory: int, name: str, mode: int) -> int:
    """Enter *name* below the root-resolved *directory*, making it when absent."""
    try:
        os.mkdir(name, mode, dir_fd=directory)
    except FileExistsError:  # made by someone else since we looked
        return openat2(directory, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    return openat2(directory, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)


def _led_to(directory: int, folder: str, name: str) -> str:
    """Return where the link *name* of *folder* leads, as a path below the root; empty when it is no link."""
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError:
        return ""
    return os.path.normpath(target if target.startswith("/") else f"/{folder}/{target}")


def make_directory(root: int, path: str, mode: int = 0o755, links: int = MOST_LINKS) -> int:
    """Open the folder *path* below *root*, making what is missing of it.

    Components may be symbolic links: they are followed inside *root*, and what
    one that leads nowhere names is made there. A missing component is made only
    under a folder that was opened first, so nothing outside *root* is ever created.

    Returns:
        An ``O_PATH`` descriptor of the folder; the caller closes it.

    Raises:
        KernelError: ENOTDIR where a component is no folder, ELOOP on a loop.
    """
    try:
        return openat2(root, path, os.O_PATH | os.O_DIRECTORY)
    except KernelError as failure:
        if failure.errno != errno.ENOENT:
            raise
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise KernelError(errno.ENOENT, f"make folder {path}")
    known = openat2(root, "/", os.O_PATH | os.O_DIRECTORY)
    for depth, part in enumerate(parts, 1):
        before = known
        try:
            try:
                known = openat2(root, "/".join(parts[:depth]), os.O_PATH | os.O_DIRECTORY)
            except KernelError as failure:
                if failure.errno != errno.ENOENT:
                    raise
                where = _led_to(before, "/".join(parts[: depth - 1]), part)
                if where and not links:
                    raise KernelError(errno.ELOOP, f"make folder {path}") from None
                if where:
                    return make_directory(root, "/".join([where, *parts[depth:]]), mode, links - 1)
                known = _step(before, part, mode)
        finally:
            os.close(before)
    return known


def make_file(root: int, path: str, mode: int = 0o644, links: int = MOST_LINKS) -> int:
    """Open the file *path* below *root*, making it empty, and its folders, when absent.

    Returns:
        An ``O_PATH`` descriptor, not opened for reading: what lies there may be
        a device or a FIFO. The caller closes it.

    Raises:
        KernelError: as make_directory.
    """
    try:
        return openat2(root, path, os.O_PATH)
    except KernelError as failure:
        if failure.errno != errno.ENOENT:
            raise
    folder, _, name = path.rstrip("/").rpartition("/")
    parent = make_directory(root, folder or "/")
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(name, flags, mode, dir_fd=parent))
        except FileExistsError:
            where = _led_to(parent, folder, name)
            if not where or not links:
                raise KernelError(errno.ELOOP if where else errno.EEXIST, f"make file {path}") from None
            return make_file(root, where, mode, links - 1)
        return openat2(parent, name, os.O_PATH | os.O_NOFOLLOW)
    finally:
        os.close(parent)
