"""Requests about addresses and routes as bytes, and what is made of the kernel's answers. No socket."""

import socket
import struct
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.linux.netlink_messages import IpAddress, IpNetwork, attribute, attributes
from corten.linux.routes import (
    IFA_BROADCAST,
    RTA_MULTIPATH,
    RTN_BLACKHOLE,
    Route,
    add_address,
    add_link_route,
    add_route,
    blackhole_route,
    delete_route,
    parse_address,
    parse_route,
    replace_route,
)

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
HEADER_SIZE = 8  # struct ifaddrmsg


@st.composite
def networks(draw: st.DrawFn) -> IpNetwork:
    """Networks of both families and every size."""
    address = draw(ADDRESSES)
    return ip_network(f"{address}/{draw(st.integers(0, address.max_prefixlen))}", strict=False)


@given(ADDRESSES, st.integers(1, 32), st.integers(1, 1 << 30))
def test_address_comes_back(address: IpAddress, prefix: int, index: int) -> None:
    """What asks for an address decodes to it, of both families."""
    interface = ip_interface(f"{address}/{prefix}")
    found = parse_address(add_address(index, interface).body)
    assert (found.index, found.interface) == (index, interface)


def test_only_ipv4_networks_with_room_have_a_broadcast_address() -> None:
    """IPv6 has no broadcast, nor has a network of two addresses."""
    for text, has in (("10.1.2.3/24", True), ("10.1.2.3/31", False), ("fd01::1/64", False)):
        body = add_address(4, ip_interface(text)).body
        assert (IFA_BROADCAST in attributes(body[HEADER_SIZE:])) == has


def test_ipv6_addresses_skip_the_search_for_duplicates() -> None:
    """An IPv6 address is usable at once; IPv4 has no such flag."""
    assert add_address(4, IPv6Interface("fd01::1/64")).body[2] == 0x02
    assert add_address(4, IPv4Interface("10.1.2.3/24")).body[2] == 0


@given(networks(), st.integers(1, 1 << 30))
def test_routes_come_back(network: IpNetwork, number: int) -> None:
    """What asks for a route decodes to it: through a gateway, on a link, and into nothing in any table."""
    gateway = IPv4Address(number) if network.version == 4 else IPv6Address(number)
    through = parse_route(add_route(gateway, network, index=number).body)
    on_link = parse_route(add_link_route(network, number).body)
    nowhere = parse_route(blackhole_route(network, number).body)
    assert through == Route(network, gateway, number)
    assert on_link == Route(network, None, number)
    assert nowhere == Route(network, None, 0, number, RTN_BLACKHOLE)


@pytest.mark.parametrize(
    ("gateway", "everything"), [("10.1.2.1", IPv4Network("0.0.0.0/0")), ("fd01::1", IPv6Network("::/0"))]
)
def test_default_route_is_the_whole_address_space(gateway: str, everything: IpNetwork) -> None:
    """No destination means all of the gateway's family, to add, to replace and to delete."""
    for build in (add_route, replace_route, delete_route):
        found = parse_route(build(ip_address(gateway)).body)
        assert (found.destination, found.gateway) == (everything, ip_address(gateway))


def test_first_of_several_next_hops_counts() -> None:
    """A route with several next hops tells gateway and link of the first."""
    hops = b""
    for index, gateway in ((7, "10.1.2.1"), (8, "10.1.2.2")):
        inner = attribute(5, IPv4Address(gateway).packed)
        hops += struct.pack("=HBBi", 8 + len(inner), 0, 0, index) + inner
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0) + attribute(
        RTA_MULTIPATH, hops
    )
    assert parse_route(body) == Route(IPv4Network("0.0.0.0/0"), IPv4Address("10.1.2.1"), 7)
