"""CopySnapshotter: every active snapshot is a full copy of its parent.

Slow and large, but it works on any file system; where the file system can share
blocks (btrfs, xfs) the copy is cheap.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor

from corten.core.snapshots.catalogue import Catalogue, Record
from corten.core.snapshots.snapshotter import KEEP, Form, Keep, Snapshot, Usage
from corten.core.snapshots.tree import copy_tree, measure
from corten.errors import Unsupported
from corten.oci.spec import Mount


class CopySnapshotter:
    """Snapshots as whole trees.

    Args:
        directory: Made when absent.
        executor: Runs the unlinking of what was removed; without one it waits
            for ``sweep``.
    """

    form: Form = "plain"
    late_parent = False

    def __init__(self, directory: str, executor: Executor | None = None) -> None:
        self._catalogue = Catalogue(directory, executor)

    def prepare(self, key: str, parent: str | None = None) -> Snapshot:
        """Make an active snapshot by copying *parent*; takes as long as that."""

        def fill(number: int) -> None:
            tree = self._catalogue.path(number, "fs")
            os.mkdir(tree, 0o755)
            os.chmod(tree, 0o755)
            if parent is not None:
                copy_tree(self._tree(self._catalogue.find(parent)), tree)

        return self._snapshot(self._catalogue.add(key, parent, "active", fill))

    def view(self, key: str, parent: str) -> Snapshot:
        """Make a read-only snapshot, which is the tree of *parent* itself."""
        return self._snapshot(self._catalogue.add(key, parent, "view", lambda _: None))

    def commit(
        self,
        name: str,
        key: str,
        parent: str | Keep | None = KEEP,
        own_root: bool = False,  # noqa: ARG002  the copy has its parent's root from the beginning
    ) -> Snapshot:
        """Turn the active *key* into the committed *name*, durably; Unsupported with a late *parent*."""
        if parent is not KEEP and parent != self._catalogue.find(key).parent:
            raise Unsupported("a copied snapshot cannot be given a parent at commit: prepare it with one")
        return self._snapshot(self._catalogue.commit(name, key))

    def inherit(self, key: str, parent: str, folders: Iterable[bytes]) -> None:
        """Do nothing: the tree has those of its parent already."""

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return one bind mount."""
        record = self._catalogue.find(key)
        access = "rw" if record.kind == "active" else "ro"
        return (Mount("/", "bind", self._tree(record), ("bind", access)),)

    def usage(self, key: str) -> Usage:
        """Count the whole tree; a view takes nothing."""
        record = self._catalogue.find(key)
        return Usage(0, 0) if record.kind == "view" else measure(self._tree(record))

    def remove(self, key: str) -> None:
        """Remove *key* (or a name); absent is fine; Conflict while it has children."""
        self._catalogue.remove(key)

    def sweep(self) -> None:
        """Unlink what was removed; for callers without an executor, and once at start."""
        self._catalogue.sweep()

    def info(self, key: str) -> Snapshot:
        """Return what is known of *key*; NotFound if absent."""
        return self._snapshot(self._catalogue.find(key))

    def walk(self) -> Iterator[Snapshot]:
        """Yield all snapshots, parents before their children."""
        return map(self._snapshot, self._catalogue.all())

    def _tree(self, record: Record) -> str:
        owner = self._catalogue.chain(record)[1] if record.kind == "view" else record
        return self._catalogue.path(owner.number, "fs")

    def _snapshot(self, record: Record) -> Snapshot:
        return Snapshot(record.key, record.parent, record.kind, self._tree(record))
