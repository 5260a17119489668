"""Containers over HTTP."""

import asyncio
import http.client
import json
import struct
import time

import pytest

from corten.serve.api import container_streams
from tests.unit.serve.api.conftest import PATIENCE, Server, read_head


def names(server: Server, query: str) -> list[str]:
    """Return the names that a list shows, in order."""
    answer = server.call("GET", f"/containers/json?{query}")
    assert answer.status == 200, answer.body
    return [container["Names"][0][1:] for container in answer.json()]


def test_lists_running_containers_newest_first(server: Server) -> None:
    """The others only on request, by a limit, or by a filter for their status."""
    for name in ("a", "b", "c"):
        server.container("sleep", name=name, start=name != "b")

    assert names(server, "") == ["c", "a"]
    assert names(server, "all=1") == ["c", "b", "a"]
    assert names(server, "limit=2") == ["c", "b"]
    assert names(server, 'filters={"status":["created"]}') == ["b"]
    assert names(server, 'filters={"name":{"a":true}}') == ["a"]
    assert names(server, 'filters={"before":["c"]}') == ["b", "a"]
    assert names(server, 'all=1&filters={"since":["a"]}') == ["c", "b"]
    assert names(server, 'filters={"ancestor":["debian"]}') == ["c", "a"]
    assert names(server, 'filters={"ancestor":["alpine"]}') == []
    assert server.call("GET", '/containers/json?filters={"x":[]}').json() == {"message": "invalid filter 'x'"}


def test_sizes_are_shown_on_request(server: Server) -> None:
    """Since they cost a walk through the layer."""
    identity = server.container("sleep")

    assert "SizeRw" not in server.call("GET", "/containers/json").json()[0]
    assert server.call("GET", "/containers/json?size=1").json()[0]["SizeRw"] == 10
    assert server.call("GET", f"/containers/{identity}/json?size=true").json()["SizeRootFs"] == 1000


def test_create_answers_the_id(server: Server) -> None:
    """Name and networks reach the engine."""
    body = {
        "Image": "debian",
        "Cmd": None,
        "HostConfig": {"Memory": 7 << 20, "Binds": None},
        "NetworkingConfig": {"EndpointsConfig": {"lan": {"Aliases": ["x"]}}},
        "Unknown": 1,
    }
    answer = server.call("POST", "/containers/create?name=/web", body)
    seen = server.call("GET", "/containers/web/json").json()

    assert answer.status == 201
    assert answer.json() == {"Id": seen["Id"], "Warnings": []}
    assert seen["HostConfig"]["Memory"] == 7 << 20
    assert list(seen["NetworkSettings"]["Networks"]) == ["lan"]


def test_create_of_an_unknown_image_is_not_found(server: Server) -> None:
    """The words are those by which clients decide to pull."""
    answer = server.call("POST", "/containers/create", {"Image": "nowhere"})

    assert (answer.status, answer.json()) == (404, {"message": "No such image: nowhere:latest"})


def test_a_name_in_use_is_a_conflict(server: Server) -> None:
    """With status 409."""
    server.container("sleep", name="web")

    assert server.call("POST", "/containers/create?name=web", {"Image": "debian"}).status == 409


def test_life_of_a_container(server: Server) -> None:
    """Each move has its status, the second start and stop have 304."""
    identity = server.container("sleep", start=False)
    statuses = [
        server.call(method, f"/containers/{identity}{verb}").status
        for method, verb in (
            ("POST", "/start"),
            ("POST", "/start"),
            ("POST", "/pause"),
            ("POST", "/unpause"),
            ("POST", "/rename?name=other"),
            ("POST", "/restart?t=0"),
            ("DELETE", ""),
            ("POST", "/stop?t=3&signal=SIGINT"),
            ("POST", "/stop"),
            ("POST", "/kill"),
            ("DELETE", "?v=1"),
            ("GET", "/json"),
        )
    ]

    assert statuses == [204, 304, 204, 204, 204, 204, 409, 204, 304, 409, 204, 404]
    assert ("stop", identity, 3.0, "SIGINT") in server.engine.containers.calls
    assert server.engine.containers.calls[-1] == ("remove", identity, False, True)


def test_a_start_that_fails_says_why(server: Server) -> None:
    """With status 400, as the command line reads the code to exit with from the words."""
    identity = server.container("nope", start=False)
    answer = server.call("POST", f"/containers/{identity}/start")

    assert (answer.status, answer.json()["message"]) == (
        400,
        'exec: "nope": executable file not found in $PATH',
    )


def test_wait_answers_headers_before_the_end(server: Server) -> None:
    """So that a client knows that it is waited before it starts the container."""
    identity = server.container("exit", "7", start=False)
    with server.connect() as sock:
        sock.sendall(
            f"POST /containers/{identity}/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n".encode()
        )
        assert b"200 OK" in read_head(sock)
        server.call("POST", f"/containers/{identity}/start")
        assert b'{"StatusCode":7}' in sock.recv(100)


def test_wait_for_what_has_ended_answers_at_once(server: Server) -> None:
    """The default condition is that it does not run."""
    identity = server.container("exit", "3")

    assert server.ended(identity) == 3
    assert server.ended(identity) == 3
    bad = server.call("POST", f"/containers/{identity}/wait?condition=never")
    assert (bad.status, bad.json()["message"]) == (400, 'invalid condition: "never"')


def test_a_client_that_goes_is_not_waited_for(server: Server) -> None:
    """Its future is cancelled."""
    identity = server.container("sleep")
    with server.connect() as sock:
        sock.sendall(f"POST /containers/{identity}/wait HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        read_head(sock)
        assert server.engine.containers.waiting(identity) == 1

    deadline = time.monotonic() + PATIENCE
    while server.engine.containers.waiting(identity) and time.monotonic() < deadline:
        server.call("GET", "/_ping")
    assert server.engine.containers.waiting(identity) == 0


def test_top_and_resize(server: Server) -> None:
    """Titles and rows; a size in whole cells."""
    identity = server.container("sleep")

    top = server.call("GET", f"/containers/{identity}/top?ps_args=aux").json()
    assert top == {"Titles": ["PID", "CMD"], "Processes": [["4242", "sleep (aux)"]]}
    assert server.call("POST", f"/containers/{identity}/resize?h=24&w=80").status == 200
    assert server.engine.containers.sizes == [(24, 80)]
    for query in ("h=24", "h=x&w=1", "h=-1&w=1", "h=1&w=65536"):
        assert server.call("POST", f"/containers/{identity}/resize?{query}").status == 400


def test_logs_are_framed_by_stream(server: Server) -> None:
    """Eight bytes before each piece, unless a terminal made it."""
    identity = server.container("warn", "hi")
    server.ended(identity)
    answer = server.call("GET", f"/containers/{identity}/logs?stdout=1&stderr=1")

    assert answer.body == struct.pack(">BxxxI", 2, 3) + b"hi\n"
    assert answer.headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    assert server.call("GET", f"/containers/{identity}/logs?stdout=1").body == b""


def test_logs_of_a_terminal_are_raw(server: Server) -> None:
    """There is one stream only."""
    identity = server.container("echo", "hi", Tty=True)
    server.ended(identity)
    answer = server.call("GET", f"/containers/{identity}/logs?stdout=1")

    assert (answer.body, answer.headers["Content-Type"]) == (b"hi\n", "application/vnd.docker.raw-stream")


def test_large_pieces_of_a_log_arrive_whole(server: Server) -> None:
    """Header and data are written apart, and are one frame."""
    identity = server.container("cat")
    data = bytes(range(256)) * 1024
    server.do(server.engine.containers.streams[identity].write(1, data))
    answer = server.call("GET", f"/containers/{identity}/logs?stdout=1")

    assert answer.body == struct.pack(">BxxxI", 1, len(data)) + data


def test_logs_can_be_followed_to_the_end(server: Server) -> None:
    """New output comes as it is written, and the stream ends with the container."""
    identity = server.container("sleep")
    streams = server.engine.containers.streams[identity]
    with server.connect() as sock:
        path = f"/containers/{identity}/logs?stdout=1&follow=1"
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        read_head(sock)
        for text in (b"one", b"two"):
            server.do(streams.write(1, text))
            assert text in sock.recv(100)
        server.call("POST", f"/containers/{identity}/stop")
        assert sock.recv(100) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "you must choose at least one stream"),
        ("stdout=1&since=x", "since"),
        ("stdout=1&tail=x", "tail"),
    ],
)
def test_bad_log_queries_are_refused(server: Server, query: str, message: str) -> None:
    """The message names the value."""
    answer = server.call("GET", f"/containers/{server.container('sleep')}/logs?{query}")

    assert answer.status == 400
    assert message in answer.json()["message"]


def test_logs_that_are_not_kept_cannot_be_read(server: Server) -> None:
    """The driver none is named in Docker's words."""
    identity = server.container("echo", "x", HostConfig={"LogConfig": {"Type": "none"}})
    answer = server.call("GET", f"/containers/{identity}/logs?stdout=1")

    assert (answer.status, answer.json()["message"]) == (
        501,
        "configured logging driver does not support reading",
    )


def test_export_is_a_tar_in_pieces(server: Server) -> None:
    """An error before the first piece is an ordinary one."""
    identity = server.container("sleep")
    answer = server.call("GET", f"/containers/{identity}/export")

    assert (answer.body, answer.headers["Content-Type"]) == (b"first second", "application/x-tar")
    assert server.call("GET", "/containers/nobody/export").status == 404


def test_a_failure_within_a_stream_breaks_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client must not take half an archive for a whole one."""

    async def export(_: str) -> object:
        yield b"half"
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(server.engine.containers, "export", export)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        server.call("GET", "/containers/x/export")
    assert "broke off" in caplog.text


def test_stats_come_once_or_again_and_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample, one with its predecessor, or a stream of them."""
    monkeypatch.setattr(container_streams, "STATS_EVERY", 0)
    identity = server.container("sleep")
    path = f"/containers/{identity}/stats"

    once = server.call("GET", f"{path}?stream=0&one-shot=1").json()
    twice = server.call("GET", f"{path}?stream=0").json()
    assert once["preread"].startswith("0001")
    assert twice["preread"] < twice["read"]
    with server.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        with sock.makefile("rb") as file:
            lines = [line for line in (file.readline() for _ in range(60)) if line.startswith(b"{")]
    samples = [json.loads(line) for line in lines]
    assert samples[1]["preread"] == samples[0]["read"]


def test_a_follower_that_goes_is_forgotten(server: Server) -> None:
    """Nothing of a stream stays when its client has left."""
    identity = server.container("sleep")
    with server.connect() as sock:
        sock.sendall(
            f"GET /containers/{identity}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode()
        )
        read_head(sock)

    async def quiet() -> None:
        while server.door.busy:  # noqa: ASYNC110  # the door has no event for this
            await asyncio.sleep(0)

    server.do(quiet())
