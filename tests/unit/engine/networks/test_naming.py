"""Who is found by which name, who is answered, and what the files say; the zone is the real one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.core.networks.dns.view import View
from corten.core.networks.dns.zone import Zone
from corten.engine.networks.naming import Naming
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.errors import NotFound
from tests.unit.engine.networks.records import BRIDGE, DATA, WEB, container, find

RESOLVER = cast("Any", "a resolver")
ON_WEB = Endpoint("web", WEB.id, endpoint_id="e" * 64, address="10.0.0.2", names=("site", "shop"))
ON_DATA = Endpoint("data", DATA.id, endpoint_id="f" * 64, address="10.1.0.2", names=("site",))
ON_BRIDGE = Endpoint("bridge", BRIDGE.id, endpoint_id="d" * 64, address="172.17.0.2")


@dataclass
class MemoryDns:
    """A name server that notes whom it answers, and keeps the real zone."""

    zone: Zone = field(default_factory=Zone)
    views: dict[str, View] = field(default_factory=dict)

    def attach(self, owner: str, _resolver: object, view: View) -> None:
        """Answer."""
        self.views[owner] = view

    def update(self, owner: str, view: View) -> None:
        """Answer by another view whom it answers."""
        if owner in self.views:
            self.views[owner] = view

    def detach(self, owner: str) -> None:
        """Answer no more."""
        self.views.pop(owner, None)


class World:
    """What the tests look at."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.dns, self.folder, self.find = MemoryDns(), folder, find
        self.containers = ContainerRepository(database)
        networks = cast("Any", self)
        self.naming = Naming(cast("Any", self.dns), networks, self.containers, lambda _: str(folder))

    def who(self, name: str, *networks: str) -> list[str]:
        """Return what a name leads to on networks."""
        return list(self.dns.zone.lookup(networks, name, "A"))

    def read(self, name: str) -> str:
        """Return what a file of the container says."""
        return (self.folder / name).read_text(encoding="utf-8")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Lend a world."""
    database = Database(tmp_path / "engine.db")
    yield World(database, tmp_path)
    database.close()


def on(*endpoints: Endpoint) -> Container:
    """A container on networks."""
    return container(endpoints=endpoints)


def test_a_container_is_found_by_its_names(world: World) -> None:
    """On the networks where it has names, and on no other; it is answered about these networks alone."""
    made = on(ON_WEB, ON_BRIDGE)
    world.naming.announce(made, made.endpoints, RESOLVER)
    assert world.who("shop", WEB.id) == ["10.0.0.2"]
    assert world.who("shop", DATA.id) == []
    assert world.dns.views[made.id].networks == (WEB.id,)
    assert world.dns.views[made.id].external


def test_without_a_way_out_nothing_outside_is_asked(world: World) -> None:
    """On internal networks alone there are no servers outside."""
    world.naming.announce(on(ON_DATA), (ON_DATA,), RESOLVER)
    view = world.dns.views["c" * 64]
    assert (view.external, view.servers) == (False, ())


def test_a_changed_container_keeps_its_sockets(world: World) -> None:
    """A further network is seen through the sockets it has; a container without sockets gets none by that."""
    world.naming.change(on(ON_WEB), None)
    assert world.dns.views == {}
    world.naming.change(on(ON_WEB), RESOLVER)
    world.naming.change(on(ON_WEB, ON_DATA), None)
    assert world.dns.views["c" * 64].networks == (WEB.id, DATA.id)
    assert world.who("site", DATA.id) == ["10.1.0.2"]


def test_forgetting(world: World) -> None:
    """Nobody finds it and it gets no answer any more; an endpoint alone goes by ``withdraw``; twice is no error."""
    made = on(ON_WEB, ON_DATA)
    world.naming.announce(made, made.endpoints, RESOLVER)
    world.naming.withdraw(ON_WEB)
    assert (world.who("site", WEB.id), world.who("site", DATA.id)) == ([], ["10.1.0.2"])
    for _ in range(2):
        world.naming.forget(made.id, made.endpoints)
    assert world.who("site", DATA.id) == []
    assert world.dns.views == {}


def test_the_files(world: World) -> None:
    """The hosts file has its own addresses; names are asked of the engine on networks of users alone."""
    world.naming.write_texts(on(ON_WEB), (ON_WEB,))
    assert "10.0.0.2\tbox" in world.read("hosts")
    assert world.read("hostname") == "box\n"
    assert "127.0.0.11" in world.read("resolv.conf")
    world.naming.write_texts(on(ON_BRIDGE), (ON_BRIDGE,))
    assert "127.0.0.11" not in world.read("resolv.conf")
    assert "10.0.0.2" not in world.read("hosts")


def test_host_gateway(world: World) -> None:
    """``host-gateway`` is the host's address on the default bridge, and nothing where that is not there."""
    asks = replace(on(ON_WEB), host_config=replace(on().host_config, extra_hosts=("home:host-gateway",)))
    world.naming.write_texts(asks, (ON_WEB,))
    assert "172.17.0.1\thome" in world.read("hosts")
    world.find = gone
    world.naming.write_texts(on(ON_WEB), (ON_WEB,))
    assert "172.17.0.1" not in world.read("hosts")


def gone(reference: str) -> Any:
    """Be records without networks."""
    raise NotFound("network", reference)


def test_links_of_the_default_bridge(world: World) -> None:
    """There a link is a line of the hosts file: alias, host name and name of the other container."""
    other = replace(on(replace(ON_BRIDGE, address="172.17.0.9"), ON_WEB), id="d" * 64, name="database")
    world.containers.put(other)
    links = EndpointSettings(links=("database:db",))
    world.naming.write_texts(on(), (replace(ON_BRIDGE, wishes=links),))
    (line,) = [line for line in world.read("hosts").splitlines() if line.startswith("172.17.0.9")]
    assert set(line.split()[1:]) == {"db", "box", "database"}
    assert "10.0.0.2" not in world.read("hosts")
