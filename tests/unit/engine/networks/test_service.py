"""The verbs on networks: what is on record after each, and what is refused."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.engine.networks import service
from corten.engine.networks.requests import Ipam, NetworkRequest
from corten.engine.networks.service import Networks
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint, Published, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.engine.records.network import IpamSubnet, Network
from corten.engine.records.networks import NetworkRepository
from corten.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.unit.engine.networks.kernel_side import MemoryFabric
from tests.unit.engine.networks.records import container

SHOP = NetworkRequest(name="shop")


class World:
    """Real records; the kernel side and the changes of living containers note what they are asked for."""

    def __init__(self, database: Database) -> None:
        self.networks, self.containers = NetworkRepository(database), ContainerRepository(database)
        self.fabric = MemoryFabric()
        self.acts = self.fabric.acts
        self.told: list[tuple[str, str]] = []
        self.joining: defaultdict[str, bool] = defaultdict(bool)
        me = cast("Any", self)
        self.service = Networks(me, me, "corten-1", lambda: "2026-01-01T00:00:00Z")

    def tell(self, action: str, network: Network, _container_id: str) -> None:
        """Be the events."""
        self.told.append((action, network.name))

    def is_used(self, network_id: str) -> bool:
        """Tell whether a container is on its way."""
        return self.joining[network_id]

    async def connect(self, reference: str, made: Container, _settings: EndpointSettings) -> None:
        """Be the changes of living containers."""
        self.acts.append(("connect", reference, made.name))

    async def disconnect(self, reference: str, made: Container, *, force: bool) -> None:
        """Be the changes of living containers."""
        self.acts.append(("disconnect", reference, made.name, "force" if force else ""))

    def create(self, request: NetworkRequest = SHOP) -> Network:
        """Make a network."""
        return asyncio.run(self.service.create(request))[0]

    def put(self, on: Network, status: str = "running", **members: Any) -> Container:
        """Record a container on a network."""
        endpoints = (Endpoint(on.name, on.id, endpoint_id="e" * 64, address="10.0.0.2"),)
        made = container(endpoints=endpoints, state=State(status), **members)
        self.containers.put(made)
        return made

    @property
    def names(self) -> set[str]:
        """Return the networks on record."""
        return {network.name for network in self.networks.all()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Lend a world whose host has no addresses."""
    monkeypatch.setattr(service, "occupied", list)
    database = Database(tmp_path / "engine.db")
    yield World(database)
    database.close()


def test_every_engine_has_three(world: World) -> None:
    """They are recorded once, the default bridge with a subnet and its link."""
    world.service.establish("corten0")
    first = world.service.list()
    world.service.establish("corten0")
    assert world.service.list() == first
    assert world.names == {"bridge", "host", "none"}
    assert world.service.get("bridge").subnets[0].gateway
    assert world.service.get("none").driver == "null"


def test_create(world: World) -> None:
    """A network is up with addresses, on record and told."""
    made = world.create()
    assert world.networks.find(made.id) == made
    assert made.subnets[0].subnet
    assert world.acts == [("add", "shop")]
    assert world.told == [("create", "shop")]


def test_two_do_not_overlap(world: World) -> None:
    """Subnets that the engine chooses keep clear of those on record; one that the user names is refused."""
    first, second = world.create(), world.create(NetworkRequest(name="other"))
    assert first.subnets != second.subnets
    taken = IpamSubnet(subnet=first.subnets[0].subnet)
    with pytest.raises(Forbidden, match="overlap"):
        world.create(NetworkRequest(name="third", ipam=Ipam(config=(taken,))))
    assert world.names == {"shop", "other"}


def test_a_name_is_taken_once(world: World) -> None:
    """Also by two who ask at the same moment."""

    async def both() -> list[object]:
        asked = (world.service.create(SHOP), world.service.create(SHOP))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert sum(isinstance(answer, Conflict) for answer in asyncio.run(both())) == 1
    assert world.acts == [("add", "shop")]


def test_what_cannot_be_recorded_is_taken_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, or nothing."""

    def refuse(_: Network) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(world.networks, "put", refuse)
    with pytest.raises(OSError, match="disk"):
        world.create()
    assert world.acts == [("add", "shop"), ("remove", "shop")]
    assert (world.names, world.told) == (set(), [])


def test_remove(world: World) -> None:
    """A network that nobody is on goes from records and kernel; then there is none."""
    made = world.create()
    world.put(made, "exited")
    assert asyncio.run(world.service.remove("shop")) == made.id
    assert world.acts[-1] == ("remove", "shop")
    assert world.told[-1] == ("destroy", "shop")
    with pytest.raises(NotFound):
        asyncio.run(world.service.remove("shop"))


def test_what_cannot_be_removed(world: World) -> None:
    """A predefined network, one with running containers, one that a container is joining, one that lends."""
    world.service.establish("corten0")
    lender, made = world.create(NetworkRequest(name="lender", config_only=True)), world.create()
    borrower = world.create(NetworkRequest(name="borrower", config_from="lender"))
    world.put(made)
    world.joining[borrower.id] = True
    for name, words in (
        ("bridge", "pre-defined"), ("shop", 'name:"site"'), ("borrower", "joining"), (lender.name, "in use")
    ):  # fmt: skip
        with pytest.raises(Forbidden, match=words):
            asyncio.run(world.service.remove(name))
    assert {"shop", "borrower", "lender"} < world.names


def test_prune(world: World) -> None:
    """What no container refers to goes, the predefined ones aside; a container that is down refers too."""
    world.service.establish("corten0")
    used = world.create()
    joined = world.create(NetworkRequest(name="joined"))
    world.create(NetworkRequest(name="unused"))
    world.put(used, "exited")
    world.joining[joined.id] = True
    assert asyncio.run(world.service.prune({})) == ["unused"]
    assert {"bridge", "shop", "joined"} < world.names
    with pytest.raises(InvalidInput, match="filter"):
        asyncio.run(world.service.prune({"colour": ["red"]}))


def test_members_and_reach(world: World) -> None:
    """Containers that run are on a network and are told who reaches them; those that are down are not."""
    made, other = world.create(), world.create(NetworkRequest(name="other"))
    up = world.put(made, published=(Published("tcp", 80, "127.0.0.1", 8080),))
    world.put(made, "exited", id="d" * 64, name="down")
    assert world.service.members(made) == [up]
    assert world.service.members(other) == []
    rows = world.service.reach(None)
    assert rows
    assert world.service.reach("shop") == rows
    assert world.service.reach("other") == []
    with pytest.raises(NotFound):
        world.service.reach("nowhere")


def test_connect_and_disconnect(world: World) -> None:
    """Names are looked up here; a container that is gone is no error to a disconnect by force."""
    made = world.create()
    world.put(made)
    asyncio.run(world.service.connect("shop", "site", EndpointSettings()))
    asyncio.run(world.service.disconnect("shop", "site", force=False))
    assert world.acts[-2:] == [("connect", "shop", "site"), ("disconnect", made.id, "site", "")]
    asyncio.run(world.service.disconnect("shop", "nobody", force=True))
    with pytest.raises(NotFound, match="nobody"):
        asyncio.run(world.service.disconnect("shop", "nobody", force=False))
    with pytest.raises(NotFound, match="nowhere"):
        asyncio.run(world.service.disconnect("nowhere", "nobody", force=True))


def test_a_network_with_the_name_of_a_running_one(world: World) -> None:
    """A record that came in another way is respected too."""
    world.networks.put(replace(world.create(), id="9" * 64, name="late"))
    with pytest.raises(Conflict):
        world.create(NetworkRequest(name="late"))
