"""Database: the one SQLite file that says what exists.

Why SQLite with a write-ahead log and full synchronisation: a commit is one
append and one fsync, it survives a kill and a power cut at any instant, and a
torn tail of the log is recognised by its checksums and ignored. What this
module adds is what happens when the file cannot be used:

- *damaged* (torn pages, zeros, another format): it is set aside under a new
  name together with its log, an empty one takes its place and ``notes`` says
  so. Nothing is deleted, and start goes on. Whoever undoes what no record
  claims must read ``notes`` first and leave things alone when it is not empty.
- *newer* than this program: refused, since guessing would lose fields.
- *disk full*: a ballast file of one mebibyte beside the database is given up
  for the writes that give space back (deleting, recording an end), so that a
  full disk can always be emptied by the engine itself. It is made again as
  soon as there is room. The log is folded into the file before it is as large
  as the ballast, and its space is used again.

Sources: sqlite.org/wal.html, sqlite.org/pragma.html, sqlite.org/rescode.html.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from corten.errors import CortenError, DataCorrupted, OutOfSpace, Unavailable, Unsupported

_MIGRATIONS = Path(__file__).with_name("migrations")
_MAGIC = b"SQLite format 3\0"
_BALLAST_SIZE = 1 << 20  # bytes
_BUSY_TIMEOUT = 10.0  # seconds to wait for another process that holds the file

# A page has 4 KiB: the log stays smaller than the ballast.
_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = 200;
"""

Value = str | bytes | int | float | None
_Result = TypeVar("_Result")


class _Damaged(Exception):
    """The file is not usable as a database; carries the reason."""


class Database:
    """One connection to the records, usable from any thread, one at a time.

    ``notes`` tells in full sentences what had to be set aside to open it;
    empty when all was well.

    Raises:
        Unsupported: the file was written by a newer version of corten.
        OutOfSpace: the disk is full.
        Unavailable: the folder is missing or not writable, or another process keeps the file locked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.notes: list[str] = []
        self._ballast = f"{self.path}.ballast"
        self._lock = threading.RLock()
        self._connection = self._open()
        self._keep_ballast()

    def read(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """Return every row of a query."""
        with self._lock, self._explained():
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write: all of it when the block ends, or nothing when it raises.

        Not to be nested. When it returns the change is on the disk.

        Raises:
            OutOfSpace: the disk is full; nothing was changed.
            DataCorrupted: the file was damaged while in use.
            Unavailable: the file cannot be written; nothing was changed.
        """
        with self._lock:
            with self._explained():
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # SQLite itself rolls back on some errors
                        self._connection.execute("ROLLBACK")
                    raise
            self._keep_ballast()

    def execute(
        self, sql: str, parameters: Sequence[Value] = (), *, essential: bool = False, durable: bool = True
    ) -> None:
        """Run one statement in a transaction of its own.

        Args:
            sql: The statement.
            parameters: Its parameters.
            essential: The write must succeed on a full disk too, because it
                deletes or records an end; it may use up the ballast.
            durable: The change is on the disk when this returns. Without it a
                killed process loses nothing either, but a loss of power may undo the
                change; the file stays consistent.

        Raises:
            CortenError: as for ``transaction``.
        """

        def attempt() -> None:
            with self._syncing(durable), self.transaction() as connection:
                connection.execute(sql, parameters)

        if essential:
            self._with_ballast(attempt, self._fold)
        else:
            attempt()

    @contextmanager
    def _syncing(self, durable: bool) -> Iterator[None]:
        """Leave the flush of the next commit to the file system, unless *durable*."""
        if durable:
            yield
            return
        with self._lock:
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                yield
            finally:
                self._connection.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Fold the log into the file and close it; idempotent."""
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._with_ballast(self._connect)
        except _Damaged as reason:
            kept = self._set_aside()
            self.notes.append(
                f"the database {self.path} is damaged ({reason}): it was kept as {kept} and an empty one started"
            )
            return self._with_ballast(self._connect)

    def _connect(self) -> sqlite3.Connection:
        """Open, check and upgrade the file.

        Raises:
            _Damaged: it is no database, or fails SQLite's own check.
        """
        self._check_header()
        with self._explained(opening=True):
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            try:
                connection.text_factory = _text
                connection.executescript(_SETTINGS)
                _check(connection)
                _migrate(connection, self.path)
            except BaseException:
                connection.close()
                raise
            return connection

    def _check_header(self) -> None:
        """Look before SQLite does, which would delete the log beside a file that it does not recognise."""
        try:
            with open(self.path, "rb") as file:
                header = file.read(len(_MAGIC))
        except OSError:
            return
        if header != _MAGIC:
            raise _Damaged("it does not begin as a database" if header else "it is empty")

    def _set_aside(self) -> str:
        """Rename the file and its log; return the new name of the file."""
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
        kept = f"{self.path}.damaged-{stamp}.{now % 10**9:09}Z"
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.rename(self.path + suffix, kept + suffix)
        _sync_folder(os.path.dirname(self.path) or ".")
        return kept

    def _fold(self) -> None:
        """Fold the log into the file and give its space back, as far as that is possible."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _with_ballast(
        self, attempt: Callable[[], _Result], fold: Callable[[], None] = lambda: None
    ) -> _Result:
        """Try, and on a full disk give up the ballast, fold the log and try once more."""
        try:
            return attempt()
        except OutOfSpace:
            with suppress(FileNotFoundError):
                os.unlink(self._ballast)
            fold()
        return attempt()

    def _keep_ballast(self) -> None:
        """Make the ballast if there is none and there is room; best effort."""
        try:
            descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, _BALLAST_SIZE)
        except OSError:
            os.unlink(self._ballast)
        finally:
            os.close(descriptor)

    def _full(self) -> str:
        return f"no space left for {self.path}: free space, for example by removing images that are not used"

    @contextmanager
    def _explained(self, *, opening: bool = False) -> Iterator[None]:
        """Turn SQLite's errors about the file into kinds of failure; mistakes in SQL stay what they are."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            failure = self._explain(error, opening=opening)
            if failure is None:
                raise
            raise failure from error

    def _explain(self, error: sqlite3.DatabaseError, *, opening: bool) -> CortenError | _Damaged | None:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL" or (
            code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and self._disk_is_full()
        ):
            return OutOfSpace(self._full())
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            if opening:
                return _Damaged(str(error))
            return DataCorrupted(
                f"the database {self.path} is damaged ({error}): restart the daemon to repair it"
            )
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable(f"the database {self.path} is locked by another process: stop that first")
        if code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            return Unavailable(
                f"the database {self.path} cannot be used ({error}): check its folder and the disk"
            )
        return None

    def _disk_is_full(self) -> bool:
        try:
            facts = os.statvfs(os.path.dirname(self.path) or ".")
        except OSError:
            return False
        return facts.f_bavail * facts.f_frsize < 1 << 16 or (facts.f_files > 0 and facts.f_favail == 0)


def migrations() -> list[tuple[int, str]]:
    """Return the steps of the schema, (number, SQL text), in order."""
    return [(int(step.name[:4]), step.read_text()) for step in sorted(_MIGRATIONS.glob("[0-9]*.sql"))]


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _Damaged(str(verdict).partition("\n")[0])


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Apply the steps that the file has not seen, each in one transaction.

    Raises:
        Unsupported: the file is newer than this program.
        _Damaged: a step does not fit what is in the file.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    steps = migrations()
    if version > steps[-1][0]:
        raise Unsupported(
            f"{path} was written by a newer corten (format {version}, this one knows {steps[-1][0]}): "
            "install that version again, or start with another --root"
        )
    for number, sql in steps:
        if number > version:
            _apply(connection, number, sql)


def _apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n;PRAGMA user_version = {number};\nCOMMIT;")
    except sqlite3.OperationalError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if error.sqlite_errorname == "SQLITE_ERROR":
            raise _Damaged(f"step {number} does not apply: {error}") from error
        raise


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # a garbled name must not make the other rows unreadable


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
