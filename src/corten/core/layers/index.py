"""index: a tar stream stays a tar, and gets an index that makes it a file system.

Theory. Unpacking costs what making files costs: tens of thousands of inodes,
folders and journal entries, and the same again when they are removed. Yet the
tar has every byte already, in units that a file system can use as they lie.
So here the stream is written to one file as it passes, and a second one holds
what a file system needs besides: names, owners, places (see index_format.py).
The kernel mounts the two together.

A layer of so many names that their table would not fit into memory is unpacked
as usual after all.

Source: image-spec layer.md; linux/Documentation/filesystems/erofs.rst.
"""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO, cast

from corten.core.layers import index_format as erofs
from corten.core.layers.index_image import Image, write_all
from corten.core.layers.index_tree import TooLarge, Tree
from corten.core.layers.limits import DEFAULT, Limits
from corten.core.layers.readahead import ReadAhead
from corten.core.layers.tar import Archive, Entry
from corten.core.layers.unpack import Applied, apply
from corten.errors import OutOfSpace
from corten.linux.files import start_writeback

TAR, IMAGE = "layer.tar", "layer.erofs"
MARK = "trusted.corten.layer"
MEMORY = 150 << 20  # bytes that the names of one layer may take, about
_TAR_AT = 1 << 31  # block where the tar begins; the image itself ends before
_LONGEST = 1 << 39  # bytes of a stream and of its files that block numbers reach with ease
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITEBACK = 8 << 20  # bytes
_FULL = (errno.ENOSPC, errno.EDQUOT)


def index(
    stream: BinaryIO,
    directory: str,
    limits: Limits = DEFAULT,
    memory: int = MEMORY,
    keep: bool = True,
) -> Applied:
    """Write the uncompressed layer *stream* and an index of it into *directory*.

    There it leaves two files, ``TAR`` and ``IMAGE``, and sets the attribute
    ``MARK`` on the folder, which layers and containers cannot. A layer whose
    names are too many is unpacked there instead, and nothing is marked. Neither
    is durable before its snapshot is committed. On any failure *directory* is
    unfinished: remove it.

    Args:
        stream: Has ``read``; see ``decompress``. It is read to its end, on
            another thread, and stays open.
        directory: An existing empty folder.
        limits: Budgets.
        memory: Bytes that the names may take in memory, about.
        keep: False where the same bytes are being stored elsewhere too, and
            ``share`` will be called: then ``TAR`` is not written.

    Raises:
        DataCorrupted: not a tar archive, or one that leads out of the layer.
        LimitExceeded: over a budget.
        OutOfSpace: the disk is full.
        TooLarge: not to be kept, and of too many names: it has to be kept.
    """
    limits = limits._replace(bytes=min(limits.bytes, _LONGEST))
    try:
        with ExitStack() as undo:
            folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, folder)
            tar = _create(TAR, folder, undo) if keep else None
            image = _create(IMAGE, folder, undo)
            applied = _index(stream, tar, Image(image), limits, memory)
            if isinstance(applied, Applied):
                os.setxattr(folder, MARK, b"root" if applied.own_root else b"plain")
                return applied
            if tar is None:
                raise TooLarge
            os.unlink(IMAGE, dir_fd=folder)
            os.unlink(TAR, dir_fd=folder)
            os.lseek(tar, 0, os.SEEK_SET)
            with open(tar, "rb", buffering=0, closefd=False) as file:
                return apply(cast("BinaryIO", file), directory, limits)
    except OSError as failure:
        if failure.errno not in _FULL:
            raise
        raise OutOfSpace("no space left to unpack the layer: remove unused images") from failure


def share(directory: str, blob: BinaryIO) -> None:
    """Let the layer in *directory* use the file *blob*, which holds the bytes of its tar.

    Where the two lie on different file systems it has a copy. A layer that was
    unpacked needs neither.
    """
    if not os.path.exists(f"{directory}/{IMAGE}"):
        return
    new = f"{directory}/{TAR}.new"
    try:
        _link(blob.fileno(), new)
    except OSError:
        if os.path.exists(f"{directory}/{TAR}"):
            return
        with open(new, "xb") as copy:
            shutil.copyfileobj(blob, copy)
    os.rename(new, f"{directory}/{TAR}")


def _link(file: int, path: str) -> None:
    """Give an open file one more name; see linkat(2), AT_SYMLINK_FOLLOW."""
    descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # without a folder Python calls link(2), which does not follow
        os.link(str(file), path, src_dir_fd=descriptors, follow_symlinks=True)
    finally:
        os.close(descriptors)


def _create(name: str, folder: int, undo: ExitStack) -> int:
    file = os.open(name, _CREATE, 0o600, dir_fd=folder)
    undo.callback(os.close, file)
    return file


def _index(stream: BinaryIO, tar: int | None, image: Image, limits: Limits, memory: int) -> Applied | None:
    """Write both files; None when only the tar could be written, and is."""
    with ReadAhead(stream, limits.bytes) as blocks:
        archive = _Kept(blocks.next, tar, limits)
        indexer = _Indexer(image, archive, limits, memory)
        complete = indexer.run()
        archive.drain()
        diff_id = blocks.finish()
        if not complete:
            return None
        indexer.finish(bytes.fromhex(diff_id.hex[:32]))
        tree = indexer.tree
        return Applied(diff_id, tree.size, archive.entries, tree.own_root, tuple(tree.implied))


class _Kept(Archive):
    """An archive whose bytes are written to *file*, if there is one, as they pass, read or not."""

    def __init__(self, next_block: Callable[[], bytes], file: int | None, limits: Limits) -> None:
        super().__init__(self._pass, limits)
        self._source = next_block
        self._file = file
        self._begun = 0
        self.length = 0

    @property
    def position(self) -> int:
        """Where the next byte that ``chunks`` would return lies in the stream."""
        return self.length - len(self._block) + self._at

    def drain(self) -> None:
        """Write what follows the archive."""
        while self._pass():
            pass

    def _pass(self) -> bytes:
        block = self._source()
        if block and self._file is not None:
            write_all(self._file, block, self.length)
            if self.length - self._begun >= _WRITEBACK:
                start_writeback(self._file, self._begun, self.length - self._begun)
                self._begun = self.length
        self.length += len(block)
        return block


class _Indexer:
    """Puts the entries of *archive* into a tree, and the tree into *image*."""

    def __init__(self, image: Image, archive: _Kept, limits: Limits, memory: int) -> None:
        self.tree = Tree(image, self._place, limits, memory)
        self._image = image
        self._archive = archive

    def run(self) -> bool:
        """Take every entry; False when there are too many of them."""
        try:
            for entry in self._archive:
                self.tree.add(entry)
        except TooLarge:
            return False
        return True

    def finish(self, uuid: bytes) -> None:
        """Complete the image; the whole stream has passed."""
        blocks = -(-self._archive.length // erofs.BLOCK)
        self._image.finish(self.tree.root, (blocks, _TAR_AT), uuid)

    def _place(self, entry: Entry) -> int:
        """Return the first block of a file: in the tar as it lies, or of a copy where it has holes."""
        pieces = [] if entry.pieces is None else [piece for piece in entry.pieces if piece[1]]
        if entry.pieces is None or pieces == [(0, entry.size)]:
            return _TAR_AT + self._archive.position // erofs.BLOCK
        place = self._image.reserve(entry.size)
        for offset, length in pieces:
            self._image.fill(place + offset, self._archive.chunks(length))
        return place // erofs.BLOCK
