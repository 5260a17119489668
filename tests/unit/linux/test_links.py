"""Requests about links as bytes, and links as told by the kernel. No socket."""

import struct

import pytest

from corten.linux.links import (
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    VETH_INFO_PEER,
    Link,
    create_bridge,
    create_ipvlan,
    create_macvlan,
    create_veth,
    create_vlan,
    mac_bytes,
    parse_link,
    set_link,
    set_port,
)
from corten.linux.netlink_messages import Request, attribute, attributes, word

LINK_SIZE = 16  # struct ifinfomsg


def kind_of(request: Request) -> tuple[bytes, dict[int, bytes]]:
    """Return the kind of link that *request* is for, and the data of that kind."""
    info = attributes(attributes(request.body[LINK_SIZE:])[IFLA_LINKINFO])
    return info[IFLA_INFO_KIND], attributes(info[IFLA_INFO_DATA])


def test_veth_carries_its_peer_whole() -> None:
    """One message names both ends, the namespace of the peer, MACs, MTU and bridge."""
    request = create_veth("ct1", "eth0", 9, peer_mac="02:00:00:00:00:05", mtu=1400, master=7)
    outer = attributes(request.body[LINK_SIZE:])
    info = attributes(outer[IFLA_LINKINFO])
    peer = attributes(attributes(info[IFLA_INFO_DATA])[VETH_INFO_PEER][LINK_SIZE:])
    assert (outer[IFLA_IFNAME], info[IFLA_INFO_KIND]) == (b"ct1\0", b"veth\0")
    assert struct.unpack("=II", outer[IFLA_MASTER] + outer[IFLA_MTU]) == (7, 1400)
    assert peer[IFLA_IFNAME] == b"eth0\0"
    assert peer[IFLA_ADDRESS] == bytes.fromhex("020000000005")
    assert struct.unpack("=I", peer[IFLA_NET_NS_FD]) == (9,)


def test_unchanged_things_are_not_sent() -> None:
    """A change of the alias says nothing about state, MTU or bridge."""
    request = set_link(5, alias="x")
    assert struct.unpack("=BxHiII", request.body[:LINK_SIZE]) == (0, 0, 5, 0, 0)
    assert attributes(request.body[LINK_SIZE:]) == {IFLA_IFALIAS: b"x"}


@pytest.mark.parametrize(("up", "flags", "change"), [(True, 1, 1), (False, 0, 1)])
def test_state_is_sent_with_its_mask(up: bool, flags: int, change: int) -> None:
    """Up and down both say that the flag is meant."""
    assert struct.unpack("=II", set_link(5, up=up).body[8:16]) == (flags, change)


def test_link_comes_back() -> None:
    """The payload of a link message decodes to its value."""
    body = struct.pack("=BxHiII", 0, 1, 3, 1, 0) + create_bridge("br0", "02:00:00:00:00:01", 1400).body[16:]
    assert parse_link(body + attribute(IFLA_IFALIAS, b"ours\0")) == Link(
        index=3, name="br0", kind="bridge", mac="02:00:00:00:00:01", mtu=1400, master=0, up=True, alias="ours"
    )


@pytest.mark.parametrize(("mode", "number"), [("private", 1), ("vepa", 2), ("bridge", 4), ("passthru", 8)])
def test_macvlan_names_its_parent_and_mode(mode: str, number: int) -> None:
    """One message has the parent here, the namespace there, mode, MAC and MTU."""
    request = create_macvlan("eth0", 7, mode, mac="02:00:00:00:00:05", namespace=9, mtu=1400)
    outer = attributes(request.body[LINK_SIZE:])
    assert kind_of(request) == (b"macvlan\0", {1: struct.pack("=I", number)})
    assert struct.unpack("=III", outer[IFLA_LINK] + outer[IFLA_NET_NS_FD] + outer[IFLA_MTU]) == (7, 9, 1400)
    assert outer[IFLA_ADDRESS] == bytes.fromhex("020000000005")
    assert IFLA_NET_NS_FD not in attributes(create_macvlan("eth0", 7, mode).body[LINK_SIZE:])


@pytest.mark.parametrize(
    ("mode", "flag", "numbers"), [("l2", "", (0, 0)), ("l3", "private", (1, 1)), ("l3s", "vepa", (2, 2))]
)
def test_ipvlan_names_mode_and_flag(mode: str, flag: str, numbers: tuple[int, int]) -> None:
    """Mode and flag are numbers of two bytes."""
    kind, data = kind_of(create_ipvlan("eth0", 7, mode, flag))
    assert kind == b"ipvlan\0"
    assert struct.unpack("=HH", data[1] + data[2]) == numbers


def test_vlan_has_its_id() -> None:
    """The id of the VLAN is a number of two bytes."""
    assert kind_of(create_vlan("eth0.10", 7, 10)) == (b"vlan\0", {1: struct.pack("=H", 10)})


def test_unknown_modes_are_refused() -> None:
    """A mode or flag that the kernel has no number for is named, with those that it has."""
    with pytest.raises(ValueError, match="macvlan mode 'l2' is none of private, vepa, bridge, passthru"):
        create_macvlan("eth0", 7, "l2")
    with pytest.raises(ValueError, match="ipvlan mode"):
        create_ipvlan("eth0", 7, "bridge")
    with pytest.raises(ValueError, match="ipvlan flag 'x' is none of private, vepa"):
        create_ipvlan("eth0", 7, "l2", "x")


def test_port_says_only_what_was_asked() -> None:
    """What is not given of a port is not sent."""
    outer = attributes(set_port("ct1", isolated=True).body[LINK_SIZE:])
    info = attributes(outer[IFLA_LINKINFO])
    assert (outer[IFLA_IFNAME], info[IFLA_INFO_SLAVE_KIND]) == (b"ct1\0", b"bridge\0")
    assert attributes(info[IFLA_INFO_SLAVE_DATA]) == {33: b"\1"}
    by_index = attributes(attributes(set_port(5, hairpin=False).body[LINK_SIZE:])[IFLA_LINKINFO])
    assert attributes(by_index[IFLA_INFO_SLAVE_DATA]) == {4: b"\0"}


def test_parent_is_told() -> None:
    """The link that another one is part of comes back as its parent."""
    body = create_bridge("br0").body + word(IFLA_LINK, 9)
    assert parse_link(body).parent == 9


@pytest.mark.parametrize(
    "mac", ["", "02:00:00:00:00", "020000000001", "02:00:00:00:00:0g", "02:00:00:00:00:01:02"]
)
def test_bad_mac_is_refused(mac: str) -> None:
    """Only six bytes with colons are a MAC address."""
    with pytest.raises(ValueError, match=r"MAC|hexadecimal"):
        mac_bytes(mac)
