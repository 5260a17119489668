"""A tree copied from one open folder into another.

Either side may be changed by a container meanwhile, so that nothing is looked
up twice and no link is ever followed: every file of the copy is made anew,
opened, and given its owner, mode and attributes by its descriptor. What
vanishes from the source while it is read is left out. Blocks are shared where
the file system can (FICLONE); see ioctl_ficlone(2), copy_file_range(2).
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from corten.errors import OutOfSpace
from corten.linux.files import Node, data_pieces, open_folder, remove_tree, walk
from corten.linux.xattrs import read_at

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409
_CHUNK = 1 << 20
_NOT_HERE = (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)
_NOT_KEPT = (errno.ENOTSUP, errno.EPERM, errno.EINVAL)
_STEERING = (b"trusted.overlay.", b"security.selinux", b"security.ima", b"security.evm")


def copy_tree(source: int, target: int, *, replace: bool = False, dress: bool = True) -> None:
    """Copy what is in the open folder *source* into the open folder *target*.

    Hard links, holes, owners, modes, times, devices, sockets and extended
    attributes stay as they are, as far as the file system of *target* can keep them.

    Args:
        source: Stays open.
        target: Stays open; empty, unless *replace*.
        replace: What is there already gives way, but folders are united.
        dress: Give *target* itself owner, mode, times and attributes of *source*.

    Raises:
        LimitExceeded: folders are nested more than 400 deep.
        OutOfSpace: the disk, or the volume, is full.
    """
    with explained(), reopened(source) as old:
        _Copy(old, target, replace).run()
        if dress:
            dress_folder(source, target)


def dress_folder(source: int, target: int) -> None:
    """Give the open folder *target* owner, mode, times and attributes of the open folder *source*."""
    found = os.fstat(source)
    _dress(target, found, read_at(source, b"."))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


@contextmanager
def explained() -> Iterator[None]:
    """Turn the kernel's word for a full disk into what the user can do about it."""
    try:
        yield
    except OSError as failure:
        if failure.errno == errno.EDQUOT:
            raise OutOfSpace(
                "the volume is full: make room in it, or use one with a larger size"
            ) from failure
        if failure.errno == errno.ENOSPC:
            raise OutOfSpace("no space left on the disk of the volume: free some and try again") from failure
        raise


@contextmanager
def reopened(folder: int) -> Iterator[int]:
    """Give a further descriptor of an open folder: btrfs lists only what was there when one was opened."""
    descriptor = os.open(".", _FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Copy:
    """A copy under way; *trail* holds the open folders of the copy from its top down to here."""

    def __init__(self, old: int, new: int, replace: bool) -> None:
        self._old, self._new, self._replace = old, new, replace
        self._trail: list[tuple[bytes, int, os.stat_result]] = []
        self._links: dict[tuple[int, int], tuple[bytes, int]] = {}  # inode -> path of its copy, and its inode
        self._clones = True  # until the file system says no

    def run(self) -> None:
        """Copy everything below the top."""
        try:
            for node in walk(self._old):
                self._close_until(node.path.rpartition(b"/")[0])
                with suppress(FileNotFoundError):
                    self._add(node, self._trail[-1][1] if self._trail else self._new)
            self._close_until(b"")
        finally:
            while self._trail:
                os.close(self._trail.pop()[1])

    def _close_until(self, path: bytes) -> None:
        """Finish the folders that are not on the way to *path*: nothing changes their time any more."""
        while self._trail and self._trail[-1][0] != path:
            _, folder, found = self._trail.pop()
            try:
                os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns))
            finally:
                os.close(folder)

    def _add(self, node: Node, folder: int) -> None:
        mode = node.found.st_mode
        if self._replace and not (stat.S_ISDIR(mode) and _is_folder(folder, node.name)):
            remove_tree(folder, node.name)
        if not stat.S_ISDIR(mode) and self._link(node, folder):
            return
        if stat.S_ISDIR(mode):
            self._add_folder(node, folder)
        elif stat.S_ISREG(mode):
            self._add_file(node, folder)
        else:
            _add_node(node, folder)
        if not stat.S_ISDIR(mode) and node.found.st_nlink > 1:
            copied = os.lstat(node.name, dir_fd=folder).st_ino
            self._links[node.found.st_dev, node.found.st_ino] = (node.path, copied)

    def _link(self, node: Node, folder: int) -> bool:
        """Make *node* a further name of a file copied before; False when there is none."""
        first = self._links.get((node.found.st_dev, node.found.st_ino))
        if first is None:
            return False
        path, copied = first
        above, name = self._open_above(path)
        try:
            if os.lstat(name, dir_fd=above).st_ino != copied:
                return False  # swapped by whoever uses the target: a copy of its own will do
            os.link(name, node.name, src_dir_fd=above, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as failure:
            if failure.errno in (errno.ENOENT, errno.EPERM, errno.EMLINK, errno.EXDEV):
                return False
            raise
        finally:
            os.close(above)
        return True

    def _open_above(self, path: bytes) -> tuple[int, bytes]:
        """Open the folder of *path* in the copy, name by name."""
        *above, name = path.split(b"/")
        folder = os.dup(self._new)
        for part in above:
            try:
                below = open_folder(part, folder)
            finally:
                os.close(folder)
            folder = below
        return folder, name

    def _add_folder(self, node: Node, folder: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(node.name, 0o700, dir_fd=folder)
        made = open_folder(node.name, folder)
        try:
            _dress(made, node.found, read_at(node.folder, node.name))
        except BaseException:
            os.close(made)
            raise
        self._trail.append((node.path, made, node.found))

    def _add_file(self, node: Node, folder: int) -> None:
        try:
            source = os.open(node.name, _READ, dir_fd=node.folder)
        except OSError as failure:
            if failure.errno in (errno.ELOOP, errno.ENXIO):  # swapped for a link or a socket
                return
            raise
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode):
                return
            target = os.open(node.name, _CREATE, 0o600, dir_fd=folder)
            try:
                self._fill(source, target, found.st_size)
                _dress(target, found, attributes_of(source))
                os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _fill(self, source: int, target: int, size: int) -> None:
        if self._clones and size:
            try:
                fcntl.ioctl(target, _FICLONE, source)
            except OSError as failure:
                if failure.errno not in _NOT_HERE:
                    raise
                self._clones = False
            else:
                return
        os.ftruncate(target, size)
        for offset, length in data_pieces(source, size):
            _copy_piece(source, target, offset, length)


def _add_node(node: Node, folder: int) -> None:
    """Copy a link, a device, a FIFO or a socket."""
    found = node.found
    if stat.S_ISLNK(found.st_mode):
        link = read_link(node.folder, node.name)
        if link is None:
            return
        os.symlink(link, node.name, dir_fd=folder)
    else:
        os.mknod(node.name, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=folder)
    os.chown(node.name, found.st_uid, found.st_gid, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        place = os.open(node.name, _PLACE, dir_fd=folder)
        try:
            if stat.S_IFMT(os.fstat(place).st_mode) == stat.S_IFMT(found.st_mode):
                os.chmod(f"/proc/self/fd/{place}", stat.S_IMODE(found.st_mode))
        finally:
            os.close(place)
    times = (found.st_atime_ns, found.st_mtime_ns)
    os.utime(node.name, ns=times, dir_fd=folder, follow_symlinks=False)


def read_link(folder: int, name: bytes) -> bytes | None:
    """Return where a link leads; None when it is no link any more."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as failure:
        if failure.errno == errno.EINVAL:
            return None
        raise


def _dress(target: int, found: os.stat_result, attributes: dict[bytes, bytes]) -> None:
    """Give an open file or folder its owner, mode and attributes; owner first, since it clears others."""
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for attribute, value in attributes.items():
        if attribute.startswith(_STEERING):
            continue
        try:
            os.setxattr(target, attribute, value)
        except OSError as failure:  # kept where the file system can
            if failure.errno not in _NOT_KEPT:
                raise


def attributes_of(file: int) -> dict[bytes, bytes]:
    """Return the extended attributes of an open file or folder; empty where there are none."""
    try:
        names = os.listxattr(file)
    except OSError as failure:
        if failure.errno == errno.ENOTSUP:
            return {}
        raise
    return {os.fsencode(name): os.getxattr(file, name) for name in sorted(names)}


def _is_folder(folder: int, name: bytes) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
    return False


def _copy_piece(source: int, target: int, offset: int, length: int) -> None:
    """Copy within the kernel, or through memory between file systems that cannot."""
    while length:
        try:
            copied = os.copy_file_range(source, target, length, offset, offset)
        except OSError as failure:
            if failure.errno not in _NOT_HERE:
                raise
            data = os.pread(source, min(length, _CHUNK), offset)
            copied = os.pwrite(target, data, offset)
        if not copied:
            return
        offset += copied
        length -= copied
