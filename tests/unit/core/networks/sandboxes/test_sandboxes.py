"""The stock of sandboxes: served at once, refilled behind, given back at the end; with a fake workbench."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import pytest
from msgspec.structs import replace

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.drivers.bridge import BridgeNetwork
from corten.core.networks.sandboxes.sandbox import Sandbox
from corten.core.networks.sandboxes.sandboxes import Sandboxes
from corten.core.networks.sandboxes.workbench import Workbench
from corten.core.networks.values import Attachment, Endpoint, Network, NetworkSpec, Subnet, Wishes
from corten.errors import Conflict, InvalidInput, Unavailable
from tests.unit.core.networks.drivers.recording import RecordingLinks, bridge
from tests.unit.core.networks.sandboxes.recording import FakeResolver

DEADLINE = 10.0  # seconds to wait for a thread
DEFAULT = NetworkSpec(id="0" * 64, name="bridge", subnets=(Subnet(subnet="10.1.2.0/24"),))
USER = NetworkSpec(id="1" * 64, name="web", subnets=(Subnet(subnet="10.1.3.0/24"),))
TINY = replace(DEFAULT, subnets=(Subnet(subnet="10.1.2.0/29"),))


class FakeWorkbench:
    """Makes sandboxes without a namespace; counts them, can be held up and can fail."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.made: list[tuple[str, bool]] = []  # (thread, of a bare one)
        self.calls: list[str] = []
        self.open = 0
        self.allowed = threading.Event()
        self.allowed.set()
        self.failing = False

    @contextmanager
    def __call__(self, _open_resolver: Callable[[], Resolver]) -> Iterator[Workbench]:
        """Open and close one thread's tools."""
        self.open += 1
        try:
            yield cast(Workbench, self)
        finally:
            self.open -= 1

    def make(
        self, attachments: Sequence[Attachment], *, names: bool = False, bare: Sandbox | None = None
    ) -> Sandbox:
        """Make one; only the filler is held up."""
        thread = threading.current_thread().name
        if thread == "sandbox-filler":
            assert self.allowed.wait(DEADLINE)
        if self.failing:
            raise Unavailable("no free address")
        plugged = [
            (each.network, each.network.plug(RecordingLinks(), 99, each.wishes)) for each in attachments
        ]
        with self.changed:
            self.made.append((thread, bare is not None))
            self.changed.notify_all()
        return Sandbox(-1, plugged, cast(Resolver, FakeResolver()) if names else None)

    def add_resolver(self, sandbox: Sandbox) -> Sandbox:
        """Add one."""
        sandbox.resolver = cast(Resolver, FakeResolver())
        return sandbox

    def connect(self, namespace: int, attachment: Attachment) -> Endpoint:
        """Note the thread and plug."""
        self.calls.append(f"connect {namespace} {threading.current_thread().name}")
        return attachment.network.plug(RecordingLinks(), namespace, attachment.wishes)

    def disconnect(self, namespace: int, network: Network, endpoint: Endpoint) -> None:
        """Note the thread and release."""
        self.calls.append(f"disconnect {namespace} {threading.current_thread().name}")
        network.release(endpoint)

    def lead_out(self, namespace: int, endpoint: Endpoint | None) -> None:
        """Note the thread."""
        self.calls.append(f"lead out {namespace} {endpoint} {threading.current_thread().name}")

    def resolver(self, namespace: int) -> Resolver:
        """Note the thread."""
        self.calls.append(f"resolver {namespace} {threading.current_thread().name}")
        return cast(Resolver, FakeResolver())

    def wait_until_made(self, count: int) -> None:
        """Wait until *count* sandboxes were made in all."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.made) >= count, DEADLINE)


def stocked(sandboxes: Sandboxes, network: Network | None, size: int) -> None:
    """Ask for *size* in stock and wait until they are there."""
    sandboxes.stock(network, size)
    stock = sandboxes._stocks[network.spec.id if network else ""]
    with sandboxes._changed:
        assert sandboxes._changed.wait_for(lambda: len(stock.ready) == size, DEADLINE)


def on(network: Network, **wishes: str) -> list[Attachment]:
    """One attachment."""
    return [Attachment(network=network, wishes=Wishes(**wishes))]  # type: ignore[arg-type]


def address(sandbox: Sandbox) -> str:
    """The address of the first endpoint."""
    return sandbox.endpoints[0].address


@contextmanager
def opened(spec: NetworkSpec = DEFAULT) -> Iterator[tuple[FakeWorkbench, Sandboxes, BridgeNetwork]]:
    """Sandboxes at fake workbenches, and a network."""
    bench = FakeWorkbench()
    with Sandboxes(workshop=bench) as sandboxes:
        yield bench, sandboxes, bridge(spec)


def test_stock_is_filled_handed_out_and_refilled() -> None:
    """Takers get what the filler made, oldest first, and the filler makes up for it."""
    with opened() as (bench, sandboxes, network):
        stocked(sandboxes, network, 3)
        taken = [sandboxes.take(on(network)) for _ in range(3)]
        bench.wait_until_made(6)
    assert [address(one) for one in taken] == ["10.1.2.2", "10.1.2.3", "10.1.2.4"]
    assert {thread for thread, _ in bench.made} == {"sandbox-filler"}


def test_empty_stock_is_served_while_the_filler_is_held_up() -> None:
    """Nobody waits behind the refilling."""
    with opened() as (bench, sandboxes, network):
        bench.allowed.clear()
        sandboxes.stock(network, 3)
        taken = [sandboxes.take(on(network)) for _ in range(5)]
        assert len({address(one) for one in taken}) == 5
        assert {thread for thread, _ in bench.made} == {"sandbox-maker"}
        bench.allowed.set()


def test_without_stock_each_is_made_on_the_spot() -> None:
    """Nothing is made ahead that nobody asked for."""
    with opened() as (bench, sandboxes, network):
        sandboxes.take(on(network))
        sandboxes.take([])
    assert bench.made == [("sandbox-maker", False)] * 2


def test_two_stocks_are_both_kept() -> None:
    """One with a network, one without; each serves its own."""
    with opened() as (_, sandboxes, network):
        stocked(sandboxes, network, 2)
        stocked(sandboxes, None, 2)
        assert sandboxes.take([]).endpoints == ()
        assert address(sandboxes.take(on(network))) == "10.1.2.2"


def test_other_networks_are_plugged_into_a_bare_sandbox_from_stock() -> None:
    """What is not in stock as such is made of a namespace that lies ready."""
    with opened() as (bench, sandboxes, network):
        stocked(sandboxes, None, 1)
        bench.allowed.clear()
        user = bridge(USER)
        sandbox = sandboxes.take([*on(network), *on(user, interface="eth1")])
        assert [endpoint.network for endpoint in sandbox.endpoints] == ["bridge", "web"]
        sandboxes.take(on(user))
        assert bench.made[1:] == [("sandbox-maker", True), ("sandbox-maker", False)]
        bench.allowed.set()


@pytest.mark.parametrize(
    "wishes", [{"mac": "02:00:00:00:00:09"}, {"interface": "net0"}], ids=["mac", "interface"]
)
def test_wishes_are_made_on_the_spot(wishes: dict[str, str]) -> None:
    """What the stock does not have is never served from it."""
    with opened() as (bench, sandboxes, network):
        stocked(sandboxes, network, 2)
        (endpoint,) = sandboxes.take(on(network, **wishes)).endpoints
        assert ("sandbox-maker", False) in bench.made
    assert {name: getattr(endpoint, name) for name in wishes} == wishes


def test_no_default_route_is_not_served_from_stock() -> None:
    """Sandboxes in stock lead out by their network, so others are made on the spot."""
    with opened() as (bench, sandboxes, network):
        stocked(sandboxes, network, 1)
        sandboxes.take([Attachment(network=network, default=False)])
    assert ("sandbox-maker", False) in bench.made


def test_names_are_added_to_a_sandbox_from_stock() -> None:
    """With names there is a resolver, whether from stock or not."""
    with opened() as (bench, sandboxes, network):
        stocked(sandboxes, network, 1)
        bench.allowed.clear()
        assert sandboxes.take(on(network), names=True).resolver
        assert sandboxes.take(on(network), names=True).resolver
        assert sandboxes.take(on(network)).resolver is None
        bench.allowed.set()


def test_stock_with_names_serves_who_wants_them() -> None:
    """Sandboxes that have a resolver already are handed out at once, and only to who wants one."""
    with opened() as (bench, sandboxes, network):
        sandboxes.stock(network, 2, names=True)
        bench.wait_until_made(2)
        bench.allowed.clear()
        assert sandboxes.take(on(network)).resolver is None
        assert sandboxes.take(on(network), names=True).resolver
        assert [thread for thread, _ in bench.made].count("sandbox-maker") == 1
        bench.allowed.set()


def test_wished_address_that_lies_in_stock() -> None:
    """The stock does not stand in the way of a wish: its sandbox is handed out, or given up for a MAC."""
    with opened() as (bench, sandboxes, network):
        stocked(sandboxes, network, 2)
        assert address(sandboxes.take(on(network, address="10.1.2.3"))) == "10.1.2.3"
        bench.wait_until_made(3)
        wished = sandboxes.take(on(network, address="10.1.2.2", mac="02:00:00:00:00:09"))
        assert (address(wished), wished.endpoints[0].mac) == ("10.1.2.2", "02:00:00:00:00:09")
        assert bench.calls == ["disconnect -1 sandbox-changer"]  # before anybody else answers for it


def test_wished_address_of_a_connect_that_lies_in_stock() -> None:
    """A living container may have it too; one that is in use is refused."""
    with opened() as (_, sandboxes, network):
        stocked(sandboxes, network, 1)
        (wish,) = on(network, address="10.1.2.2")
        assert sandboxes.connect(5, wish).address == "10.1.2.2"
        with pytest.raises(Conflict):
            sandboxes.connect(5, wish)
        with pytest.raises(InvalidInput):
            sandboxes.connect(5, on(network, address="nonsense")[0])


def test_last_address_may_lie_in_stock() -> None:
    """With a small subnet the stock gives way to who cannot be served from it."""
    with opened(TINY) as (_, sandboxes, network):
        stocked(sandboxes, network, 5)
        wished = [sandboxes.take(on(network, mac=f"02:00:00:00:00:0{n}")) for n in range(5)]
        assert len({address(one) for one in wished}) == 5
        with pytest.raises(Unavailable, match="no free address"):
            sandboxes.take(on(network, mac="02:00:00:00:00:09"))


def test_stock_shrinks_and_is_dropped() -> None:
    """A smaller size gives sandboxes back, zero gives all back."""
    with opened() as (_, sandboxes, network):
        stocked(sandboxes, network, 4)
        sandboxes.stock(network, 2)
        assert len(network._live) == 2
        sandboxes.stock(network, 0)
        assert network._live == {}
        sandboxes.stock(network, 0)


def test_dropped_while_one_is_made() -> None:
    """What the filler was making is given back too."""
    with opened() as (bench, sandboxes, network):
        bench.allowed.clear()
        sandboxes.stock(network, 1)
        sandboxes.stock(network, 0)
        bench.allowed.set()
        stocked(sandboxes, None, 1)
        assert network._live == {}


def test_network_made_anew_has_a_stock_of_its_own() -> None:
    """Sandboxes on the former object of the same network are not handed out for the new one."""
    with opened() as (_, sandboxes, network):
        stocked(sandboxes, network, 2)
        again = bridge(DEFAULT)
        stocked(sandboxes, again, 2)
        sandboxes.take(on(again))
        assert network._live == {}


def test_living_namespaces_have_a_thread_of_their_own() -> None:
    """Slow changes do not keep anybody who takes waiting."""
    with opened() as (bench, sandboxes, network):
        endpoint = sandboxes.connect(5, on(network)[0])
        sandboxes.set_default(5, None)
        assert sandboxes.resolver(5)
        sandboxes.disconnect(5, network, endpoint)
        assert all(call.endswith("sandbox-changer") for call in bench.calls)
        assert len(bench.calls) == 4
    assert network._live == {}


def test_close_gives_everything_back() -> None:
    """After close the stock's addresses are free, tools and threads are gone; it can be repeated."""
    bench, network = FakeWorkbench(), bridge(DEFAULT)
    sandboxes = Sandboxes(workshop=bench)
    stocked(sandboxes, network, 4)
    stocked(sandboxes, None, 4)
    kept = sandboxes.take(on(network))
    sandboxes.close()
    sandboxes.close()
    assert list(network._live.values()) == [kept.endpoints[0].host_link]
    assert bench.open == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("sandbox-")]


def test_closed_refuses() -> None:
    """Asking anything of closed ones says why."""
    sandboxes = Sandboxes(workshop=FakeWorkbench())
    sandboxes.close()
    sandboxes.stock(None, 3)
    with pytest.raises(Unavailable, match="shutting down"):
        sandboxes.take([])
    with pytest.raises(Unavailable, match="shutting down"):
        sandboxes.resolver(5)


def test_failure_reaches_the_taker_and_does_not_stop_the_filler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who takes learns what is wrong; once it is right again, the stock fills."""
    monkeypatch.setattr("corten.core.networks.sandboxes.sandboxes.RETRY", 0.01)
    with opened() as (bench, sandboxes, network):
        bench.failing = True
        sandboxes.stock(network, 1)
        with pytest.raises(Unavailable, match="no free address"):
            sandboxes.take(on(network))
        bench.failing = False
        stocked(sandboxes, network, 1)


def test_stock_that_fails_does_not_hold_up_another() -> None:
    """A network that cannot be plugged into leaves the other stock alone."""
    with opened() as (_, sandboxes, network):
        sandboxes.stock(BridgeNetwork(USER, tag="t", bridge="br0"), 2)  # not up
        stocked(sandboxes, network, 2)


def test_many_takers_never_share() -> None:
    """Eight threads that take and release at once never hold one sandbox twice."""
    held: set[str] = set()
    guard = threading.Lock()
    faults: list[str] = []

    def taker(sandboxes: Sandboxes, network: Network) -> None:
        for _ in range(50):
            sandbox = sandboxes.take(on(network))
            with guard:
                if address(sandbox) in held:
                    faults.append(address(sandbox))
                held.add(address(sandbox))
            with guard:
                held.discard(address(sandbox))
            sandbox.release()

    with opened() as (_, sandboxes, network):
        sandboxes.stock(network, 4)
        threads = [threading.Thread(target=taker, args=(sandboxes, network)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert faults == []
    assert network._live == {}
