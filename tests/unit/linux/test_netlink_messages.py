"""rtnetlink messages as bytes: what is sent, and what is made of answers. No socket."""

import errno
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.linux.netlink import (
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    RTA_GATEWAY,
    VETH_INFO_PEER,
    Link,
    add_address,
    add_route,
    attribute,
    attributes,
    create_bridge,
    create_veth,
    mac_bytes,
    parse_address,
    parse_failure,
    parse_link,
    parse_route,
    set_link,
)

LINK_SIZE = 16  # struct ifinfomsg


@given(st.dictionaries(st.integers(0, 100), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(values: dict[int, bytes]) -> None:
    """What is encoded decodes to the same, padding and all."""
    data = b"".join(attribute(kind, value) for kind, value in values.items())
    assert len(data) % 4 == 0
    assert attributes(data) == values


@given(st.binary(max_size=64))
def test_garbage_is_refused_or_ended(data: bytes) -> None:
    """Arbitrary bytes decode or raise ValueError; they never hang or read beyond the end."""
    try:
        found = attributes(data)
    except ValueError:
        return
    assert sum(len(value) for value in found.values()) <= len(data)


def test_attribute_that_passes_the_end_is_refused() -> None:
    """A length beyond the data is an error, not a short value."""
    with pytest.raises(ValueError, match="netlink attribute of 40 bytes"):
        attributes(struct.pack("=HH", 40, 3) + b"abcd")


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


def test_address_comes_back() -> None:
    """What asks for an address decodes to it."""
    interface = IPv4Interface("10.1.2.3/24")
    found = parse_address(add_address(4, interface).body)
    assert (found.index, found.interface) == (4, interface)


def test_route_comes_back() -> None:
    """What asks for a route decodes to it; the default route is the whole address space."""
    gateway = IPv4Address("10.1.2.1")
    default = parse_route(add_route(gateway).body)
    network = parse_route(add_route(gateway, IPv4Network("10.9.0.0/16")).body)
    assert default is not None
    assert network is not None
    assert (default.destination, default.gateway) == (IPv4Network("0.0.0.0/0"), gateway)
    assert network.destination == IPv4Network("10.9.0.0/16")


def test_routes_of_other_tables_are_left_out() -> None:
    """The local table and policy tables are not networks of this host's neighbourhood."""
    body = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 255, 2, 0, 1, 0)
    assert parse_route(body + attribute(RTA_GATEWAY, bytes(4))) is None


def test_acknowledgement_is_no_failure() -> None:
    """Code zero means done."""
    assert parse_failure(0, struct.pack("=i", 0) + bytes(16), "x") is None


@pytest.mark.parametrize("capped", [True, False])
def test_failure_carries_errno_and_the_kernels_words(capped: bool) -> None:
    """The text of the extended answer is found behind a capped and a full echo of the request."""
    payload = b"" if capped else b"payload!"
    echo = struct.pack("=IHHII", 16 + 8, 16, 5, 1, 0) + payload
    body = struct.pack("=i", -errno.EINVAL) + echo + attribute(1, b"mtu too large\0")
    failure = parse_failure(0x200 | (0x100 if capped else 0), body, "change link x")
    assert failure is not None
    assert failure.errno == errno.EINVAL
    assert str(failure) == "change link x (mtu too large): Invalid argument"


@pytest.mark.parametrize(
    "mac", ["", "02:00:00:00:00", "020000000001", "02:00:00:00:00:0g", "02:00:00:00:00:01:02"]
)
def test_bad_mac_is_refused(mac: str) -> None:
    """Only six bytes with colons are a MAC address."""
    with pytest.raises(ValueError, match=r"MAC|hexadecimal"):
        mac_bytes(mac)
