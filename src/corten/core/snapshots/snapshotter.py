"""Snapshotter: file trees that build on each other.

A *key* names an active snapshot, which is being written: a container's root or
a layer in the making. A *name* names a committed one, which never changes and
can be a parent. An active snapshot shows its parent's tree and keeps what is
changed on top of it.
"""

from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol

from corten.errors import Conflict
from corten.oci.spec import Mount

Kind = Literal["active", "view", "committed"]
Form = Literal["overlay", "plain", "index"]


class Keep(Enum):
    """The type of ``KEEP``."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""In place of a parent: the one that the snapshot was prepared with."""


class Snapshot(NamedTuple):
    """One snapshot: its key or name, the name of its parent, its kind, and its own folder.

    A layer is applied to ``directory`` without any mount. In the *overlay* form
    it holds the changes alone (with whiteouts as the kernel's overlay wants
    them), in the *plain* form the whole tree, in the *index* form the layer as
    it came, with an index of it.
    """

    key: str
    parent: str | None
    kind: Kind
    directory: str


class Usage(NamedTuple):
    """What a snapshot itself takes, without its parents: bytes on disk, and inodes."""

    bytes: int
    inodes: int


class Snapshotter(Protocol):
    """File trees by parent; safe from many threads."""

    form: Form
    """How a layer has to be applied: the *whiteouts* argument of layers.apply, or layers.index."""
    late_parent: bool
    """Whether a layer can be applied before its parent is there, and ``commit`` be given one."""

    def prepare(self, key: str, parent: str | None = None) -> Snapshot:
        """Make an active snapshot on top of the committed *parent*, or an empty one.

        Raises:
            Conflict: *key* is taken.
            NotFound: there is no committed *parent*.
            OutOfSpace: the disk is full.
        """
        ...

    def view(self, key: str, parent: str) -> Snapshot:
        """As prepare, but the tree is for reading only."""
        ...

    def commit(
        self, name: str, key: str, parent: str | Keep | None = KEEP, own_root: bool = False
    ) -> Snapshot:
        """Turn the active *key* into the committed *name*, durably, with all it contains.

        When another call committed *name* first, this one is Conflict and *key*
        stays: the caller removes it and uses what is there.

        Args:
            name: What it will be called.
            key: The active snapshot.
            parent: The committed snapshot to put it on, where ``late_parent`` is
                true and *key* was prepared without a parent.
            own_root: Whether the layer itself said what its root folder is like;
                else, put on a late *parent*, it gets mode, owner and time of the
                parent's.

        Raises:
            Conflict: *name* is taken, or *key* is not active, or has another parent.
            NotFound: no such *key*, or no committed *parent*.
        """
        ...

    def inherit(self, key: str, parent: str, folders: Iterable[bytes]) -> None:
        """Give *folders* of the active *key* what the committed *parent* says of them; call it before commit.

        For the folders that a layer's entries lie in and that it does not name
        itself, such as ``Applied.implied``: they are as they were. One that is not
        in *parent* stays as it is.

        Raises:
            NotFound: no such *key* or *parent*.
        """
        ...

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return the mounts that show the tree of *key* at ``/`` of a container; no I/O.

        A committed name gives a read-only mount.

        Raises:
            NotFound: no such key or name.
        """
        ...

    def usage(self, key: str) -> Usage:
        """Count what *key* (or a name) takes by itself; walks the tree unless it is committed."""
        ...

    def remove(self, key: str) -> None:
        """Remove *key* (or a name); one that is absent is fine. Disk space is freed in the background.

        Raises:
            Conflict: other snapshots have it as their parent.
        """
        ...

    def info(self, key: str) -> Snapshot:
        """Return what is known of *key* (or a name); NotFound if absent."""
        ...

    def walk(self) -> Iterator[Snapshot]:
        """Yield all snapshots, parents before their children."""
        ...


def recover(snapshotter: Snapshotter, claimed: Container[str]) -> list[str]:
    """Remove the snapshots that nobody claims, children first; return their keys.

    A parent of a claimed snapshot stays even if nobody claims it.
    """
    removed = []
    for snapshot in reversed(list(snapshotter.walk())):
        if snapshot.key not in claimed:
            with suppress(Conflict):
                snapshotter.remove(snapshot.key)
                removed.append(snapshot.key)
    return removed
