"""The clients that people use: the docker command and docker-py, both unmodified."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import docker
import pytest

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
