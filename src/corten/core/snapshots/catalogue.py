"""Catalogue: which snapshots there are, in memory and beside their data.

Theory. Every snapshot has a short numbered folder with its tree and a symbolic
link ``meta`` whose *target text* is the record: kind, parent, key. A link is made
by one system call, whole or not at all, and file systems with a journal write
its text together with the folder, so that a record needs no fsync to be
consistent and no reader ever sees half of it. A regular file would be empty
after a loss of power up to half a minute later. What is durable before what:

- prepare: the trees, then the link. A folder without a link was never there.
- commit: last changes to the data, all data (syncfs), then a new link renamed
  over the old one, then fsync of the folder: a committed record implies
  complete data. A parent that is given this late is in the new link only.
- remove: rename into the trash; unlinking happens later and may be repeated.

All questions are answered from memory; the lock is never held over I/O. A key
in the making is *reserved*: taken, but not visible.
"""

import errno
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from typing import NamedTuple

from corten.core.snapshots.snapshotter import KEEP, Keep, Kind
from corten.errors import Conflict, NotFound, OutOfSpace
from corten.linux.files import remove_tree, sync_filesystem

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
TRASH = "trash"


class Record(NamedTuple):
    """One snapshot: *number* names its folder."""

    key: str
    parent: str | None
    kind: Kind
    number: int


class Catalogue:
    """The snapshots below *directory*, which one process at a time may own.

    Args:
        directory: Made when absent.
        executor: Runs the unlinking of what was removed, now or before; without
            one it waits for ``sweep``.
        sync: Makes all that lies in an open folder of a snapshot durable; by
            default the whole file system is, which costs the same for a tree of
            many files.
    """

    def __init__(
        self,
        directory: str,
        executor: Executor | None = None,
        sync: Callable[[int], None] | None = None,
    ) -> None:
        os.makedirs(os.path.join(directory, TRASH), mode=0o700, exist_ok=True)
        self.directory = os.path.abspath(directory)
        self._executor = executor
        self._sync = sync
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._children: Counter[str] = Counter()
        self._reserved: set[str] = set()
        self._numbers = itertools.count(self._load() + 1)
        if executor is not None:  # of an engine that ended before it was done
            executor.submit(self.sweep)

    def path(self, number: int, *parts: str) -> str:
        """Return the absolute path of *parts* in the folder of snapshot *number*."""
        return "/".join((self.directory, str(number), *parts))

    def find(self, key: str) -> Record:
        """Return the record of *key*; NotFound if absent."""
        try:
            return self._records[key]
        except KeyError:
            raise NotFound("snapshot", key) from None

    def chain(self, record: Record) -> list[Record]:
        """Return *record* and its ancestors, the youngest first; NotFound if they were removed meanwhile."""
        chain = [record]
        while (parent := chain[-1].parent) is not None:
            chain.append(self.find(parent))
        return chain

    def holds(self, record: Record) -> bool:
        """Tell whether *record* is still there as it is."""
        return self._records.get(record.key) == record

    def all(self) -> Iterator[Record]:
        """Yield every record, parents before their children."""
        with self._lock:  # a chain is whole as long as nothing is removed
            records = sorted(self._records.values(), key=lambda record: len(self.chain(record)))
        yield from records

    def add(self, key: str, parent: str | None, kind: Kind, fill: Callable[[int], None]) -> Record:
        """Make a snapshot: *fill* puts the trees into its numbered folder.

        Raises:
            Conflict: *key* is taken.
            NotFound: there is no committed *parent*.
            OutOfSpace: the disk is full.
        """
        with self._reservation(key, parent):
            record = Record(key, parent, kind, next(self._numbers))
            with _explained(key):
                self._make(record, fill)
            with self._lock:
                self._records[key] = record
                self._children[parent or ""] += 1
        return record

    def _make(self, record: Record, fill: Callable[[int], None]) -> None:
        folder = self.path(record.number)
        os.mkdir(folder, 0o700)
        try:
            fill(record.number)
            os.symlink(_encode(record), f"{folder}/meta")
        except BaseException:
            self._discard(record.number)
            raise

    def commit(
        self,
        name: str,
        key: str,
        parent: str | Keep | None = KEEP,
        finish: Callable[[Record], None] | None = None,
    ) -> Record:
        """Turn the active *key* into the committed *name*, durably.

        Args:
            name: What it will be called.
            key: The active snapshot.
            parent: A parent for one that was added without.
            finish: Puts the last hand to the data before it becomes durable; given
                the record to be, whose parent is committed and stays.

        Raises:
            Conflict: *name* is taken, or *key* is not active, or has another parent.
            NotFound: no such *key*, or no committed *parent*.
            OutOfSpace: the disk is full; *key* is as it was.
        """
        active = self.find(key)
        if active.kind != "active":
            raise Conflict(f"snapshot {key} is {active.kind}: only an active one can be committed")
        if isinstance(parent, Keep):
            parent = active.parent
        elif active.parent not in (None, parent):
            raise Conflict(f"snapshot {key} is built on {active.parent}: it cannot be put on {parent}")
        with self._reservation(name, parent):
            record = Record(name, parent, "committed", active.number)
            with _explained(key):
                if finish is not None:
                    finish(record)
                self._make_durable(record)
            with self._lock:
                if self._records.pop(key, None) is None:
                    raise NotFound("snapshot", key)
                self._records[name] = record
                self._children[active.parent or ""] -= 1
                self._children[parent or ""] += 1
        return record

    def _make_durable(self, record: Record) -> None:
        folder = self.path(record.number)
        with suppress(FileNotFoundError):  # of an attempt that was cut short
            os.unlink(f"{folder}/meta.new")
        os.symlink(_encode(record), f"{folder}/meta.new")
        descriptor = os.open(folder, _FOLDER)
        try:
            (self._sync or sync_filesystem)(descriptor)
            os.rename(f"{folder}/meta.new", f"{folder}/meta")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, key: str) -> int | None:
        """Take *key* out and its folder into the trash; return its number.

        Absent is fine (None); Conflict while it has children.
        """
        with self._lock:
            record = self._records.get(key)
            if record is None:
                return None
            if record.kind == "committed" and self._children[key]:
                raise Conflict(
                    f"snapshot {key} is in use by {self._children[key]} others: remove those first"
                )
            del self._records[key]
            self._children[record.parent or ""] -= 1
        self._discard(record.number)
        return record.number

    def sweep(self) -> None:
        """Unlink what is in the trash; what cannot go yet (a mount holds it) stays for the next time."""
        for name in os.listdir(os.path.join(self.directory, TRASH)):
            self._unlink(name)

    def _discard(self, number: int) -> None:
        os.rename(self.path(number), os.path.join(self.directory, TRASH, str(number)))
        if self._executor is not None:
            self._executor.submit(self._unlink, str(number))

    def _unlink(self, name: str) -> None:
        trash = os.open(os.path.join(self.directory, TRASH), _FOLDER)
        try:
            with suppress(OSError):
                remove_tree(trash, name.encode())
        finally:
            os.close(trash)

    @contextmanager
    def _reservation(self, key: str, parent: str | None) -> Iterator[None]:
        """Hold *key*, and keep *parent* from being removed."""
        with self._lock:
            if key in self._records or key in self._reserved:
                raise Conflict(f"snapshot {key} exists already")
            if parent is not None and self.find(parent).kind != "committed":
                raise NotFound("committed snapshot", parent)
            self._reserved.add(key)
            self._children[parent or ""] += 1
        try:
            yield
        finally:
            with self._lock:
                self._reserved.discard(key)
                self._children[parent or ""] -= 1

    def _load(self) -> int:
        """Read all records; folders without one go into the trash.

        A record whose parent is missing is damage, not a crash: it is left out,
        and its folder left alone, since it may hold a container's only data.

        Returns:
            The highest number in use.
        """
        trashed = [int(name) for name in os.listdir(os.path.join(self.directory, TRASH)) if name.isdigit()]
        numbers = [int(name) for name in os.listdir(self.directory) if name.isdigit()]
        found = {number: record for number in numbers if (record := self._read(number))}
        for number in set(numbers) - set(found):
            self._discard(number)
        self._records = {record.key: record for record in found.values()}
        self._leave_out_orphans()
        self._children = Counter(record.parent or "" for record in self._records.values())
        return max(numbers + trashed, default=0)

    def _leave_out_orphans(self) -> None:
        """Drop records whose parent is missing, and those on top of them in turn."""
        while orphans := [
            r.key for r in self._records.values() if r.parent and r.parent not in self._records
        ]:
            for key in orphans:
                del self._records[key]

    def _read(self, number: int) -> Record | None:
        try:
            kind, parent, key = json.loads(os.readlink(self.path(number, "meta")))
            return Record(key, parent, kind, number)
        except (OSError, ValueError, TypeError):
            return None


@contextmanager
def _explained(key: str) -> Iterator[None]:
    """Turn the kernel's word for a full disk into what the user can do about it."""
    try:
        yield
    except OSError as failure:
        if failure.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfSpace(f"no space left for snapshot {key}: remove unused images") from failure


def _encode(record: Record) -> str:
    return json.dumps([record.kind, record.parent, record.key])
