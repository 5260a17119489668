"""Addresses on networks: chosen, given, refused, of both families, and what else a link is."""

from __future__ import annotations

import json
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from tests.e2e.hosts import (
    Neighbours,
    address,
    ask,
    at,
    facts_of,
    idler,
    looked_up,
    namespace_of,
    neighbours,
    network,
    networks_of,
    place,
    refused,
    service,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

PREFIX = "com.docker.network"


@pytest.fixture(scope="module")
def around(engine: Engine) -> Iterator[Neighbours]:
    """The neighbours of the engine's host."""
    with neighbours(engine) as made:
        yield made


def test_chosen_addresses(engine: Engine) -> None:
    """``--ip``, ``--ip6`` and ``--mac-address`` are what the container has, before and after a restart of it and of the daemon."""
    subnets = ("--ipv6", "--subnet", "10.72.0.0/24", "--subnet", "fd00:72::/64")
    wishes = ("--ip", "10.72.0.72", "--ip6", "fd00:72::72", "--mac-address", "02:11:22:33:44:55")
    with network(engine, *subnets) as own, idler(engine, "--network", own, *wishes) as name:
        for again in (lambda: None, lambda: engine.docker("restart", "-t", "0", name), engine.restart_daemon):
            again()
            with namespace_of(engine, name) as there:
                assert facts_of(there, "eth0") == (
                    "02:11:22:33:44:55",
                    {"10.72.0.72/24", "fd00:72::72/64"},
                    1500,
                )
            found = place(engine, name, own)
            assert (found["IPAddress"], found["IPPrefixLen"]) == ("10.72.0.72", 24)
            assert (found["GlobalIPv6Address"], found["GlobalIPv6PrefixLen"]) == ("fd00:72::72", 64)
            assert found["MacAddress"] == "02:11:22:33:44:55"
        taken = refused(engine, 125, "run", "--rm", "--network", own, "--ip", "10.72.0.72", "debian", "true")
        assert "10.72.0.72" in taken


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("10.73.0.900", "10.73.0.900"),
        ("10.99.0.9", "10.99.0.9"),
        ("10.73.0.1", "10.73.0.1"),  # the gateway's
        ("10.73.0.255", "10.73.0.255"),  # the broadcast address
    ],
)
def test_addresses_that_cannot_be(engine: Engine, given: str, said: str) -> None:
    """An address that is none, is elsewhere or is not for containers is refused by its name, and nothing is left."""
    with network(engine, "--subnet", "10.73.0.0/24") as own, idler(engine) as name:
        assert said in refused(engine, 1, "network", "connect", "--ip", given, own, name)
        assert networks_of(engine, name) == {"bridge"}
        assert looked_up(engine, own)["Containers"] == {}


def test_no_chosen_address_on_the_default_bridge(engine: Engine) -> None:
    """It is for user networks, Docker says, and so do we."""
    words = ("run", "--rm", "--network", "bridge", "--ip", "172.17.0.9", "debian", "true")
    assert "supported only on user defined networks" in refused(engine, 125, *words)


def test_ranges_and_reserved_addresses(engine: Engine) -> None:
    """Containers get addresses of the range alone, never a reserved one; when none is left, a line says so."""
    flags = ("--subnet", "10.74.0.0/24", "--ip-range", "10.74.0.8/30", "--aux-address", "nas=10.74.0.9")
    with network(engine, *flags, "--gateway", "10.74.0.254") as own, ExitStack() as stack:
        found = set()
        for _ in range(3):
            name = stack.enter_context(idler(engine, "--network", own))
            found.add(address(engine, name, own))
        assert found == {"10.74.0.8", "10.74.0.10", "10.74.0.11"}
        assert place(engine, name, own)["Gateway"] == "10.74.0.254"
        line = refused(engine, 125, "run", "--rm", "--network", own, "debian", "true")
        assert "no " in line
        assert "address" in line
        stack.enter_context(idler(engine, "--network", own, "--ip", "10.74.0.100"))  # beyond the range


def test_both_families(engine: Engine) -> None:
    """A network of both families gives each container an address and a gateway of each, as inspect says."""
    with (
        network(engine, "--ipv6") as own,
        idler(engine, "--network", own) as name,
        namespace_of(engine, name) as there,
    ):
        subnets = [ip_network(one["Subnet"]) for one in looked_up(engine, own)["IPAM"]["Config"]]
        assert [subnet.version for subnet in subnets] == [4, 6]
        assert subnets[1].is_private
        found = place(engine, name, own)
        four = IPv4Interface(f"{found['IPAddress']}/{found['IPPrefixLen']}")
        six = IPv6Interface(f"{found['GlobalIPv6Address']}/{found['GlobalIPv6PrefixLen']}")
        assert [four.network, six.network] == subnets
        assert facts_of(there, "eth0")[1] == {str(four), str(six)}
        (listed,) = looked_up(engine, own)["Containers"].values()
        assert (listed["IPv4Address"], listed["IPv6Address"]) == (str(four), str(six))
        (route,) = json.loads(at(there, "ip", "-6", "-json", "route", "show", "default"))
        assert route["gateway"] == found["IPv6Gateway"]


def test_ipv6_alone(engine: Engine, around: Neighbours) -> None:
    """A network without IPv4 has one subnet, and its containers are reached by that."""
    with (
        network(engine, "--ipv4=false", "--ipv6") as own,
        service(engine, "--network", own, "-p", "8600:80") as name,
        namespace_of(engine, name) as there,
    ):
        found = place(engine, name, own)
        assert found["IPAddress"] == ""
        assert {ip_address(text.split("/")[0]).version for text in facts_of(there, "eth0")[1]} == {6}
        assert ask(around.outside, "tcp", "2001:db8:1::1", 8600) == f"{name} 2001:db8:1::2"


def test_mtu(engine: Engine) -> None:
    """The driver's option sets the MTU of the container's link and of the bridge."""
    with (
        network(engine, "-o", f"{PREFIX}.driver.mtu=1400", "-o", f"{PREFIX}.bridge.name=brmtu") as own,
        idler(engine, "--network", own) as name,
        namespace_of(engine, name) as there,
    ):
        assert facts_of(there, "eth0")[2] == 1400
        assert facts_of(engine.netns, "brmtu")[2] == 1400
