"""From sides and openings to elements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from corten.core.networks.firewall.elements import Element, elements, of_openings, of_side
from corten.core.networks.firewall.state import Opening, Side
from corten.core.networks.firewall.table import GROUPS
from corten.errors import InvalidInput

SIDE = Side(bridge="br0", subnets=("10.1.0.0/24", "fd00::/64"))
OPENING = Opening(
    protocol="tcp", host_ip="0.0.0.0", host_port=8080, address="10.1.0.2", port=80, bridge="br0"
)
TARGET = ("10.1.0.2", "80")


def groups(side: Side) -> set[str]:
    """The groups in which *side* has an element."""
    return {element.group for element in of_side(side)}


def test_plain_network() -> None:
    """A network is a bridge with subnets that are its own and masqueraded."""
    assert groups(SIDE) == {
        "bridges", "same", "subnets4", "subnets6", "own4", "own6", "masquerade4", "masquerade6",
    }  # fmt: skip
    assert Element("own4", ("br0", "10.1.0.0/24")) in of_side(SIDE)


def test_kinds_of_networks() -> None:
    """Internal and routed networks are not masqueraded; icc and masquerade are what they say."""
    plain = groups(SIDE)
    masquerade = {"masquerade4", "masquerade6"}
    assert groups(replace(SIDE, masquerade=False)) == plain - masquerade
    assert groups(replace(SIDE, internal=True)) == plain - masquerade | {"internal"}
    assert groups(replace(SIDE, icc=False)) == plain | {"closed"}
    assert groups(replace(SIDE, routed=True)) == plain - masquerade | {"routed4", "routed6"}
    assert groups(replace(SIDE, routed=True, internal=True)) == plain - masquerade | {"internal"}


@pytest.mark.parametrize(
    ("host_ip", "wished"),
    [
        ("0.0.0.0", {("every4", ("tcp", "8080"), TARGET), ("loopevery4", ("tcp", "8080"), ())}),
        ("192.0.2.1", {("ports4", ("192.0.2.1", "tcp", "8080"), TARGET)}),
        (
            "127.0.0.1",
            {
                ("ports4", ("127.0.0.1", "tcp", "8080"), TARGET),
                ("loop4", ("127.0.0.1", "tcp", "8080"), ()),
            },
        ),
    ],
)
def test_published_port(host_ip: str, wished: set[Element]) -> None:
    """All addresses are one element, and one more where the host's loopback leads there."""
    assert of_openings([replace(OPENING, host_ip=host_ip)], {"br0": SIDE}) == wished


def test_published_port_of_other_networks() -> None:
    """On a routed network the container's own port is opened, on an internal one nothing is."""
    assert of_openings([OPENING], {"br0": replace(SIDE, routed=True)}) == {
        ("open4", ("10.1.0.2", "tcp", "80"), ())
    }
    assert of_openings([OPENING], {"br0": replace(SIDE, internal=True)}) == set()
    assert of_openings([OPENING], {}) == of_openings([OPENING], {"br0": SIDE})


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "icmp"},
        {"protocol": "tcp }; flush ruleset"},
        {"host_port": 0},
        {"port": 65536},
        {"address": "10.1.0.2, 10.1.0.3"},
        {"host_ip": "localhost"},
        {"host_ip": "::"},
    ],
)
def test_impossible_openings_are_refused(change: dict[str, str]) -> None:
    """What is no address, port or protocol never gets into the text for nft."""
    with pytest.raises(InvalidInput):
        of_openings([replace(OPENING, **change)], {})


@pytest.mark.parametrize(
    "change", [{"bridge": "a b"}, {"bridge": ""}, {"bridge": "x" * 16}, {"subnets": ("10.0.0.0/33",)}]
)
def test_impossible_sides_are_refused(change: dict[str, str]) -> None:
    """The same for names of links and subnets."""
    with pytest.raises(InvalidInput):
        of_side(replace(SIDE, **change))


@given(
    protocol=st.sampled_from(["tcp", "udp", "sctp"]),
    host_ip=st.ip_addresses(v=4).map(str),
    address=st.ip_addresses(v=4).map(str),
    host_port=st.integers(1, 65535),
    port=st.integers(1, 65535),
)
def test_every_opening_fits_the_groups(
    protocol: str, host_ip: str, address: str, host_port: int, port: int
) -> None:
    """Elements are of groups that the table has, and maps alone have values."""
    opening = Opening(
        protocol=protocol, host_ip=host_ip, address=address, host_port=host_port, port=port, bridge="br0"
    )
    made = elements([SIDE], [opening])
    assert {element.group for element in made} <= set(GROUPS)
    assert all(GROUPS[element.group].startswith("map") == bool(element.value) for element in made)
