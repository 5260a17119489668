"""Containers changed while they live: limits and policy as in Docker; ports, mounts, labels and networks beyond it."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import docker
import pytest
from docker.errors import APIError

from tests.e2e.conftest import is_alive
from tests.e2e.looking import mounts
from tests.e2e.test_limits import group, value
from tests.e2e.tools import FOREVER, container, state, told, unique, until
from tests.e2e.volumes import device, execute, mounted, places, refusal, volume, volumes
from tests.kernel.isolated import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20
SERVE = """
use IO::Socket::INET;
my @servers = map { IO::Socket::INET->new(LocalPort => $_, Listen => 5, ReuseAddr => 1) } 80, 81;
for my $server (@servers) {
    next if fork;
    while (my $client = $server->accept) {
        next if fork;
        print $client "port ", $server->sockport, "\\n";
        print $client $_ while <$client>;
        exit;
    }
}
wait; wait;
"""
MEMORY = ("memory.limit_in_bytes", "memory.max")
SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")
PIDS = ("pids.max",)
CPUS = ("cpuset.cpus",)
QUOTA = ("cpu.cfs_quota_us", "cpu.max")


@contextmanager
def serving(engine: Engine, *flags: str) -> Iterator[str]:
    """Lend a container on the default bridge that answers on ports 80 and 81."""
    name = unique()
    engine.docker("run", "-d", "--name", name, *flags, "debian", "perl", "-e", SERVE)
    try:
        yield name
    finally:
        engine.docker("rm", "-fv", name)


@contextmanager
def network(engine: Engine) -> Iterator[str]:
    """Lend a network."""
    name = unique("n")
    engine.docker("network", "create", name)
    try:
        yield name
    finally:
        engine.docker("network", "rm", name)


@contextmanager
def undisturbed(engine: Engine, name: str) -> Iterator[None]:
    """Assert that a container's process is the same after the block, and started when it did."""
    template = "{{.State.Pid}} {{.State.StartedAt}} {{.RestartCount}}"
    before = state(engine, name, template)
    yield
    assert state(engine, name, template) == before
    assert is_alive(int(before.split()[0]))


def update(engine: Engine, name: str, *flags: str) -> None:
    """Change a container by our own client; its process may not notice."""
    with undisturbed(engine, name):
        assert engine.corten("update", *flags, name).stdout == f"{name}\n"


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Return all that inspect says."""
    status, answer = engine.api("GET", f"/containers/{name}/json")
    assert status == 200, answer
    return dict(answer)


def ports(engine: Engine, name: str) -> dict[str, set[int]]:
    """Return the ports of the host by those of the container."""
    found = inspect(engine, name)["NetworkSettings"]["Ports"]
    return {port: {int(each["HostPort"]) for each in places} for port, places in found.items() if places}


def call(engine: Engine, port: int) -> str:
    """Return what is answered on a port of the host; empty where nobody answers."""

    def connect() -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                return client.makefile().readline().strip()
        except ConnectionError:
            return ""

    return inside(engine.netns, connect)


def answers(engine: Engine, port: int, text: str) -> None:
    """Wait until *port* of the host is answered with *text*."""
    until(lambda: call(engine, port) == text, f"port {port} to say {text!r}")


# limits and policy


def test_limits_of_a_running_container(engine: Engine) -> None:
    """``docker update`` changes memory, processors and processes at once, and inspect says so."""
    with container(engine, "debian", *FOREVER) as name:
        words = (
            "-m",
            "64m",
            "--memory-swap",
            "96m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "50",
            "--cpuset-cpus",
            "0",
        )
        with undisturbed(engine, name):
            assert engine.docker("update", *words, name).stdout == f"{name}\n"
        wishes = inspect(engine, name)["HostConfig"]
        members = ("Memory", "MemorySwap", "NanoCpus", "PidsLimit", "CpusetCpus")
        assert [wishes[member] for member in members] == [64 * MIB, 96 * MIB, 500_000_000, 50, "0"]
        assert value(group(engine, name, "memory"), *MEMORY) == str(64 * MIB)
        assert value(group(engine, name, "memory"), *SWAP) in (str(96 * MIB), str(32 * MIB))
        assert value(group(engine, name, "cpu"), *QUOTA).split()[0] == "50000"
        assert value(group(engine, name, "pids"), *PIDS) == "50"
        assert value(group(engine, name, "cpuset"), *CPUS) == "0"
        assert execute(engine, name, "grep Cpus_allowed_list /proc/self/status").split()[1] == "0"
        assert "update" in [event["Action"] for event in told(engine, f"container={name}")]
        engine.docker("restart", "-t", "0", name)
        assert value(group(engine, name, "memory"), *MEMORY) == str(64 * MIB)


def test_limits_of_a_stopped_container(engine: Engine) -> None:
    """They hold from the next start on."""
    with container(engine, "-m", "128m", "debian", *FOREVER, verb="create") as name:
        engine.docker("update", "-m", "64m", "--memory-swap", "64m", "--pids-limit", "20", name)
        engine.docker("start", name)
        assert value(group(engine, name, "memory"), *MEMORY) == str(64 * MIB)
        assert value(group(engine, name, "pids"), *PIDS) == "20"


def test_the_policy_counts_from_now_on(engine: Engine) -> None:
    """A container whose policy was changed comes back when it dies, and does not any more when it was changed back."""
    with container(engine, "debian", *FOREVER) as name:
        with undisturbed(engine, name):
            engine.docker("update", "--restart", "on-failure:5", name)
        policy = {"Name": "on-failure", "MaximumRetryCount": 5}
        assert inspect(engine, name)["HostConfig"]["RestartPolicy"] == policy
        engine.inside("kill", "-9", state(engine, name, "{{.State.Pid}}"))
        until(lambda: state(engine, name, "{{.State.Running}} {{.RestartCount}}") == "true 1", "the restart")
        engine.docker("update", "--restart", "no", name)
        engine.inside("kill", "-9", state(engine, name, "{{.State.Pid}}"))
        until(lambda: state(engine, name) == "exited", "the end")


def test_docker_py_updates(engine: Engine) -> None:
    """The Python client changes limits and policy, and hears of refusals."""
    client = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    try:
        with container(engine, "debian", *FOREVER) as name:
            found = client.containers.get(name)
            changes = {
                "mem_limit": "64m",
                "memswap_limit": "64m",
                "cpu_shares": 512,
                "restart_policy": {"Name": "always"},
            }
            with undisturbed(engine, name):
                assert found.update(**changes) == {"Warnings": []}
            found.reload()
            wishes = found.attrs["HostConfig"]
            assert (wishes["Memory"], wishes["CpuShares"]) == (64 * MIB, 512)
            assert wishes["RestartPolicy"]["Name"] == "always"
            with pytest.raises(APIError, match="Minimum memory limit allowed is 6MB") as caught:
                found.update(mem_limit="1m", memswap_limit="1m")
            assert caught.value.status_code == 400
    finally:
        client.close()


LIMITS = [
    ({"Memory": 1000}, 400, "Minimum memory limit allowed is 6MB"),
    (
        {"Memory": 64 * MIB, "MemorySwap": MIB},
        400,
        "Minimum memoryswap limit should be larger than memory limit",
    ),
    ({"CpusetCpus": "99"}, 400, "Requested CPUs are not available"),
    ({"CpusetCpus": "bogus"}, 400, "Invalid value bogus for cpuset cpus"),
    ({"NanoCpus": 10**12}, 400, "ange of CPUs is from 0.01"),
    ({"NanoCpus": 10**9, "CpuQuota": 5000}, 400, "Nano CPUs and CPU Quota cannot both be set"),
    ({"RestartPolicy": {"Name": "bogus"}}, 400, "invalid restart policy"),
    ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, 400, "maximum retry count"),
    ({"Memory": "much"}, 400, "Expected `int`"),
    ({"MountAdd": [{"Type": "bind", "Source": "/nosuch", "Target": "/x"}]}, 400, "does not exist: /nosuch"),
    ({"MountAdd": [{"Type": "bogus", "Target": "/x"}]}, 400, "mount type unknown"),
    ({"MountAdd": [{"Type": "volume", "Target": "rel"}]}, 400, "mount path must be absolute"),
    ({"MountAdd": [{"Type": "volume", "Target": "/proc/x"}]}, 400, "would hide the engine's own"),
    ({"MountAdd": [{"Type": "volume", "Target": "/had"}]}, 400, "Duplicate mount point: /had"),
    ({"BindAdd": ["aa:/v", "aa:/v"]}, 400, "Duplicate mount point: /v"),
    ({"BindAdd": ["a/b:/v"]}, 400, "includes invalid characters"),
    ({"MountRemove": ["/nosuch"]}, 404, "/nosuch"),
    ({"PublishAdd": {"bogus": None}}, 400, "invalid port specification: 'bogus/tcp'"),
    ({"PublishAdd": {"80/tcp": [{"HostPort": "70000"}]}}, 400, "invalid port specification: '70000'"),
    ({"PublishRemove": {"80/tcp": None}}, 404, "80/tcp"),
    ({"NetworkAdd": {"nosuch": None}}, 404, "network nosuch not found"),
    ({"NetworkRemove": ["nosuch"]}, 403, "is not connected to network nosuch"),
    ({"LabelAdd": 5}, 400, "Expected `object | null`"),
]


@pytest.mark.parametrize(("body", "status", "text"), LIMITS)
def test_refusals(engine: Engine, unchanging: str, body: dict[str, object], status: int, text: str) -> None:
    """What cannot be is refused in one line, with Docker's code, and changes nothing."""
    before, known = inspect(engine, unchanging), volumes(engine)
    found, answer = engine.api("POST", f"/containers/{unchanging}/update", body)
    assert found == status, answer
    assert text in answer["message"]
    assert "\n" not in answer["message"]
    assert inspect(engine, unchanging) == before
    assert volumes(engine) == known


@pytest.fixture(scope="module")
def unchanging(engine: Engine) -> Iterator[str]:
    """A container that no test may change."""
    with container(engine, "--tmpfs", "/had", "debian", *FOREVER) as name:
        yield name


def test_refusals_for_clients(engine: Engine) -> None:
    """No flag, no container, a container that goes by itself: each has its line."""
    with container(engine, "--rm", "debian", *FOREVER) as name:
        line = refusal(engine, "update", "--restart", "always", name)
        assert line.endswith(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
        assert (
            engine.api("POST", f"/containers/{name}/update", {"RestartPolicy": {"Name": "always"}})[0] == 409
        )
        assert refusal(engine, "update", "-m", "64m", "nosuch") == "No such container: nosuch"
        bare = engine.corten("update", name, check=False)
        assert (bare.returncode, bare.stderr.count("\n")) == (1, 1)
        assert "must provide one or more flags" in bare.stderr


# ports


def test_ports_come_and_go(engine: Engine) -> None:
    """A port is reached as soon as it is published, and not any more afterwards; others keep what they have."""
    with serving(engine, "-p", "127.0.0.1::80") as name:
        (first,) = ports(engine, name)["80/tcp"]
        answers(engine, first, "port 80")
        update(engine, name, "--publish-add", "127.0.0.1:18081:81")
        assert ports(engine, name) == {"80/tcp": {first}, "81/tcp": {18081}}
        assert call(engine, 18081) == "port 81"
        update(engine, name, "--publish-add", "127.0.0.1:18080:80")
        assert ports(engine, name) == {"80/tcp": {first, 18080}, "81/tcp": {18081}}
        update(engine, name, "--publish-rm", "18080:80", "--publish-rm", "81")
        assert ports(engine, name) == {"80/tcp": {first}}
        assert [call(engine, port) for port in (first, 18080, 18081)] == ["port 80", "", ""]
        update(engine, name, "--publish-rm", "80")
        assert (ports(engine, name), call(engine, first)) == ({}, "")


def test_connections_go_on(engine: Engine) -> None:
    """A connection through a published port outlives that other ports, mounts and networks come and go."""
    with network(engine) as other, serving(engine, "-p", "127.0.0.1::80") as name:
        (port,) = ports(engine, name)["80/tcp"]
        answers(engine, port, "port 80")
        with inside(engine.netns, lambda: socket.create_connection(("127.0.0.1", port), 5)) as client:
            stream = client.makefile("rw", buffering=1)
            assert stream.readline() == "port 80\n"
            for flags in (
                ("--publish-add", "127.0.0.1:18087:81", "--volume-add", "/v", "--network-add", other),
                ("--publish-rm", "81", "--mount-rm", "/v", "--network-rm", other),
            ):
                update(engine, name, *flags)
                stream.write(f"{flags[0]}\n")
                assert stream.readline() == f"{flags[0]}\n"


def test_ports_last(engine: Engine) -> None:
    """Added ports are there after a restart of the container and a death of the daemon."""
    with serving(engine) as name:
        update(engine, name, "--publish-add", "127.0.0.1:18082:81", "--publish-add", "80")
        (chosen,) = ports(engine, name)["80/tcp"]
        engine.restart_daemon(9)
        assert ports(engine, name) == {"80/tcp": {chosen}, "81/tcp": {18082}}
        answers(engine, chosen, "port 80")
        update(engine, name, "--publish-add", "127.0.0.1:18083:80")
        assert ports(engine, name)["80/tcp"] == {chosen, 18083}
        engine.docker("restart", "-t", "0", name)
        answers(engine, 18082, "port 81")
        answers(engine, 18083, "port 80")


def test_a_port_in_use(engine: Engine) -> None:
    """A port of another container is refused with its name, and nothing of the request is done."""
    with serving(engine, "-p", "127.0.0.1:18084:80") as owner, serving(engine, "-p", "127.0.0.1::80") as name:
        before, known = inspect(engine, name), volumes(engine)
        words = ("--publish-add", "127.0.0.1:18084:81", "--label-add", "a=b", "--volume-add", "/v")
        with undisturbed(engine, name):
            line = refusal(engine, "update", *words, name, program="corten")
        assert f"allocated by container {owner}" in line
        assert (inspect(engine, name), volumes(engine)) == (before, known)
        answers(engine, 18084, "port 80")
        (port,) = ports(engine, name)["80/tcp"]
        answers(engine, port, "port 80")


def test_ports_of_a_stopped_container(engine: Engine) -> None:
    """They are published when it starts."""
    with serving(engine) as name:
        engine.docker("stop", "-t", "0", name)
        engine.corten("update", "--publish-add", "127.0.0.1:18085:80", name)
        assert ports(engine, name) == {}
        engine.docker("start", name)
        answers(engine, 18085, "port 80")


# mounts


def test_mounts_come_and_go(engine: Engine, tmp_path: Path) -> None:
    """Binds, volumes, memory and images appear in a running container and disappear again."""
    (tmp_path / "file").write_text("one\n")
    with (
        volume(engine) as name,
        device(engine, "tmpfs", "tmpfs") as memory,
        container(engine, "debian", *FOREVER) as user,
    ):
        update(
            engine,
            user,
            *("--volume-add", f"{memory}:/new/device"),
            *(
                "--mount-add",
                f"type=bind,src={tmp_path},dst=/new/bind,readonly",
                "--volume-add",
                f"{name}:/new/volume",
            ),
            *(
                "--mount-add",
                "type=tmpfs,dst=/new/memory,tmpfs-size=1m",
                "--mount-add",
                "type=image,src=debian,dst=/new/image",
            ),
            *("--volume-add", "/new/anonymous"),
        )
        found = mounts(execute(engine, user, "cat /proc/self/mountinfo"))
        added = {f"/new/{each}" for each in ("bind", "device", "volume", "memory", "image", "anonymous")}
        assert added <= set(found)
        assert set(mounted(engine, user)) == added
        assert "ro" in found["/new/bind"].options.split(",")
        script = "cat /new/bind/file; echo two > /new/volume/file; touch /new/anonymous/x; cat /new/image/etc/hostname >/dev/null; ls /new/image/etc/passwd"
        assert execute(engine, user, script) == "one\n/new/image/etc/passwd\n"
        assert refusal(engine, "volume", "rm", name).startswith(f"remove {name}: volume is in use")
        anonymous = mounted(engine, user)["/new/anonymous"]["Name"]
        flags = (word for place in added for word in ("--mount-rm", place))
        update(engine, user, *flags)
        assert not added & set(mounts(execute(engine, user, "cat /proc/self/mountinfo")))
        assert mounted(engine, user) == {}
        assert places(engine.root) == []
        engine.docker("volume", "rm", name, memory, anonymous)
    assert places(engine.root) == []


def test_mounts_last(engine: Engine, tmp_path: Path) -> None:
    """What was added is there after a death of the daemon and a restart of the container; what was removed is not."""
    with volume(engine) as name, container(engine, "-v", "/old", "debian", *FOREVER) as user:
        update(
            engine,
            user,
            "--volume-add",
            f"{name}:/new",
            "--volume-add",
            f"{tmp_path}:/bound:ro",
            "--mount-rm",
            "/old",
        )
        execute(engine, user, "echo kept > /new/file")
        listed = mounted(engine, user)
        assert set(listed) == {"/new", "/bound"}
        for again in (partial(engine.restart_daemon, 9), partial(engine.docker, "restart", "-t", "0", user)):
            again()
            assert mounted(engine, user) == listed
            assert execute(engine, user, "cat /new/file") == "kept\n"
            assert not {"/old"} & set(mounts(execute(engine, user, "cat /proc/self/mountinfo")))


def test_mounts_of_a_stopped_container(engine: Engine) -> None:
    """They are there from the next start on, filled from the image as at a first use."""
    with (
        volume(engine) as name,
        container(engine, "debian", "sh", "-c", "ls /etc/debian_version", verb="create") as user,
    ):
        engine.corten("update", "--volume-add", f"{name}:/etc", user)
        assert engine.docker("start", "-a", user).stdout == "/etc/debian_version\n"


def test_a_busy_mount_is_replaced(engine: Engine, tmp_path: Path) -> None:
    """A mount can be exchanged for another at the same place in one step, though a program stands in it."""
    for text in ("one", "two"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "file").write_text(text)
    script = "cd /v; while :; do sleep 1000 & wait; done"
    with container(engine, "-v", f"{tmp_path}/one:/v", "debian", "sh", "-c", script) as user:
        update(engine, user, "--mount-rm", "/v", "--volume-add", f"{tmp_path}/two:/v")
        assert execute(engine, user, "cat /v/file") == "two"
        assert mounted(engine, user)["/v"]["Source"] == f"{tmp_path}/two"


# labels and networks


def test_labels(engine: Engine) -> None:
    """Labels of a running container change, are filtered by, and last."""
    with container(engine, "--label", "old=1", "--label", "kept=1", "debian", *FOREVER) as name:
        update(engine, name, "--label-add", "new=2", "--label-add", "kept=2", "--label-rm", "old")
        engine.restart_daemon()
        assert inspect(engine, name)["Config"]["Labels"] == {"new": "2", "kept": "2"}
        assert engine.docker("ps", "--filter", "label=new=2", "--format", "{{.Names}}").stdout == f"{name}\n"
        assert engine.docker("ps", "-q", "--filter", "label=old").stdout == ""


def test_networks(engine: Engine) -> None:
    """A running container joins and leaves networks; its ports lead on, and all lasts."""
    with network(engine) as one, network(engine) as two, serving(engine, "-p", "127.0.0.1::80") as name:
        (port,) = ports(engine, name)["80/tcp"]
        update(engine, name, "--network-add", one, "--network-add", f"name={two},alias=server")
        assert set(inspect(engine, name)["NetworkSettings"]["Networks"]) == {"bridge", one, two}
        assert execute(engine, name, "ls /sys/class/net").split() == ["eth0", "eth1", "eth2", "lo"]
        update(engine, name, "--network-rm", "bridge", "--network-rm", one)
        assert ports(engine, name) == {"80/tcp": {port}}
        answers(engine, port, "port 80")
        script = "getent hosts server || true"
        address = inspect(engine, name)["NetworkSettings"]["Networks"][two]["IPAddress"]
        said = engine.docker("run", "--rm", "--network", two, "debian", "sh", "-c", script).stdout
        assert said.split()[:1] == [address]
        engine.restart_daemon(9)
        assert set(inspect(engine, name)["NetworkSettings"]["Networks"]) == {two}
        engine.docker("restart", "-t", "0", name)
        assert set(inspect(engine, name)["NetworkSettings"]["Networks"]) == {two}


def test_all_or_nothing(engine: Engine, tmp_path: Path) -> None:
    """When the last part of a request is refused, network, mounts, limits and labels are as before."""
    with network(engine) as other, serving(engine, "-p", "127.0.0.1:18086:80"), serving(engine) as name:
        before, table = (
            inspect(engine, name),
            execute(engine, name, "cat /proc/self/mountinfo; ls /sys/class/net"),
        )
        words = (
            *("--network-add", other, "--volume-add", f"{tmp_path}:/v", "-m", "64m", "--label-add", "a=b"),
            *("--publish-add", "127.0.0.1:18086:80"),
        )
        with undisturbed(engine, name):
            assert "port is already allocated" in refusal(engine, "update", *words, name, program="corten")
        assert inspect(engine, name) == before
        assert execute(engine, name, "cat /proc/self/mountinfo; ls /sys/class/net") == table
