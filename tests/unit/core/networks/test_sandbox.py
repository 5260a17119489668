"""Making a sandbox is all or nothing: each step fails in turn, and the undo comes in reverse order."""

import errno
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

import pytest

from corten.core.networks.bridge import BridgeNetwork, random_mac
from corten.core.networks.network import Endpoint
from corten.core.networks.sandbox import Sandbox, make_sandbox
from corten.errors import Conflict, InvalidInput
from corten.linux.netlink import Request
from corten.linux.syscalls import KernelError

SUBNET = IPv4Network("10.1.2.0/29")
ENDPOINT = Endpoint(
    network="bridge",
    network_id="a" * 64,
    endpoint_id="b" * 64,
    host_link="ct00000000",
    interface="eth0",
    address="10.1.2.2",
    prefix=29,
    gateway="10.1.2.1",
    mac="02:00:00:00:00:02",
)


class Recorder:
    """Writes down every step; the step of number *failing* fails."""

    def __init__(self, failing: int | None = None) -> None:
        self.steps: list[str] = []
        self._failing = failing

    def step(self, name: str) -> None:
        """Note *name*, or fail in its place."""
        if len(self.steps) == self._failing:
            self._failing = None
            self.steps.append(f"{name} FAILS")
            raise KernelError(errno.EPERM, name)
        self.steps.append(name)


class RecordingNamespaces(Recorder):
    """A ``Namespaces`` and a ``Network`` that only write down what is asked of them."""

    @contextmanager
    def fresh(self) -> Iterator[int]:
        """Note entering and leaving."""
        self.step("enter")
        try:
            yield 99
        finally:
            self.step("leave")

    def close(self, descriptor: int) -> None:
        """Note the descriptor."""
        self.step(f"close {descriptor}")

    def prepare(self) -> None:
        """Note it."""
        self.step("prepare")

    def bring_up(self, endpoint: Endpoint) -> None:
        """Note the interface."""
        self.step(f"bring up {endpoint.interface}")

    def plug(
        self, links: object, namespace: int, *, mac: str | None = None, address: str | None = None
    ) -> Endpoint:
        """Note the namespace and give a fixed endpoint."""
        assert links
        self.step(f"plug {namespace} {mac} {address}")
        return ENDPOINT

    def release(self, endpoint: Endpoint) -> None:
        """Note the address."""
        self.step(f"release {endpoint.address}")

    def adopt(self, endpoint: Endpoint) -> None:
        """Note the address."""
        self.step(f"adopt {endpoint.address}")


class RecordingLinks(Recorder):
    """A ``Links`` that writes down the requests."""

    def execute(self, *requests: Request) -> None:
        """Note the first two words of what each request does."""
        for request in requests:
            self.step(" ".join(request.action.split()[:2]))


def bridge() -> BridgeNetwork:
    """A network that believes its bridge is there."""
    network = BridgeNetwork("bridge", SUBNET)
    network._index = 7
    return network


def test_steps_of_a_sandbox() -> None:
    """Enter, prepare, plug with the wishes, bring up, leave; the descriptor is kept."""
    fake = RecordingNamespaces()
    sandbox = make_sandbox(fake, RecordingLinks(), fake, mac="m", address="a")
    assert fake.steps == ["enter", "prepare", "plug 99 m a", "bring up eth0", "leave"]
    assert sandbox.endpoints == (ENDPOINT,)
    assert sandbox.fileno() == 99


def test_steps_of_a_bare_sandbox() -> None:
    """Without a network there is the loopback link and nothing to plug."""
    fake = RecordingNamespaces()
    assert make_sandbox(fake, RecordingLinks(), None).endpoints == ()
    assert fake.steps == ["enter", "prepare", "leave"]


@pytest.mark.parametrize(
    ("failing", "undone"),
    [
        (0, []),
        (1, ["close 99", "leave"]),
        (2, ["close 99", "leave"]),
        (3, ["release 10.1.2.2", "close 99", "leave"]),
    ],
)
def test_failed_sandbox_is_undone_in_reverse(failing: int, undone: list[str]) -> None:
    """Whichever step fails, those before it are undone, the last one first, and the thread goes home."""
    fake = RecordingNamespaces(failing)
    with pytest.raises(KernelError):
        make_sandbox(fake, RecordingLinks(), fake)
    assert fake.steps[failing].endswith("FAILS")
    assert fake.steps[failing + 1 :] == undone


def test_steps_of_plugging() -> None:
    """One message makes the pair, the next one marks it; the endpoint says what was made."""
    network, links = bridge(), RecordingLinks()
    endpoint = network.plug(links, 99)
    assert links.steps == ["create veth", "change link", "change link"]
    assert (endpoint.address, endpoint.prefix, endpoint.gateway) == ("10.1.2.2", 29, "10.1.2.1")
    assert endpoint.network_id == network.network_id
    assert endpoint.host_link.startswith("ct")
    assert len(endpoint.host_link) <= 15


@pytest.mark.parametrize(("failing", "undone"), [(0, []), (1, ["delete link"]), (2, ["delete link"])])
def test_failed_plugging_is_undone_in_reverse(failing: int, undone: list[str]) -> None:
    """A pair that cannot be marked is deleted; the address is free again in either case."""
    network, links = bridge(), RecordingLinks(failing)
    with pytest.raises(KernelError):
        network.plug(links, 99, address="10.1.2.3")
    assert links.steps[failing + 1 :] == undone
    assert network.plug(RecordingLinks(), 99, address="10.1.2.3").address == "10.1.2.3"


def test_release_gives_the_address_back_once() -> None:
    """A second release does not take the address from its next owner."""
    network = bridge()
    first = network.plug(RecordingLinks(), 99, address="10.1.2.3")
    network.release(first)
    second = network.plug(RecordingLinks(), 99, address="10.1.2.3")
    network.release(first)
    with pytest.raises(Conflict):
        network.plug(RecordingLinks(), 99, address="10.1.2.3")
    network.release(second)


def test_adopted_address_is_not_given() -> None:
    """The endpoint of a container found running keeps its address until it is released."""
    network = bridge()
    network.adopt(ENDPOINT)
    assert network.plug(RecordingLinks(), 99).address == "10.1.2.3"
    network.release(ENDPOINT)
    assert network.plug(RecordingLinks(), 99, address="10.1.2.2").address == "10.1.2.2"


def test_wished_mac_is_kept() -> None:
    """A MAC is taken in either common form and given back in Docker's."""
    assert bridge().plug(RecordingLinks(), 99, mac="02-AB-00-00-00-01").mac == "02:ab:00:00:00:01"


@pytest.mark.parametrize("mac", ["02:00", "zz:00:00:00:00:00", "01:00:5e:00:00:01", "00:00:00:00:00:00"])
def test_bad_mac_is_refused(mac: str) -> None:
    """Wrong forms, group addresses and zero are refused before anything is made."""
    links = RecordingLinks()
    with pytest.raises(InvalidInput, match="invalid MAC address"):
        bridge().plug(links, 99, mac=mac)
    assert links.steps == []


@pytest.mark.parametrize("address", ["10.1.2.1", "10.1.3.2", "nonsense", "10.1.2.02"])
def test_bad_address_is_refused(address: str) -> None:
    """What is not an address for a container of this network is refused before anything is made."""
    links = RecordingLinks()
    with pytest.raises(InvalidInput):
        bridge().plug(links, 99, address=address)
    assert links.steps == []


def test_random_macs_are_local_and_for_one_station() -> None:
    """The two lowest bits of the first byte say locally administered, not a group."""
    for mac in itertools.islice(iter(random_mac, ""), 200):
        assert int(mac[:2], 16) & 0b11 == 0b10


@pytest.mark.parametrize("name", ["", "a" * 16, "br 0", "br/0", 'x"y', "br\n"])
def test_bad_bridge_name_is_refused(name: str) -> None:
    """A name the kernel would not take, or that would break out of a rule, is refused."""
    with pytest.raises(InvalidInput, match="bridge name"):
        BridgeNetwork("bridge", SUBNET, bridge=name)


@pytest.mark.parametrize("table", ["", "1a", "a b", "a;b", "a{", "a\n"])
def test_bad_table_name_is_refused(table: str) -> None:
    """A table name cannot carry commands."""
    with pytest.raises(InvalidInput, match="table name"):
        BridgeNetwork("bridge", SUBNET, table=table)


def test_network_id_is_stable_and_its_own() -> None:
    """64 hex digits that depend on network and engine alone."""
    one = BridgeNetwork("bridge", SUBNET)
    assert one.network_id == BridgeNetwork("bridge").network_id
    assert one.network_id != BridgeNetwork("bridge", tag="other").network_id
    assert len(bytes.fromhex(one.network_id)) == 32


def test_closed_sandbox_keeps_its_address() -> None:
    """``close`` drops the descriptor only, ``release`` gives the address back too; both can be repeated."""
    fake = RecordingNamespaces()
    sandbox = Sandbox(-1, fake, (ENDPOINT,))
    sandbox.close()
    sandbox.close()
    assert fake.steps == []
    sandbox.release()
    assert fake.steps == ["release 10.1.2.2"]
    assert sandbox.fileno() == -1
