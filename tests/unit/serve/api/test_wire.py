"""Records in Docker's JSON."""

import json
from dataclasses import dataclass

import msgspec
import pytest

from corten.engine.containers.places import Places
from corten.engine.records.config import ContainerConfig, ExecConfig, HostConfig
from corten.engine.records.container import Container, MountPoint, State
from corten.serve.api import wire
from tests.fakes.engine import BRIDGE

NOW = wire.seconds_of("2026-01-01T01:00:00Z")
STARTED = "2026-01-01T00:59:57.123456789Z"

CONTAINER = Container(
    id="a" * 64,
    name="web",
    created="2026-01-01T00:00:00.987654321Z",
    image_id="sha256:1",
    config=ContainerConfig(
        image="debian", cmd=("echo", "a b"), labels={"k": "v"}, exposed_ports={"80/tcp": {}}
    ),
    host_config=HostConfig(network_mode="bridge", annotations={"a": "b"}),
    path="echo",
    args=("a b",),
    snapshotter="overlay",
    state=State(status="running", pid=42, started_at=STARTED),
    mounts=(MountPoint("bind", "/src", "/dst", "ro", rw=False), MountPoint("tmpfs", "", "/tmp")),
    endpoints=(BRIDGE,),
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_spans_of_time_are_in_dockers_words(seconds: float, words: str) -> None:
    """As ``docker ps`` prints them."""
    assert wire.duration(seconds) == words


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(), "Created"),
        (State("running", started_at=STARTED), "Up 2 seconds"),
        (State("paused", started_at=STARTED), "Up 2 seconds (Paused)"),
        (State("exited", exit_code=0, finished_at="2026-01-01T00:58:00Z"), "Exited (0) 2 minutes ago"),
        (State("restarting", exit_code=1, finished_at=STARTED), "Restarting (1) 2 seconds ago"),
        (State("removing"), "Removal In Progress"),
        (State("dead"), "Dead"),
    ],
)
def test_status_is_in_dockers_words(state: State, words: str) -> None:
    """Each status has its phrase."""
    assert wire.status_words(state, NOW) == words


def test_summary_has_what_ps_shows() -> None:
    """Names have their slash, times are Unix seconds, the command is quoted."""
    summary = json.loads(msgspec.json.encode(wire.container_summary(CONTAINER, NOW, (1, 2))))

    assert summary["Names"] == ["/web"]
    assert summary["Created"] == int(NOW) - 3600
    assert summary["Command"] == "echo 'a b'"
    assert summary["State"] == "running"
    assert summary["Status"] == "Up 2 seconds"
    assert summary["HostConfig"] == {"NetworkMode": "bridge", "Annotations": {"a": "b"}}
    assert summary["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
    assert (summary["SizeRw"], summary["SizeRootFs"]) == (1, 2)


def test_inspect_has_what_clients_read() -> None:
    """The record's facts stand where Docker has them."""
    seen = json.loads(msgspec.json.encode(wire.container_inspect(CONTAINER)))

    assert (seen["Id"], seen["Name"], seen["Path"], seen["Args"]) == ("a" * 64, "/web", "echo", ["a b"])
    assert seen["State"]["Running"] is True
    assert seen["State"]["StartedAt"] == STARTED
    assert seen["Config"]["Cmd"] == ["echo", "a b"]
    assert seen["HostConfig"]["NetworkMode"] == "bridge"
    assert seen["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert seen["NetworkSettings"]["Networks"]["bridge"]["MacAddress"] == "02:42:ac:11:00:02"
    assert seen["NetworkSettings"]["Ports"] == {"80/tcp": None}
    assert seen["Mounts"][0] == {
        "Type": "bind",
        "Source": "/src",
        "Destination": "/dst",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert seen["Mounts"][1]["Propagation"] == ""
    assert "SizeRw" not in seen


@pytest.mark.parametrize(
    ("status", "flags"),
    [
        ("created", (False, False, False, False)),
        ("running", (True, False, False, False)),
        ("paused", (True, True, False, False)),
        ("restarting", (True, False, True, False)),
        ("exited", (False, False, False, False)),
        ("dead", (False, False, False, True)),
    ],
)
def test_state_flags_follow_the_status(status: str, flags: tuple[bool, ...]) -> None:
    """A paused container also runs."""
    state = wire.state(State(status))

    assert (state["Running"], state["Paused"], state["Restarting"], state["Dead"]) == flags


COMMAND = ExecConfig(cmd=("ls", "-l"), tty=True, user="1000", attach_stdin=True)


@dataclass
class Exec:
    """The state of an exec."""

    id: str = "e"
    container_id: str = "c"
    running: bool = True
    exit_code: int | None = None
    pid: int = 7
    config: ExecConfig = COMMAND


def test_exec_shows_its_command_in_two_parts() -> None:
    """Entry point and arguments, and no exit code while it runs."""
    seen = wire.exec_inspect(Exec())

    assert seen["ProcessConfig"]["entrypoint"] == "ls"
    assert seen["ProcessConfig"]["arguments"] == ["-l"]
    assert (seen["ExitCode"], seen["Running"], seen["OpenStdin"], seen["Pid"]) == (None, True, True, 7)


def test_stats_carry_the_earlier_sample() -> None:
    """Clients compute rates of two samples in one."""
    first = {"read": "1", "cpu_stats": {"x": 1}}
    second = {"read": "2", "cpu_stats": {"x": 5}}

    assert wire.stats_with_previous(second, first) == second | {"preread": "1", "precpu_stats": {"x": 1}}
    assert wire.stats_with_previous(first, None)["precpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_inspect_names_the_files_of_a_container() -> None:
    """Where they are on the host, and which further processes run, comes from the engine."""
    places = Places(
        hosts="/c/hosts", hostname="/c/hostname", resolv_conf="/c/r", logs="/c/logs", graph={"UpperDir": "/u"}
    )
    shown = wire.container_inspect(CONTAINER, None, places, ["e1"])
    assert (shown["HostsPath"], shown["HostnamePath"]) == ("/c/hosts", "/c/hostname")
    assert (shown["ResolvConfPath"], shown["LogPath"]) == ("/c/r", "/c/logs")
    assert shown["GraphDriver"] == {"Name": "overlay", "Data": {"UpperDir": "/u"}}
    assert shown["ExecIDs"] == ["e1"]
    assert wire.container_inspect(CONTAINER)["ExecIDs"] is None
