"""OverlaySnapshotter: the kernel stacks the trees; preparing one is a few empty folders.

Source: linux/Documentation/filesystems/overlayfs.rst.
"""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

from corten.core.snapshots.catalogue import Catalogue, Record
from corten.core.snapshots.inherit import inherit
from corten.core.snapshots.snapshotter import KEEP, Form, Keep, Kind, Snapshot, Usage
from corten.core.snapshots.tree import measure
from corten.linux.files import remove_tree
from corten.linux.mounts import overlay
from corten.oci.spec import Mount

_PARAMETERS = "/sys/module/overlay/parameters"
# Kernel defaults that would put more into an upper folder than a layer can express,
# or that tie it to the place where it was first mounted.
_UNWANTED = ("redirect_dir", "metacopy", "index")


class _Root(NamedTuple):
    """What is remembered of the top folder of a committed tree."""

    mode: int
    uid: int
    gid: int
    opaque: bool
    modified: int | None = None  # ns since the epoch


_PLAIN_ROOT = _Root(0o755, 0, 0, False)


class OverlaySnapshotter:
    """Snapshots as upper and lower folders of overlay mounts.

    Args:
        directory: Made when absent; its file system must satisfy ``probe``. Its
            path must hold no colon, comma or backslash, which separate options.
        executor: Runs the unlinking of what was removed; without one it waits
            for ``sweep``.
    """

    form: Form = "overlay"
    late_parent = True

    def __init__(self, directory: str, executor: Executor | None = None) -> None:
        self._catalogue = Catalogue(directory, executor)
        self._extra = tuple(f"{name}=off" for name in _UNWANTED if _enabled(name))
        self._roots: dict[int, _Root] = {}
        self._usage: dict[int, Usage] = {}

    def prepare(self, key: str, parent: str | None = None) -> Snapshot:
        """Make an active snapshot; about ten system calls, whatever the size of *parent*."""
        return self._snapshot(self._add(key, parent, "active"))

    def view(self, key: str, parent: str) -> Snapshot:
        """Make a read-only snapshot of *parent*; its own folder stays empty."""
        return self._snapshot(self._add(key, parent, "view"))

    def _add(self, key: str, parent: str | None, kind: Kind) -> Record:
        def fill(number: int) -> None:
            self._make_root(self._catalogue.path(number, "fs"), parent)
            if kind == "active":
                os.mkdir(self._catalogue.path(number, "work"), 0o700)

        return self._catalogue.add(key, parent, kind, fill)

    def _make_root(self, path: str, parent: str | None) -> None:
        """Make the upper folder with the mode, owner and time of the root it will cover."""
        os.mkdir(path, 0o755)
        self._dress_root(path, self._root_of(self._catalogue.find(parent)) if parent else _PLAIN_ROOT)

    def _dress_root(self, path: str, root: _Root) -> None:
        if (root.uid, root.gid) != (0, 0):
            os.chown(path, root.uid, root.gid)
        os.chmod(path, root.mode)
        if root.modified is not None:
            os.utime(path, ns=(root.modified, root.modified))

    def _root_of(self, record: Record) -> _Root:
        """Look at a committed tree once; it never changes."""
        if record.number not in self._roots:
            path = self._catalogue.path(record.number, "fs")
            found = os.stat(path)
            opaque = b"trusted.overlay.opaque" in map(os.fsencode, os.listxattr(path))
            self._roots[record.number] = _Root(
                stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, opaque, found.st_mtime_ns
            )
        return self._roots[record.number]

    def _chain(self, record: Record) -> list[str]:
        """Return the trees that *record* shows, the youngest first.

        The chain ends at a root that is opaque: a layer may hide all that lies
        below it, and the kernel does not look for that mark on roots.
        """
        trees = []
        for each in self._catalogue.chain(record):
            if each.kind != "view":
                trees.append(self._catalogue.path(each.number, "fs"))
            if each.kind == "committed" and self._root_of(each).opaque:
                break
        return trees

    def commit(
        self, name: str, key: str, parent: str | Keep | None = KEEP, own_root: bool = False
    ) -> Snapshot:
        """Turn the active *key* into the committed *name*, durably; see Snapshotter."""

        def finish(record: Record) -> None:
            if record.parent and self._catalogue.find(key).parent is None and not own_root:
                root = self._root_of(self._catalogue.find(record.parent))
                self._dress_root(self._catalogue.path(record.number, "fs"), root)

        number = self._catalogue.find(key).number
        with ThreadPoolExecutor(1) as pool:  # the disk is waited for meanwhile
            usage = pool.submit(measure, self._catalogue.path(number, "fs"))
            record = self._catalogue.commit(name, key, parent, finish)
        if usage.exception() is None:
            self._usage[number] = usage.result()
        folder = os.open(self._catalogue.path(record.number), os.O_RDONLY | os.O_DIRECTORY)
        try:
            remove_tree(folder, b"work")
        finally:
            os.close(folder)
        return self._snapshot(record)

    def inherit(self, key: str, parent: str, folders: Iterable[bytes]) -> None:
        """Give *folders* of the active *key* what the committed *parent* says of them."""
        upper = self._catalogue.path(self._catalogue.find(key).number, "fs")
        inherit(upper, self._chain(self._catalogue.find(parent)), folders)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return one overlay mount, or a bind mount where there is nothing to stack.

        The disk is looked at once for each committed layer, and never again.
        """
        record = self._catalogue.find(key)
        trees = self._chain(record)
        writable = record.kind == "active"
        if len(trees) == 1:
            return (Mount("/", "bind", trees[0], ("bind", "rw" if writable else "ro")),)
        if not writable:
            return (Mount("/", "overlay", "overlay", ("ro", f"lowerdir={':'.join(trees)}", *self._extra)),)
        options = (
            f"lowerdir={':'.join(trees[1:])}",
            f"upperdir={trees[0]}",
            f"workdir={self._catalogue.path(record.number, 'work')}",
        )
        return (Mount("/", "overlay", "overlay", options + self._extra),)

    def usage(self, key: str) -> Usage:
        """Count what the upper folder of *key* takes."""
        record = self._catalogue.find(key)
        if record.kind != "committed":
            return measure(self._catalogue.path(record.number, "fs"))
        if record.number not in self._usage:
            self._usage[record.number] = measure(self._catalogue.path(record.number, "fs"))
        return self._usage[record.number]

    def remove(self, key: str) -> None:
        """Remove *key* (or a name); absent is fine; Conflict while it has children."""
        number = self._catalogue.remove(key)
        if number is not None:
            self._forget(number)

    def _forget(self, number: int) -> None:
        """Drop what is remembered of a snapshot that was removed."""
        self._roots.pop(number, None)
        self._usage.pop(number, None)

    def sweep(self) -> None:
        """Unlink what was removed; for callers without an executor, and once at start."""
        self._catalogue.sweep()

    def info(self, key: str) -> Snapshot:
        """Return what is known of *key*; NotFound if absent."""
        return self._snapshot(self._catalogue.find(key))

    def walk(self) -> Iterator[Snapshot]:
        """Yield all snapshots, parents before their children."""
        return map(self._snapshot, self._catalogue.all())

    def _snapshot(self, record: Record) -> Snapshot:
        return Snapshot(record.key, record.parent, record.kind, self._catalogue.path(record.number, "fs"))


def _enabled(parameter: str) -> bool:
    """Tell whether the kernel turns an overlay feature on unless told otherwise."""
    try:
        with open(f"{_PARAMETERS}/{parameter}") as file:
            return file.read(1) in "Y1"
    except FileNotFoundError:
        return False


def probe(directory: str) -> bool:
    """Tell whether overlay works on the file system of *directory*, by mounting one.

    The mount is attached nowhere and gone on return, as is everything else.
    """
    with tempfile.TemporaryDirectory(dir=directory, prefix="probe") as top:
        for name in ("lower/folder", "upper", "work"):
            os.makedirs(f"{top}/{name}")
        try:
            root = overlay([f"{top}/lower"], f"{top}/upper", f"{top}/work")
        except OSError:
            return False
        try:
            return _keeps_deletions(root, f"{top}/upper/folder")
        except OSError:
            return False
        finally:
            os.close(root)


def _keeps_deletions(root: int, upper: str) -> bool:
    """Try both kinds of deletion: the whiteout, and the opaque folder, which needs extended attributes."""
    os.rmdir("folder", dir_fd=root)
    hidden = stat.S_ISCHR(os.lstat(upper).st_mode)
    os.mkdir("folder", dir_fd=root)
    return hidden and os.getxattr(upper, "trusted.overlay.opaque") == b"y"
