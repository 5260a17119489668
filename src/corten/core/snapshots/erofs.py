"""ErofsSnapshotter: a layer stays the tar it came as; the kernel mounts an index of it.

Theory. A tree of files costs as many inodes, journal entries and unlinks as the
layer has names. Here a committed layer is two files, and the kernel shows them
as a folder (erofs, mounted from files since Linux 6.12). What a container
writes goes into an upper folder as ever: so this is the overlay snapshotter
with other lower layers, and both kinds may stand in one chain. A container that
is committed, or a layer too large for an index, stays a tree.

Which kind a committed snapshot is shows in its folder: ``layer`` holds the tar
and its index, ``fs`` a tree. The first comes about at commit alone, from a
folder with a mark that neither layers nor containers can set, since an index
that a stranger wrote must never be mounted.

Source: linux/Documentation/filesystems/erofs.rst, overlayfs.rst.
"""

import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from io import BytesIO
from typing import BinaryIO

from corten.core.snapshots import erofs_layers
from corten.core.snapshots.browse import tree
from corten.core.snapshots.catalogue import Catalogue, Record
from corten.core.snapshots.overlay import OverlaySnapshotter, _Root
from corten.core.snapshots.snapshotter import KEEP, Form, Keep, Snapshot, Usage
from corten.core.snapshots.tree import measure
from corten.errors import CortenError, DataCorrupted, NotFound
from corten.linux.files import remove_tree, sync_filesystem
from corten.linux.mounts import AT_FDCWD, clone_tree, overlay

_DEADLINE = 5.0  # seconds for a probe


class ErofsSnapshotter(OverlaySnapshotter):
    """Snapshots as upper folders on top of tars.

    It holds a descriptor for each layer in use. ``mounts`` names it in /proc,
    so that a process without the right to look into this one cannot use it.

    Args:
        directory: As for OverlaySnapshotter; must satisfy ``probe`` of this module.
        executor: As for OverlaySnapshotter.
    """

    form: Form = "index"

    def __init__(self, directory: str, executor: Executor | None = None) -> None:
        super().__init__(directory, executor)
        self._catalogue = Catalogue(directory, executor, _sync)
        self._indexed: dict[int, bool] = {}  # of committed snapshots
        self._layers = erofs_layers.Layers()

    def commit(
        self, name: str, key: str, parent: str | Keep | None = KEEP, own_root: bool = False
    ) -> Snapshot:
        """Turn the active *key* into the committed *name*, durably; a layer's two files, or a tree."""
        active = self._catalogue.find(key)
        folder = self._catalogue.path(active.number, "fs")
        mark = erofs_layers.mark(folder)
        if not (mark or self._is_layer(active.number)):
            return super().commit(name, key, parent, own_root)

        def finish(record: Record) -> None:
            if record.parent and mark == "plain" and not own_root:
                root = self._root_of(self._catalogue.find(record.parent))
                image = f"{folder}/{erofs_layers.IMAGE}"
                attributes = erofs_layers.Attributes(root.mode, root.uid, root.gid, root.modified or 0)
                erofs_layers.set_root(image, attributes)
            if mark:
                os.rename(folder, self._catalogue.path(record.number, "layer"))

        record = self._catalogue.commit(name, key, parent, finish)
        top = os.open(self._catalogue.path(record.number), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(top, b"work")
        finally:
            os.close(top)
        return self._snapshot(record)

    def inherit(self, key: str, parent: str, folders: Iterable[bytes]) -> None:
        """Give *folders* of the active *key* what the committed *parent* says of them; see Snapshotter."""
        folder = self._catalogue.path(self._catalogue.find(key).number, "fs")
        if not erofs_layers.mark(folder):
            super().inherit(key, parent, folders)
            return
        with tree(self.mounts(parent)[0]) as below:
            erofs_layers.inherit(folder, below, folders)

    def usage(self, key: str) -> Usage:
        """Count what the upper folder of *key*, or the tar and its index, take."""
        record = self._catalogue.find(key)
        if self._holds_layer(record) and record.number not in self._usage:
            self._usage[record.number] = measure(self._catalogue.path(record.number, "layer"))
        return super().usage(key)

    def _forget(self, number: int) -> None:
        """Let go of the layer as well; containers that still show it are not disturbed."""
        super()._forget(number)
        self._indexed.pop(number, None)
        self._layers.drop(number)

    def close(self) -> None:
        """Let go of all layers; what is mounted stays."""
        self._layers.close()

    def _make_root(self, path: str, parent: str | None) -> None:
        """Make the upper folder, and mount its layers now, so that ``mounts`` need not."""
        if parent is not None:
            self._chain(self._catalogue.find(parent))
        super()._make_root(path, parent)

    def _chain(self, record: Record) -> list[str]:
        """Return the folders that *record* shows, the youngest first, down to an opaque root."""
        trees = []
        for each in self._catalogue.chain(record):
            if each.kind != "view":
                trees.append(self._shown(each))
            if each.kind == "committed" and self._root_of(each).opaque:
                break
        return trees

    def _shown(self, record: Record) -> str:
        """Return the path of the tree that a snapshot itself holds."""
        if self._holds_layer(record):
            return f"/proc/{os.getpid()}/fd/{self._mounted(record)}"
        return self._catalogue.path(record.number, "fs")

    def _root_of(self, record: Record) -> _Root:
        """Look at the root of a committed snapshot once."""
        if self._holds_layer(record) and record.number not in self._roots:
            mounted = self._mounted(record)
            found = os.stat(mounted)
            opaque = "trusted.overlay.opaque" in os.listxattr(f"/proc/self/fd/{mounted}")
            self._roots[record.number] = _Root(
                stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, opaque, found.st_mtime_ns
            )
        return super()._root_of(record)

    def _mounted(self, record: Record) -> int:
        """Return the descriptor of a layer's mount.

        Raises:
            NotFound: the layer was removed meanwhile; nobody would let go of the mount later.
            DataCorrupted: the kernel cannot read it.
        """
        try:
            mounted = self._layers.mounted(record.number, self._catalogue.path(record.number, "layer"))
        except DataCorrupted:
            if self._catalogue.holds(record):
                raise
            raise NotFound("snapshot", record.key) from None
        if not self._catalogue.holds(record):
            self._layers.drop(record.number)
            raise NotFound("snapshot", record.key)
        return mounted

    def _holds_layer(self, record: Record) -> bool:
        if record.kind != "committed":
            return False
        if record.number not in self._indexed:
            self._indexed[record.number] = self._is_layer(record.number)
        return self._indexed[record.number]

    def _is_layer(self, number: int) -> bool:
        return os.path.lexists(self._catalogue.path(number, "layer"))

    def _snapshot(self, record: Record) -> Snapshot:
        made = super()._snapshot(record)
        if self._holds_layer(record):
            return made._replace(directory=self._catalogue.path(record.number, "layer"))
        return made


def _sync(folder: int) -> None:
    """Make a snapshot durable: two files, or all of a tree."""
    try:
        layer = os.open("layer", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        sync_filesystem(folder)
        return
    try:
        erofs_layers.sync(layer)
    finally:
        os.close(layer)


def probe(directory: str, index: Callable[[BinaryIO, str], object], deadline: float = _DEADLINE) -> bool:
    """Tell whether layers can be mounted from files of *directory*'s file system, by doing it all once.

    Args:
        directory: Where snapshots would lie; left as it was.
        index: What makes a layer's two files of a tar: ``layers.index.index``.
        deadline: Seconds after which the answer is no.
    """
    answers: list[bool] = []
    trial = threading.Thread(
        target=lambda: answers.append(_try(directory, index)), name="erofs-probe", daemon=True
    )
    trial.start()
    trial.join(deadline)
    return answers == [True]


def _try(directory: str, index: Callable[[BinaryIO, str], object]) -> bool:
    with tempfile.TemporaryDirectory(dir=directory, prefix="probe") as top:
        for name in ("layer", "upper", "work"):
            os.mkdir(f"{top}/{name}")
        try:
            index(BytesIO(_tar()), f"{top}/layer")
            layer = erofs_layers.Layers()
            try:
                shown = f"/proc/{os.getpid()}/fd/{layer.mounted(0, f'{top}/layer')}"
                os.close(clone_tree(AT_FDCWD, shown))
                return _stacks(shown, f"{top}/upper", f"{top}/work")
            finally:
                layer.close()
        except (OSError, CortenError):
            return False


def _stacks(lower: str, upper: str, work: str) -> bool:
    """Read, change and delete through an overlay on top of the layer."""
    root = overlay([lower], upper, work)
    try:
        here = f"/proc/self/fd/{root}"
        with open(f"{here}/file", "r+b") as file:
            text = file.read()
            file.write(b"!")
        os.rmdir(f"{here}/folder")
        os.mkdir(f"{here}/folder")
        changed = os.path.getsize(f"{upper}/file")
        opaque = os.getxattr(f"{upper}/folder", "trusted.overlay.opaque")
        return (text, changed, opaque) == (_TEXT, len(_TEXT) + 1, b"y")
    finally:
        os.close(root)


_TEXT = b"x" * 700  # more than a block


def _tar() -> bytes:
    """Return a tar of a file and a folder."""
    return (
        _header(b"file", b"0", len(_TEXT))
        + _TEXT.ljust(1024, b"\0")
        + _header(b"folder/", b"5", 0)
        + bytes(1024)
    )


def _header(name: bytes, kind: bytes, size: int) -> bytes:
    """Return a header as POSIX.1-2017 pax, "ustar Interchange Format", has it."""
    head = name.ljust(100, b"\0") + b"0000755\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    tail = (kind + bytes(100) + b"ustar\x0000").ljust(356, b"\0")
    return b"%b%06o\0 %b" % (head, sum(head) + sum(tail) + 8 * 0x20, tail)
