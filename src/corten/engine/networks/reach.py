"""Reach: who can reach which port of a container. Pure.

A published port is reached through the host's addresses; any port of a
container is reached directly by the containers on its networks, unless the
network keeps its containers apart.
"""

from collections.abc import Mapping
from ipaddress import ip_address

import msgspec

from corten.engine.networks.fabric import ICC, option
from corten.engine.networks.wishes import exposed
from corten.engine.records.container import Container
from corten.engine.records.network import Network

EVERYONE, THIS_HOST, NOBODY = "everyone", "this host", "nobody"


class Reach(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One way to one port; *host_ip* is empty and *host_port* 0 for one that is not published.

    *who* is ``everyone`` (whoever reaches the host), ``this host``,
    ``containers on NETWORK``, or ``nobody``.
    """

    container: str
    network: str
    network_id: str
    protocol: str
    container_port: int
    host_ip: str
    host_port: int
    who: str


def reach_of(container: Container, networks: Mapping[str, Network]) -> list[Reach]:
    """Return the ways to a running container: published ports, then exposed ones on each network."""
    attached = [networks[e.network_id] for e in container.endpoints if e.network_id in networks]
    main = next((network for network in attached if not network.internal), None)
    rows = []
    for port in container.published:
        who = THIS_HOST if ip_address(port.host_ip).is_loopback else EVERYONE
        rows.append(
            _row(container, main, port.protocol, port.container_port, who, port.host_ip, port.host_port)
        )
    for network in attached:
        apart = not option(network.options, ICC)
        who = NOBODY if apart else f"containers on {network.name}"
        if network.name == "host":
            who = EVERYONE
        rows += [
            _row(container, network, protocol, number, who)
            for number, protocol in sorted(exposed(container.config.exposed_ports or ()))
        ]
    return rows


def _row(
    container: Container,
    network: Network | None,
    protocol: str,
    port: int,
    who: str,
    host_ip: str = "",
    host_port: int = 0,
) -> Reach:
    return Reach(
        container=container.name,
        network=network.name if network else "",
        network_id=network.id if network else "",
        protocol=protocol,
        container_port=port,
        host_ip=host_ip,
        host_port=host_port,
        who=who,
    )
