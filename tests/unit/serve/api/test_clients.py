"""The clients that people use: the docker command and docker-py, both unmodified."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from msgspec.structs import replace

from corten.cli.main import command_line
from corten.engine.records.container import MountPoint, Published
from tests.fakes.engine import IMAGE_ID
from tests.unit.serve.api.conftest import PATIENCE, Server

DOCKER = shutil.which("docker")
needs_docker = pytest.mark.skipif(DOCKER is None, reason="the docker command is not installed")


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A docker-py client of the door."""
    made = docker.DockerClient(base_url=server.url, timeout=PATIENCE)
    yield made
    made.close()


def run(server: Server, *args: str, given: str = "") -> tuple[int, str, str]:
    """Run the docker command; returns its exit code, output and errors."""
    assert DOCKER is not None
    done = subprocess.run(
        [DOCKER, *args],
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={"DOCKER_HOST": server.url, "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    return done.returncode, done.stdout, done.stderr


def test_docker_py_runs_containers(client: Any) -> None:
    """Output, exit code and removal."""
    assert client.containers.run("debian", ["echo", "hi"], remove=True) == b"hi\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run("debian", ["exit", "3"], remove=True)
    assert caught.value.exit_status == 3
    with pytest.raises(docker.errors.ImageNotFound, match="pull access denied for nowhere"):
        client.containers.run("nowhere", ["echo"])
    assert client.containers.list(all=True) == []


def test_docker_py_manages_containers(client: Any) -> None:
    """States, logs and execs."""
    container = client.containers.run("debian", ["sleep"], detach=True, name="web", labels={"a": "b"})
    assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["web"]
    assert container.exec_run(["echo", "inside"]) == (0, b"inside\n")
    assert container.exec_run(["exit", "4"]).exit_code == 4
    container.stop(timeout=1)
    container.reload()
    assert container.status == "exited"
    assert container.wait() == {"StatusCode": 137}
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("web")


def test_docker_py_attaches_on_a_connection_it_used_before(client: Any) -> None:
    """Input goes in by the socket, output comes back."""
    container = client.containers.create("debian", ["cat"], stdin_open=True, tty=True)
    container.start()
    attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    attached._sock.sendall(b"question")
    assert attached._sock.recv(100) == b"question"
    attached._response.close()
    attached.close()


def test_docker_py_reads_logs_and_events(client: Any) -> None:
    """Frames are taken apart by the client."""
    container = client.containers.run("debian", ["warn", "hi"], detach=True)
    container.wait()
    assert container.logs() == b"hi\n"
    assert container.logs(stderr=False) == b""
    assert list(container.logs(stream=True, follow=True)) == [b"hi\n"]


def test_docker_py_manages_images(client: Any) -> None:
    """List, tag, load, save."""
    assert client.images.get("debian").tag("own", tag="1")
    assert b"".join(client.images.get("own:1").save()) == f"{IMAGE_ID}\n".encode()
    client.images.remove("own:1")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("own:1")


def test_docker_py_manages_networks(client: Any) -> None:
    """With address ranges, and containers going on and off."""
    pool = docker.types.IPAMPool(subnet="10.9.0.0/24", gateway="10.9.0.1")
    network = client.networks.create(
        "lan",
        driver="bridge",
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        labels={"a": "b"},
        internal=True,
    )
    assert network.attrs["IPAM"]["Config"] == [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"}]
    assert network.attrs["Internal"] is True
    container = client.containers.run("debian", ["sleep"], detach=True, name="web")
    network.connect(container, aliases=["www"], ipv4_address="10.9.0.5")
    network.reload()
    assert [c.name for c in network.containers] == ["web"]
    assert [n.name for n in client.networks.list(names=["lan"], greedy=True)] == ["lan"]
    with pytest.raises(docker.errors.APIError) as caught:
        network.remove()
    assert caught.value.status_code == 403
    network.disconnect(container, force=True)
    assert client.networks.prune()["NetworksDeleted"] == ["lan"]
    with pytest.raises(docker.errors.NotFound):
        client.networks.get("lan")


def test_docker_py_manages_volumes(client: Any) -> None:
    """With and without a name."""
    volume = client.volumes.create("data", driver_opts={"type": "tmpfs"}, labels={"a": "b"})
    assert (volume.name, volume.attrs["Options"], volume.attrs["Labels"]) == (
        "data",
        {"type": "tmpfs"},
        {"a": "b"},
    )
    assert len(client.volumes.create().name) == 64
    assert [v.name for v in client.volumes.list(filters={"label": "a"})] == ["data"]
    assert len(client.volumes.prune()["VolumesDeleted"]) == 1
    volume.remove(force=True)
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get("data")


@needs_docker
@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "given", "expected"),
    [
        (("run", "--rm", "debian", "echo", "hello"), "", (0, "hello\n", "")),
        (("run", "--rm", "-i", "debian", "cat"), "a\nb\n", (0, "a\nb\n", "")),
        (("run", "--rm", "debian", "warn", "x"), "", (1, "", "x\n")),
        (("run", "--rm", "debian", "exit", "7"), "", (7, "", "")),
    ],
)
def test_docker_run(
    server: Server, args: tuple[str, ...], given: str, expected: tuple[int, str, str]
) -> None:
    """Output, errors and exit code are the program's."""
    assert run(server, *args, given=given) == expected
    assert run(server, "ps", "-aq")[1] == ""


@needs_docker
@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("run", "--rm", "debian", "nope"), 127, "executable file not found"),
        (("run", "nowhere"), 125, "nowhere, repository does not exist"),
    ],
)
def test_docker_run_that_cannot(server: Server, args: tuple[str, ...], code: int, text: str) -> None:
    """The command's own exit codes and our message."""
    returned, _, errors = run(server, *args)

    assert returned == code
    assert text in errors


@needs_docker
@pytest.mark.slow
def test_docker_manages_a_container(server: Server) -> None:
    """The everyday commands, one after another."""
    assert run(server, "run", "-d", "--name", "web", "debian", "sleep")[0] == 0
    assert "Up " in run(server, "ps")[1]
    assert run(server, "exec", "web", "echo", "inside") == (0, "inside\n", "")
    assert run(server, "exec", "-i", "web", "cat", given="in") == (0, "in", "")
    assert run(server, "exec", "web", "exit", "9")[0] == 9
    assert run(server, "exec", "web", "nope")[0] == 127
    assert run(server, "inspect", "-f", "{{.State.Status}}", "web") == (0, "running\n", "")
    assert "sleep" in run(server, "top", "web")[1]
    assert run(server, "stop", "-t", "1", "web") == (0, "web\n", "")
    assert run(server, "wait", "web") == (0, "137\n", "")
    assert run(server, "rm", "web") == (0, "web\n", "")
    assert run(server, "rm", "web")[0] == 1


@needs_docker
@pytest.mark.slow
def test_docker_shows_logs_images_and_facts(server: Server) -> None:
    """Commands that only read."""
    run(server, "run", "--name", "log", "debian", "echo", "kept")
    assert run(server, "logs", "log") == (0, "kept\n", "")
    assert "debian" in run(server, "images")[1]
    assert run(server, "version", "-f", "{{.Server.APIVersion}}") == (0, "1.51\n", "")
    assert run(server, "info", "-f", "{{.NCPU}}") == (0, "2\n", "")
    assert run(server, "load", given="own:1\n") == (0, "Loaded image: own:1\n", "")
    assert run(server, "events", "--since", "1", "--until", "2") == (0, "", "")


@needs_docker
@pytest.mark.slow
def test_docker_manages_networks(server: Server) -> None:
    """Every command of the group."""
    words = ("--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1", "--label", "a=b", "--internal")
    code, identity, _ = run(server, "network", "create", *words, "lan")
    assert (code, len(identity.strip())) == (0, 64)
    assert run(
        server, "network", "ls", "-f", "type=custom", "--format", "{{.Name}} {{.Driver}} {{.Internal}}"
    ) == (
        0,
        "lan bridge true\n",
        "",
    )
    form = "{{(index .IPAM.Config 0).Subnet}} {{.Labels.a}} {{.EnableIPv6}} {{.ConfigFrom.Network}}|"
    assert run(server, "network", "inspect", "-f", form, "lan") == (0, "10.9.0.0/24 b false |\n", "")
    run(server, "run", "-d", "--name", "web", "debian", "sleep")
    assert run(server, "network", "connect", "--alias", "www", "--ip", "10.9.0.5", "lan", "web") == (
        0,
        "",
        "",
    )
    form = (
        "{{.NetworkSettings.Networks.lan.Aliases}} {{.NetworkSettings.Networks.lan.IPAMConfig.IPv4Address}}"
    )
    assert run(server, "inspect", "-f", form, "web") == (0, "[www] 10.9.0.5\n", "")
    code, _, errors = run(server, "network", "rm", "lan")
    assert (code, "has active endpoints" in errors) == (1, True)
    assert run(server, "network", "disconnect", "-f", "lan", "web") == (0, "", "")
    assert run(server, "network", "rm", "lan") == (0, "lan\n", "")
    code, _, errors = run(server, "network", "inspect", "lan")
    assert (code, "network lan not found" in errors) == (1, True)
    assert run(server, "network", "prune", "-f") == (0, "", "")


@needs_docker
@pytest.mark.slow
def test_docker_manages_volumes(server: Server) -> None:
    """Every command of the group, and what ``system df`` and ``ps`` say of them."""
    assert run(server, "volume", "create", "--label", "a=b", "data") == (0, "data\n", "")
    assert run(server, "volume", "ls", "-q") == (0, "data\n", "")
    assert run(server, "volume", "inspect", "-f", "{{.Name}} {{.Labels.a}} {{.Options}}", "data") == (
        0,
        "data b map[]\n",
        "",
    )
    server.engine.volumes.content["data"].files["f"] = b"x" * 1000
    assert "Local Volumes   1         0         1kB       1kB (100%)" in run(server, "system", "df")[1]
    code, shown, _ = run(server, "volume", "prune", "-af")
    assert (code, shown) == (0, "Deleted Volumes:\ndata\n\nTotal reclaimed space: 1kB\n")
    code, _, errors = run(server, "volume", "rm", "data")
    assert (code, "no such volume" in errors) == (1, True)
    assert run(server, "volume", "rm", "-f", "data") == (0, "data\n", "")
    assert run(server, "system", "prune", "-f", "--volumes")[0] == 0


PORTS = (
    Published("tcp", 80, "0.0.0.0", 80),
    Published("tcp", 80, "::", 80),
    Published("tcp", 443, "0.0.0.0", 443),
    Published("tcp", 443, "::", 443),
    Published("udp", 53, "127.0.0.1", 5353),
    Published("tcp", 8001, "0.0.0.0", 9001),
)


@needs_docker
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("port", "web"),
        ("port", "web", "80"),
        ("port", "web", "53/udp"),
        ("ps", "--format", "{{.Ports}}"),
        ("ps", "--format", "{{.Networks}} {{.Mounts}} {{.LocalVolumes}}"),
        ("network", "ls"),
        ("network", "ls", "--no-trunc", "--format", "json"),
        ("network", "ls", "--format", "table {{.Name}}\t{{.IPv6}}\t{{.Internal}}\t{{.CreatedAt}}"),
        ("network", "inspect", "bridge", "none"),
        ("volume", "ls"),
        ("volume", "ls", "-f", "label=a", "--format", "{{.Name}}: {{.Labels}} {{.Links}}"),
        ("volume", "inspect", "data"),
        ("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"),
        ("inspect", "-f", "{{json .Mounts}}", "web"),
    ],
)
def test_docker_and_corten_print_the_same(
    server: Server, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """What people see does not change with the client, nor what scripts read."""
    for name in ("data", "web2", "web10"):
        server.call("POST", "/volumes/create", {"Name": name, "Labels": {"a": "b"}})
    for name in ("n10", "n2"):
        server.call("POST", "/networks/create", {"Name": name})
    identity = server.container("sleep", name="web", ExposedPorts={"8000/tcp": {}})
    mount = MountPoint("volume", "/volumes/data/_data", "/data", "z", name="data", driver="local")
    record = replace(server.engine.containers.get(identity), published=PORTS, mounts=(mount,))
    server.engine.containers.put(record)

    assert command_line(["-H", server.url, *words]) == 0
    expected = run(server, *words)[1]
    shown = capsys.readouterr().out
    if "{{json" in str(words):
        assert json.loads(shown) == json.loads(expected)
    elif "inspect" in words:
        assert [dict(i, Created="") for i in json.loads(shown)] == [
            dict(i, Created="") for i in json.loads(expected)
        ]
    else:
        assert shown == expected
