"""Links by rtnetlink: requests as values, and what the kernel tells of a link. No socket.

Source: rtnetlink(7), veth(4), linux/if_link.h, linux/veth.h; for ports of a
bridge and macvlan, ip-link(8).
"""

import socket
import struct
from dataclasses import dataclass

from corten.linux.netlink_messages import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Request,
    attribute,
    attributes,
    decode_text,
    decode_word,
    nest,
    short,
    text,
    word,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_NET_NS_FD = 18, 20, 26, 28
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER, IFLA_VLAN_ID = 1, 1
IFLA_MACVLAN_MODE, IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS = 1, 1, 2
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE = 8, 1
IFF_UP = 1

MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"": 0, "private": 1, "vepa": 2}

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change


@dataclass(frozen=True, slots=True)
class Link:
    """A network link.

    *master* is the index of its bridge or 0, *alias* free text, *parent* the
    index of the link that it is part of (the one below a macvlan or vlan, the
    other end of a veth in whatever namespace that is) or 0.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    master: int
    up: bool
    alias: str
    parent: int = 0


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
        text(IFLA_IFNAME, name) if name else b"",
        attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b"",
        word(IFLA_MTU, mtu) if mtu else b"",
        b"" if master is None else word(IFLA_MASTER, master),
    ]
    return b"".join(parts)


def create_bridge(name: str, mac: str = "", mtu: int = 0) -> Request:
    """Ask for a bridge, down, without ports.

    A bridge without a MAC of its own takes the lowest of its ports' and so
    changes it as ports come and go; give one.

    Fails with EEXIST when any link has that name.
    """
    body = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(name, mac, mtu)
    body += nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))
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
    queues = word(IFLA_NUM_TX_QUEUES, 1) + word(IFLA_NUM_RX_QUEUES, 1)
    other = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(peer, peer_mac, mtu)
    other += word(IFLA_NET_NS_FD, peer_namespace) + queues
    data = nest(IFLA_INFO_DATA, nest(VETH_INFO_PEER, other))
    body = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(name, mac, mtu, master) + queues
    body += nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), data)
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
        body += nest(IFLA_AF_SPEC, nest(socket.AF_INET6, mode))
    return Request(RTM_NEWLINK, 0, body, f"change link {link}")


def delete_link(link: str | int) -> Request:
    """Ask for a link to go, both ends of a veth; fails with ENODEV when there is none.

    Takes 15 to 20 ms of waiting for other processors.
    """
    if isinstance(link, int):
        body = _LINK.pack(0, 0, link, 0, 0)
    else:
        body = _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, link)
    return Request(RTM_DELLINK, 0, body, f"delete link {link}")


def create_macvlan(
    name: str, parent: int, mode: str, *, mac: str = "", namespace: int | None = None, mtu: int = 0
) -> Request:
    """Ask for a link with a MAC of its own on top of another one, down.

    Args:
        name: Its name, in *namespace*.
        parent: Index of the link below, in the namespace of the socket.
        mode: private, vepa, bridge or passthru: whether links on the same parent hear each other.
        mac: Its address; random when empty.
        namespace: Descriptor of the network namespace it is born in; None is that of the socket.
        mtu: Largest packet in bytes; 0 for that of the parent.

    Fails with EEXIST when the name is taken, ENODEV without the parent, EBUSY
    when the parent is a port of a bridge, EOPNOTSUPP when the kernel has no macvlan.

    Raises:
        ValueError: another *mode*.
    """
    data = word(IFLA_MACVLAN_MODE, _named(mode, MACVLAN_MODES, "macvlan mode"))
    body = _child(name, parent, "macvlan", data, mac, namespace, mtu)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create macvlan {name} on link {parent}")


def create_ipvlan(
    name: str, parent: int, mode: str, flag: str = "", *, namespace: int | None = None, mtu: int = 0
) -> Request:
    """Ask for a link that shares the MAC of another one, down.

    Args:
        name: Its name, in *namespace*.
        parent: Index of the link below, in the namespace of the socket.
        mode: l2, l3 or l3s.
        flag: private or vepa: whether links on the same parent hear each other; empty for bridge.
        namespace: Descriptor of the network namespace it is born in; None is that of the socket.
        mtu: Largest packet in bytes; 0 for that of the parent.

    Fails as ``create_macvlan``.

    Raises:
        ValueError: another *mode* or *flag*.

    Source: Documentation/networking/ipvlan.rst.
    """
    data = short(IFLA_IPVLAN_MODE, _named(mode, IPVLAN_MODES, "ipvlan mode"))
    data += short(IFLA_IPVLAN_FLAGS, _named(flag, IPVLAN_FLAGS, "ipvlan flag"))
    body = _child(name, parent, "ipvlan", data, "", namespace, mtu)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create ipvlan {name} on link {parent}")


def create_vlan(name: str, parent: int, vlan_id: int) -> Request:
    """Ask for the link of one 802.1Q VLAN of another link, down.

    Fails with EOPNOTSUPP when the kernel has no VLANs, ERANGE for an id over
    4094, EEXIST when the name or that VLAN is taken.
    """
    body = _child(name, parent, "vlan", short(IFLA_VLAN_ID, vlan_id), "", None, 0)
    action = f"create vlan {vlan_id} {name} on link {parent}"
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, action)


def _child(
    name: str, parent: int, kind: str, data: bytes, mac: str, namespace: int | None, mtu: int
) -> bytes:
    body = _LINK.pack(0, 0, 0, 0, 0) + _link_attributes(name, mac, mtu) + word(IFLA_LINK, parent)
    if namespace is not None:
        body += word(IFLA_NET_NS_FD, namespace)
    return body + nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, kind), nest(IFLA_INFO_DATA, data))


def _named(name: str, numbers: dict[str, int], what: str) -> int:
    if name not in numbers:
        raise ValueError(f"{what} {name!r} is none of {', '.join(filter(None, numbers))}")
    return numbers[name]


def set_port(link: str | int, *, isolated: bool | None = None, hairpin: bool | None = None) -> Request:
    """Ask for changes to one port of a bridge; what is not given stays.

    Args:
        link: Name or index of the port.
        isolated: It hears nothing of other isolated ports, only of the bridge itself and of the rest.
        hairpin: A packet may leave by the port it came in by.

    Fails with ENODEV when there is no such link, EINVAL or EOPNOTSUPP when it
    is no port of a bridge.

    Source: bridge(8).
    """
    wishes = ((IFLA_BRPORT_ISOLATED, isolated), (IFLA_BRPORT_MODE, hairpin))
    data = b"".join(attribute(kind, bytes([wish])) for kind, wish in wishes if wish is not None)
    body = _LINK.pack(0, 0, link if isinstance(link, int) else 0, 0, 0)
    body += text(IFLA_IFNAME, link) if isinstance(link, str) else b""
    body += nest(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge"), nest(IFLA_INFO_SLAVE_DATA, data))
    return Request(RTM_NEWLINK, 0, body, f"change bridge port {link}")


def find_link(name: str) -> Request:
    """Ask for the link called *name*; fails with ENODEV when there is none."""
    return Request(
        RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name), f"look up link {name}"
    )


def list_links() -> Request:
    """Ask for every link of the namespace."""
    return Request(RTM_GETLINK, NLM_F_DUMP, _LINK.pack(0, 0, 0, 0, 0), "list links")


def parse_link(body: bytes) -> Link:
    """Decode the payload of an RTM_NEWLINK message."""
    _family, _type, index, flags, _change = _LINK.unpack_from(body)
    found = attributes(body[_LINK.size :])
    info = attributes(found.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=decode_text(found.get(IFLA_IFNAME, b"")),
        kind=decode_text(info.get(IFLA_INFO_KIND, b"")),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=decode_word(found.get(IFLA_MTU)),
        master=decode_word(found.get(IFLA_MASTER)),
        up=bool(flags & IFF_UP),
        alias=decode_text(found.get(IFLA_IFALIAS, b"")),
        parent=decode_word(found.get(IFLA_LINK)),
    )
