"""Which ports of the host lead to a container, and that a change leaves alone what it does not mean.

Ports are real sockets, on the loopback alone; the firewall is one in memory.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from msgspec.structs import replace

from corten.core.networks.firewall.state import Opening
from corten.core.networks.ports.ports import Ports
from corten.engine.networks.publishing import HOST_BINDING, Publishing
from corten.engine.records.config import HostConfig, PortBinding
from corten.engine.records.container import Container, Endpoint, Published
from corten.errors import Conflict, NotFound
from tests.unit.engine.networks.records import container, network

if TYPE_CHECKING:
    from corten.engine.networks.fabric import Fabric
    from corten.engine.records.network import Network
    from corten.engine.records.networks import NetworkRepository

LOOPBACK = "127.0.0.1"
WEB = network("web", options={HOST_BINDING: LOOPBACK})
INSIDE = "172.20.0.2"
CHOSEN = PortBinding()


@dataclass
class MemoryFirewall:
    """What each owner has open; an owner in *broken* cannot have anything more."""

    open: dict[str, tuple[Opening, ...]] = field(default_factory=dict)
    broken: bool = False

    def publish(self, owner: str, openings: Sequence[Opening]) -> None:
        """Let *owner* have exactly *openings*."""
        if self.broken and len(openings) > len(self.open.get(owner, ())):
            raise OSError("the kernel refused")
        self.open[owner] = tuple(openings)


@dataclass
class OneBridge:
    """A fabric of one network that is a bridge."""

    firewall: MemoryFirewall = field(default_factory=MemoryFirewall)

    def bridge_of(self, network_id: str) -> str:
        """Return the bridge of ``web``, none for others."""
        return "br-web" if network_id == WEB.id else ""


class OneNetwork:
    """Records of that network."""

    def find(self, reference: str) -> "Network":
        """Return it by its id."""
        if reference != WEB.id:
            raise NotFound("network", reference)
        return WEB


@dataclass
class World:
    """What the tests look at."""

    firewall: MemoryFirewall
    ports: Ports
    publishing: Publishing

    def start(self, **bindings: tuple[PortBinding, ...]) -> Container:
        """Return a container that runs with *bindings*, such as p80=(CHOSEN,)."""
        made = container(endpoints=(Endpoint("web", WEB.id, address=INSIDE),))
        made = wishing(made, **bindings)
        return replace(made, published=self.publishing.publish(made, made.endpoints))

    def change(self, now: Container, **bindings: tuple[PortBinding, ...]) -> Container:
        """Return the container after its bindings were changed."""
        then = wishing(now, **bindings)
        return replace(then, published=self.publishing.republish(now, then))

    def leads(self, of: Container) -> set[tuple[int, int]]:
        """Return pairs of host port and container port that the firewall has."""
        return {(opening.host_port, opening.port) for opening in self.firewall.open.get(of.id, ())}


@pytest.fixture
def world() -> Iterator[World]:
    """Ports that nobody has."""
    fabric, ports = OneBridge(), Ports()
    made = Publishing(cast("Fabric", fabric), ports, cast("NetworkRepository", OneNetwork()))
    yield World(fabric.firewall, ports, made)
    ports.close()


def wishing(of: Container, **bindings: tuple[PortBinding, ...]) -> Container:
    """Return a container that asks for other ports."""
    given = {f"{name.removeprefix('p')}/tcp": places for name, places in bindings.items()}
    return replace(of, host_config=HostConfig(port_bindings=dict(given)))


def at(port: int, last: int = 0) -> PortBinding:
    """Return a binding to a port of the loopback, or one out of a range."""
    return PortBinding(host_ip=LOOPBACK, host_port=f"{port}-{last}" if last else str(port))


def free(count: int = 1) -> int:
    """Return the first of some successive ports that nobody has."""
    for first in range(20_000, 30_000, count):
        try:
            for port in range(first, first + count):
                socket.create_server((LOOPBACK, port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no port is free")


def is_held(port: int) -> bool:
    """Tell whether somebody has a port of the loopback."""
    with socket.socket() as made:
        try:
            made.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def port_of(of: Container, number: int) -> list[int]:
    """Return the host ports of a container port."""
    return [p.host_port for p in of.published if p.container_port == number]


def test_a_published_port_is_held_and_led_on(world: World) -> None:
    """The network's own address of the host is taken where the binding names none."""
    made = world.start(p80=(CHOSEN,))
    (port,) = port_of(made, 80)
    assert made.published == (Published("tcp", 80, LOOPBACK, port),)
    assert world.leads(made) == {(port, 80)}
    assert is_held(port)


def test_what_stays_keeps_its_port(world: World) -> None:
    """A port that the engine chose is the same after another one was added, and after that went again."""
    made = world.start(p80=(CHOSEN,))
    (port,) = port_of(made, 80)
    other = free()
    more = world.change(made, p80=(CHOSEN,), p443=(at(other),))
    assert (port_of(more, 80), port_of(more, 443)) == ([port], [other])
    assert world.leads(more) == {(port, 80), (other, 443)}
    less = world.change(more, p80=(CHOSEN,))
    assert less.published == made.published
    assert world.leads(less) == {(port, 80)}
    assert not is_held(other)


def test_bindings_of_one_container_port_are_told_apart(world: World) -> None:
    """Beside a fixed port of the same container port, the chosen one stays what it is, also when the fixed one goes."""
    first = free(2)
    second = first + 1
    made = world.start(p80=(CHOSEN,))
    (port,) = port_of(made, 80)
    made = world.change(made, p80=(CHOSEN, at(first)))
    made = world.change(made, p80=(CHOSEN, at(first), at(second)))
    assert port_of(made, 80) == [port, first, second]
    made = world.change(made, p80=(CHOSEN,))
    assert port_of(made, 80) == [port]
    assert not is_held(first)


def test_one_of_a_range_stays(world: World) -> None:
    """A port out of a range stays, although one before it has become free."""
    first = free(3)
    with socket.create_server((LOOPBACK, first)):
        made = world.start(p80=(at(first, first + 2),))
    assert port_of(made, 80) == [first + 1]
    made = world.change(made, p80=(at(first, first + 2),), p81=(CHOSEN,))
    assert port_of(made, 80) == [first + 1]


def test_two_chosen_ports_stay_apart(world: World) -> None:
    """Two equal wishes keep their two ports, and one that is left keeps one of them."""
    made = world.start(p80=(CHOSEN, CHOSEN))
    assert len(set(port_of(made, 80))) == 2
    more = world.change(made, p80=(CHOSEN, CHOSEN), p81=(CHOSEN,))
    assert port_of(more, 80) == port_of(made, 80)
    less = world.change(more, p80=(CHOSEN,))
    assert port_of(less, 80) == port_of(made, 80)[:1]


def test_ports_are_kept_for_a_later_daemon(world: World) -> None:
    """What another daemon chose is known from the record alone."""
    made = world.start(p80=(CHOSEN,))
    world.ports.close()
    assert world.publishing.adopt(made) == []
    assert world.change(made, p80=(CHOSEN,), p81=(CHOSEN,)).published[0] == made.published[0]


@pytest.mark.parametrize("broken", [False, True])
def test_a_refused_change_changes_nothing(world: World, broken: bool) -> None:
    """A port that somebody has, or a firewall that refuses: what was published is held and led on as before."""
    made = world.start(p80=(CHOSEN,))
    world.firewall.broken = broken
    with socket.create_server((LOOPBACK, 0)) as taken:
        wanted = free() if broken else taken.getsockname()[1]
        with pytest.raises(OSError if broken else Conflict):
            world.change(made, p80=(CHOSEN,), p81=(at(wanted),))
    (port,) = port_of(made, 80)
    assert world.leads(made) == {(port, 80)}
    assert is_held(port)
    assert not is_held(wanted)


def test_the_last_one_goes(world: World) -> None:
    """Nothing is open or held when nothing is asked for."""
    made = world.start(p80=(CHOSEN,))
    (port,) = port_of(made, 80)
    assert world.change(made).published == ()
    assert world.leads(made) == set()
    assert not is_held(port)


def test_both_families_are_one_binding(world: World) -> None:
    """A wish for all addresses has one port, published for IPv4 and IPv6; both stay."""
    made = container(endpoints=(Endpoint("web", WEB.id, address=INSIDE, address6="fd00::2"),))
    port = free(2)
    other = port + 1
    ours = (Published("tcp", 80, "0.0.0.0", port), Published("tcp", 80, "::", port))
    now = replace(
        wishing(made, p80=(CHOSEN, CHOSEN)), published=(*ours, Published("tcp", 80, "0.0.0.0", other))
    )
    then = wishing(made, p80=(CHOSEN, CHOSEN), p81=(CHOSEN,))
    after = world.publishing.republish(now, then)
    assert [p.host_port for p in after if p.container_port == 80] == [port, other]
