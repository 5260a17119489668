"""Writing an index: what is no folder at once and in passing, folders at the end.

Theory. An inode of a file needs nothing that comes later in the tar but its
number of names, which is patched at the end. So memory holds the names alone.
Folders change until the last entry: their inodes and names follow the files'.
The root has room kept for it at the front, as the superblock can name nothing
that lies far behind; its attributes go into the shared area at the very end,
because how many bytes they take is known last. An image gets its superblock as
the last thing: one that was cut short is none.
"""

import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping

from corten.core.layers import index_format as erofs
from corten.core.layers.names import OVERLAY_OPAQUE

HIDDEN = 0  # in place of a type: a whiteout
_BUFFER = 1 << 20  # bytes
_PAGE = 4096
_ROOT = erofs.FIRST // erofs.SLOT
_AFTER_ROOT = -(-(erofs.FIRST + erofs.INODE + 12 + 4 * erofs.MOST_SHARED) // erofs.SLOT) * erofs.SLOT


class Folder:
    """A folder of the index; ``names`` has folders, and for the rest ``nid << 3 | type``."""

    __slots__ = ("gid", "mode", "mtime", "names", "nid", "opaque", "uid", "xattrs")

    def __init__(self) -> None:
        self.names: dict[bytes, Folder | int] = {}
        self.mode = stat.S_IFDIR | 0o755
        self.uid = self.gid = 0
        self.mtime = 0
        self.xattrs: Mapping[bytes, bytes] = {}
        self.opaque = False
        self.nid = 0


class _Stream:
    """Appends to *file* from *position* on, in large pieces."""

    def __init__(self, file: int, position: int) -> None:
        self._file = file
        self._begun = position
        self._buffer = bytearray()

    @property
    def position(self) -> int:
        return self._begun + len(self._buffer)

    def add(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            self.flush()

    def align(self, unit: int) -> None:
        self._buffer += bytes(-self.position % unit)

    def skip(self, length: int) -> None:
        """Leave *length* bytes as a hole."""
        self.flush()
        self._begun += length

    def flush(self) -> None:
        write_all(self._file, self._buffer, self._begun)
        self._begun += len(self._buffer)
        self._buffer = bytearray()


class Image:
    """The index in the empty *file*, while it is written."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._out = _Stream(file, _AFTER_ROOT)
        self._inodes = 0
        self._links: dict[int, int] = {}

    def add(
        self, mode: int, uid: int, gid: int, mtime: int, size: int = 0, where: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> int:  # fmt: skip
        """Write the inode of what is no folder and no link; return its nid."""
        body = erofs.attributes(xattrs) if xattrs else b""
        nid = self._out.position // erofs.SLOT
        self._inodes += 1
        made = erofs.inode(self._inodes, erofs.PLAIN, mode, uid, gid, mtime, size, where, body)
        self._out.add(erofs.padded(made) if body else made)
        return nid

    def add_link(self, uid: int, gid: int, mtime: int, target: bytes, xattrs: Mapping[bytes, bytes]) -> int:
        """Write a symbolic link; its target follows the inode within one block, or has one of its own."""
        body = erofs.attributes(xattrs)
        whole = erofs.INODE + len(body) + len(target)
        layout, where = erofs.INLINE, 0
        if whole > erofs.BLOCK:
            self._out.align(erofs.BLOCK)
            layout, where = erofs.PLAIN, self._out.position // erofs.BLOCK
            self._out.add(target)
            self._out.align(erofs.BLOCK)
        elif self._out.position % erofs.BLOCK + whole > erofs.BLOCK:
            self._out.align(erofs.BLOCK)
        nid = self._out.position // erofs.SLOT
        self._inodes += 1
        mode = stat.S_IFLNK | 0o777
        made = erofs.inode(self._inodes, layout, mode, uid, gid, mtime, len(target), where, body)
        self._out.add(erofs.padded(made if where else made + target))
        return nid

    def read_link(self, nid: int) -> bytes:
        """Return the target of a link that was added."""
        self._out.flush()
        head = os.pread(self._file, erofs.INODE, nid * erofs.SLOT)
        return os.pread(self._file, *erofs.data_of(head, nid))

    def reserve(self, size: int) -> int:
        """Return where in the file *size* bytes of zeros lie, to be written by the caller."""
        self._out.align(_PAGE)
        place = self._out.position
        self._out.skip(size + -size % _PAGE)
        return place

    def fill(self, position: int, chunks: Iterable[memoryview]) -> None:
        """Write *chunks*, one after another, into what was reserved."""
        for chunk in chunks:
            write_all(self._file, chunk, position)
            position += len(chunk)

    def link(self, nid: int) -> None:
        """Count one more name of an inode."""
        self._links[nid] = self._links.get(nid, 1) + 1

    def unlink(self, nid: int) -> None:
        """Count one name less; an inode without any stays in the image, unseen."""
        if nid in self._links:
            self._links[nid] -= 1

    def finish(self, root: Folder, device: tuple[int, int], uuid: bytes) -> None:
        """Write the folders below *root*, and the superblock; see ``index_format.superblock``."""
        out = self._out
        out.align(erofs.BLOCK)
        shared = out.position
        places = []
        for attribute in (erofs.attribute(*pair) for pair in _attributes(root).items()):
            places.append((out.position - shared) // 4)
            out.add(attribute)
        out.align(erofs.SLOT)
        out.flush()
        size = self._add_folders(root, erofs.attributes({}, places))
        for nid, count in self._links.items():
            os.pwrite(self._file, struct.pack("<I", count), erofs.links_at(nid))
        head = erofs.superblock(_ROOT, self._inodes, size, shared // erofs.BLOCK, device, uuid)
        write_all(self._file, head, erofs.SUPERBLOCK)

    def _add_folders(self, root: Folder, body: bytes) -> int:
        """Write all inodes of folders, with *body* for the root, then all names; return where they end."""
        inodes = _Stream(self._file, self._out.position)
        end = _number(root, inodes.position)
        data = _Stream(self._file, end + -end % erofs.BLOCK)
        for folder, parent in _folders(root):
            begun = data.position
            for block in erofs.folder_blocks(_listed(folder, parent)):
                data.add(block)
            size = data.position - begun
            data.align(erofs.BLOCK)
            children = sum(isinstance(value, Folder) for value in folder.names.values())
            self._inodes += 1
            made = erofs.inode(
                self._inodes, erofs.PLAIN, folder.mode, folder.uid, folder.gid, folder.mtime, size, begun // erofs.BLOCK,
                body if folder is root else erofs.attributes(_attributes(folder)), children + 2,
            )  # fmt: skip
            if folder is root:
                write_all(self._file, made, erofs.FIRST)
            else:
                inodes.add(erofs.padded(made))
        inodes.flush()
        data.align(_PAGE)
        data.flush()
        return data.position


def _attributes(folder: Folder) -> Mapping[bytes, bytes]:
    return {**folder.xattrs, OVERLAY_OPAQUE: b"y"} if folder.opaque else folder.xattrs


def _number(root: Folder, position: int) -> int:
    """Give the folders but the root their nids, from *position* on; return where the last one ends."""
    root.nid = _ROOT
    for folder, parent in _folders(root):
        if folder is not parent:
            folder.nid = position // erofs.SLOT
            size = erofs.INODE + len(erofs.attributes(_attributes(folder)))
            position += size + -size % erofs.SLOT
    return position


def _folders(root: Folder) -> Iterator[tuple[Folder, Folder]]:
    """Yield every folder with the one above it, which for the root is itself; always in the same order."""
    waiting = [(root, root)]
    while waiting:
        folder, parent = waiting.pop()
        yield folder, parent
        waiting += [(child, folder) for child in folder.names.values() if isinstance(child, Folder)]


def _listed(folder: Folder, parent: Folder) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, nid, type) of all that is in *folder*, in the order of a folder's blocks."""
    own = {b".": folder, b"..": parent}
    for name in sorted([*folder.names, *own]):
        value = folder.names.get(name) or own[name]
        if isinstance(value, Folder):
            yield name, value.nid, erofs.FOLDER
        else:
            yield name, value >> 3, value & 7 or erofs.CHARACTER


def write_all(file: int, data: bytes | bytearray | memoryview, position: int) -> None:
    """Write all of *data* at *position*."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, position)
        position += written
        view = view[written:]
