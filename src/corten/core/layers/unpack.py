"""apply: a tar stream becomes a tree.

Theory. Unpacking strangers' archives as root is where container engines have
failed most often: names with ``..``, links made first and written through
later, folders swapped for links between two entries, whiteouts named ``..``.
All of these need a path that is resolved twice, or text that reaches the kernel
unchecked. Here each entry is one clean name inside an open folder (see
folders.py), created exclusively: what exists is removed first and never
opened. Nothing is trusted to stay: a replaced folder or link empties the
memory of folders.

Speed comes from doing nothing that creation has done: a file takes open, write,
utimensat and close; chown, chmod and xattrs follow only where they differ from
what a new file has. Modes that children would inherit (set-group-id) and times
are set on folders at the end.

Source: image-spec layer.md; overlayfs.rst, "whiteouts and opaque directories".
"""

import errno
import os
import stat
from array import array
from contextlib import suppress
from typing import BinaryIO, Literal, NamedTuple

from corten.core.layers import names
from corten.core.layers.folders import Folders
from corten.core.layers.limits import DEFAULT, Limits
from corten.core.layers.readahead import ReadAhead
from corten.core.layers.tar import Archive, Entry
from corten.core.layers.whiteouts import OverlayWhiteouts, PlainWhiteouts
from corten.errors import DataCorrupted, LimitExceeded, OutOfSpace
from corten.linux.files import read_umask, remove_tree, start_writeback
from corten.linux.xattrs import set_at
from corten.oci.digest import Digest

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGE = 1 << 20  # bytes of a file that the disk may as well begin with at once
_LATEST = (1 << 63) - 1  # ns since the epoch that a folder's time is kept up to: the year 2262
_HOLDER = 80  # bytes that an object in a container takes besides its text
_NOBODY = (1 << 32) - 1  # chown(2) reads it as "leave as it is", which would be root
_FULL = (errno.ENOSPC, errno.EDQUOT)
_THEIR_FAULT = (
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOENT, errno.EINVAL, errno.EMLINK,
    errno.EXDEV, errno.EFBIG, errno.ERANGE, errno.E2BIG, errno.EILSEQ,
)  # fmt: skip
_DEVICES = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}


class Applied(NamedTuple):
    """What a layer was: digest of the uncompressed stream, sum of its file sizes in bytes, entries.

    ``own_root`` tells whether it says what its root folder is like; else that
    is for the layer below to say, as it is for the folders ``implied``, which it
    has entries in but none for.
    """

    diff_id: Digest
    size: int
    entries: int
    own_root: bool = False
    implied: tuple[bytes, ...] = ()


def apply(
    stream: BinaryIO,
    directory: str,
    limits: Limits = DEFAULT,
    whiteouts: Literal["overlay", "plain"] = "overlay",
) -> Applied:
    """Unpack the uncompressed layer *stream* into *directory*.

    Nothing else may change the tree meanwhile. The tree is not durable before
    its snapshot is committed. On any failure the tree is unfinished: remove it.

    Args:
        stream: Has ``read``; see ``decompress``. It is read to its end, on
            another thread, and stays open.
        directory: An existing folder: the changes of the layer alone (overlay),
            or the tree it changes (plain).
        limits: Budgets.
        whiteouts: *overlay* keeps deletions as the kernel's overlay wants them,
            *plain* carries them out.

    Raises:
        DataCorrupted: not a tar archive, or one that leads out of the layer.
        LimitExceeded: over a budget.
        OutOfSpace: the disk is full.
    """
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with ReadAhead(stream, limits.bytes) as blocks:
            archive = Archive(blocks.next, limits)
            unpacker = _Unpacker(root, archive, limits, whiteouts == "plain")
            try:
                unpacker.run()
            finally:
                unpacker.folders.close()
            return Applied(
                blocks.finish(),
                unpacker.size,
                archive.entries,
                unpacker.own_root,
                tuple(unpacker.implied),
            )
    finally:
        os.close(root)


class _Unpacker:
    """The tree below *root*, while the entries of *archive* are put there."""

    def __init__(self, root: int, archive: Archive, limits: Limits, plain: bool) -> None:
        self.folders = Folders(root, self._make_missing)
        self.size = 0
        self.own_root = False
        self.implied: dict[bytes, None] = {}
        self._root = root
        self._archive = archive
        self._limits = limits
        self._whiteouts = (
            PlainWhiteouts(self.folders, self._remember) if plain else OverlayWhiteouts(self.folders)
        )
        self._remembered = 0  # bytes
        # New files inherit from what is there: a group, or access lists.
        self._inherits = plain or bool(os.fstat(root).st_mode & stat.S_ISGID)
        self._unmasked = 0o777 & ~read_umask()
        self._paths: list[bytes] = []  # folders, and in the same order their times
        self._times = array("q")
        self._late: dict[bytes, tuple[int, dict[bytes, bytes]]] = {}  # folder -> mode, xattrs

    def run(self) -> None:
        """Unpack every entry, then what had to wait."""
        name = b""
        try:
            for entry in self._archive:
                name = entry.name
                self._add(entry)
            self._finish()
        except OSError as failure:
            raise _explained(failure, name) from failure

    def _add(self, entry: Entry) -> None:
        self.folders.settle()
        path = names.clean(entry.name)
        names.check(path, self._limits)
        above, _, name = path.rpartition(b"/")
        if name.startswith(names.WHITEOUT):
            self._whiteouts.add(above, name)
            return
        if entry.uid >= _NOBODY or entry.gid >= _NOBODY or entry.uid < 0 or entry.gid < 0:
            raise DataCorrupted(f"the layer gives {names.shown(path)} to user {entry.uid}:{entry.gid}")
        if not path:
            self._set_root(entry)
            return
        folder = self.folders.open(above)
        self._whiteouts.keep(path)
        kind = entry.kind
        if kind == b"0":
            self._file(folder, name, entry)
        elif kind == b"5":
            self._folder(folder, name, path, entry)
        elif kind == b"1":
            self._hard_link(folder, name, path, entry)
        elif kind == b"2" or kind in _DEVICES:
            self._node(folder, name, path, entry)
        else:
            raise DataCorrupted(f"the layer has an entry of unknown kind {kind!r}: {names.shown(path)}")

    def _set_root(self, entry: Entry) -> None:
        """Give the root the owner, mode and time of its entry."""
        if entry.kind != b"5":
            raise DataCorrupted("the layer replaces its root by something that is no folder")
        self.own_root = True
        os.fchown(self._root, entry.uid, entry.gid)
        os.fchmod(self._root, entry.mode & ~stat.S_ISGID)
        self._postpone(b"", entry)

    def _file(self, folder: int, name: bytes, entry: Entry) -> None:
        self.size += entry.size
        if self.size > self._limits.bytes:
            raise LimitExceeded(f"the files of the layer take more than {self._limits.bytes} bytes")
        mode = entry.mode
        try:
            file = os.open(name, _CREATE, mode & 0o777, dir_fd=folder)
        except FileExistsError:
            self._remove(folder, name)
            file = os.open(name, _CREATE, mode & 0o777, dir_fd=folder)
        try:
            if entry.pieces is not None:
                self._write_pieces(file, entry.size, entry.pieces)
            elif entry.size:
                self._write(file, entry.size)
                if entry.size >= _LARGE:
                    start_writeback(file, 0, entry.size)
            if entry.uid or entry.gid or self._inherits:
                os.fchown(file, entry.uid, entry.gid)
            if mode & ~self._unmasked or self._inherits:
                os.fchmod(file, mode)
            if entry.xattrs:
                self._set_xattrs(folder, name, entry.xattrs)
            os.utime(file, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(file)

    def _write(self, file: int, size: int) -> None:
        for chunk in self._archive.chunks(size):
            written = os.write(file, chunk)
            while written < len(chunk):
                written += os.write(file, chunk[written:])

    def _write_pieces(self, file: int, size: int, pieces: list[tuple[int, int]]) -> None:
        os.ftruncate(file, size)
        for offset, length in pieces:
            os.lseek(file, offset, os.SEEK_SET)
            self._write(file, length)

    def _folder(self, folder: int, name: bytes, path: bytes, entry: Entry) -> None:
        """Make a folder, or give the one that exists these attributes; what lies in it stays."""
        mode = entry.mode & ~stat.S_ISGID
        try:
            os.mkdir(name, mode & 0o777, dir_fd=folder)
            fresh = not self._inherits
        except FileExistsError:
            self._whiteouts.make_way(folder, name, self._remove)
            fresh = False
        if entry.uid or entry.gid or not fresh:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        if mode & ~self._unmasked or not fresh:
            os.chmod(name, mode, dir_fd=folder)  # a folder for sure: just made, or looked at
        self._postpone(path, entry)

    def _postpone(self, path: bytes, entry: Entry) -> None:
        """Keep for the end what entries inside the folder would inherit or change."""
        self.implied.pop(path, None)
        self._remember(len(path) + sum(len(key) + len(value) for key, value in entry.xattrs.items()))
        self._paths.append(path)
        self._times.append(min(entry.mtime, _LATEST))
        self._late.pop(path, None)
        if entry.xattrs or entry.mode & stat.S_ISGID:
            self._late[path] = (entry.mode, entry.xattrs)

    def _remember(self, size: int) -> None:
        """Account for what is kept in memory up to the end, *size* bytes and what holds them."""
        self._remembered += size + _HOLDER
        if self._remembered > self._limits.memory:
            raise LimitExceeded(
                f"the layer has more folders and attributes than {self._limits.memory} bytes of memory can hold"
            )

    def _make_missing(self, above: int, name: bytes, path: bytes) -> None:
        """Make a folder that no entry has named yet, and may be named later."""
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        except FileExistsError:
            self._whiteouts.make_way(above, name, self._remove)
        self._whiteouts.keep(path)
        self._remember(len(path))
        self.implied[path] = None

    def _hard_link(self, folder: int, name: bytes, path: bytes, entry: Entry) -> None:
        target = names.clean(entry.link)
        above, _, old = target.rpartition(b"/")
        try:
            source = self.folders.open(above, make=False)
            found = os.lstat(old, dir_fd=source)
        except FileNotFoundError:
            found = None
        if found is None or not old or stat.S_ISDIR(found.st_mode):
            raise DataCorrupted(
                f"the layer links {names.shown(path)} to {names.shown(target)}, which is no file of it"
            )
        try:
            os.link(old, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            if os.path.samestat(os.lstat(name, dir_fd=folder), found):
                return
            self._remove(folder, name)
            os.link(old, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)

    def _node(self, folder: int, name: bytes, path: bytes, entry: Entry) -> None:
        """Make a symbolic link, a device or a FIFO."""
        try:
            self._make_node(folder, name, path, entry)
        except FileExistsError:
            self._remove(folder, name)
            self._make_node(folder, name, path, entry)
        if entry.uid or entry.gid or self._inherits:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        if entry.kind != b"2" and (entry.mode & ~self._unmasked or self._inherits):
            os.chmod(name, entry.mode, dir_fd=folder)  # no link: made two lines above
        self._set_xattrs(folder, name, entry.xattrs)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _make_node(self, folder: int, name: bytes, path: bytes, entry: Entry) -> None:
        if entry.kind == b"2":
            os.symlink(entry.link, name, dir_fd=folder)
            return
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise DataCorrupted(f"the layer has an impossible device number for {names.shown(path)}")
        device = os.makedev(entry.major, entry.minor)
        os.mknod(name, _DEVICES[entry.kind] | entry.mode & 0o777, device, dir_fd=folder)

    def _remove(self, folder: int, name: bytes) -> None:
        """Remove what an earlier entry put there, and forget folders that it may have led to."""
        found = os.lstat(name, dir_fd=folder)
        remove_tree(folder, name)
        if stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode):
            self.folders.forget()

    def _set_xattrs(self, folder: int, name: bytes, xattrs: dict[bytes, bytes]) -> None:
        for attribute, value in xattrs.items():
            if names.is_allowed_xattr(attribute):
                try:
                    set_at(folder, name, attribute, value)
                except OSError as failure:  # kept where the file system can; never on links and devices
                    if failure.errno in _FULL and os.fstatvfs(folder).f_bavail:
                        raise DataCorrupted(
                            f"the layer has more extended attributes for {names.shown(name)} than the file system takes"
                        ) from None
                    if failure.errno not in (errno.ENOTSUP, errno.EPERM):
                        raise

    def _finish(self) -> None:
        """Set on folders what had to wait until everything is in them."""
        for path, (mode, xattrs) in self._late.items():
            with suppress(FileNotFoundError, NotADirectoryError):
                folder, name = self._open_above(path)
                descriptor = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    os.fchmod(descriptor, mode)
                finally:
                    os.close(descriptor)
                self._set_xattrs(folder, name, xattrs)
        for path, time in zip(self._paths, self._times, strict=True):
            with suppress(FileNotFoundError, NotADirectoryError):
                folder, name = self._open_above(path)
                descriptor = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    os.utime(descriptor, ns=(time, time))
                finally:
                    os.close(descriptor)

    def _open_above(self, path: bytes) -> tuple[int, bytes]:
        """Return the folder of *path* and its name in it; the root is ``.`` in itself."""
        self.folders.settle()
        above, _, name = path.rpartition(b"/")
        return self.folders.open(above, make=False), name or b"."


def _explained(failure: OSError, name: bytes) -> Exception:
    """Turn what the kernel said of an entry into what the user can do about it."""
    if failure.errno in _FULL:
        return OutOfSpace("no space left to unpack the layer: remove unused images")
    if failure.errno in _THEIR_FAULT:
        return DataCorrupted(f"the layer's entry {names.shown(name)} cannot be made: {failure.strerror}")
    return failure
