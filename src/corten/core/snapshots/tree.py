"""Whole trees: copied, and measured."""

import os
import stat

from corten.core.snapshots.snapshotter import Usage
from corten.linux.files import Node, data_pieces, open_folder, walk
from corten.linux.xattrs import read_at, set_at

_TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def measure(directory: str) -> Usage:
    """Count the blocks and inodes in *directory*, itself included; a hard link counts once.

    Raises:
        LimitExceeded: folders are nested too deep.
    """
    top = os.open(directory, _TOP)
    try:
        blocks = {os.fstat(top).st_ino: os.fstat(top).st_blocks}
        for node in walk(top):
            blocks[node.found.st_ino] = node.found.st_blocks
    finally:
        os.close(top)
    return Usage(sum(blocks.values()) * 512, len(blocks))


def copy_tree(source: str, target: str) -> None:
    """Copy the tree in *source* into the empty folder *target*.

    Hard links, holes, owners, modes, times, devices and extended attributes
    stay as they are; sockets too. Blocks are shared where the file system can.

    Raises:
        LimitExceeded: folders are nested too deep.
    """
    old = os.open(source, _TOP)
    try:
        new = os.open(target, _TOP)
        try:
            _Copy(old, new).run()
        finally:
            os.close(new)
    finally:
        os.close(old)


class _Copy:
    """A copy under way; *trail* holds the open folders of the copy from its top down to here."""

    def __init__(self, old: int, new: int) -> None:
        self._old, self._new = old, new
        self._trail: list[tuple[bytes, int, Node]] = []
        self._links: dict[int, bytes] = {}

    def run(self) -> None:
        """Copy everything, then the attributes of the top itself."""
        try:
            for node in walk(self._old):
                self._close_until(node.path.rpartition(b"/")[0])
                self._add(node, self._trail[-1][1] if self._trail else self._new)
            self._close_until(b"")
        finally:
            while self._trail:
                os.close(self._trail.pop()[1])
        self._dress(Node(b"", self._old, b".", os.fstat(self._old)), self._new)

    def _close_until(self, path: bytes) -> None:
        """Finish the folders that are not on the way to *path*: nothing changes their time any more."""
        while self._trail and self._trail[-1][0] != path:
            _, folder, node = self._trail.pop()
            try:
                os.utime(folder, ns=(node.found.st_atime_ns, node.found.st_mtime_ns))
            finally:
                os.close(folder)

    def _add(self, node: Node, folder: int) -> None:
        mode = node.found.st_mode
        first = self._links.get(node.found.st_ino)
        if first is not None:
            os.link(first, node.name, src_dir_fd=self._new, dst_dir_fd=folder, follow_symlinks=False)
            return
        if stat.S_ISDIR(mode):
            os.mkdir(node.name, 0o700, dir_fd=folder)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(node.name, dir_fd=node.folder), node.name, dir_fd=folder)
        elif stat.S_ISREG(mode):
            _copy_file(node, folder)
        else:
            os.mknod(node.name, stat.S_IFMT(mode) | 0o600, node.found.st_rdev, dir_fd=folder)
        self._dress(node, folder)
        if stat.S_ISDIR(mode):
            self._trail.append((node.path, open_folder(node.name, folder), node))
        elif node.found.st_nlink > 1:
            self._links[node.found.st_ino] = node.path

    def _dress(self, node: Node, folder: int) -> None:
        """Give the copy in *folder* the attributes of *node*; owner first, since it clears others."""
        found = node.found
        os.chown(node.name, found.st_uid, found.st_gid, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(node.name, stat.S_IMODE(found.st_mode), dir_fd=folder)
        for attribute, value in read_at(node.folder, node.name).items():
            set_at(folder, node.name, attribute, value)
        times = (found.st_atime_ns, found.st_mtime_ns)
        os.utime(node.name, ns=times, dir_fd=folder, follow_symlinks=False)


def _copy_file(node: Node, folder: int) -> None:
    source = os.open(node.name, _READ, dir_fd=node.folder)
    try:
        target = os.open(node.name, _CREATE, 0o600, dir_fd=folder)
        try:
            os.ftruncate(target, node.found.st_size)
            for offset, length in data_pieces(source, node.found.st_size):
                _copy_piece(source, target, offset, length)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_piece(source: int, target: int, offset: int, length: int) -> None:
    """Copy within the kernel; it shares the blocks where the file system can; see copy_file_range(2)."""
    while length and (copied := os.copy_file_range(source, target, length, offset, offset)):
        offset += copied
        length -= copied
