"""What containers have of networks for a run: given whole, taken back whole, and completed after a daemon's death."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.engine.networks.attachments import Attachments, without_facts
from corten.engine.records.config import EndpointSettings, HostConfig, PortBinding
from corten.engine.records.container import Container, Endpoint, Published, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.engine.records.network import Network
from corten.engine.records.networks import NetworkRepository
from corten.errors import Conflict, InvalidInput, NotFound
from tests.unit.engine.networks.kernel_side import MemoryFabric
from tests.unit.engine.networks.records import BRIDGE, DATA, HOST, NONE, WEB, container

NOBODY = 0x7FFFFFFF  # no process has this number
BUSY = HostConfig(port_bindings={"80/tcp": (PortBinding(),)})
ON_WEB = Endpoint(
    "web",
    WEB.id,
    endpoint_id="e" * 64,
    host_link="ct1",
    address="10.0.0.2",
    names=("site",),
    interface="eth0",
)
HALF = Endpoint("data", DATA.id, interface="eth1")


class World:
    """Real records; fabric, ports and names note what they are asked for."""

    def __init__(self, database: Database) -> None:
        self.networks, self.containers = NetworkRepository(database), ContainerRepository(database)
        for known in (BRIDGE, HOST, NONE, WEB, DATA):
            self.networks.put(known)
        self.fabric = MemoryFabric(BRIDGE, WEB, DATA)
        self.acts = self.fabric.acts
        self.unpublish_fails = False
        me = cast("Any", self)
        self.attachments = Attachments(
            cast("Any", self.fabric), me, me, self.networks, self.containers, self.tell
        )

    def tell(self, action: str, network: Network, container_id: str) -> None:
        """Be the events."""
        self.acts.append((action, network.name, container_id[:1]))

    def publish(self, _of: Container, _endpoints: Sequence[Endpoint]) -> tuple[Published, ...]:
        """Be the ports."""
        self.acts.append(("publish",))
        return (Published("tcp", 80, "127.0.0.1", 8080),)

    def unpublish(self, _container_id: str) -> None:
        """Be the ports."""
        self.acts.append(("unpublish",))
        if self.unpublish_fails:
            raise OSError("the kernel refused")

    def adopt(self, _of: Container) -> list[str]:
        """Be the ports."""
        return ["port 80 is taken"]

    def announce(self, _of: Container, endpoints: Sequence[Endpoint], resolver: object) -> None:
        """Be the names."""
        self.acts.append(("announce", *(e.network for e in endpoints), str(resolver)))

    def forget(self, _container_id: str, _endpoints: Sequence[Endpoint]) -> None:
        """Be the names."""
        self.acts.append(("forget",))

    def write_texts(self, _of: Container, endpoints: Sequence[Endpoint]) -> None:
        """Be the files."""
        self.acts.append(("write", *(e.network for e in endpoints)))

    def join(self, made: Container) -> Any:
        """Join, and keep what was given."""
        with ExitStack() as undo:
            joined = self.attachments.join(made, undo)
            undo.pop_all()
        return joined

    def running(self, *endpoints: Endpoint, pid: int = 0, **members: Any) -> Container:
        """Record a container that runs, in the namespace of this process unless *pid* says otherwise."""
        made = container(endpoints=endpoints, state=State("running", pid=pid or os.getpid()), **members)
        self.containers.put(made)
        return made

    @property
    def verbs(self) -> list[str]:
        """What was done, without the details."""
        return [act[0] for act in self.acts]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Lend a world."""
    database = Database(tmp_path / "engine.db")
    yield World(database)
    database.close()


def wishing(*networks: str, **members: Any) -> Container:
    """A container that was created on *networks* and does not run."""
    ids = {known.name: known.id for known in (BRIDGE, HOST, NONE, WEB, DATA)}
    mode = HostConfig(network_mode=networks[0])
    attached = tuple(Endpoint(name, ids[name]) for name in networks)
    return container(**{"endpoints": attached, "host_config": mode} | members)


def test_join_gives_all(world: World) -> None:
    """A namespace on each network in order, the interfaces numbered, ports, names and files."""
    joined = world.join(wishing("web", "data", host_config=replace(BUSY, network_mode="web")))
    assert [(e.network, e.interface) for e in joined.endpoints] == [("web", "eth0"), ("data", "eth1")]
    assert all(e.endpoint_id and e.address and e.names for e in joined.endpoints)
    assert joined.published[0].host_port == 8080
    assert world.verbs == ["take", "publish", "announce", "write"]
    assert ("take", "with names") in world.acts


def test_the_default_bridge_has_no_names(world: World) -> None:
    """There nobody is found by name, and nobody answers."""
    joined = world.join(wishing("bridge"))
    assert joined.endpoints[0].names == ()
    assert ("take", "without names") in world.acts
    assert ("announce", "bridge", "None") in world.acts


@pytest.mark.parametrize("mode", ["host", "none"])
def test_without_links(world: World, mode: str) -> None:
    """With ``host`` there is no namespace of its own, with ``none`` an empty one."""
    joined = world.join(wishing(mode))
    assert (joined.descriptor is None) is (mode == "host")
    assert [e.endpoint_id for e in joined.endpoints] == [""]


def test_a_failed_join_gives_all_back(world: World) -> None:
    """The last step fails: names, ports and namespace go, and the networks may be removed."""
    cast("Any", world).write_texts = fail
    made = wishing("web", host_config=replace(BUSY, network_mode="web"))
    with pytest.raises(OSError, match="refused"), ExitStack() as undo:
        world.attachments.join(made, undo)
    assert world.verbs[-3:] == ["forget", "unpublish", "release sandbox"]
    assert not world.attachments.is_used(WEB.id)


def fail(*_: object) -> None:
    """Be a kernel that refuses."""
    raise OSError("the kernel refused")


def test_networks_are_kept_while_joining(world: World) -> None:
    """From the join until the run is on record its networks count as used; nested uses count each."""
    joined = world.join(wishing("web"))
    with world.attachments.using(WEB.id):
        assert world.attachments.is_used(WEB.id)
    assert world.attachments.is_used(WEB.id)
    world.attachments.hold(wishing("web"), joined)
    assert not world.attachments.is_used(WEB.id)
    assert world.acts[-2:] == [("warm", "web"), ("connect", "web", "c")]


def test_a_network_made_anew_is_found_by_name(world: World) -> None:
    """A container that was created on a network of the same name joins the one that is there now."""
    joined = world.join(container(endpoints=(Endpoint("web", "0" * 64),)))
    assert joined.endpoints[0].network_id == WEB.id
    with pytest.raises(NotFound):
        world.join(container(endpoints=(Endpoint("gone", "0" * 64),)))


def test_a_shared_namespace(world: World) -> None:
    """``container:NAME`` opens the namespace of a running container, and gives nothing else."""
    world.running(id="d" * 64, name="owner")
    made = container(host_config=HostConfig(network_mode="container:owner"))
    joined = world.join(made)
    assert os.path.sameopenfile(joined.descriptor, joined.shared)
    assert os.fstat(joined.descriptor).st_ino == os.stat("/proc/self/ns/net").st_ino
    joined.close()
    joined.close()
    assert joined.descriptor is None
    assert world.acts == []


def test_whose_namespace_cannot_be_shared(world: World) -> None:
    """That of the container itself, of one that does not run, and of nobody."""
    made = container(host_config=HostConfig(network_mode="container:site"))
    world.containers.put(made)
    world.containers.put(container(id="d" * 64, name="down"))
    with pytest.raises(InvalidInput, match="its own"):
        world.join(made)
    for name, kind in (("down", Conflict), ("nobody", NotFound)):
        with pytest.raises(kind):
            world.join(container(host_config=HostConfig(network_mode=f"container:{name}")))


def test_plan_refuses_what_cannot_be(world: World) -> None:
    """Networks and containers that are not there are told when a container is created."""
    assert [e.network for e in world.attachments.plan(wishing("web"), {})] == ["web"]
    for mode in ("nowhere", "container:nobody"):
        with pytest.raises(NotFound):
            world.attachments.plan(container(host_config=HostConfig(network_mode=mode)), {})


def test_leave_takes_all_back(world: World) -> None:
    """Outside in: ports, names, namespace, addresses; the record has wishes alone; a second time is no error."""
    made = replace(wishing("web", "data"), host_config=BUSY)
    joined = world.join(made)
    world.attachments.hold(made, joined)
    ran = replace(made, endpoints=joined.endpoints, published=joined.published)
    world.acts.clear()
    left = world.attachments.leave(ran)
    assert world.verbs == [
        "unpublish", "forget", "release sandbox", "release", "disconnect", "release", "disconnect"
    ]  # fmt: skip
    assert left == without_facts(ran)
    assert left.endpoints == made.endpoints
    assert left.published == ()
    world.attachments.leave(ran)
    assert world.verbs.count("release sandbox") == 1


def test_leave_goes_on_after_a_failure(world: World) -> None:
    """A port that cannot be closed keeps neither names nor addresses."""
    ran = world.running(ON_WEB, published=(Published("tcp", 80, "127.0.0.1", 8080),))
    world.unpublish_fails = True
    with pytest.raises(OSError, match="refused"):
        world.attachments.leave(ran)
    assert world.verbs == ["unpublish", "forget", "release", "disconnect"]


def test_leave_of_a_network_that_is_gone(world: World) -> None:
    """There is nothing to give back to."""
    world.networks.delete(WEB.id)
    assert world.attachments.leave(world.running(ON_WEB)).endpoints[0].address == ""


def test_adopt_counts_what_is_taken(world: World) -> None:
    """Each address, and not what is half done; what fails is told by the container's name, and the rest is done."""
    made = world.running(replace(ON_WEB, network_id="0" * 64), replace(ON_WEB, network_id=DATA.id), HALF)
    told = world.attachments.adopt(made)
    assert len(told) == 2
    assert told[0].startswith("container site: ")
    assert list(world.fabric.drivers[DATA.id].plugged) == ["e" * 64]


def test_settle_leaves_whole_attachments_alone(world: World) -> None:
    """Where nothing was under way the record is the same one, and nobody is asked."""
    for made in (world.running(ON_WEB), world.running(Endpoint("host", HOST.id)), world.running()):
        assert world.attachments.settle(made) is made
    assert world.acts == []


def test_settle_takes_a_half_attachment_away(world: World) -> None:
    """Its link goes, it is on record no more, and the files say so; what is whole stays as it is."""
    made = world.running(ON_WEB, HALF)
    settled = world.attachments.settle(made)
    assert settled.endpoints == (ON_WEB,)
    assert world.containers.get(made.id) == settled
    assert world.acts == [("disconnect", "data", "eth1"), ("release", "data"), ("write", "web")]


def test_settle_takes_the_link_before_the_record(world: World) -> None:
    """A daemon that dies in between finds the half attachment on record, and settles it again."""
    made = world.running(ON_WEB, HALF)
    seen: list[int] = []
    world.fabric.sandboxes.meanwhile = lambda: seen.append(len(world.containers.get(made.id).endpoints))
    world.attachments.settle(made)
    assert seen == [2]


def test_settle_leads_out_by_what_is_left(world: World) -> None:
    """The default routes go where the half attachment may have had them: through the next network, or nowhere."""
    bridge = replace(ON_WEB, network="bridge", network_id=BRIDGE.id)
    first = Endpoint("web", WEB.id, wishes=EndpointSettings(gw_priority=9), interface="eth1")
    world.attachments.settle(world.running(bridge, first))
    assert ("lead out", "bridge") in world.acts
    world.attachments.settle(world.running(first))
    assert ("lead out", "nowhere") in world.acts


def test_settle_of_a_network_that_is_gone(world: World) -> None:
    """It was removed with its links; the attachment goes from the record."""
    made = world.running(ON_WEB, HALF)
    del world.fabric.drivers[DATA.id]
    assert world.attachments.settle(made).endpoints == (ON_WEB,)


def test_settle_of_a_container_that_just_ended(world: World) -> None:
    """Its namespace is gone, and its links with it: only the record is put right."""
    made = world.running(ON_WEB, HALF, pid=NOBODY)
    assert world.attachments.settle(made).endpoints == (ON_WEB,)
    assert world.acts == [("write", "web")]


def test_resume_answers_again(world: World) -> None:
    """A container found running on a network of a user has its names and its answers back; others have none."""
    asyncio.run(world.attachments.resume(world.running(ON_WEB)))
    assert world.acts == [("announce", "web", "a resolver")]
    asyncio.run(world.attachments.resume(world.running(replace(ON_WEB, names=()))))
    asyncio.run(world.attachments.resume(world.running(ON_WEB, pid=NOBODY)))
    assert len(world.acts) == 1
