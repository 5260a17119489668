"""From sides and openings to elements of the table's sets and maps: pure.

The rules of the table never change; everything that does is an element. So a
change is the difference of two sets of elements, and the state of the kernel
can be compared with the wished one element by element.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from corten.core.networks.firewall.state import Opening, Side
from corten.errors import InvalidInput

PROTOCOLS = ("tcp", "udp", "sctp")
_BRIDGE = re.compile(r"[A-Za-z0-9][\w.-]{0,14}", re.ASCII)


class Element(NamedTuple):
    """One element of *group*, a set or (with *value*) a map; both are parts of a concatenation."""

    group: str
    key: tuple[str, ...]
    value: tuple[str, ...] = ()


def elements(sides: Iterable[Side], openings: Iterable[Opening]) -> frozenset[Element]:
    """Return everything that the table shall hold.

    Raises:
        InvalidInput: a name, address, port or protocol that cannot be.
    """
    known = {side.bridge: side for side in sides}
    wished = {element for side in known.values() for element in of_side(side)}
    return frozenset(wished | of_openings(openings, known))


def of_openings(openings: Iterable[Opening], sides: Mapping[str, Side]) -> set[Element]:
    """Return the elements of *openings*; those on internal networks have none.

    Raises:
        InvalidInput: an address, port or protocol that cannot be.
    """
    return {element for opening in openings for element in _of_opening(opening, sides.get(opening.bridge))}


def of_side(side: Side) -> list[Element]:
    """Return the elements of one network.

    Raises:
        InvalidInput: a name or subnet that cannot be.
    """
    name = _checked(side.bridge)
    made = [Element("bridges", (name,)), Element("same", (name, name))]
    if side.internal:
        made.append(Element("internal", (name,)))
    if not side.icc:
        made.append(Element("closed", (name,)))
    for text in side.subnets:
        subnet, version = _subnet(text)
        made += [Element(f"subnets{version}", (subnet,)), Element(f"own{version}", (name, subnet))]
        if side.routed and not side.internal:
            made.append(Element(f"routed{version}", (subnet,)))
        elif side.masquerade and not side.internal:
            made.append(Element(f"masquerade{version}", (subnet,)))
    return made


def _of_opening(opening: Opening, side: Side | None) -> list[Element]:
    host, target = _address(opening.host_ip), _address(opening.address)
    protocol, port, inner = opening.protocol, _port(opening.host_port), _port(opening.port)
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid protocol: {protocol}: use tcp, udp or sctp")
    if host.version != target.version:
        raise InvalidInput(f"cannot publish {target} on {host}: use addresses of one family")
    if side and side.internal:
        return []
    version, value = target.version, (str(target), inner)
    if side and side.routed:
        return [Element(f"open{version}", (str(target), protocol, inner))]
    key: tuple[str, ...]
    scope, key = ("every", (protocol, port)) if host.is_unspecified else ("", (str(host), protocol, port))
    made = [Element(f"{scope or 'ports'}{version}", key, value)]
    if host.is_unspecified or host.is_loopback:
        made.append(Element(f"loop{scope}{version}", key))
    return made


def _checked(bridge: str) -> str:
    if not _BRIDGE.fullmatch(bridge):
        raise InvalidInput(f"bridge name {bridge!r}: use 1 to 15 letters, digits, '_', '.', '-'")
    return bridge


@lru_cache(maxsize=1024)
def _subnet(text: str) -> tuple[str, int]:
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(f"invalid CIDR block: {text}") from None
    single = subnet.prefixlen == subnet.max_prefixlen  # nft lists it without a prefix
    return str(subnet.network_address if single else subnet), subnet.version


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        raise InvalidInput(f"invalid IP address: {text}") from None


def _port(number: int) -> str:
    if not 0 < number < 65536:
        raise InvalidInput(f"invalid port: {number}: use 1 to 65535")
    return str(number)
