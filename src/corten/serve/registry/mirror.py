"""Mirror: carries what the records say into the notes of the storage.

A change and its note go into the database in one commit (the note into the
outbox), and the caller is told of success when the note is written too. A
process that is killed between the two leaves the note in the outbox; the next
one writes it. So the notes never say anything that the records did not, and a
scan of them gives back all that was ever acknowledged.
"""

import sqlite3
from collections.abc import Iterable

from corten.serve.registry.database import Database
from corten.serve.registry.locks import Locks
from corten.serve.registry.storage.store import Notes


class Mirror:
    """The way from the outbox to *notes*; safe from many threads."""

    def __init__(self, database: Database, notes: Notes, locks: Locks) -> None:
        self._database, self._notes, self._locks = database, notes, locks

    def flush(self, names: Iterable[str]) -> None:
        """Bring these notes up to date; on return that is durable.

        Raises:
            OutOfSpace, Unavailable: the storage takes no note; it stays in the outbox.
        """
        written = [serial for name in names if (serial := self._write(name)) is not None]
        if written:
            self._database.write(lambda c: _forget(c, written), durable=False)

    def replay(self) -> None:
        """Write what an earlier process, or an earlier failure, left in the outbox."""
        rows = self._database.read(lambda c: c.execute("SELECT name FROM outbox ORDER BY serial").fetchall())
        self.flush(name for (name,) in rows)

    def _write(self, name: str) -> int | None:
        """Write what the outbox now says of a note; return its serial, None if it says nothing."""
        with self._locks.hold(f"note {name}"):
            row = self._database.read(
                lambda c: c.execute("SELECT serial, text FROM outbox WHERE name = ?", (name,)).fetchone()
            )
            if row is None:
                return None
            serial, text = row
            if text is None:
                self._notes.delete(name)
            else:
                self._notes.put(name, text)
            return int(serial)


def _forget(c: sqlite3.Connection, serials: list[int]) -> None:
    c.executemany("DELETE FROM outbox WHERE serial = ?", [(serial,) for serial in serials])
