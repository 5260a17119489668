"""The stock of sandboxes: served at once, refilled behind, given back at the end; with a fake workshop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

import msgspec
import pytest

from corten.core.networks.bridge import BridgeNetwork
from corten.core.networks.network import Endpoint, Network
from corten.core.networks.pool import Make, SandboxPool
from corten.core.networks.sandbox import Sandbox
from corten.errors import Unavailable
from tests.unit.core.networks.test_sandbox import ENDPOINT, RecordingLinks

DEADLINE = 10.0  # seconds to wait for a thread


class FakeWorkshop:
    """Makes sandboxes without a namespace; counts them, can be held up and can fail."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.made: list[tuple[str, str]] = []  # (thread, address)
        self.open = 0
        self.allowed = threading.Event()
        self.allowed.set()
        self.failing = False
        self.network = BridgeNetwork("bridge", IPv4Network("10.1.2.0/24"))
        self.network._index = 7

    @contextmanager
    def __call__(self, _network: Network | None) -> Iterator[Make]:
        """Open and close one thread's tools."""
        self.open += 1
        try:
            yield self.make
        finally:
            self.open -= 1

    def make(self, mac: str | None, address: str | None) -> Sandbox:
        """Make one; only the filler is held up."""
        thread = threading.current_thread().name
        if thread == "sandbox-filler":
            assert self.allowed.wait(DEADLINE)
        if self.failing:
            raise Unavailable("no free address")
        endpoint = self.network.plug(RecordingLinks(), 99, mac=mac, address=address)
        with self.changed:
            self.made.append((thread, endpoint.address))
            self.changed.notify_all()
        return Sandbox(-1, self.network, (endpoint,))

    def wait_until_made(self, count: int) -> None:
        """Wait until *count* sandboxes were made in all."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.made) >= count, DEADLINE)


def stocked(workshop: FakeWorkshop, pool: SandboxPool, size: int) -> None:
    """Wait until *size* sandboxes lie in stock."""
    with pool._changed:
        assert pool._changed.wait_for(lambda: len(pool._ready) >= size, DEADLINE)


def address(sandbox: Sandbox) -> str:
    """The address of the only endpoint."""
    return sandbox.endpoints[0].address


def test_stock_is_filled_handed_out_and_refilled() -> None:
    """Takers get what the filler made, oldest first, and the filler makes up for it."""
    workshop = FakeWorkshop()
    with SandboxPool(workshop.network, 3, workshop) as pool:
        stocked(workshop, pool, 3)
        taken = [pool.take() for _ in range(3)]
        stocked(workshop, pool, 3)
    assert [address(one) for one in taken] == ["10.1.2.2", "10.1.2.3", "10.1.2.4"]
    assert {thread for thread, _ in workshop.made} == {"sandbox-filler"}


def test_empty_stock_is_served_while_the_filler_is_held_up() -> None:
    """Nobody waits behind the refilling."""
    workshop = FakeWorkshop()
    workshop.allowed.clear()
    with SandboxPool(workshop.network, 3, workshop) as pool:
        taken = [pool.take() for _ in range(5)]
        assert len({address(one) for one in taken}) == 5
        assert {thread for thread, _ in workshop.made} == {"sandbox-maker"}
        workshop.allowed.set()


def test_size_zero_makes_each_on_the_spot() -> None:
    """Without a stock nothing is made ahead."""
    workshop = FakeWorkshop()
    with SandboxPool(workshop.network, 0, workshop) as pool:
        pool.take()
    assert [thread for thread, _ in workshop.made] == ["sandbox-maker"]


def test_wishes_are_made_on_the_spot() -> None:
    """A wished MAC is never served from stock."""
    workshop = FakeWorkshop()
    with SandboxPool(workshop.network, 2, workshop) as pool:
        stocked(workshop, pool, 2)
        sandbox = pool.take(mac="02:00:00:00:00:09")
    assert sandbox.endpoints[0].mac == "02:00:00:00:00:09"


def test_wished_address_that_lies_in_stock() -> None:
    """The stock does not stand in the way of a wish: its sandbox is handed out, or given up for a MAC."""
    workshop = FakeWorkshop()
    with SandboxPool(workshop.network, 2, workshop) as pool:
        stocked(workshop, pool, 2)
        assert address(pool.take(address="10.1.2.3")) == "10.1.2.3"
        stocked(workshop, pool, 2)
        wished = pool.take(address="10.1.2.2", mac="02:00:00:00:00:09")
    assert (address(wished), wished.endpoints[0].mac) == ("10.1.2.2", "02:00:00:00:00:09")


def test_close_gives_everything_back() -> None:
    """After close the stock's addresses are free, tools and threads are gone; it can be repeated."""
    workshop = FakeWorkshop()
    pool = SandboxPool(workshop.network, 4, workshop)
    stocked(workshop, pool, 4)
    kept = pool.take()
    pool.close()
    pool.close()
    assert workshop.network._live == {kept.endpoints[0].host_link}
    assert workshop.open == 0
    assert not any(thread.is_alive() for thread in pool._threads)


def test_closed_pool_refuses() -> None:
    """Taking from a closed pool says why."""
    workshop = FakeWorkshop()
    pool = SandboxPool(workshop.network, 0, workshop)
    pool.close()
    with pytest.raises(Unavailable, match="shutting down"):
        pool.take()


def test_failure_reaches_the_taker_and_does_not_stop_the_filler() -> None:
    """The one who takes learns what is wrong; once it is right again, takes work."""
    workshop = FakeWorkshop()
    workshop.failing = True
    with SandboxPool(workshop.network, 1, workshop) as pool:
        with pytest.raises(Unavailable, match="no free address"):
            pool.take()
        workshop.failing = False
        assert address(pool.take())
        workshop.wait_until_made(1)


def test_many_takers_never_share() -> None:
    """Eight threads that take and release at once never hold one sandbox twice."""
    workshop = FakeWorkshop()
    held: set[str] = set()
    guard = threading.Lock()
    faults: list[str] = []

    def taker(pool: SandboxPool) -> None:
        for _ in range(50):
            sandbox = pool.take()
            with guard:
                if address(sandbox) in held:
                    faults.append(address(sandbox))
                held.add(address(sandbox))
            with guard:
                held.discard(address(sandbox))
            sandbox.release()

    with SandboxPool(workshop.network, 4, workshop) as pool:
        threads = [threading.Thread(target=taker, args=(pool,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert faults == []
    assert workshop.network._live == set()


def test_endpoint_survives_a_record() -> None:
    """An endpoint written as JSON comes back equal."""
    assert msgspec.json.decode(msgspec.json.encode(ENDPOINT), type=Endpoint) == ENDPOINT
