"""Changes of a living container: what is on record at each step, and after a failure."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.core.networks.values import Attachment, Wishes
from corten.core.networks.values import Endpoint as Plugged
from corten.engine.networks.attachments import Attachments
from corten.engine.networks.live import Live
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.errors import Forbidden
from tests.unit.engine.networks.records import WEB, container, find

MADE = Plugged(
    network="web", network_id=WEB.id, endpoint_id="e" * 64, host_link="ct1", interface="eth1", mac="02:00"
)


class World:
    """Real records; the kernel side notes what it is asked for, and calls ``meanwhile`` in the midst of it."""

    def __init__(self, database: Database) -> None:
        self.records = ContainerRepository(database)
        self.acts: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.networks = cast("Any", SimpleNamespace(find=find))
        self.containers = self.records
        me = cast("Any", self)
        self.fabric, self.sandboxes, self.naming, self.publishing = me, me, me, me
        locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.live = Live(cast("Attachments", self), locks.__getitem__)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: self.acts.append(name)

    def using(self, *_: str) -> Any:
        """Keep networks."""
        return nullcontext()

    def plug(self, _endpoint: Endpoint, number: int, *, default: bool) -> Attachment:
        """Say what is to be plugged."""
        return Attachment(network=cast("Any", None), wishes=Wishes(interface=f"eth{number}"), default=default)

    def connect(self, *_: object) -> Plugged:
        """Be the kernel."""
        self.acts.append("connect")
        self.meanwhile()
        return MADE

    def disconnect(self, *_: object) -> None:
        """Be the kernel."""
        self.acts.append("disconnect")
        self.meanwhile()

    def resolver(self, _namespace: int) -> Any:
        """Be sockets in the namespace."""
        return SimpleNamespace(close=lambda: self.acts.append("close"))

    def running(self, *endpoints: Endpoint) -> Container:
        """Record a container that runs: in the namespace of this process."""
        made = replace(container(endpoints=endpoints), state=State("running", pid=os.getpid()))
        self.records.put(made)
        return made

    @property
    def recorded(self) -> Container:
        """Return the record as it is now."""
        return self.records.get("c" * 64)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Lend a world."""
    database = Database(tmp_path / "engine.db")
    yield World(database)
    database.close()


def fail() -> None:
    """Be a kernel that refuses."""
    raise OSError("the kernel refused")


def test_a_connect_is_announced_on_record(world: World) -> None:
    """While the namespace is changed the attachment has no id; afterwards it has all facts."""
    seen: list[tuple[str, str]] = []
    made = world.running()
    world.meanwhile = lambda: seen.extend((e.endpoint_id, e.interface) for e in world.recorded.endpoints)
    asyncio.run(world.live.connect("web", made, EndpointSettings()))
    assert seen == [("", "eth0")]
    assert [(e.endpoint_id, e.host_link) for e in world.recorded.endpoints] == [("e" * 64, "ct1")]


def test_what_changes_meanwhile_is_kept(world: World) -> None:
    """A connect that takes long does not put an old record back."""
    made = world.running()
    world.meanwhile = lambda: world.records.put(replace(world.recorded, stopped_by_user=True))
    asyncio.run(world.live.connect("web", made, EndpointSettings()))
    assert world.recorded.stopped_by_user
    assert len(world.recorded.endpoints) == 1


def test_a_refused_connect_leaves_the_record(world: World) -> None:
    """All of it, or nothing."""
    made, world.meanwhile = world.running(), fail
    with pytest.raises(OSError, match="refused"):
        asyncio.run(world.live.connect("web", made, EndpointSettings()))
    assert world.recorded == made


def test_a_connect_that_cannot_be_recorded_is_undone(world: World) -> None:
    """A failure after the kernel was changed unplugs again."""
    made = world.running()
    world.naming = cast("Any", SimpleNamespace(write_texts=lambda *_: fail()))
    with pytest.raises(OSError, match="refused"):
        asyncio.run(world.live.connect("web", made, EndpointSettings()))
    assert world.acts[-1] == "disconnect"
    assert world.recorded == made


def test_a_disconnect_is_announced_on_record(world: World) -> None:
    """While the link is deleted its attachment has no id, so that the next daemon completes it."""
    seen: list[str] = []
    made = world.running(Endpoint("web", WEB.id, endpoint_id="e" * 64, host_link="ct1", names=("site",)))
    world.meanwhile = lambda: seen.extend(e.endpoint_id for e in world.recorded.endpoints)
    asyncio.run(world.live.disconnect("web", made))
    assert seen == [""]
    assert world.recorded.endpoints == ()
    assert {"withdraw", "set_default"} <= set(world.acts)


def test_a_refused_disconnect_leaves_the_record(world: World) -> None:
    """The attachment is what it was."""
    made = world.running(Endpoint("web", WEB.id, endpoint_id="e" * 64, host_link="ct1"))
    world.meanwhile = fail
    with pytest.raises(OSError, match="refused"):
        asyncio.run(world.live.disconnect("web", made))
    assert world.recorded == made


def test_not_twice(world: World) -> None:
    """A container is on a network once."""
    made = world.running(Endpoint("web", WEB.id, endpoint_id="e" * 64))
    with pytest.raises(Forbidden, match="already exists"):
        asyncio.run(world.live.connect("web", made, EndpointSettings()))


def test_a_new_name_is_not_announced_before_it_is_stored(world: World) -> None:
    """Another container may have it: then nobody is found by it here."""
    made = world.running(Endpoint("web", WEB.id, endpoint_id="e" * 64, names=("site",)))
    renamed = world.live.renamed(replace(made, name="shop"))
    assert renamed.endpoints[0].names[0] == "shop"
    assert world.acts == []
    world.live.announce(renamed)
    assert world.acts == ["announce"]
