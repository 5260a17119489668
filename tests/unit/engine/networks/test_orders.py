"""From a request to the record of a network."""

from typing import Any

import pytest

from corten.engine.networks import orders
from corten.engine.networks.requests import Ipam, NetworkRequest
from corten.engine.records.network import IpamSubnet, Network
from corten.errors import CortenError, Forbidden, InvalidInput, NotFound, Unsupported
from tests.unit.engine.networks.records import BRIDGE, WEB, network

ID, NOW = "1" * 64, "2026-01-01T00:00:00Z"


def made(lender: Network | None = None, **members: object) -> Network:
    """The record of a request."""
    request = NetworkRequest(**{"name": "shop", **members})  # type: ignore[arg-type]
    return orders.record(request, lender, ID, NOW)


def test_defaults() -> None:
    """A name is enough: a bridge with IPv4 whose subnet the engine chooses."""
    found = made()
    assert (found.id, found.name, found.driver, found.ipv4, found.ipv6) == (ID, "shop", "bridge", True, False)
    assert found.subnets == ()


def test_subnets() -> None:
    """What the user says of addresses is kept."""
    config = IpamSubnet(
        subnet="10.1.0.0/16", ip_range="10.1.2.0/24", gateway="10.1.0.1", reserved={"printer": "10.1.0.9"}
    )
    assert made(ipam=Ipam(config=(config,))).subnets == (config,)


@pytest.mark.parametrize(
    ("members", "kind", "words"),
    [
        ({"name": "bridge"}, Forbidden, "predefined bridge network"),
        ({"name": "-x"}, InvalidInput, "invalid network name"),
        ({"name": "a b"}, InvalidInput, "invalid network name"),
        ({"driver": "host"}, Forbidden, "only one instance"),
        ({"driver": "overlay"}, Unsupported, "several machines"),
        ({"scope": "swarm"}, Unsupported, "several machines"),
        ({"driver": "weave"}, NotFound, "weave"),
        ({"ipam": Ipam(driver="dhcp")}, NotFound, "dhcp"),
        ({"enable_ipv4": False}, InvalidInput, "IPv4 or IPv6"),
    ],
)
def test_refusals(members: dict[str, Any], kind: type[CortenError], words: str) -> None:
    """What cannot be is refused by its kind, in one line."""
    with pytest.raises(kind, match=words):
        made(**members)


def test_borrowed_settings() -> None:
    """A network made from another one has its settings, and adds labels."""
    lender = network(
        "settings",
        config_only=True,
        subnets=(IpamSubnet(subnet="10.9.0.0/24"),),
        options={"parent": "eth0"},
        labels={"a": "1"},
    )
    found = made(lender, driver="macvlan", labels={"b": "2"})
    assert (found.subnets, found.options) == (lender.subnets, {"parent": "eth0"})
    assert (found.labels, found.config_from, found.config_only) == ({"a": "1", "b": "2"}, "settings", False)


def test_borrowing_from_another_kind() -> None:
    """Only a configuration-only network lends, and the borrower brings no settings of its own."""
    with pytest.raises(InvalidInput, match="not configuration-only"):
        made(WEB)
    with pytest.raises(InvalidInput, match="user specified configurations"):
        made(network("settings", config_only=True), options={"a": "b"})


def test_default_bridge() -> None:
    """The default bridge tells its link the way Docker's does."""
    found = orders.default_bridge(ID, NOW, "corten0")
    assert found.options["com.docker.network.bridge.name"] == "corten0"
    assert found.predefined


def test_filters() -> None:
    """A prune is held to labels and age."""
    old = network("old", labels={"keep": ""})
    new = network("new", created="2999-01-01T00:00:00Z")
    assert orders.chosen([old, new, BRIDGE], {"until": ["2030-01-01T00:00:00"], "label!": ["keep"]}) == [
        BRIDGE
    ]
    assert orders.chosen([old, new], {"label": ["keep"]}) == [old]
    with pytest.raises(InvalidInput, match="invalid filter"):
        orders.chosen([], {"name": ["x"]})
