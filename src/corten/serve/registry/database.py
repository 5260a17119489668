"""Database: the SQLite file of a registry; many readers, one writer, shared commits.

A commit in WAL mode with full synchronisation is one flush of the disk, which
takes milliseconds. Writers that wait for one another therefore share it: who
gets the lock runs all that was handed in meanwhile, each in a savepoint of its
own, and commits once. Readers have connections of their own and never wait.

The file can always be made again from the storage, so a damaged one is set
aside and an empty one takes its place; ``complete`` then says that it has to
be filled.

Sources: sqlite.org/wal.html, sqlite.org/lang_savepoint.html, sqlite.org/rescode.html.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from corten.errors import Conflict, CortenError, OutOfSpace, Unavailable, Unsupported

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]

FORMAT = 1
_MAGIC = b"SQLite format 3\0"
_BUSY = 10.0  # seconds
_BALLAST = 1 << 20  # bytes; the log is folded into the file before it is as large
_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = 200;
"""
_SCHEMA = """
CREATE TABLE repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, live INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX dead ON blobs (digest) WHERE live = 0;
CREATE TABLE links (repository INTEGER NOT NULL, digest TEXT NOT NULL, lease REAL NOT NULL,
    hidden INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX links_by_digest ON links (digest);
CREATE TABLE manifests (repository INTEGER NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    size INTEGER NOT NULL, subject TEXT NOT NULL, artifact_type TEXT NOT NULL, annotations TEXT NOT NULL,
    pushed REAL NOT NULL, lease REAL NOT NULL, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX manifests_by_digest ON manifests (digest);
CREATE INDEX manifests_by_subject ON manifests (repository, subject) WHERE subject != '';
CREATE TABLE refs (repository INTEGER NOT NULL, manifest TEXT NOT NULL, target TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, target)) WITHOUT ROWID;
CREATE INDEX refs_by_target ON refs (repository, target);
CREATE TABLE tags (repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
    changed REAL NOT NULL, PRIMARY KEY (repository, name)) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository, digest);
CREATE TABLE uploads (id TEXT PRIMARY KEY, repository TEXT NOT NULL, begun REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (serial INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, text TEXT);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class _Damaged(Exception):
    """The file is not usable as a database; carries the reason."""


class _Job(Generic[_T]):
    """Work that waits for its turn."""

    def __init__(self, work: Work[_T], durable: bool) -> None:
        self.work, self.durable = work, durable
        self.future: Future[_T] = Future()


class Database:
    """The records of one registry, usable from any thread.

    ``notes`` tells in full sentences what had to be set aside to open it.

    Raises:
        Conflict: another registry has it open.
        Unsupported: a newer version of corten wrote the file.
        OutOfSpace, Unavailable: the disk is full, or the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.notes: list[str] = []
        self._turn = threading.Lock()
        self._waiting: deque[_Job[Any]] = deque()
        self._readers: deque[sqlite3.Connection] = deque()
        self._owner = _own(f"{self.path}.lock")
        try:
            self._writer = self._open()
        except BaseException:
            os.close(self._owner)
            raise
        self._keep_ballast()

    def read(self, work: Work[_T]) -> _T:
        """Run *work* on a connection that sees one state of the records, and return its result."""
        with self._explained():
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                return work(connection)
            finally:
                connection.execute("ROLLBACK")
                self._readers.append(connection)

    def _reader(self) -> sqlite3.Connection:
        """Return a connection that nobody uses."""
        try:
            return self._readers.pop()
        except IndexError:
            return self._connect()

    def write(self, work: Work[_T], *, durable: bool = True) -> _T:
        """Run *work* in a transaction: all of it, or nothing when it raises; return its result.

        Other writers' work may share the commit; it cannot see or undo this one's.

        Args:
            work: Must not wait for another writer.
            durable: On the disk when this returns. Without it a killed process
                loses nothing either, but a loss of power may undo the change.

        Raises:
            OutOfSpace: the disk is full; nothing was changed.
            Unavailable: the file cannot be written; nothing was changed.
        """
        job = _Job(work, durable)
        self._waiting.append(job)
        with self._turn:
            if not job.future.done():
                self._run([self._waiting.popleft() for _ in range(len(self._waiting))])
        return job.future.result()

    def rehearse(self, work: Work[_T]) -> _T:
        """Run *work* as ``write`` does, return its result and undo it."""
        with self._turn, self._explained(), self._transaction(durable=False, keep=False):
            return work(self._writer)

    def make_room(self) -> None:
        """Give up the ballast, so that deleting works on a full disk; it comes back by itself."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path}.ballast")

    def close(self) -> None:
        """Fold the log into the file and close it; idempotent. Nobody may use it any more."""
        owner, self._owner = self._owner, -1
        if owner < 0:
            return
        while self._readers:
            self._readers.pop().close()
        self._writer.close()
        os.close(owner)

    @property
    def complete(self) -> bool:
        """Tell whether the records were filled since the file was made."""
        return bool(self.read(lambda c: c.execute("SELECT 1 FROM facts WHERE name = 'complete'").fetchone()))

    def _run(self, jobs: list[_Job[Any]]) -> None:
        """Run *jobs* in one transaction; each succeeds or fails for itself, unless the commit fails."""
        results: list[tuple[_Job[Any], Any]] = []
        try:
            with self._explained(), self._transaction(durable=any(job.durable for job in jobs)):
                for job in jobs:
                    try:
                        results.append((job, self._attempt(job.work)))
                    except Exception as failure:  # noqa: BLE001  # told to the one who handed the job in
                        job.future.set_exception(failure)
        except Exception as failure:  # noqa: BLE001  # the same: told to each
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(failure)
            return
        for job, result in results:
            job.future.set_result(result)
        self._keep_ballast()

    def _attempt(self, work: Work[_T]) -> _T:
        with self._explained():
            self._writer.execute("SAVEPOINT job")
            try:
                result = work(self._writer)
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK TO job")
                raise
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("RELEASE job")
            return result

    @contextmanager
    def _transaction(self, *, durable: bool, keep: bool = True) -> Iterator[None]:
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT" if keep else "ROLLBACK")
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        try:
            return self._prepare()
        except _Damaged as reason:
            kept = self._set_aside()
            self.notes.append(
                f"the database {self.path} is damaged ({reason}): it was kept as {kept} and is made again"
            )
        except OutOfSpace:
            self.make_room()
        return self._prepare()

    def _prepare(self) -> sqlite3.Connection:
        """Open and check the file, and make its tables if it is new.

        Raises:
            _Damaged: it is no database, or fails SQLite's own check.
        """
        _check_header(self.path)
        connection = self._connect()
        try:
            with self._explained(opening=True):
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if verdict != "ok":
                    raise _Damaged(str(verdict).partition("\n")[0])
                if version > FORMAT:
                    raise Unsupported(
                        f"{self.path} was written by a newer corten: install that version again, or remove "
                        "the file to have it made from the storage"
                    )
                if version == 0:
                    connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {FORMAT};COMMIT;")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        with self._explained(opening=True):
            connection = sqlite3.connect(
                self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                connection.executescript(_SETTINGS)
            except BaseException:
                connection.close()
                raise
            return connection

    def _set_aside(self) -> str:
        """Rename the file and its log; return the new name of the file."""
        kept = f"{self.path}.damaged-{time.time_ns()}"
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.rename(self.path + suffix, kept + suffix)
        return kept

    def _keep_ballast(self) -> None:
        """Make the ballast if there is none and there is room; best effort."""
        path = f"{self.path}.ballast"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, _BALLAST)
        except OSError:
            os.unlink(path)
        finally:
            os.close(descriptor)

    @contextmanager
    def _explained(self, *, opening: bool = False) -> Iterator[None]:
        """Turn SQLite's errors about the file into kinds of failure; mistakes in SQL stay what they are."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            failure = self._explain(error, opening)
            if failure is None:
                raise
            raise failure from error

    def _explain(self, error: sqlite3.DatabaseError, opening: bool) -> CortenError | _Damaged | None:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL" or (code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and self._full()):
            return OutOfSpace(f"no space left for {self.path}: free space on the registry's disk")
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            if opening:
                return _Damaged(str(error))
            return Unavailable(
                f"the database {self.path} is damaged ({error}): restart the registry to repair it"
            )
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable(f"the database {self.path} is locked by another process: stop that first")
        if code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            return Unavailable(f"the database {self.path} cannot be used ({error}): check its folder")
        return None

    def _full(self) -> bool:
        facts = os.statvfs(os.path.dirname(self.path) or ".")
        return facts.f_bavail * facts.f_frsize < 1 << 16 or (facts.f_files > 0 and facts.f_favail == 0)


def mark_complete(connection: sqlite3.Connection) -> None:
    """Note that the records say all that the storage holds."""
    connection.execute("INSERT OR REPLACE INTO facts VALUES ('complete', '1')")


def _check_header(path: str) -> None:
    """Look before SQLite does, which would delete the log beside a file that it does not recognise.

    Raises:
        _Damaged: the file is there and not a database.
    """
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        header = file.read(len(_MAGIC))
    if header != _MAGIC:
        raise _Damaged("it does not begin as a database" if header else "it is empty")


def _own(path: str) -> int:
    """Return a descriptor that holds the lock *path*; Conflict if another process does."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"another registry uses {path}: stop it, or choose another folder") from None
    return descriptor
