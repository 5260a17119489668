"""Plugging into a bridge is all or nothing, and says what was made."""

import pytest
from msgspec.structs import replace

from corten.core.networks.drivers import options, sysctls
from corten.core.networks.drivers.bridge import BridgeNetwork
from corten.core.networks.values import Endpoint, Wishes
from corten.errors import Conflict, InvalidInput
from corten.linux.syscalls import KernelError
from tests.unit.core.networks.drivers.recording import BRIDGE, RecordingLinks, bridge

INTERNAL = replace(BRIDGE, internal=True)
CLOSED = replace(BRIDGE, options={options.ICC: "false"})


def plug(network: BridgeNetwork, wishes: Wishes = Wishes()) -> Endpoint:  # noqa: B008 - a frozen value
    """Plug some namespace, with links that all work."""
    return network.plug(RecordingLinks(), 99, wishes)


def test_steps_of_plugging() -> None:
    """One message makes the pair, the next ones mark it and set its port; the endpoint says what was made."""
    network, links = bridge(), RecordingLinks()
    endpoint = network.plug(links, 99, Wishes(interface="eth3"))
    assert links.steps == ["create veth", "change link", "change bridge", "change link"]
    assert (endpoint.address, endpoint.prefix, endpoint.gateway) == ("10.1.2.2", 29, "10.1.2.1")
    assert (endpoint.address6, endpoint.prefix6, endpoint.gateway6) == ("fd00:1::2", 64, "fd00:1::1")
    assert (endpoint.network, endpoint.network_id, endpoint.interface) == ("web", BRIDGE.id, "eth3")
    assert endpoint.host_link.startswith("ct")
    assert len(endpoint.host_link) <= 15
    assert len(bytes.fromhex(endpoint.endpoint_id)) == 32


def test_internal_network_has_no_way_out() -> None:
    """An endpoint of an internal network has addresses, but no gateway."""
    endpoint = plug(bridge(INTERNAL))
    assert (endpoint.address, endpoint.gateway, endpoint.gateway6) == ("10.1.2.2", "", "")


def test_port_is_isolated_where_containers_may_not_talk() -> None:
    """With enable_icc=false the port is marked before it comes up."""
    links = RecordingLinks()
    bridge(CLOSED).plug(links, 99, Wishes())
    assert links.steps == ["create veth", "change link", "change bridge", "change link"]


@pytest.mark.parametrize("filtered", [set(), {False}, {False, True}])
def test_no_isolation_where_the_firewall_sees_it(
    monkeypatch: pytest.MonkeyPatch, filtered: set[bool]
) -> None:
    """Ports are isolated unless bridged packets of both families come through the firewall."""
    monkeypatch.setattr(sysctls, "filters_bridged", lambda *, ipv6: ipv6 in filtered)
    assert bridge(CLOSED)._is_isolated() is (len(filtered) < 2)


@pytest.mark.parametrize(("failing", "undone"), [(0, []), (1, ["delete link"]), (2, ["delete link"])])
def test_failed_plugging_is_undone_in_reverse(failing: int, undone: list[str]) -> None:
    """A pair that cannot be marked is deleted; the addresses are free again in either case."""
    network, links = bridge(), RecordingLinks(failing)
    wishes = Wishes(address="10.1.2.3", address6="fd00:1::3")
    with pytest.raises(KernelError):
        network.plug(links, 99, wishes)
    assert links.steps[failing + 1 :] == undone
    assert plug(network, wishes).address == "10.1.2.3"
    assert len(network._live) == 1


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(mac="01:00:5e:00:00:01"),
        Wishes(address="10.1.2.1"),
        Wishes(address6="fd00:2::5"),
        Wishes(interface="../x"),
        Wishes(link_local=("10.0.0.1",)),
    ],
)
def test_bad_wish_is_refused_before_anything_is_made(wishes: Wishes) -> None:
    """The kernel never hears of a wish that cannot be."""
    links = RecordingLinks()
    with pytest.raises(InvalidInput):
        bridge().plug(links, 99, wishes)
    assert links.steps == []


def test_release_gives_the_address_back_once() -> None:
    """A second release does not take the address from its next owner."""
    network = bridge()
    first = plug(network, Wishes(address="10.1.2.3"))
    network.release(first)
    second = plug(network, Wishes(address="10.1.2.3"))
    network.release(first)
    with pytest.raises(Conflict):
        plug(network, Wishes(address="10.1.2.3"))
    network.release(second)
    assert network._live == {}


def test_adopted_address_is_not_given() -> None:
    """The endpoint of a container found running keeps its addresses until it is released."""
    endpoint = plug(bridge())
    network = bridge()
    network.adopt(endpoint)
    network.adopt(endpoint)
    assert plug(network).address == "10.1.2.3"
    network.release(endpoint)
    assert plug(network, Wishes(address="10.1.2.2")).address == "10.1.2.2"


@pytest.mark.parametrize("name", ["a" * 16, "br 0", "br/0", 'x"y', "br\n"])
def test_bad_bridge_name_is_refused(name: str) -> None:
    """A name the kernel would not take, or that would break out of a rule, is refused."""
    with pytest.raises(InvalidInput, match="bridge name"):
        BridgeNetwork(BRIDGE, tag="corten", bridge=name)
    with pytest.raises(InvalidInput, match="bridge name"):
        BridgeNetwork(replace(BRIDGE, options={options.NAME: name}), tag="corten", bridge="br0")


def test_name_in_the_options_comes_first() -> None:
    """The user's own name for the bridge is the link's."""
    assert (
        BridgeNetwork(replace(BRIDGE, options={options.NAME: "mine"}), tag="t", bridge="br0").link == "mine"
    )
    assert bridge().link == "br0"
    assert bridge().spec == BRIDGE


def test_plugging_needs_a_bridge() -> None:
    """Using a network before it is up is a fault in the program, said so."""
    with pytest.raises(RuntimeError, match="before ensure"):
        plug(BridgeNetwork(BRIDGE, tag="corten", bridge="br0"))
