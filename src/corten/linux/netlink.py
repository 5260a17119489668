"""rtnetlink: links, addresses and routes by messages on one socket.

A request is a value made by a pure function (``create_bridge``,
``add_address``...); a ``Netlink`` sends any number of them in one system call
and collects one answer each. One batch of a few hundred bytes replaces five
programs: starting those costs some 50 ms, the batch well under one.

Message: header, a fixed structure of its kind, then attributes (length, type,
value padded to four bytes), which may nest. Everything is in host byte order,
addresses apart.

Source: netlink(7), rtnetlink(7), linux/netlink.h, linux/rtnetlink.h,
linux/if_link.h, linux/if_addr.h, linux/veth.h.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import TracebackType
from typing import Self

from corten.linux.syscalls import KernelError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x01, 0x04, 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
NLMSGERR_ATTR_MSG = 1
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 26, 28, 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE = 8, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RTN_UNICAST = 254, 4, 0, 253, 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
IFF_UP = 1

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, kind, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags

_DUMP_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send: its kind, extra flags, payload, and words for an error."""

    kind: int
    flags: int
    body: bytes
    action: str


@dataclass(frozen=True, slots=True)
class Link:
    """A network link; *master* is the index of its bridge or 0, *alias* free text."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    master: int
    up: bool
    alias: str


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address with its prefix, on the link *index*."""

    index: int
    interface: IPv4Interface


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 route of the main table; *gateway* is None for a network on the link itself."""

    destination: IPv4Network
    gateway: IPv4Address | None
    index: int


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Decode attributes into values by type; of a repeated type the last one counts.

    Raises:
        ValueError: an attribute passes the end of *data*.
    """
    found, offset = {}, 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            raise ValueError(f"netlink attribute of {length} bytes at {offset} of {len(data)}")
        found[kind & NLA_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _word(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of ``02:42:ac:11:00:02``.

    Raises:
        ValueError: *mac* has another form.
    """
    raw = bytes.fromhex(mac.replace(":", ""))
    if len(raw) != 6 or len(mac) != 17:
        raise ValueError(f"not a MAC address: {mac}")
    return raw


def _link_attributes(name: str = "", mac: str = "", mtu: int = 0, master: int | None = None) -> bytes:
    parts = [
        _text(IFLA_IFNAME, name) if name else b"",
        attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b"",
        _word(IFLA_MTU, mtu) if mtu else b"",
        b"" if master is None else _word(IFLA_MASTER, master),
    ]
    return b"".join(parts)


def create_bridge(name: str, mac: str = "", mtu: int = 0) -> Request:
    """Ask for a bridge, down, without ports.

    A bridge without a MAC of its own takes the lowest of its ports' and so
    changes it as ports come and go; give one.

    Fails with EEXIST when any link has that name.
    """
    body = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(name, mac, mtu)
    body += _nest(IFLA_LINKINFO, _text(IFLA_INFO_KIND, "bridge"))
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create bridge {name}")


def create_veth(
    name: str,
    peer: str,
    peer_namespace: int,
    *,
    mac: str = "",
    peer_mac: str = "",
    mtu: int = 0,
    master: int | None = None,
) -> Request:
    """Ask for a pair of connected links, the second one born in another network namespace.

    Both are down and have one queue each: a veth takes no lock on its way
    out, so more would only cost memory.

    Args:
        name: The end in the namespace of the socket.
        peer: The name of the other end.
        peer_namespace: Descriptor of the network namespace of *peer*.
        mac: Address of *name*; random when empty.
        peer_mac: Address of *peer*; random when empty.
        mtu: Largest packet in bytes of both ends; 0 for the kernel's 1500.
        master: Index of the bridge that *name* becomes a port of.

    Fails with EEXIST when either name is taken in its namespace.

    Source: veth(4); linux/veth.h.
    """
    queues = _word(IFLA_NUM_TX_QUEUES, 1) + _word(IFLA_NUM_RX_QUEUES, 1)
    other = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(peer, peer_mac, mtu)
    other += _word(IFLA_NET_NS_FD, peer_namespace) + queues
    data = _nest(IFLA_INFO_DATA, _nest(VETH_INFO_PEER, other))
    body = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(name, mac, mtu, master) + queues
    body += _nest(IFLA_LINKINFO, _text(IFLA_INFO_KIND, "veth"), data)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create veth {name} with peer {peer}")


def set_link(
    link: str | int,
    *,
    name: str = "",
    mac: str = "",
    mtu: int = 0,
    master: int | None = None,
    alias: str | None = None,
    up: bool | None = None,
    link_local: bool = True,
) -> Request:
    """Ask for changes to one link; what is not given stays.

    Args:
        link: Name or index.
        name: New name; needs *link* as an index.
        mac: New address.
        mtu: New largest packet in bytes.
        master: Index of the bridge to join; 0 leaves it.
        alias: Free text of up to 255 bytes that any tool shows; "" removes it.
        up: Bring the link up or down.
        link_local: False keeps the kernel from giving it an IPv6 address by itself;
            only an earlier request than the one that brings it up does.

    Fails with ENODEV when there is no such link.
    """
    index = link if isinstance(link, int) else 0
    body = _LINK.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    body += _link_attributes(link if isinstance(link, str) else name, mac, mtu, master)
    if alias is not None:
        body += attribute(IFLA_IFALIAS, alias.encode())
    if not link_local:
        mode = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([ADDR_GEN_MODE_NONE]))
        body += _nest(IFLA_AF_SPEC, _nest(socket.AF_INET6, mode))
    return Request(RTM_NEWLINK, 0, body, f"change link {link}")


def delete_link(link: str | int) -> Request:
    """Ask for a link to go, both ends of a veth; fails with ENODEV when there is none.

    Takes 15 to 20 ms of waiting for other processors.
    """
    if isinstance(link, int):
        body = _LINK.pack(0, 0, link, 0, 0)
    else:
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(IFLA_IFNAME, link)
    return Request(RTM_DELLINK, 0, body, f"delete link {link}")


def _address(index: int, interface: IPv4Interface) -> bytes:
    body = _ADDRESS.pack(socket.AF_INET, interface.network.prefixlen, 0, RT_SCOPE_UNIVERSE, index)
    body += attribute(IFA_LOCAL, interface.ip.packed) + attribute(IFA_ADDRESS, interface.ip.packed)
    if interface.network.prefixlen < 31:
        body += attribute(IFA_BROADCAST, interface.network.broadcast_address.packed)
    return body


def add_address(index: int, interface: IPv4Interface) -> Request:
    """Ask for an address on link *index*; repeating it changes nothing."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Request(RTM_NEWADDR, flags, _address(index, interface), f"add address {interface}")


def delete_address(index: int, interface: IPv4Interface) -> Request:
    """Ask for an address to go; fails with EADDRNOTAVAIL when it is not there."""
    return Request(RTM_DELADDR, 0, _address(index, interface), f"delete address {interface}")


def add_route(gateway: IPv4Address, destination: IPv4Network | None = None) -> Request:
    """Ask for a route through *gateway*, which has to be on a link that is up.

    Args:
        gateway: Next hop.
        destination: Network to reach; None is the default route.

    Fails with ENETUNREACH when *gateway* cannot be reached directly, EEXIST
    when there is such a route.
    """
    length = destination.prefixlen if destination else 0
    body = _ROUTE.pack(
        socket.AF_INET, length, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0
    )
    if destination and length:
        body += attribute(RTA_DST, destination.network_address.packed)
    body += attribute(RTA_GATEWAY, gateway.packed)
    action = f"add route to {destination or 'default'} via {gateway}"
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, action)


def parse_link(body: bytes) -> Link:
    """Decode the payload of an RTM_NEWLINK message."""
    _family, _type, index, flags, _change = _LINK.unpack_from(body)
    found = attributes(body[_LINK.size :])
    info = attributes(found.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_string(found.get(IFLA_IFNAME, b"")),
        kind=_string(info.get(IFLA_INFO_KIND, b"")),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(IFLA_MTU)),
        master=_number(found.get(IFLA_MASTER)),
        up=bool(flags & IFF_UP),
        alias=_string(found.get(IFLA_IFALIAS, b"")),
    )


def parse_address(body: bytes) -> Address:
    """Decode the payload of an RTM_NEWADDR message of IPv4."""
    _family, prefix, _flags, _scope, index = _ADDRESS.unpack_from(body)
    found = attributes(body[_ADDRESS.size :])
    raw = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    return Address(index, IPv4Interface((raw, prefix)))


def parse_route(body: bytes) -> Route | None:
    """Decode the payload of an RTM_NEWROUTE message; None unless unicast, in the main table."""
    _family, length, _src, _tos, table, _protocol, _scope, kind, _flags = _ROUTE.unpack_from(body)
    found = attributes(body[_ROUTE.size :])
    if kind != RTN_UNICAST or _number(found.get(RTA_TABLE), table) != RT_TABLE_MAIN:
        return None
    gateway = found.get(RTA_GATEWAY)
    return Route(
        destination=IPv4Network((found.get(RTA_DST, bytes(4)), length)),
        gateway=IPv4Address(gateway) if gateway else None,
        index=_number(found.get(RTA_OIF)),
    )


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes | None, default: int = 0) -> int:
    return int(struct.unpack("=I", value)[0]) if value else default


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split received bytes into (kind, flags, sequence, payload)."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise ValueError(f"netlink message of {length} bytes at {offset} of {len(data)}")
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def parse_failure(flags: int, body: bytes, action: str) -> KernelError | None:
    """Decode the payload of an NLMSG_ERROR message; None is an acknowledgement.

    The kernel's own words (extended acknowledgement) follow *action* in brackets.
    """
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return None
    hint = ""
    if flags & NLM_F_ACK_TLVS:
        (echoed,) = struct.unpack_from("=I", body, 4)
        skip = 4 + (_HEADER.size if flags & NLM_F_CAPPED else (echoed + 3) & ~3)
        hint = _string(attributes(body[skip:]).get(NLMSGERR_ATTR_MSG, b""))
    return KernelError(-code, f"{action} ({hint})" if hint else action)


class Netlink:
    """A NETLINK_ROUTE socket, bound for life to the network namespace it is opened in.

    That is the namespace of the calling thread; the object may be used when
    the thread has gone elsewhere. One thread at a time. Closed by the owner,
    by ``with`` or ``close``.

    Raises:
        OSError: the socket cannot be opened (EMFILE...).
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()

    def execute(self, *requests: Request) -> None:
        """Carry out *requests* in order with one system call.

        The kernel goes on after a failed one, so a batch may only hold
        requests that do no harm when an earlier one failed.

        Raises:
            KernelError: of the first request that failed; errno is kept.
        """
        if not requests:
            return
        first = self._send([(request, NLM_F_ACK) for request in requests])
        failures: dict[int, KernelError] = {}
        waiting = set(range(len(requests)))
        while waiting:
            for kind, flags, sequence, body in self._receive():
                position = sequence - first
                if kind != NLMSG_ERROR or position not in waiting:
                    continue
                waiting.discard(position)
                failure = parse_failure(flags, body, requests[position].action)
                if failure:
                    failures[position] = failure
        if failures:
            raise failures[min(failures)]

    def link(self, name: str) -> Link | None:
        """Return the link called *name*, or None."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(IFLA_IFNAME, name)
        request = Request(RTM_GETLINK, 0, body, f"look up link {name}")
        first = self._send([(request, 0)])
        while True:
            for kind, flags, sequence, answer in self._receive():
                if sequence != first:
                    continue
                if kind == RTM_NEWLINK:
                    return parse_link(answer)
                failure = parse_failure(flags, answer, request.action)
                if failure and failure.errno != errno.ENODEV:
                    raise failure
                return None

    def links(self) -> list[Link]:
        """Return every link of the namespace."""
        request = Request(RTM_GETLINK, NLM_F_DUMP, _LINK.pack(0, 0, 0, 0, 0), "list links")
        return [parse_link(body) for body in self._dump(request)]

    def addresses(self) -> list[Address]:
        """Return every IPv4 address of the namespace."""
        body = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
        request = Request(RTM_GETADDR, NLM_F_DUMP, body, "list addresses")
        return [parse_address(body) for body in self._dump(request)]

    def routes(self) -> list[Route]:
        """Return the IPv4 unicast routes of the main table."""
        body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        request = Request(RTM_GETROUTE, NLM_F_DUMP, body, "list routes")
        return [route for body in self._dump(request) if (route := parse_route(body))]

    def _dump(self, request: Request) -> list[bytes]:
        """Return the payloads of a consistent listing; one that changed meanwhile is begun again."""
        for _ in range(_DUMP_ATTEMPTS):
            found, consistent = self._dump_once(request)
            if consistent:
                return found
        raise KernelError(errno.EINTR, f"{request.action} (it keeps changing)")

    def _dump_once(self, request: Request) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        first, consistent = self._send([(request, 0)]), True
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != first:
                    continue
                consistent = consistent and not flags & NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    return found, consistent
                if kind == NLMSG_ERROR:
                    raise parse_failure(flags, body, request.action) or ValueError("unexpected answer")
                found.append(body)

    def _send(self, requests: list[tuple[Request, int]]) -> int:
        """Send *requests*, each with extra flags; return the sequence number of the first."""
        first, frames = self._sequence + 1, []
        for request, extra in requests:
            self._sequence += 1
            flags = NLM_F_REQUEST | request.flags | extra
            padded = request.body + bytes(-len(request.body) % 4)
            frames.append(_HEADER.pack(_HEADER.size + len(padded), request.kind, flags, self._sequence, 0))
            frames.append(padded)
        self._socket.sendto(b"".join(frames), (0, 0))
        return first

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return _messages(self._socket.recv(1 << 16))
