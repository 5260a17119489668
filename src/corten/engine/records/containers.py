"""ContainerRepository: the recorded containers, in memory and on disk."""

import threading
import time

import msgspec

from corten.engine.records.container import Container
from corten.engine.records.database import Database
from corten.errors import Conflict, InvalidInput, NotFound

_PUT = """
INSERT INTO containers (id, name, created, body) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, created = excluded.created, body = excluded.body
"""
_SET_ASIDE = "INSERT INTO damaged (noun, id, name, body, reason, moved) VALUES ('container', ?, ?, ?, ?, ?)"


class ContainerRepository:
    """Every recorded container, read once and then written through.

    Reading is from memory: it never waits for the disk. Names are unique and
    kept without the leading slash that Docker shows. A row that cannot be
    understood is moved to the table ``damaged`` and told in ``notes``; it
    never keeps the others from being read. Usable from any thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._ids: dict[str, str] = {}  # by name
        self.notes: list[str] = []
        self._load()

    def put(self, container: Container, *, durable: bool = True) -> None:
        """Record a new container, or what became of one; on the disk when this returns if *durable*.

        What is found out again after a loss of power need not be durable: that
        a container had started, and all about one that is removed at its end.

        Raises:
            Conflict: another container has the name.
            OutOfSpace: the disk is full; for a container that is known the ballast is used first.
        """
        body = msgspec.json.encode(container)
        name = _plain(container.name)
        with self._writing:
            owner = self._ids.get(name, container.id)
            if owner != container.id:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            known = self._containers.get(container.id)
            self._database.execute(
                _PUT,
                (container.id, name, container.created, body),
                essential=known is not None,
                durable=durable and not container.host_config.auto_remove,
            )
            self._containers[container.id] = container
            self._ids[name] = container.id
            if known is not None and _plain(known.name) != name:
                del self._ids[_plain(known.name)]

    def get(self, container_id: str) -> Container:
        """Return the container with exactly this id.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._containers[container_id]
        except KeyError:
            raise NotFound("container", container_id) from None

    def find(self, reference: str) -> Container:
        """Return the container that a user means: by id, then name, then the start of an id.

        Raises:
            NotFound: nothing matches.
            InvalidInput: several ids start so, or *reference* is empty.
        """
        if not reference.strip("/"):
            raise InvalidInput("no container name or ID supplied")
        exact = reference if reference in self._containers else self._ids.get(_plain(reference))
        if exact is not None:
            return self.get(exact)
        matches = [known for known in tuple(self._containers) if known.startswith(reference)]
        if len(matches) > 1:
            raise InvalidInput(f"multiple IDs found with provided prefix: {reference}")
        if not matches:
            raise NotFound("container", reference)
        return self.get(matches[0])

    def has_name(self, name: str) -> bool:
        """Tell whether a container has this name, with or without the leading slash."""
        return _plain(name) in self._ids

    def delete(self, container_id: str) -> None:
        """Forget a container; idempotent, and possible on a full disk."""
        with self._writing:
            known = self._containers.get(container_id)
            durable = known is None or not known.host_config.auto_remove
            self._database.execute(
                "DELETE FROM containers WHERE id = ?", (container_id,), essential=True, durable=durable
            )
            gone = self._containers.pop(container_id, None)
            if gone is not None:
                self._ids.pop(_plain(gone.name), None)

    def all(self) -> list[Container]:
        """Return every container, the oldest first."""
        return list(self._containers.values())

    def _load(self) -> None:
        rows = self._database.read("SELECT id, name, body FROM containers ORDER BY created, id")
        for container_id, name, body in rows:
            try:
                container = msgspec.json.decode(body, type=Container)  # type: ignore[arg-type]
                if (container.id, _plain(container.name)) != (container_id, name):
                    raise msgspec.ValidationError("the body is that of another container")
            except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
                self._set_aside(str(container_id), str(name), body, str(error))
            else:
                self._containers[container.id] = container
                self._ids[_plain(container.name)] = container.id

    def _set_aside(self, container_id: str, name: str, body: object, reason: str) -> None:
        raw = body if isinstance(body, bytes) else str(body).encode()
        moved = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._database.transaction() as connection:
            connection.execute(_SET_ASIDE, (container_id, name, raw, reason, moved))
            connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))
        self.notes.append(
            f"the record of container {name} ({container_id}) is damaged ({reason}): "
            "it was set aside in the table damaged"
        )


def _plain(name: str) -> str:
    return name.removeprefix("/")
