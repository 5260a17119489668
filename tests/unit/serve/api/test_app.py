"""The door itself: versions, headers, failures, and its socket."""

import asyncio
import logging
import os
import socket
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from corten.errors import Conflict, OutOfSpace
from corten.serve.api.app import serve
from tests.fakes.engine import FakeEngine
from tests.unit.serve.api.conftest import Server, read_all


def test_every_answer_says_which_api_it_is(server: Server) -> None:
    """Answers and errors carry the same headers."""
    for path in ("/_ping", "/info", "/nothing"):
        headers = server.call("GET", path).headers
        assert headers["Api-Version"] == "1.51"
        assert headers["Docker-Experimental"] == "false"
        assert headers["Ostype"] == "linux"
        assert headers["Server"].startswith("Docker/")
        assert headers["Server"].endswith(" (linux)")


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.51", "/v1.55"])
def test_serves_each_version(server: Server, prefix: str) -> None:
    """With and without a version in the path."""
    assert server.call("GET", f"{prefix}/version").json()["ApiVersion"] == "1.51"


def test_refuses_other_versions(server: Server) -> None:
    """With status 400 and a message."""
    answer = server.call("GET", "/v1.99/version")

    assert answer.status == 400
    assert "client version 1.99 is too new" in answer.json()["message"]


def test_an_unknown_page_is_not_found(server: Server) -> None:
    """In Docker's words."""
    answer = server.call("GET", "/v1.51/nothing")

    assert (answer.status, answer.json()) == (404, {"message": "page not found"})
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"Image": 7}', b'{"HostConfig": {"Memory": "x"}}', b""])
def test_a_bad_body_is_refused(server: Server, body: bytes) -> None:
    """With status 400, a message, and nothing created."""
    answer = server.call("POST", "/containers/create", body)

    assert answer.status == 400
    assert answer.json()["message"]
    assert server.call("GET", "/containers/json?all=1").json() == []


def test_a_body_too_large_is_refused(server: Server) -> None:
    """Before it is decoded."""
    answer = server.call("POST", "/containers/create", b" " * (9 << 20))

    assert answer.status == 413
    assert "8 MiB" in answer.json()["message"]


def test_a_defect_is_logged_and_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets one line, the log the traceback."""

    async def broken(*_: object) -> NoReturn:
        raise ValueError("inner detail")

    monkeypatch.setattr(server.engine.system, "info", broken)
    with caplog.at_level(logging.ERROR):
        answer = server.call("GET", "/info")

    assert answer.status == 500
    assert "inner detail" not in answer.json()["message"]
    assert "inner detail" in caplog.text


def test_a_failure_of_the_machine_says_what_it_was(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError and a full disk are told as they are."""

    async def full(*_: object) -> NoReturn:
        raise OutOfSpace("the disk is full: remove images")

    async def denied(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(server.engine.system, "info", full)
    monkeypatch.setattr(server.engine.system, "version", denied)

    assert server.call("GET", "/info").json() == {"message": "the disk is full: remove images"}
    answer = server.call("GET", "/version")
    assert (answer.status, answer.json()["message"]) == (500, "[Errno 13] Permission denied")


def test_a_start_is_carried_through_although_its_client_left(server: Server) -> None:
    """What was begun is not left half done."""
    identity = server.container("sleep", start=False)
    gate = server.engine.containers.gate = asyncio.Event()
    with server.connect() as sock:
        sock.sendall(f"POST /containers/{identity}/start HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        while not gate._waiters:
            server.do(asyncio.sleep(0))

    async def left() -> None:
        while server.door.busy:  # noqa: ASYNC110  # the door has no event for this
            await asyncio.sleep(0)

    server.do(left())
    server.loop.call_soon_threadsafe(gate.set)
    waited = server.call("GET", f"/containers/{identity}/json")
    while waited.json()["State"]["Status"] != "running":
        waited = server.call("GET", f"/containers/{identity}/json")

    assert waited.json()["State"]["Running"]


def test_answers_a_client_that_has_closed_its_half(server: Server) -> None:
    """As ``nc`` and simple scripts do."""
    with server.connect() as sock:
        sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nOK")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /_ping HTTP/1.1\r\nHo", b"POST /a HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n{"]
)
def test_drops_a_client_that_ends_within_a_request(server: Server, sent: bytes) -> None:
    """Nothing waits for the rest that cannot come."""
    with server.connect() as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)


def test_the_socket_is_roots_alone(server: Server) -> None:
    """Nobody else may connect: the API is as good as root."""
    mode = os.stat(server.path).st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_replaces_a_socket_that_nobody_answers_at(tmp_path: Path) -> None:
    """A daemon that was killed leaves one behind."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    async def open_and_close() -> list[str]:
        door = await serve(FakeEngine(), path)
        there = os.listdir(tmp_path)
        await door.close()
        return there

    assert asyncio.run(open_and_close()) == ["s"]
    assert os.listdir(tmp_path) == []


def test_leaves_a_living_daemon_alone(server: Server) -> None:
    """A second daemon says where the first one is."""

    async def attempt() -> None:
        with pytest.raises(Conflict, match="another daemon answers at"):
            await serve(FakeEngine(), server.path)

    asyncio.run(attempt())
    assert server.call("GET", "/_ping").body == b"OK"


def test_leaves_other_files_alone(tmp_path: Path) -> None:
    """A path that is not a socket is not removed."""
    path = tmp_path / "precious"
    path.write_text("data")

    async def attempt() -> None:
        with pytest.raises(Conflict, match="is not a socket"):
            await serve(FakeEngine(), str(path))

    asyncio.run(attempt())
    assert path.read_text() == "data"


def test_closing_ends_the_streams_that_are_open(server: Server) -> None:
    """A client that follows is told by the end of its connection."""
    with server.connect() as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        server.do(server.door.close())
        read_all(sock)
