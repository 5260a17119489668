"""Updates over HTTP."""

import os
import shutil
import subprocess

import docker
import pytest

from corten.engine.containers.limits import relimited
from corten.engine.containers.update_request import UpdateRequest
from corten.engine.records.config import HostConfig, PortBinding, Resources, RestartPolicy
from corten.errors import Conflict, CortenError, Forbidden, InvalidInput, NotFound
from tests.unit.engine.containers.examples import HOST
from tests.unit.serve.api.conftest import PATIENCE, Server

DOCKER = shutil.which("docker")


class Updated:
    """What a request asked of the engine, and what the engine says to it."""

    def __init__(self, warnings: list[str], refusal: CortenError | None = None) -> None:
        self.asked: list[tuple[str, UpdateRequest]] = []
        self._warnings, self._refusal = warnings, refusal

    async def update(self, ref: str, request: UpdateRequest) -> list[str]:
        """Be the engine."""
        self.asked.append((ref, request))
        if self._refusal is not None:
            raise self._refusal
        return self._warnings


def test_update(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits and policy, and what is ours, reach the engine; its warnings come back."""
    engine = Updated(["careful"])
    monkeypatch.setattr(server.engine.containers, "update", engine.update, raising=False)
    body = {
        "CpuShares": 5,
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
        "PublishAdd": {"80/tcp": [{"HostPort": "8080"}]},
    }
    answer = server.call("POST", "/containers/web/update", body)
    assert (answer.status, answer.json()) == (200, {"Warnings": ["careful"]})
    wanted = UpdateRequest(
        resources=Resources(cpu_shares=5),
        restart_policy=RestartPolicy(name="always"),
        publish_add={"80/tcp": (PortBinding(host_port="8080"),)},
    )
    assert engine.asked == [("web", wanted)]


def test_nothing_to_warn_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is there, and empty."""
    monkeypatch.setattr(server.engine.containers, "update", Updated([]).update, raising=False)
    assert server.call("POST", "/containers/web/update", {}).json() == {"Warnings": []}


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (NotFound("container", "web"), 404),
        (InvalidInput("no"), 400),
        (Conflict("no"), 409),
        (Forbidden("no"), 403),
    ],
)
def test_refusals(server: Server, monkeypatch: pytest.MonkeyPatch, refusal: CortenError, status: int) -> None:
    """Each kind has its status."""
    monkeypatch.setattr(server.engine.containers, "update", Updated([], refusal).update, raising=False)
    assert server.call("POST", "/containers/web/update", {}).status == status


@pytest.mark.parametrize("body", [None, b" ", b"[", b'{"Memory": "much"}'])
def test_bodies_that_make_no_sense(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes | None
) -> None:
    """Nothing is asked of the engine."""
    engine = Updated([])
    monkeypatch.setattr(server.engine.containers, "update", engine.update, raising=False)
    assert server.call("POST", "/containers/web/update", body).status == 400
    assert engine.asked == []


@pytest.mark.slow
@pytest.mark.skipif(DOCKER is None, reason="the docker command is not installed")
def test_the_docker_command(server: Server) -> None:
    """Docker update says what it says to Docker: what it leaves out arrives as left out."""
    assert DOCKER is not None
    identity = server.container("sleep", name="web")
    words = ["--cpus", "1.5", "-m", "100m", "--memory-swap", "-1", "--pids-limit", "9", "--restart", "always"]
    done = subprocess.run(
        [DOCKER, "update", *words, "web"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={"DOCKER_HOST": server.url, "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "web\n", "")
    ((_, _, request),) = [call for call in server.engine.containers.calls if call[0] == "update"]
    limits = relimited(HostConfig(), request.resources, HOST)
    assert limits == HostConfig(nano_cpus=1_500_000_000, memory=100 << 20, memory_swap=-1, pids_limit=9)
    assert server.engine.containers.get(identity).host_config.restart_policy.name == "always"


def test_docker_py(server: Server) -> None:
    """The Python client's update."""
    server.container("sleep", name="web")
    client = docker.DockerClient(base_url=server.url, timeout=PATIENCE)
    try:
        answer = client.containers.get("web").update(cpu_shares=5, mem_limit="100m", cpuset_cpus="0")
    finally:
        client.close()
    assert answer == {"Warnings": []}
    ((_, _, request),) = [call for call in server.engine.containers.calls if call[0] == "update"]
    assert request.resources == Resources(cpu_shares=5, memory=100 << 20, cpuset_cpus="0")
