"""Updating: one request is carried out whole, or nothing of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from corten.engine.containers.limits import NO_SWAP
from corten.engine.records.config import (
    ContainerConfig,
    MountRequest,
    PortBinding,
    Resources,
    RestartPolicy,
)
from corten.engine.records.container import State
from corten.errors import Conflict, CortenError, Forbidden, InvalidInput, NotFound
from tests.unit.engine.containers.updating import Engine

OPEN = PortBinding(host_port="8080")
SCRATCH = MountRequest(type="tmpfs", target="/scratch")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine without containers."""
    made = Engine(tmp_path)
    yield made
    made.close()


def test_limits_of_a_running_container(engine: Engine) -> None:
    """The cgroup is told what differs, then it is recorded and told."""
    engine.put()
    assert engine.update(resources=Resources(cpu_shares=7)) == []
    assert engine.asked == [("apply", "tests/cccc", {"cpu": {"shares": 7}}), ("update", "web")]
    assert engine.record.host_config.cpu_shares == 7


@pytest.mark.parametrize("status", ["created", "exited", "restarting"])
def test_a_container_that_does_not_run(engine: Engine, status: str) -> None:
    """Only its record changes."""
    engine.put(status)
    engine.update(
        resources=Resources(cpu_shares=7),
        restart_policy=RestartPolicy(name="always"),
        label_add={"a": "b"},
        mount_add=(SCRATCH,),
    )
    assert [verb for verb, *_ in engine.asked] == ["create", "fill", "keep", "abandon", "update"]
    record = engine.record
    assert (record.host_config.cpu_shares, record.host_config.restart_policy.name) == (7, "always")
    assert record.config.labels == {"a": "b"}
    assert [point.destination for point in record.mounts] == ["/scratch"]


def test_a_paused_container(engine: Engine) -> None:
    """It has processes, so the kernel is told."""
    engine.put("paused")
    engine.update(resources=Resources(pids_limit=5))
    assert engine.asked[0] == ("apply", "tests/cccc", {"pids": {"limit": 5}})


def test_what_is_the_same_already(engine: Engine) -> None:
    """Nothing is written to the kernel for a limit that is in force."""
    engine.put(cpu_shares=7)
    engine.update(resources=Resources(cpu_shares=7))
    assert engine.asked == [("update", "web")]


@pytest.mark.parametrize("refusal", [InvalidInput("no"), Conflict("no"), OSError("no such device")])
def test_limits_that_the_kernel_refuses(engine: Engine, refusal: CortenError | OSError) -> None:
    """The former limits are written again, nothing is recorded, and the failure is one of ours."""
    before = engine.put(memory=1 << 30, memory_swap=-1)
    engine.refuse["apply"] = refusal
    with pytest.raises((InvalidInput, Conflict), match="no"):
        engine.update(resources=Resources(memory=1 << 28), label_add={"a": "b"})
    assert [facts[1] for verb, *facts in engine.asked if verb == "apply"] == [
        {"memory": {"limit": 1 << 28, "swap": -1, "checkBeforeUpdate": True}},
        {"memory": {"limit": 1 << 30, "swap": -1, "checkBeforeUpdate": True}},
    ]
    assert engine.record == before


def test_mounts_of_a_running_container(engine: Engine) -> None:
    """They are recorded both as what was asked for and as what a next start makes."""
    engine.put(binds=("/old:/old", "/stays:/stays"), mounts=(replace(SCRATCH, target="/gone"),))
    engine.update(
        mount_remove=("/old/", "/gone"), mount_add=(SCRATCH,), bind_add=("/srv:/data:ro", "vol:/vol")
    )
    ((added, removed),) = [facts for verb, *facts in engine.asked if verb == "mounts"]
    assert (set(added), set(removed)) == ({"/data", "/scratch", "/vol"}, {"/old", "/gone"})
    record = engine.record
    assert record.host_config.binds == ("/stays:/stays", "/srv:/data:ro", "vol:/vol")
    assert record.host_config.mounts == (SCRATCH,)
    assert {point.destination for point in record.mounts} == {"/stays", "/scratch", "/data", "/vol"}


def test_order_of_mounts(engine: Engine) -> None:
    """What lies deeper appears later and goes earlier."""
    engine.put(binds=("/x:/a/b/c", "/x:/a"))
    engine.update(mount_remove=("/a", "/a/b/c"), bind_add=("/x:/z/y/x", "/x:/z"))
    assert [facts for verb, *facts in engine.asked if verb == "mounts"] == [
        [["/z", "/z/y/x"], ["/a/b/c", "/a"]]
    ]


def test_mounts_of_an_older_record(engine: Engine) -> None:
    """A record without the options of its mounts gets them when another mount is added."""
    record = engine.put(binds=("/old:/old",))
    engine.records.put(replace(record, mounts=tuple(replace(point, options=()) for point in record.mounts)))
    engine.update(mount_add=(SCRATCH,))
    assert all(point.options for point in engine.record.mounts)
    assert [point.destination for point in engine.record.mounts] == ["/old", "/scratch"]


@pytest.mark.parametrize(
    ("request_", "kind", "line"),
    [
        ({"mount_remove": ("/none",)}, NotFound, "no such mount of container web: /none"),
        ({"mount_remove": ("none",)}, InvalidInput, "must be absolute"),
        ({"bind_add": ("/x:/old",)}, InvalidInput, "Duplicate mount point: /old"),
        ({"bind_add": ("/x:/n", "/y:/n")}, InvalidInput, "Duplicate mount point: /n"),
        ({"bind_add": ("/x:/old/deep/..",)}, InvalidInput, "Duplicate mount point: /old"),
        ({"bind_add": ("/x:/",)}, InvalidInput, "destination can't be '/'"),
        ({"bind_add": ("/x:/nest",)}, InvalidInput, "has a mount at /nest/ed, which lies below /nest"),
        ({"mount_remove": ("/top",)}, InvalidInput, "has a mount at /top/below, which lies below /top"),
        *(
            ({"bind_add": (f"/x:{place}",)}, InvalidInput, f"cannot get a mount at {place}")
            for place in ("/proc", "/sys", "/dev", "/etc", "/proc/sys", "/sys/fs/cgroup")
        ),
        ({"network_remove": ("second",)}, Forbidden, "is not connected to network second"),
        ({"network_remove": ("",)}, Forbidden, "is not connected to network"),
        ({"publish_remove": {"80/tcp": None}}, NotFound, "published port"),
        ({"resources": Resources(memory=1)}, InvalidInput, "Minimum memory"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    engine: Engine, request_: dict[str, Any], kind: type[CortenError], line: str
) -> None:
    """Nothing is touched for a request that contradicts itself or the record."""
    before = engine.put(binds=("/x:/old", "/x:/nest/ed", "/x:/top", "/x:/top/below"))
    with pytest.raises(kind, match=line):
        engine.update(**{"label_add": {"a": "b"}, "network_add": {"other": None}, **request_})
    assert (engine.asked, engine.record) == ([], before)


def test_a_mount_over_our_own_while_it_does_not_run(engine: Engine) -> None:
    """The next start puts the engine's own mounts above it, as it does for a new container."""
    engine.put("exited")
    engine.update(bind_add=("/x:/etc",))
    assert engine.record.mounts[0].destination == "/etc"


@pytest.mark.parametrize("failing", ["create", "fill", "add", "mounts"])
def test_mounts_that_cannot_be(engine: Engine, failing: str) -> None:
    """Volumes made for them go again, limits are lifted again, and the record stays."""
    before = engine.put()
    engine.refuse[failing] = InvalidInput("no")
    with pytest.raises(InvalidInput, match="no"):
        engine.update(bind_add=("vol:/data",), resources=Resources(cpu_shares=7), label_add={"a": "b"})
    applied = [facts[1]["cpu"]["shares"] for verb, *facts in engine.asked if verb == "apply"]
    assert applied in ([], [7, 1024])
    assert engine.asked[-1] == ("abandon",)
    assert engine.record == before
    assert engine.held == set()


def test_a_volume_is_free_without_its_mount(engine: Engine) -> None:
    """A running container holds the volumes that are mounted in it, and no other."""
    engine.put()
    engine.update(bind_add=("one:/1", "two:/2", "one:/3"))
    assert engine.held == {"one", "two"}
    engine.update(mount_remove=("/2", "/3"))
    assert engine.held == {"one"}
    engine.refuse["disconnect"] = Conflict("no")
    with pytest.raises(Conflict):
        engine.update(mount_remove=("/1",), bind_add=("three:/3",), network_remove=("first",))
    assert engine.held == {"one"}


def test_images_stay(engine: Engine) -> None:
    """An image that a container is to show is kept for it, whether it runs or not; it goes as it was shown."""
    engine.put("exited")
    engine.update(mount_add=(MountRequest(type="image", source="tools", target="/tools"),))
    assert ("add", "/tools") in engine.asked
    engine.records.put(replace(engine.record, state=State(status="running")))
    engine.update(mount_remove=("/tools",))
    assert ("mounts", [], ["/tools"]) in engine.asked
    assert engine.record.host_config.mounts is None


def test_ports(engine: Engine) -> None:
    """All bindings go to the networks, which record them with the rest."""
    engine.put(network_mode="host", port_bindings={"80/tcp": (OPEN,)})
    engine.update(publish_add={"90/tcp": None}, label_add={"a": "b"})
    assert ("publish", {"80/tcp": (OPEN,), "90/tcp": (PortBinding(),)}) in engine.asked
    record = engine.record
    assert record.config.labels == {"a": "b"}
    assert record.config.exposed_ports == {"90/tcp": {}}
    assert set(record.host_config.port_bindings or {}) == {"80/tcp", "90/tcp"}


def test_a_port_that_is_taken(engine: Engine) -> None:
    """Everything done before is undone: mounts, limits and networks, in reverse."""
    before = engine.put(network_mode="host")
    engine.refuse["publish"] = Conflict("port is already allocated")
    with pytest.raises(Conflict, match="allocated"):
        engine.update(
            publish_add={"80/tcp": (OPEN,)},
            mount_add=(SCRATCH,),
            resources=Resources(cpu_shares=7),
            network_add={"second": None},
        )
    verbs = [verb for verb, *_ in engine.asked]
    assert verbs.index("connect") < verbs.index("apply") < verbs.index("mounts") < verbs.index("publish")
    assert verbs[verbs.index("publish") + 1 :] == ["mounts", "apply", "abandon", "disconnect"]
    assert [facts for verb, *facts in engine.asked if verb == "mounts"] == [
        [["/scratch"], []],
        [[], ["/scratch"]],
    ]
    assert engine.record == before


def test_networks(engine: Engine) -> None:
    """New ones are joined before old ones are left, so that the container is never without."""
    engine.put()
    engine.update(network_add={"second": None, "third": None}, network_remove=("first",))
    assert engine.asked == [
        ("connect", "second"),
        ("connect", "third"),
        ("disconnect", "1" * 64),
        ("update", "web"),
    ]
    assert [endpoint.network for endpoint in engine.record.endpoints] == ["second", "third"]


def test_a_network_joined_anew(engine: Engine) -> None:
    """One that is both left and joined is left first, so that its address can change."""
    engine.put()
    engine.update(network_add={"first": None}, network_remove=("first",))
    assert [verb for verb, *_ in engine.asked] == ["disconnect", "connect", "update"]


def test_a_network_that_cannot_be_left(engine: Engine) -> None:
    """The rest is undone, also what is recorded."""
    before = engine.put()
    engine.refuse["disconnect"] = Conflict("no")
    with pytest.raises(Conflict, match="no"):
        engine.update(network_remove=("111",), resources=Resources(cpu_shares=7), label_add={"a": "b"})
    assert [facts[1]["cpu"]["shares"] for verb, *facts in engine.asked if verb == "apply"] == [7, 1024]
    assert engine.record == before


def test_networks_are_joined_again_when_the_rest_fails(engine: Engine) -> None:
    """A network left early is joined again."""
    engine.put()
    engine.refuse["apply"] = InvalidInput("no")
    with pytest.raises(InvalidInput, match="no"):
        engine.update(
            network_add={"first": None}, network_remove=("first",), resources=Resources(cpu_shares=7)
        )
    assert [verb for verb, *_ in engine.asked][-2:] == ["disconnect", "connect"]
    assert len(engine.record.endpoints) == 1


def test_warnings(engine: Engine) -> None:
    """What the kernel passes over is said, to stopped containers too."""
    engine.put("exited")
    engine.offered = False
    assert engine.update(resources=Resources(memory=1 << 30)) == [NO_SWAP]


def test_labels_are_in_the_event_and_the_record(engine: Engine) -> None:
    """A label that only exists since this request is recorded with those of the image."""
    engine.put(config=ContainerConfig(labels={"image": "x"}))
    engine.update(label_add={"a": "b"})
    assert engine.record.config.labels == {"image": "x", "a": "b"}


def test_no_such_container(engine: Engine) -> None:
    """The usual refusal."""
    with pytest.raises(NotFound, match="web"):
        engine.update(label_add={"a": "b"})


def test_volumes_of_the_image_are_not_asked_for_again(engine: Engine) -> None:
    """Only what the request names is made: the container has the others already."""
    engine.put(config=ContainerConfig(volumes={"/declared": {}}))
    engine.update(mount_add=(SCRATCH,))
    assert ("create", "/scratch") in engine.asked


def test_the_driver_of_volumes(engine: Engine) -> None:
    """A container's --volume-driver holds for what is added too."""
    engine.put(volume_driver="local")
    engine.update(bind_add=("vol:/vol",))
    assert engine.record.mounts[0].driver == "local"
