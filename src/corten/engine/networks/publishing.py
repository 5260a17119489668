"""Publishing: which ports of the host lead to which container.

A port is held by a bound socket, so that no other program takes it, and lead
on by the firewall, all ports of a container in one transaction.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from corten.core.networks.firewall.state import Opening
from corten.core.networks.ports.ports import Ports, Reserved, Wish
from corten.engine.networks import wishes
from corten.engine.networks.fabric import Fabric
from corten.engine.records.container import Container, Endpoint, Published
from corten.engine.records.networks import NetworkRepository

HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"


class Publishing:
    """Ports of containers; one per engine."""

    def __init__(self, fabric: Fabric, ports: Ports, networks: NetworkRepository) -> None:
        self._fabric, self._ports, self._networks = fabric, ports, networks

    def publish(self, container: Container, endpoints: Sequence[Endpoint]) -> tuple[Published, ...]:
        """Publish what a container asks for; 0.2 ms.

        Raises:
            InvalidInput: a port that makes no sense.
            Conflict: a port is in use.
            Unavailable: none of a range is free.
        """
        return self._publish(container, endpoints, wishes.ports(container.config, container.host_config))

    def _publish(
        self, container: Container, endpoints: Sequence[Endpoint], wanted: Sequence[Wish]
    ) -> tuple[Published, ...]:
        target = self._target(endpoints)
        if not wanted or target is None:
            return ()
        place = self._networks.find(target.network_id).options.get(HOST_BINDING, "")
        placed = [wish if wish.host_ip else replace(wish, host_ip=place) for wish in wanted]
        reserved = self._ports.reserve(container.id, container.name, placed, ipv6=bool(target.address6))
        published = tuple(Published(r.protocol, r.container_port, r.host_ip, r.host_port) for r in reserved)
        self._lead(container.id, published, target)
        return published

    def republish(self, now: Container, then: Container) -> tuple[Published, ...]:
        """Publish what *then* asks for instead of what *now* has; a binding that both ask for keeps its port.

        After a failure what was published still is.

        Raises:
            as ``publish``.
        """
        try:
            published = self._publish(then, then.endpoints, _pinned(now, then))
        except BaseException:
            self.adopt(now)
            self.follow(now, now.endpoints)
            raise
        if not published:
            self.unpublish(now.id)
        return published

    def follow(self, container: Container, endpoints: Sequence[Endpoint]) -> None:
        """Have the published ports lead to the right one of changed attachments."""
        self._lead(container.id, container.published, self._target(endpoints))

    def unpublish(self, container_id: str) -> None:
        """Close and free all ports of a container; idempotent."""
        self._fabric.firewall.publish(container_id, ())
        self._ports.release(container_id)

    def adopt(self, container: Container) -> list[str]:
        """Hold the ports of a container found running; returns what could not be, in lines."""
        held = [
            Reserved(
                protocol=p.protocol, container_port=p.container_port, host_ip=p.host_ip, host_port=p.host_port
            )
            for p in container.published
        ]
        return self._ports.adopt(container.id, container.name, held)

    def openings(self, container: Container) -> list[Opening]:
        """Return the ports of a running container as the firewall has them."""
        target = self._target(container.endpoints)
        return self._openings(container.published, target) if target else []

    def _lead(self, container_id: str, published: Sequence[Published], target: Endpoint | None) -> None:
        openings = self._openings(published, target) if target else ()
        self._fabric.firewall.publish(container_id, openings)

    def _target(self, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        """Return the attachment that published ports lead to: the gateway's, or the first one on a bridge."""
        able = [e for e in endpoints if (e.address or e.address6) and self._fabric.bridge_of(e.network_id)]
        gateway = wishes.gateway_of(able, self._networks.find)
        return gateway or (able[0] if able else None)

    def _openings(self, published: Sequence[Published], target: Endpoint) -> list[Opening]:
        bridge = self._fabric.bridge_of(target.network_id)
        places = [(p, target.address6 if ":" in p.host_ip else target.address) for p in published]
        return [
            Opening(
                protocol=p.protocol,
                host_ip=p.host_ip,
                host_port=p.host_port,
                address=address,
                port=p.container_port,
                bridge=bridge,
            )
            for p, address in places
            if address
        ]


def _pinned(now: Container, then: Container) -> list[Wish]:
    """Return what *then* wishes, with the port that *now* got for the same wish where the engine chose it."""
    had: dict[Wish, list[int]] = {}
    left = list(now.published)
    for wish in wishes.ports(now.config, now.host_config) if left else ():
        had.setdefault(wish, []).append(_granted(wish, left))
    pinned = []
    for wish in wishes.ports(then.config, then.host_config):
        port = had[wish].pop(0) if had.get(wish) else 0
        pinned.append(replace(wish, first=port, last=port) if port else wish)
    return pinned


def _granted(wish: Wish, left: list[Published]) -> int:
    """Take what was published for *wish* from *left*, the ports of it and later wishes; return the port, 0 for none.

    A wish for all addresses has one port, published once for each family.
    """
    port = 0
    families = set[bool]()
    while left and (left[0].protocol, left[0].container_port) == (wish.protocol, wish.container_port):
        is_ipv6 = ":" in left[0].host_ip
        if port and (wish.host_ip or left[0].host_port != port or is_ipv6 in families):
            break
        port = left.pop(0).host_port
        families.add(is_ipv6)
    return port
