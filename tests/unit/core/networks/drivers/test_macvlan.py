"""Links on a link of the host: made inside, with what the driver's mode allows."""

import errno

import pytest
from msgspec.structs import replace

from corten.core.networks.drivers.macvlan import MacvlanNetwork
from corten.core.networks.values import Endpoint, NetworkSpec, Wishes
from corten.errors import Conflict, InvalidInput, Unsupported
from corten.linux.netlink import Request
from corten.linux.syscalls import KernelError
from tests.unit.core.networks.drivers.recording import BRIDGE, RecordingLinks

MACVLAN = replace(BRIDGE, driver="macvlan", options={"parent": "eth0"})
IPVLAN = replace(BRIDGE, driver="ipvlan", options={"parent": "eth0"})


class Refusing:
    """Links of a kernel that answers everything with one errno."""

    def __init__(self, number: int) -> None:
        self._number = number

    def execute(self, *requests: Request) -> None:
        """Refuse."""
        raise KernelError(self._number, requests[0].action)


def network(spec: NetworkSpec = MACVLAN) -> MacvlanNetwork:
    """A network that believes its parent is there."""
    made = MacvlanNetwork(spec, tag="corten")
    made._index = 7
    return made


def plug(made: MacvlanNetwork, wishes: Wishes = Wishes()) -> Endpoint:  # noqa: B008 - a frozen value
    """Plug some namespace, with links that all work."""
    return made.plug(RecordingLinks(), 99, wishes)


def test_one_message_makes_the_link_inside() -> None:
    """A macvlan link is born inside, so there is nothing on the host; it has an address and MAC of its own."""
    links = RecordingLinks()
    endpoint = network().plug(links, 99, Wishes(mac="02:00:00:00:00:09", interface="eth1"))
    assert links.steps == ["create macvlan"]
    assert (endpoint.host_link, endpoint.interface, endpoint.mac) == ("", "eth1", "02:00:00:00:00:09")
    assert (endpoint.address, endpoint.gateway, endpoint.gateway6) == ("10.1.2.2", "10.1.2.1", "fd00:1::1")


def test_network_without_a_parent_has_no_way_out() -> None:
    """Without a parent, or internal, there is no gateway; the parent is then a link of our own."""
    alone = network(replace(MACVLAN, options={}))
    assert alone.link == f"dm-{BRIDGE.id[:12]}"
    assert plug(alone).gateway == ""
    assert plug(network(replace(MACVLAN, internal=True))).gateway == ""
    assert network().link == "eth0"


def test_ipvlan_that_routes_leads_out_by_the_link_itself() -> None:
    """In the modes l3 and l3s everything is on the link; in l2 there is a gateway as usual."""
    for mode, gateways in (("l2", ("10.1.2.1", "fd00:1::1")), ("l3", ("0.0.0.0", "::"))):
        endpoint = plug(network(replace(IPVLAN, options={"parent": "eth0", "ipvlan_mode": mode})))
        assert (endpoint.gateway, endpoint.gateway6, endpoint.mac) == (*gateways, "")


def test_ipvlan_has_no_mac_of_its_own() -> None:
    """A wished MAC address cannot be granted and is refused."""
    with pytest.raises(InvalidInput, match="ask for none"):
        plug(network(IPVLAN), Wishes(mac="02:00:00:00:00:09"))


@pytest.mark.parametrize(
    "options",
    [
        {"parent": "lo"},
        {"parent": "../eth0"},
        {"macvlan_mode": "sideways"},
        {"com.docker.network.driver.mtu": "x"},
    ],
)
def test_bad_option_is_refused(options: dict[str, str]) -> None:
    """A parent or mode that cannot be is refused before the kernel is asked."""
    with pytest.raises(InvalidInput):
        MacvlanNetwork(replace(MACVLAN, options=options), tag="corten")


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.EOPNOTSUPP, Unsupported, "this kernel has no macvlan links"),
        (errno.EBUSY, Conflict, "parent eth0 is used otherwise"),
        (errno.EPERM, KernelError, "create macvlan"),
    ],
)
def test_refusal_of_the_kernel_is_one_clear_line(number: int, kind: type[Exception], said: str) -> None:
    """A missing driver and a parent in use say so; the address is free again."""
    made = network()
    with pytest.raises(kind, match=said):
        made.plug(Refusing(number), 99, Wishes(address="10.1.2.5"))
    assert plug(made, Wishes(address="10.1.2.5")).address == "10.1.2.5"


def test_release_and_adopt() -> None:
    """Addresses are held until released, also those of containers found running."""
    endpoint = plug(network())
    made = network()
    made.adopt(endpoint)
    with pytest.raises(Conflict):
        plug(made, Wishes(address=endpoint.address))
    made.release(endpoint)
    made.release(endpoint)
    assert plug(made, Wishes(address=endpoint.address)).address == endpoint.address
    assert made.reconcile(set()) == []


def test_plugging_needs_a_parent() -> None:
    """Using a network before it is up is a fault in the program, said so."""
    with pytest.raises(RuntimeError, match="before ensure"):
        plug(MacvlanNetwork(MACVLAN, tag="corten"))
