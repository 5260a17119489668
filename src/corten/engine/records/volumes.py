"""VolumeRepository: the recorded volumes, in memory and on disk."""

import threading
import time

import msgspec

from corten.engine.records.database import Database
from corten.engine.records.volume import Volume
from corten.errors import Conflict, NotFound

_PUT = """
INSERT INTO volumes (name, created, body) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET created = excluded.created, body = excluded.body
"""
_SET_ASIDE = "INSERT INTO damaged (noun, id, name, body, reason, moved) VALUES ('volume', ?, ?, ?, ?, ?)"


class VolumeRepository:
    """Every recorded volume, read once and then written through.

    A row that cannot be understood is moved to the table ``damaged`` and told
    in ``notes``; it never keeps the others from being read. Usable from any thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = threading.Lock()
        self._volumes: dict[str, Volume] = {}
        self.notes: list[str] = []
        self._load()

    def put(self, volume: Volume) -> None:
        """Record a volume, or what became of one; on the disk when this returns.

        Raises:
            OutOfSpace: the disk is full.
        """
        body = msgspec.json.encode(volume)
        with self._writing:
            self._database.execute(_PUT, (volume.name, volume.created, body))
            self._volumes[volume.name] = volume

    def get(self, name: str) -> Volume:
        """Return the volume of exactly this name.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._volumes[name]
        except KeyError:
            raise NotFound("volume", name) from None

    def has(self, name: str) -> bool:
        """Tell whether there is a volume of this name."""
        return name in self._volumes

    def rename(self, name: str, volume: Volume) -> None:
        """Record *volume*, which was called *name* until now, in one step.

        Raises:
            NotFound: there is no volume *name*.
            Conflict: another volume has the new name.
            OutOfSpace: the disk is full.
        """
        body = msgspec.json.encode(volume)
        with self._writing:
            self.get(name)
            if volume.name in self._volumes:
                raise Conflict(f"volume {volume.name} exists: choose another name")
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
                connection.execute(_PUT, (volume.name, volume.created, body))
            del self._volumes[name]
            self._volumes[volume.name] = volume

    def delete(self, name: str) -> None:
        """Forget a volume; idempotent, and possible on a full disk."""
        with self._writing:
            self._database.execute("DELETE FROM volumes WHERE name = ?", (name,), essential=True)
            self._volumes.pop(name, None)

    def all(self) -> list[Volume]:
        """Return every volume, the oldest first."""
        return sorted(self._volumes.values(), key=lambda volume: (volume.created, volume.name))

    def _load(self) -> None:
        rows = self._database.read("SELECT name, body FROM volumes")
        for name, body in rows:
            try:
                volume = msgspec.json.decode(body, type=Volume)  # type: ignore[arg-type]
                if volume.name != name:
                    raise msgspec.ValidationError("the body is that of another volume")
            except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
                self._set_aside(str(name), body, str(error))
            else:
                self._volumes[volume.name] = volume

    def _set_aside(self, name: str, body: object, reason: str) -> None:
        raw = body if isinstance(body, bytes) else str(body).encode()
        moved = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._database.transaction() as connection:
            connection.execute(_SET_ASIDE, (name, name, raw, reason, moved))
            connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
        self.notes.append(
            f"the record of volume {name} is damaged ({reason}): it was set aside in the table damaged"
        )
