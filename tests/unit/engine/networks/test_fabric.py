"""The recorded networks as desired state: closed before open, and what one cannot have keeps no other one down."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from corten.core.networks.drivers import drivers, strays
from corten.core.networks.values import NetworkSpec
from corten.engine.networks import fabric as module
from corten.engine.networks.fabric import GATEWAY_MODE, ICC, MASQUERADE, WARM, Fabric, side_of, spec_of
from corten.engine.records.network import IpamSubnet, Network
from corten.errors import Conflict, InvalidInput, NotFound
from tests.unit.engine.networks.kernel_side import (
    Acts,
    MemoryDriver,
    MemoryFirewall,
    MemoryGuard,
    MemorySandboxes,
)
from tests.unit.engine.networks.records import BRIDGE, HOST, LENDER, NONE, network

WEB = network("web", subnets=(IpamSubnet(subnet="10.1.0.0/24", gateway="10.1.0.1"),))
DATA = network("data", internal=True, subnets=(IpamSubnet(subnet="10.2.0.0/24"),))
LAN = network("lan", driver="macvlan", subnets=(IpamSubnet(subnet="10.3.0.0/24"),))
BAD = network("bad", options={ICC: "perhaps"})
REFUSED = OSError("the kernel refused")


class World:
    """A fabric whose drivers, firewall, guard and sandboxes are in memory."""

    def __init__(self) -> None:
        self.acts: Acts = []
        self.made: dict[str, MemoryDriver] = {}
        self.firewall, self.guard = MemoryFirewall(self.acts), MemoryGuard(self.acts)
        sandboxes = cast("Any", MemorySandboxes(self.acts))
        me = cast("Any", self)
        self.fabric = Fabric("corten-1", "corten0", sandboxes, me.firewall, me.guard, stock=3)

    def make(self, spec: NetworkSpec, *, tag: str, bridge: str = "") -> MemoryDriver:
        """Be the kernel's drivers."""
        assert tag == "corten-1"
        link = bridge or spec.options.get("com.docker.network.bridge.name") or f"br-{spec.name}"
        return self.made.setdefault(spec.name, MemoryDriver(spec, self.acts, link))

    def know(self, *networks: Network) -> None:
        """Know networks."""
        self.fabric.know(networks)


@dataclass
class NoKeeper:
    """A keeper that watches nothing."""

    is_wanted: Any
    repair: Any

    def close(self) -> None:
        """End."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Lend a world; nothing in it touches the kernel."""
    made = World()
    monkeypatch.setattr(drivers, "make", made.make)
    monkeypatch.setattr(strays, "remove_networks", lambda *_: ["br-stray"])
    monkeypatch.setattr(module, "Keeper", NoKeeper)
    yield made
    made.fabric.close()


def test_know_touches_nothing(world: World) -> None:
    """Networks with links get a driver; one that cannot be is told, and the others are known all the same."""
    world.know(HOST, NONE, LENDER, BAD, WEB)
    assert world.acts == []
    assert world.fabric.driver(WEB.id).spec.name == "web"
    for other in (HOST, NONE, LENDER):
        with pytest.raises(NotFound):
            world.fabric.driver(other.id)


def test_restore_closes_first(world: World) -> None:
    """Subnets are closed before the firewall opens anything, and links come last."""
    world.know(BRIDGE, WEB)
    world.fabric.restore({})
    assert world.acts == [("guard",), ("restore firewall",), ("ensure", "bridge"), ("ensure", "web")]
    assert world.guard.closed == {"172.17.0.0/16", "10.1.0.0/24"}
    assert set(world.firewall.sides) == {"corten0", "br-web"}


def test_one_that_fails_keeps_no_other_down(world: World) -> None:
    """Neither at the start nor when all is mended."""
    world.know(BRIDGE, WEB)
    world.made["bridge"].broken = Conflict("a link of that name is not ours: delete it")
    world.fabric.restore({})
    assert world.acts[-1] == ("ensure", "web")
    world.guard.broken = world.firewall.broken = REFUSED
    world.acts.clear()
    world.fabric.repair()
    assert world.acts == [("guard",), ("check firewall",), ("ensure", "bridge"), ("ensure", "web")]


def test_add_closes_before_it_opens(world: World) -> None:
    """A new subnet is closed, then known to the firewall, then there."""
    world.fabric.add(WEB)
    assert world.acts == [("guard",), ("set side", "br-web"), ("ensure", "web")]
    assert world.guard.closed == {"10.1.0.0/24"}


def test_add_of_what_has_no_links(world: World) -> None:
    """Nothing is made for ``host``, ``none`` and networks that only lend settings."""
    for other in (HOST, NONE, LENDER):
        world.fabric.add(other)
    assert world.acts == []


def test_a_failed_add_leaves_nothing(world: World) -> None:
    """All of it, or nothing."""
    world.make(spec_of(WEB), tag="corten-1").broken = REFUSED
    with pytest.raises(OSError, match="refused"):
        world.fabric.add(WEB)
    assert (world.guard.closed, world.firewall.sides) == (set(), {})
    with pytest.raises(NotFound):
        world.fabric.driver(WEB.id)


def test_remove_opens_before_it_is_unclosed(world: World) -> None:
    """Sandboxes go, then the link, then the firewall's side, and the guard at the very end; twice is no error."""
    world.fabric.add(WEB)
    world.fabric.warm(WEB.id)
    world.acts.clear()
    world.fabric.remove(WEB.id)
    assert world.acts == [
        ("stock", "web", "0", ""),
        ("take down", "web"),
        ("drop side", "br-web"),
        ("guard",),
    ]
    world.fabric.remove(WEB.id)
    assert world.guard.closed == set()


def test_remove_goes_on_after_a_failure(world: World) -> None:
    """A link that cannot be deleted keeps no rules; one that is not ours is left alone."""
    world.fabric.add(WEB)
    world.made["web"].broken = REFUSED
    with pytest.raises(OSError, match="refused"):
        world.fabric.remove(WEB.id)
    assert (world.guard.closed, world.firewall.sides) == (set(), {})
    world.made["web"].broken = None
    world.fabric.add(WEB)
    world.made["web"].broken = Conflict("not ours")
    world.fabric.remove(WEB.id)


def test_a_bridge_belongs_to_one_network(world: World) -> None:
    """Two that name the same link: the second one is refused, and the first one stays as it is."""
    name = {"com.docker.network.bridge.name": "br-web"}
    world.fabric.add(WEB)
    with pytest.raises(Conflict, match="network web"):
        world.fabric.add(network("other", options=name))
    assert set(world.firewall.sides) == {"br-web"}


def test_stock(world: World) -> None:
    """Bare sandboxes and those of the default bridge are kept ready from the start."""
    world.know(BRIDGE, WEB)
    world.fabric.fill()
    assert world.acts == [("watch firewall",), ("stock", "", "3", ""), ("stock", "bridge", "3", "")]


def test_the_networks_used_last_are_warm(world: World) -> None:
    """One sandbox for each of a few networks; internal ones, the default bridge and those without a side have none."""
    several = [network(f"n{number}") for number in range(WARM + 1)]
    world.know(BRIDGE, DATA, LAN, *several)
    for of in (BRIDGE, DATA, LAN):
        world.fabric.warm(of.id)
    assert world.acts == []
    for of in (*several[:WARM], several[0], several[WARM]):
        world.fabric.warm(of.id)
    assert world.acts[:WARM] == [("stock", of.name, "1", "names") for of in several[:WARM]]
    assert world.acts[WARM:] == [("stock", several[WARM].name, "1", "names"), ("stock", "n1", "0", "")]


def test_bridges_to_publish_through(world: World) -> None:
    """Only a bridge with a way out."""
    world.know(BRIDGE, WEB, DATA, LAN)
    assert [world.fabric.bridge_of(of.id) for of in (BRIDGE, WEB, DATA, LAN, HOST)] == [
        "corten0", "br-web", "", "", ""
    ]  # fmt: skip


def test_reconcile_asks_each_network(world: World) -> None:
    """What is claimed is told to all."""
    world.know(BRIDGE, LAN)
    world.fabric.reconcile({"ct1"})
    assert world.acts == [("reconcile", "bridge", "ct1"), ("reconcile", "lan", "ct1")]


def test_vanish_takes_all_away(world: World) -> None:
    """Links, table and rules go, each also when another one fails; the rules at the very end."""
    world.know(WEB)
    world.fabric.fill()
    world.made["web"].broken = REFUSED
    world.acts.clear()
    with pytest.raises(OSError, match="refused"):
        world.fabric.vanish()
    assert world.acts == [("take down", "web"), ("remove firewall",), ("remove guard",)]


def test_how_the_firewall_sees_a_network() -> None:
    """Docker's options are on unless switched off; a routed one is not hidden behind the host's address."""
    side = side_of(WEB, "br-web")
    assert (side.icc, side.masquerade, side.routed, side.internal) == (True, True, False, False)
    off = side_of(network("x", options={ICC: "False", MASQUERADE: "0"}), "br")
    assert (off.icc, off.masquerade) == (False, False)
    routed = side_of(network("x", options={GATEWAY_MODE: "routed"}), "br")
    assert (routed.routed, routed.masquerade) == (True, False)
    with pytest.raises(InvalidInput, match="say true or false"):
        side_of(BAD, "br")
