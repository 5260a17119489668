"""Zone: the names of all containers on user networks, in memory. No I/O.

Each network has names of its own; several endpoints may share one (a
service). A name is found as ``NAME`` on each of the asker's networks in turn,
and as ``NAME.NETWORK``, where both parts may have dots in them.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address


@dataclass(frozen=True, slots=True)
class _Entry:
    """One endpoint: its names, the container's first, and addresses."""

    network_id: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]


@dataclass(slots=True)
class _Area:
    """The names on one network: name -> endpoint id -> entry."""

    title: str = ""
    names: dict[str, dict[str, _Entry]] = field(default_factory=dict)
    addresses: dict[str, _Entry] = field(default_factory=dict)


class Zone:
    """Names of endpoints by network; used by one thread."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._areas: dict[str, _Area] = {}

    def set(
        self,
        network_id: str,
        endpoint_id: str,
        names: Sequence[str],
        addresses: Sequence[str],
        *,
        network: str = "",
    ) -> None:
        """Make *names* lead to *addresses*, in place of what the endpoint had before.

        Args:
            network_id: Where the names are known.
            endpoint_id: Whose they are.
            names: The container's own name first: reverse look-ups give that one.
            addresses: IPv4 and IPv6; empty ones are left out.
            network: The name of the network, for ``NAME.NETWORK``.
        """
        self.drop(endpoint_id)
        area = self._areas.setdefault(network_id, _Area())
        area.title = fold(network) or area.title
        entry = _Entry(
            network_id,
            tuple(dict.fromkeys(fold(name) for name in names if name)),
            tuple(str(ip_address(address)) for address in addresses if address),
        )
        self._entries[endpoint_id] = entry
        for name in entry.names:
            area.names.setdefault(name, {})[endpoint_id] = entry
        for address in entry.addresses:
            area.addresses[address] = entry

    def drop(self, endpoint_id: str) -> None:
        """Forget an endpoint; idempotent."""
        entry = self._entries.pop(endpoint_id, None)
        if entry is None:
            return
        area = self._areas[entry.network_id]
        for name in entry.names:
            del area.names[name][endpoint_id]
            if not area.names[name]:
                del area.names[name]
        for address in entry.addresses:
            if area.addresses.get(address) is entry:
                del area.addresses[address]
        if not area.names and not area.addresses:
            del self._areas[entry.network_id]

    def has_name(self, networks: Sequence[str], name: str) -> bool:
        """Tell whether *name* is one on *networks* (ids), whatever addresses it has."""
        return next(self._found(networks, fold(name)), None) is not None

    def lookup(self, networks: Sequence[str], name: str, kind: str) -> tuple[str, ...]:
        """Return the addresses of *name*, in random order, so that clients spread over a service.

        Args:
            networks: Ids; the first one that has the name answers.
            name: In any case, with or without a dot at the end.
            kind: ``A`` or ``AAAA``.
        """
        entries = next(self._found(networks, fold(name)), ())
        wanted = [a for entry in entries for a in entry.addresses if (":" in a) == (kind == "AAAA")]
        return tuple(random.sample(wanted, len(wanted)))

    def reverse(self, networks: Sequence[str], address: str) -> str:
        """Return ``NAME.NETWORK`` of whom *address* belongs to on *networks* (ids), empty for nobody."""
        for network in networks:
            area = self._areas.get(network)
            entry = area.addresses.get(address) if area else None
            if area and entry and entry.names:
                return ".".join(filter(None, (entry.names[0], area.title)))
        return ""

    def _found(self, networks: Sequence[str], name: str) -> Iterator[tuple[_Entry, ...]]:
        """Give the endpoints of each reading of *name*, the best first."""
        areas = [self._areas[network] for network in networks if network in self._areas]
        for area in areas:
            if name in area.names:
                yield tuple(area.names[name].values())
        labels = name.split(".")
        for end in range(len(labels) - 1, 0, -1):
            title = ".".join(labels[end:])
            for area in areas:
                if area.title == title and (entries := area.names.get(".".join(labels[:end]))):
                    yield tuple(entries.values())


def fold(name: str) -> str:
    """Return *name* as it is compared: without a dot at its end, its ASCII letters small (RFC 4343)."""
    folded = name.removesuffix(".").encode("utf-8", "surrogateescape").lower()
    return folded.decode("utf-8", "surrogateescape")
