"""NetworkRepository: the recorded networks, in memory and on disk."""

import threading
import time

import msgspec

from corten.engine.records.database import Database
from corten.engine.records.network import Network
from corten.errors import Conflict, InvalidInput, NotFound

_PUT = """
INSERT INTO networks (id, name, created, body) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, created = excluded.created, body = excluded.body
"""
_SET_ASIDE = "INSERT INTO damaged (noun, id, name, body, reason, moved) VALUES ('network', ?, ?, ?, ?, ?)"


class NetworkRepository:
    """Every recorded network, read once and then written through.

    Names are unique. A row that cannot be understood is moved to the table
    ``damaged`` and told in ``notes``. Usable from any thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = threading.Lock()
        self._networks: dict[str, Network] = {}
        self.notes: list[str] = []
        self._load()

    def put(self, network: Network) -> None:
        """Record a network; on the disk when this returns.

        Raises:
            Conflict: another network has the name.
            OutOfSpace: the disk is full.
        """
        body = msgspec.json.encode(network)
        with self._writing:
            if any(known.name == network.name and known.id != network.id for known in self.all()):
                raise Conflict(f"network with name {network.name} already exists: choose another name")
            self._database.execute(_PUT, (network.id, network.name, network.created, body))
            self._networks[network.id] = network

    def find(self, reference: str) -> Network:
        """Return the network that a user means: by id, then name, then the start of an id.

        Raises:
            NotFound: nothing matches.
            InvalidInput: several ids start so, or *reference* is empty.
        """
        if not reference:
            raise InvalidInput("no network name or ID supplied")
        known = self.all()
        exact = [network for network in known if reference == network.id]
        exact = exact or [network for network in known if reference == network.name]
        matches = exact or [network for network in known if network.id.startswith(reference)]
        if len(matches) > 1:
            raise InvalidInput(
                f"network {reference} is ambiguous: {len(matches)} IDs start so, give more of it"
            )
        if not matches:
            raise NotFound("network", reference)
        return matches[0]

    def delete(self, network_id: str) -> None:
        """Forget a network; idempotent, and possible on a full disk."""
        with self._writing:
            self._database.execute("DELETE FROM networks WHERE id = ?", (network_id,), essential=True)
            self._networks.pop(network_id, None)

    def all(self) -> list[Network]:
        """Return every network, the oldest first."""
        return list(self._networks.values())

    def _load(self) -> None:
        rows = self._database.read("SELECT id, name, body FROM networks ORDER BY created, id")
        for network_id, name, body in rows:
            try:
                network = msgspec.json.decode(body, type=Network)  # type: ignore[arg-type]
                if (network.id, network.name) != (network_id, name):
                    raise msgspec.ValidationError("the body is that of another network")
            except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
                self._set_aside(str(network_id), str(name), body, str(error))
            else:
                self._networks[network.id] = network

    def _set_aside(self, network_id: str, name: str, body: object, reason: str) -> None:
        raw = body if isinstance(body, bytes) else str(body).encode()
        moved = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._database.transaction() as connection:
            connection.execute(_SET_ASIDE, (network_id, name, raw, reason, moved))
            connection.execute("DELETE FROM networks WHERE id = ?", (network_id,))
        self.notes.append(
            f"the record of network {name} ({network_id}) is damaged ({reason}): it was set aside in the table damaged"
        )
