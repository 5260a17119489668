"""What the inside of a namespace is asked for, as values."""

import socket

from msgspec.structs import replace

from corten.core.networks.sandboxes.namespaces import addresses, ways_out
from tests.unit.core.networks.sandboxes.recording import ENDPOINT

BOTH = replace(ENDPOINT, address6="fd00:1::2", prefix6=64, gateway6="fd00:1::1")
ROUTED = replace(BOTH, gateway="0.0.0.0", gateway6="::")
CLOSED = replace(BOTH, gateway="", gateway6="")


def test_addresses_have_their_bits() -> None:
    """One address for each family there is."""
    assert [str(each) for each in addresses(BOTH)] == ["10.1.2.2/29", "fd00:1::2/64"]
    assert [str(each) for each in addresses(ENDPOINT)] == ["10.1.2.2/29"]
    assert addresses(replace(ENDPOINT, address="")) == []


def test_ways_out_by_family() -> None:
    """A default route for each gateway, on the link itself where the gateway is no address, else none."""
    assert {family: request.action for family, request in ways_out(2, BOTH).items()} == {
        socket.AF_INET: "set route to default via 10.1.2.1",
        socket.AF_INET6: "set route to default via fd00:1::1",
    }
    assert [request.action for request in ways_out(2, ROUTED).values()] == [
        "add route to 0.0.0.0/0 on link 2",
        "add route to ::/0 on link 2",
    ]
    assert ways_out(2, CLOSED) == {}
