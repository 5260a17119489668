"""The Python client of Docker, unmodified: run, exec, attach, logs, images, events, figures."""

from __future__ import annotations

import gc
import io
import tarfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import LogConfig, Mount, Ulimit

from tests.e2e.tools import FOREVER, told, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from docker import DockerClient

    from tests.e2e.conftest import Engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    # the library leaves the sockets of its streams to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have what a test left collected while its warnings are still understood."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[DockerClient]:
    """A client of the engine."""
    connection = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    yield connection
    connection.close()


@contextmanager
def running(client: DockerClient, *command: str, **wishes: Any) -> Iterator[Any]:
    """Lend a container that runs."""
    made = client.containers.run(
        "debian", list(command or FOREVER), detach=True, network_mode="none", **wishes
    )
    try:
        yield made
    finally:
        made.remove(force=True)


def test_versions_and_facts(client: DockerClient) -> None:
    """``ping``, ``version`` and ``info`` answer as the library expects them."""
    assert client.ping() is True
    assert client.version()["Os"] == "linux"
    assert client.info()["OSType"] == "linux"


def test_run_returns_the_output(client: DockerClient) -> None:
    """``containers.run`` gives stdout, and stderr when asked for."""
    wishes = dict(network_mode="none", remove=True)
    script = ["sh", "-c", "echo out; echo err >&2"]
    assert client.containers.run("debian", script, **wishes) == b"out\n"
    both = client.containers.run("debian", script, stderr=True, **wishes)
    assert sorted(both.splitlines()) == [b"err", b"out"]


def test_run_raises_on_failure(client: DockerClient) -> None:
    """A code other than 0 is a ContainerError with the code and what the program said."""
    with pytest.raises(ContainerError) as caught:
        client.containers.run(
            "debian", ["sh", "-c", "echo why >&2; exit 3"], network_mode="none", remove=True
        )
    assert (caught.value.exit_status, caught.value.stderr) == (3, b"why\n")


def test_run_streams(client: DockerClient) -> None:
    """With ``stream`` output comes as it is written."""
    stream = client.containers.run("debian", ["seq", "3"], network_mode="none", remove=True, stream=True)
    assert b"".join(stream) == b"1\n2\n3\n"


def test_detached_life(client: DockerClient) -> None:
    """A container object follows its container from run to removal."""
    with running(client, labels={"a": "b"}, environment={"X": "1"}) as made:
        made.reload()
        assert (made.status, made.labels["a"]) == ("running", "b")
        assert made.id in [each.id for each in client.containers.list(filters={"label": "a=b"})]
        made.pause()
        made.reload()
        assert made.status == "paused"
        made.unpause()
        made.stop(timeout=5)
        made.reload()
        assert made.status == "exited"
        made.start()
        made.kill()
        assert made.wait()["StatusCode"] == 137
    with pytest.raises(NotFound):
        client.containers.get(made.id)


def test_wait(client: DockerClient) -> None:
    """``wait`` returns the exit code, under each condition that the library knows."""
    with running(client, "sh", "-c", "sleep 0.1; exit 4") as made:
        assert made.wait(timeout=20)["StatusCode"] == 4
        assert made.wait(condition="not-running")["StatusCode"] == 4


def test_logs(client: DockerClient) -> None:
    """``logs`` gives all, a tail, with times, and streams until the end."""
    with running(client, "sh", "-c", "echo a; echo b; sleep 0.1; echo c") as made:
        assert b"".join(made.logs(stream=True, follow=True)) == b"a\nb\nc\n"
        assert made.logs() == b"a\nb\nc\n"
        assert made.logs(tail=1) == b"c\n"
        assert b"Z a\n" in made.logs(timestamps=True)
        assert made.logs(stdout=False, stderr=True) == b""
        assert made.logs(since=time.time() + 100) == b""


def test_exec_run(client: DockerClient) -> None:
    """``exec_run`` gives code and output, apart with ``demux``, in pieces with ``stream``."""
    with running(client) as made:
        result = made.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
        assert (result.exit_code, result.output) == (5, (b"out\n", b"err\n"))
        result = made.exec_run("id -u", user="1000", workdir="/tmp", environment={"A": "1"})
        assert (result.exit_code, result.output) == (0, b"1000\n")
        assert b"".join(made.exec_run(["seq", "3"], stream=True).output) == b"1\n2\n3\n"
        assert made.exec_run(["sh", "-c", "sleep 0.2; touch /made"], detach=True).exit_code is None
        until(lambda: made.exec_run(["test", "-e", "/made"]).exit_code == 0, "the detached exec")
        assert made.exec_run("nosuchprogram").exit_code == 127


def test_exec_socket(client: DockerClient) -> None:
    """``exec_run(socket=True)`` gives the raw connection: what is sent comes back, half-close ends it."""
    with running(client) as made:
        result = made.exec_run(["cat"], stdin=True, socket=True)
        with result.output as stream:
            raw = stream._sock
            raw.sendall(b"typed")
            raw.shutdown(1)  # SHUT_WR
            received = b"".join(iter(lambda: raw.recv(4096), b""))
        raw.close()
    assert received == b"\x01\0\0\0\0\0\0\x05typed"


def test_attach(engine: Engine, client: DockerClient) -> None:
    """``attach`` with logs gives what was said; streaming gives what comes."""
    with running(client, "sh", "-c", "echo first; read go; echo second", stdin_open=True) as made:
        until(made.logs, "the first line")
        assert made.attach(logs=True, stream=False, stdout=True) == b"first\n"
        stream = made.attach(stream=True, logs=True)
        until(lambda: len(told(engine, f"container={made.id}", "event=attach")) == 2, "the stream")
        socket = made.attach_socket(params={"stdin": 1, "stream": 1})
        socket._sock.sendall(b"\n")
        assert b"".join(stream) == b"first\nsecond\n"
        socket._sock.close()
        socket.close()


def test_images(client: DockerClient, tmp_path: Path) -> None:
    """Images are listed, tagged, saved, loaded and removed."""
    image = client.images.get("debian")
    assert "debian:latest" in image.tags
    assert image.tag("copy", tag="1") is True
    copy = client.images.get("copy:1")
    assert copy.id == image.id
    assert image.id in [each.id for each in client.images.list(name="copy")]
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        for piece in copy.save(named="copy:1"):
            file.write(piece)
    client.images.remove("copy:1")
    with archive.open("rb") as file:
        (loaded,) = client.images.load(file)
    assert loaded.id == image.id
    assert client.images.get("copy:1").id == image.id
    client.images.remove("copy:1")
    with pytest.raises(ImageNotFound):
        client.images.get("copy:1")
    assert image.history()


def test_import_and_export(engine: Engine, client: DockerClient, small_tar: Path) -> None:
    """``import_image_from_data`` takes a tree, ``export`` gives it back."""
    client.api.import_image_from_data(small_tar.read_bytes(), repository="small")
    made = client.containers.create("small", "true", network_mode="none")
    with tarfile.open(fileobj=io.BytesIO(b"".join(made.export()))) as tar:
        assert tar.getmember("etc/group").size == len("root:x:0:\n")
    made.remove()


def test_events(client: DockerClient) -> None:
    """``events`` streams decoded dictionaries through its filters until it is closed."""
    stream = client.events(decode=True, filters={"event": ["die"], "label": ["watched"]})
    seen: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: seen.append(next(stream)))
    reader.start()

    def one_more() -> bool:
        client.containers.run("debian", "true", network_mode="none", remove=True, labels=["watched"])
        reader.join(0.01)
        return bool(seen)

    until(one_more, "an event")
    stream.close()
    assert seen[0]["Action"] == "die"
    assert seen[0]["Actor"]["Attributes"]["exitCode"] == "0"


def test_stats(client: DockerClient) -> None:
    """``stats`` gives one sample, or a stream of them, with processor time, memory and processes."""
    with running(client) as made:
        sample = made.stats(stream=False)
        assert sample["id"] == made.id
        assert sample["memory_stats"]["usage"] > 0
        assert sample["pids_stats"]["current"] >= 1
        assert sample["cpu_stats"]["cpu_usage"]["total_usage"] > 0
        stream = made.stats(decode=True)
        assert next(stream)["name"] == f"/{made.name}"
        stream.close()


def test_top(client: DockerClient) -> None:
    """``top`` gives titles and rows."""
    with running(client) as made:
        found = made.top(ps_args="-o pid,comm")
        assert found["Titles"] == ["PID", "COMMAND"]
        assert "sh" in [row[1] for row in found["Processes"]]


def test_host_config(client: DockerClient, tmp_path: Path) -> None:
    """What the library puts into a HostConfig is applied: mounts, limits, capabilities, read-only root."""
    script = "cat /here/file; ulimit -n; touch /x 2>/dev/null || echo read-only; cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    (tmp_path / "file").write_text("mounted\n")
    output = client.containers.run(
        "debian",
        ["sh", "-c", script],
        mounts=[Mount("/here", str(tmp_path), type="bind", read_only=True)],
        ulimits=[Ulimit(name="nofile", soft=99, hard=99)],
        read_only=True,
        mem_limit="64m",
        cap_drop=["ALL"],
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        network_mode="none",
        remove=True,
    )
    assert output.splitlines() == [b"mounted", b"99", b"read-only", b"67108864"]


def test_rename_and_update_of_the_list(client: DockerClient) -> None:
    """``rename`` is seen by ``get``; a name in use is an APIError with status 409."""
    with running(client) as first, running(client) as second:
        first.rename(f"{second.name}x")
        assert client.containers.get(f"{second.name}x").id == first.id
        with pytest.raises(APIError) as caught:
            first.rename(second.name)
        assert caught.value.status_code == 409


def test_resize(client: DockerClient) -> None:
    """``resize`` sets the size of a container's terminal."""
    with running(
        client, "sh", "-c", "trap 'stty size' WINCH; echo on; while :; do sleep 0.02; done", tty=True
    ) as made:
        until(made.logs, "its first word")
        made.resize(12, 34)
        until(lambda: b"12 34" in made.logs(), "the new size")
