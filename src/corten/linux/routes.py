"""Addresses and routes by rtnetlink: requests as values, and what the kernel tells of them. No socket.

Both families. IPv6 addresses are asked for without duplicate address
detection: ours are handed out once, and the wait for an answer that cannot
come would cost every start a second.

Source: rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h.
"""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from corten.linux.netlink_messages import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    IpAddress,
    IpInterface,
    IpNetwork,
    Request,
    attribute,
    attributes,
    decode_word,
    word,
)

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 9, 15
RT_TABLE_UNSPEC, RT_TABLE_MAIN, RTPROT_UNSPEC, RTPROT_KERNEL, RTPROT_STATIC = 0, 254, 0, 2, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNSPEC, RTN_UNICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT = 0, 1, 6, 7, 8

_ADDRESS = struct.Struct("=BBBBi")  # ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_NEXT_HOP = struct.Struct("=HBBi")  # rtnexthop: length, flags, hops, index


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix, on the link *index*."""

    index: int
    interface: IpInterface


@dataclass(frozen=True, slots=True)
class Route:
    """A route; *gateway* is None for a network on the link itself, *index* 0 where no link leads there.

    Of several next hops it tells the first. *kind* is an RTN_ number.
    """

    destination: IpNetwork
    gateway: IpAddress | None
    index: int
    table: int = RT_TABLE_MAIN
    kind: int = RTN_UNICAST


def _family(value: IpAddress | IpInterface | IpNetwork) -> int:
    return socket.AF_INET if value.version == 4 else socket.AF_INET6


def _address(index: int, interface: IpInterface) -> bytes:
    flags = IFA_F_NODAD if interface.version == 6 else 0
    length = interface.network.prefixlen
    body = _ADDRESS.pack(_family(interface), length, flags, RT_SCOPE_UNIVERSE, index)
    body += attribute(IFA_LOCAL, interface.ip.packed) + attribute(IFA_ADDRESS, interface.ip.packed)
    if interface.version == 4 and length < 31:
        body += attribute(IFA_BROADCAST, interface.network.broadcast_address.packed)
    return body


def add_address(index: int, interface: IpInterface) -> Request:
    """Ask for an address on link *index*; repeating it changes nothing."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Request(RTM_NEWADDR, flags, _address(index, interface), f"add address {interface}")


def delete_address(index: int, interface: IpInterface) -> Request:
    """Ask for an address to go; fails with EADDRNOTAVAIL when it is not there."""
    return Request(RTM_DELADDR, 0, _address(index, interface), f"delete address {interface}")


def list_addresses(family: int) -> Request:
    """Ask for every address of the namespace of *family* (AF_INET or AF_INET6)."""
    return Request(RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(family, 0, 0, 0, 0), "list addresses")


def _route(
    family: int,
    destination: IpNetwork | None,
    gateway: IpAddress | None = None,
    index: int = 0,
    *,
    table: int = RT_TABLE_MAIN,
    protocol: int = RTPROT_STATIC,
    scope: int = RT_SCOPE_UNIVERSE,
    kind: int = RTN_UNICAST,
) -> bytes:
    """Encode a route; a number of the table that has no room in the structure goes into an attribute."""
    length = destination.prefixlen if destination else 0
    small = table if table < 256 else RT_TABLE_UNSPEC
    body = _ROUTE.pack(family, length, 0, 0, small, protocol, scope, kind, 0)
    if destination and length:
        body += attribute(RTA_DST, destination.network_address.packed)
    if gateway is not None:
        body += attribute(RTA_GATEWAY, gateway.packed)
    if index:
        body += word(RTA_OIF, index)
    return body + (word(RTA_TABLE, table) if table > 255 else b"")


def add_route(gateway: IpAddress, destination: IpNetwork | None = None, *, index: int = 0) -> Request:
    """Ask for a route through *gateway*, which has to be on a link that is up.

    Args:
        gateway: Next hop.
        destination: Network to reach; None is the default route of the gateway's family.
        index: The link to leave by; 0 for the one whose network has *gateway*. A
            link-local gateway needs it.

    Fails with ENETUNREACH (IPv6: EHOSTUNREACH) when *gateway* cannot be reached
    directly, EEXIST when there is such a route.
    """
    body = _route(_family(gateway), destination, gateway, index)
    action = f"add route to {destination or 'default'} via {gateway}"
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, action)


def replace_route(gateway: IpAddress, destination: IpNetwork | None = None, *, index: int = 0) -> Request:
    """Ask for a route through *gateway* in the place of the one to the same network, if there is one.

    Arguments and failures are those of ``add_route``, without EEXIST.
    """
    body = _route(_family(gateway), destination, gateway, index)
    action = f"set route to {destination or 'default'} via {gateway}"
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, action)


def delete_route(gateway: IpAddress, destination: IpNetwork | None = None, *, index: int = 0) -> Request:
    """Ask for a route through *gateway* to go; fails with ESRCH when it is not there."""
    body = _gone(_family(gateway), destination, gateway, index)
    action = f"delete route to {destination or 'default'} via {gateway}"
    return Request(RTM_DELROUTE, 0, body, action)


def add_link_route(destination: IpNetwork, index: int) -> Request:
    """Ask for a route to a network that is on link *index* itself; repeating it changes nothing.

    Fails with ENETDOWN when the link is down.
    """
    # the scope says for IPv4 that there is no gateway; IPv6 has no scopes
    body = _route(_family(destination), destination, index=index, scope=RT_SCOPE_LINK)
    action = f"add route to {destination} on link {index}"
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, action)


def delete_link_route(destination: IpNetwork, index: int) -> Request:
    """Ask for a route on link *index* itself to go; fails with ESRCH when it is not there."""
    body = _gone(_family(destination), destination, None, index)
    return Request(RTM_DELROUTE, 0, body, f"delete route to {destination} on link {index}")


def blackhole_route(destination: IpNetwork, table: int, *, protocol: int = RTPROT_STATIC) -> Request:
    """Ask for packets to *destination* to be dropped silently where *table* is looked up; may be repeated.

    *protocol* is an RTPROT_ number that tells who made it.
    """
    body = _route(_family(destination), destination, table=table, protocol=protocol, kind=RTN_BLACKHOLE)
    action = f"add blackhole for {destination} to table {table}"
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, action)


def delete_blackhole_route(destination: IpNetwork, table: int) -> Request:
    """Ask for what ``blackhole_route`` made to go; fails with ESRCH when it is not there."""
    body = _gone(_family(destination), destination, table=table, kind=RTN_BLACKHOLE)
    return Request(RTM_DELROUTE, 0, body, f"delete blackhole for {destination} from table {table}")


def _gone(
    family: int,
    destination: IpNetwork | None,
    gateway: IpAddress | None = None,
    index: int = 0,
    *,
    table: int = RT_TABLE_MAIN,
    kind: int = RTN_UNICAST,
) -> bytes:
    """Encode a route to delete, whoever made it and whatever its scope."""
    anyone, anywhere = RTPROT_UNSPEC, RT_SCOPE_NOWHERE
    return _route(
        family, destination, gateway, index, table=table, protocol=anyone, scope=anywhere, kind=kind
    )


def list_routes(family: int, table: int = RT_TABLE_UNSPEC, kind: int = RTN_UNSPEC) -> Request:
    """Ask for the routes of *family*; a zero asks for every table, every kind.

    Fails with ENOENT when there is no such table. Kernels tell more than was
    asked for where they cannot choose: look at the answers.
    """
    action = f"list routes of table {table}" if table else "list routes"
    body = _route(family, None, table=table, protocol=RTPROT_UNSPEC, kind=kind)
    return Request(RTM_GETROUTE, NLM_F_DUMP, body, action)


def parse_address(body: bytes) -> Address:
    """Decode the payload of an RTM_NEWADDR message of IPv4 or IPv6."""
    family, prefix, _flags, _scope, index = _ADDRESS.unpack_from(body)
    found = attributes(body[_ADDRESS.size :])
    raw = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    if family == socket.AF_INET6:
        return Address(index, IPv6Interface((raw, prefix)))
    return Address(index, IPv4Interface((raw, prefix)))


def parse_route(body: bytes) -> Route:
    """Decode the payload of an RTM_NEWROUTE message of IPv4 or IPv6."""
    family, length, _src, _tos, table, _protocol, _scope, kind, _flags = _ROUTE.unpack_from(body)
    found = attributes(body[_ROUTE.size :])
    hop = found.get(RTA_MULTIPATH, b"")
    if hop:
        found = _first_hop(hop) | found
    gateway = found.get(RTA_GATEWAY)
    six = family == socket.AF_INET6
    raw = found.get(RTA_DST, bytes(16 if six else 4))
    return Route(
        destination=IPv6Network((raw, length)) if six else IPv4Network((raw, length)),
        gateway=_gateway(gateway, six=six) if gateway else None,
        index=decode_word(found.get(RTA_OIF)),
        table=decode_word(found.get(RTA_TABLE), table),
        kind=kind,
    )


def _gateway(raw: bytes, *, six: bool) -> IpAddress:
    return IPv6Address(raw) if six else IPv4Address(raw)


def _first_hop(hops: bytes) -> dict[int, bytes]:
    """Return gateway and link of the first of several next hops, as attributes of a route."""
    length, _flags, _hops, index = _NEXT_HOP.unpack_from(hops)
    return attributes(hops[_NEXT_HOP.size : length]) | {RTA_OIF: struct.pack("=I", index)}
