"""The verbs on containers that only ask and print."""

import time
from typing import Any

import pytest

from corten.cli.commands.ps import ports
from corten.cli.main import command_line
from tests.unit.cli.server import Daemon, Reply, Request, corten, frame

CONTAINER: dict[str, Any] = {
    "Id": "0123456789abcdef" * 4,
    "Names": ["/web", "/other/alias"],
    "Image": "debian",
    "ImageID": "sha256:aa",
    "Command": "sleep 1000000000000000000",
    "Created": int(time.time()) - 7200,
    "State": "running",
    "Status": "Up 2 hours",
    "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
    "Labels": {"b": "2", "a": "1"},
    "Mounts": [],
    "NetworkSettings": {"Networks": {"bridge": {}}},
}


def run(daemon: Daemon, *words: str) -> int:
    """Run the client in this process."""
    return command_line(["-H", f"unix://{daemon.path}", *words])


def test_ps(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of docker ps."""
    daemon.on("GET", "/containers/json", Reply(200, [CONTAINER]))

    assert run(daemon, "ps", "-a", "-n", "2", "-f", "status=running", "-f", "label=x") == 0
    assert capsys.readouterr().out == (
        "CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       PORTS                  NAMES\n"
        '0123456789ab   debian    "sleep 1000000000000…"   2 hours ago   Up 2 hours   0.0.0.0:8080->80/tcp   web\n'
    )
    filters = '{"status":{"running":true},"label":{"x":true}}'
    assert daemon.requests[0].query == {"all": ["1"], "limit": ["2"], "filters": [filters]}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-q"], "0123456789ab\n"),
        (["-q", "--no-trunc"], CONTAINER["Id"] + "\n"),
        (["--format", "{{.Names}} {{.Labels}} {{.State}} {{.Networks}}"], "web a=1,b=2 running bridge\n"),
        (["--format", '{{.Label "a"}}'], "1\n"),
        (["--format", "table {{.ID}}\\t{{.Names}}"], "CONTAINER ID   NAMES\n0123456789ab   web\n"),
    ],
)
def test_ps_formats(daemon: Daemon, capsys: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    """Ids alone, templates, tables of templates."""
    daemon.on("GET", "/containers/json", Reply(200, [CONTAINER]))

    run(daemon, "container", "ls", *words)

    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ([], ""),
        ([(None, 53, None, "udp")], "53/udp"),
        ([("0.0.0.0", 80, 8080, "tcp"), ("::", 80, 8080, "tcp")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        (
            [("0.0.0.0", p, p, "tcp") for p in (80, 81, 82, 90)],
            "0.0.0.0:80-82->80-82/tcp, 0.0.0.0:90->90/tcp",
        ),
        ([(None, p, None, "tcp") for p in (3, 1, 2)], "1-3/tcp"),
        ([("1.1.1.1", 1, 5, "tcp"), ("1.1.1.1", 2, 7, "tcp")], "1.1.1.1:5->1/tcp, 1.1.1.1:7->2/tcp"),
        (
            [(ip, p, p + 8000, "tcp") for ip in ("0.0.0.0", "::") for p in (80, 81, 82)],
            "0.0.0.0:8080-8082->80-82/tcp, [::]:8080-8082->80-82/tcp",
        ),
        (
            [("0.0.0.0", 80, 8080, "tcp"), (None, 443, None, "tcp")],
            "443/tcp, 0.0.0.0:8080->80/tcp",
        ),
        (
            [(ip, p, p, "tcp") for ip in ("0.0.0.0", "::") for p in (80, 443)],
            "0.0.0.0:80->80/tcp, [::]:80->80/tcp, 0.0.0.0:443->443/tcp, [::]:443->443/tcp",
        ),
    ],
)
def test_ports(published: list[tuple[Any, ...]], text: str) -> None:
    """Neighbouring ports are joined where both sides are neighbours."""
    names = ("IP", "PrivatePort", "PublicPort", "Type")

    assert ports([dict(zip(names, port, strict=True)) for port in published]) == text


@pytest.mark.parametrize(
    ("words", "request_", "query"),
    [
        (["stop", "-t", "3", "-s", "INT", "a"], "POST /containers/a/stop", {"t": ["3"], "signal": ["INT"]}),
        (["stop", "--time=0", "a"], "POST /containers/a/stop", {"t": ["0"]}),
        (["stop", "a"], "POST /containers/a/stop", {}),
        (["restart", "a"], "POST /containers/a/restart", {}),
        (["kill", "-s", "HUP", "a"], "POST /containers/a/kill", {"signal": ["HUP"]}),
        (["pause", "a"], "POST /containers/a/pause", {}),
        (["unpause", "a"], "POST /containers/a/unpause", {}),
        (["rm", "-fv", "a"], "DELETE /containers/a", {"force": ["1"], "v": ["1"]}),
        (["container", "remove", "a"], "DELETE /containers/a", {}),
        (["rename", "a", "b"], "POST /containers/a/rename", {"name": ["b"]}),
    ],
)
def test_verbs(daemon: Daemon, words: list[str], request_: str, query: dict[str, list[str]]) -> None:
    """Each verb is one request."""
    method, path = request_.split()
    daemon.on(method, path, Reply(204))

    assert run(daemon, *words) == 0
    assert (daemon.asked(), daemon.requests[0].query) == ([request_], query)


def test_several_names(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What works is named in order, what does not is told at the end, and more than a window is no problem."""
    names = [f"c{number}" for number in range(40)]
    for name in names:
        daemon.on("POST", f"/containers/{name}/stop", Reply(204))

    assert run(daemon, "stop", *names[:20], "gone", *names[20:]) == 1
    shown = capsys.readouterr()
    assert shown.out.split() == names
    assert shown.err == "Error response from daemon: No such thing\n"


def test_containers_are_stopped_side_by_side(daemon: Daemon) -> None:
    """The second request is sent although the first is not answered."""

    def first(request: Request) -> Reply:
        deadline = time.monotonic() + 20
        while "POST /containers/b/stop" not in daemon.asked():
            assert time.monotonic() < deadline
        return Reply(204)

    daemon.on("POST", "/containers/a/stop", first)
    daemon.on("POST", "/containers/b/stop", Reply(204))

    assert run(daemon, "stop", "a", "b") == 0


def test_rm_with_force_forgives_what_is_gone(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The message stays, the status is 0."""
    assert run(daemon, "rm", "-f", "gone") == 0
    assert capsys.readouterr().err == "Error response from daemon: No such thing\n"
    assert run(daemon, "rm", "gone") == 1


def test_wait(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes, one per line."""
    daemon.on("POST", "/containers/a/wait", Reply(200, {"StatusCode": 3}))

    assert run(daemon, "wait", "a", "a") == 0
    assert capsys.readouterr().out == "3\n3\n"


def test_top(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A table; options of ps are passed on."""
    daemon.on(
        "GET", "/containers/a/top", Reply(200, {"Titles": ["PID", "CMD"], "Processes": [["1", "sh -c x"]]})
    )

    assert run(daemon, "top", "a", "-o", "pid,cmd") == 0
    assert capsys.readouterr().out == "PID                 CMD\n1                   sh -c x\n"
    assert daemon.requests[0].query == {"ps_args": ["-o pid,cmd"]}


def test_logs(daemon: Daemon) -> None:
    """Frames are taken apart; the flags become the query."""
    kind = {"Content-Type": "application/vnd.docker.multiplexed-stream"}
    daemon.on(
        "GET", "/containers/a/logs", Reply(200, headers=kind, chunks=[frame(1, b"out\n"), frame(2, b"err\n")])
    )

    done = corten(daemon, "logs", "-f", "--tail", "5", "-t", "--since", "100", "a")

    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    flags = {
        "follow": ["1"],
        "tail": ["5"],
        "timestamps": ["1"],
        "since": ["100"],
        "stdout": ["1"],
        "stderr": ["1"],
    }
    assert daemon.requests[0].query == flags


@pytest.mark.parametrize("named", [True, False])
def test_logs_of_a_terminal(daemon: Daemon, named: bool) -> None:
    """Without frames the bytes are shown as they are; an older daemon is asked which it is."""
    kind = {"Content-Type": "application/vnd.docker.raw-stream"} if named else {}
    daemon.on("GET", "/containers/a/logs", Reply(200, headers=kind, chunks=[b"raw\r\n"]))
    daemon.on("GET", "/containers/a/json", Reply(200, {"Config": {"Tty": True}}))

    assert corten(daemon, "logs", "a").stdout == b"raw\r\n"


def test_logs_since_nonsense(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A moment that is none is refused before the daemon is asked."""
    assert run(daemon, "logs", "--since", "yesterday", "a") == 1
    assert 'invalid value for "since"' in capsys.readouterr().err
    assert daemon.requests == []


def test_inspect_tries_each_kind_in_turn(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Containers, images, networks, volumes; what is found is shown, what is not is told."""
    daemon.on("GET", "/containers/a/json", Reply(200, {"Id": "1"}))
    daemon.on("GET", "/images/b/json", Reply(200, {"Id": "2"}))

    daemon.on("GET", "/volumes/v", Reply(200, {"Name": "v"}))
    assert run(daemon, "inspect", "-f", "{{.Name}}", "v") == 0
    assert daemon.asked() == [
        f"GET /{path}" for path in ("containers/v/json", "images/v/json", "networks/v", "volumes/v")
    ]
    assert capsys.readouterr().out == "v\n"

    assert run(daemon, "inspect", "a", "b", "gone") == 1
    shown = capsys.readouterr()
    assert shown.out == '[\n    {\n        "Id": "1"\n    },\n    {\n        "Id": "2"\n    }\n]\n'
    assert shown.err == "Error: No such object: gone\n"


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["-f", "{{.ID}}", "a"], 0, "1\n", ""),
        (["-f", "json", "a"], 0, '{"Id":"1"}\n', ""),
        (["-f", "{{.Nope}}", "a"], 1, "\n", "template parsing error: template: :1:2: executing"),
        (["--type", "image", "a"], 1, "[]\n", "Error response from daemon: No such thing\n"),
        (
            ["--type", "foo", "a"],
            1,
            "",
            'unknown type: "foo": must be one of "container", "image", "network", "volume"\n',
        ),
        (["gone"], 1, "[]\n", "Error: No such object: gone\n"),
    ],
)
def test_inspect_formats(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], words: list[str], status: int, out: str, err: str
) -> None:
    """Templates, JSON lines, and their failures."""
    daemon.on("GET", "/containers/a/json", Reply(200, {"Id": "1"}))

    assert run(daemon, "inspect", *words) == status
    shown = capsys.readouterr()
    assert (shown.out, shown.err[: len(err)]) == (out, err)
