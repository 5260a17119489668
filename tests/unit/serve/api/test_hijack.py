"""Attach and exec: the connection becomes a raw stream, and no byte of it is lost."""

import json
import socket
import struct
import time

import pytest

from tests.unit.serve.api.conftest import PATIENCE, Server, read_all, read_head

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
ALL = "stream=1&stdin=1&stdout=1&stderr=1"


def attach_request(identity: str, headers: str = UPGRADE, version: str = "1.51") -> bytes:
    """Return the request that attaches to everything."""
    return (
        f"POST /v{version}/containers/{identity}/attach?{ALL} HTTP/1.1\r\nHost: d\r\n{headers}\r\n".encode()
    )


def exec_request(identity: str, body: bytes, headers: str = UPGRADE) -> bytes:
    """Return the request that starts an exec."""
    head = f"POST /exec/{identity}/start HTTP/1.1\r\nHost: d\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def frames(data: bytes) -> bytes:
    """Return the bytes of a multiplexed stream, all of stdout."""
    pieces = []
    while data:
        stream, size = struct.unpack_from(">BxxxI", data)
        assert stream == 1
        pieces.append(data[8 : 8 + size])
        data = data[8 + size :]
    return b"".join(pieces)


def created_exec(server: Server, *cmd: str, tty: bool = False) -> str:
    """Create an exec in a new running container and return its id."""
    container = server.container("sleep")
    body = {"Cmd": list(cmd), "AttachStdin": True, "AttachStdout": True, "Tty": tty}
    identity: str = server.call("POST", f"/containers/{container}/exec", body).json()["Id"]
    return identity


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("1.51", False, "multiplexed"),
        ("1.51", True, "raw"),
        ("1.42", False, "multiplexed"),
        ("1.41", False, "raw"),
    ],
)
def test_an_upgrade_is_answered_with_101(server: Server, version: str, tty: bool, kind: str) -> None:
    """The content type names the form of the stream from API 1.42 on."""
    identity = server.container("cat", Tty=tty)
    with server.connect() as sock:
        sock.sendall(attach_request(identity, version=version))
        assert read_head(sock).decode() == (
            "HTTP/1.1 101 UPGRADED\r\n"
            f"Content-Type: application/vnd.docker.{kind}-stream\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )


def test_without_an_upgrade_the_answer_is_200(server: Server) -> None:
    """As clients without hijacking support expect it."""
    identity = server.container("cat")
    with server.connect() as sock:
        sock.sendall(attach_request(identity, headers=""))
        assert (
            read_head(sock) == b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        )
        sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)
        assert frames(read_all(sock)) == b"x"


@pytest.mark.parametrize("headers", [UPGRADE, "", UPGRADE + "Content-Length: 0\r\n"])
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n\x00\xff" * 30000])
def test_input_right_behind_the_request_arrives(server: Server, headers: str, behind: bytes) -> None:
    """Request, input and end of input sent at once: all of it is the container's."""
    identity = server.container("cat")
    with server.connect() as sock:
        sock.sendall(attach_request(identity, headers) + behind)
        sock.shutdown(socket.SHUT_WR)
        read_head(sock)
        assert frames(read_all(sock)) == behind
    assert server.ended(identity) == 0


def test_input_in_small_pieces_arrives(server: Server) -> None:
    """Whatever the pieces in which request and input are received."""
    identity = server.container("cat")
    message = attach_request(identity) + b"input"
    with server.connect() as sock:
        for position in range(len(message)):
            sock.sendall(message[position : position + 1])
        sock.shutdown(socket.SHUT_WR)
        read_head(sock)
        assert frames(read_all(sock)) == b"input"


def test_half_closing_ends_the_input_alone(server: Server) -> None:
    """Output written after the end of input still arrives."""
    identity = server.container("cat")
    with server.connect() as sock:
        sock.sendall(attach_request(identity))
        read_head(sock)
        sock.sendall(b"question")
        assert sock.recv(16) == struct.pack(">BxxxI", 1, 8) + b"question"
        sock.shutdown(socket.SHUT_WR)
        assert server.ended(identity) == 0
        assert read_all(sock) == b""


def test_a_connection_can_be_taken_after_other_requests(server: Server) -> None:
    """As docker-py does, which reuses connections."""
    identity = server.container("cat")
    with server.connect() as sock:
        for _ in range(3):
            sock.sendall(b"POST /nothing HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}")
            read_head(sock)
            assert sock.recv(100) == b'{"message":"page not found"}\n'
            sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            read_head(sock)
            assert sock.recv(2) == b"OK"
        sock.sendall(attach_request(identity) + b"behind")
        sock.shutdown(socket.SHUT_WR)
        read_head(sock)
        assert frames(read_all(sock)) == b"behind"


def test_requests_may_be_sent_together(server: Server) -> None:
    """Each is answered in turn, and the input is what is behind the last."""
    identity = server.container("cat")
    ping = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(ping + ping + attach_request(identity) + b"behind")
        sock.shutdown(socket.SHUT_WR)
        for _ in range(2):
            read_head(sock)
            assert sock.recv(2) == b"OK"
        assert b"101 UPGRADED" in read_head(sock)
        assert frames(read_all(sock)) == b"behind"


def test_refuses_to_guess_where_a_request_ends(server: Server) -> None:
    """A body too large to be remembered makes it uncertain: an error, not a loss."""
    identity = created_exec(server, "cat")
    with server.connect() as sock:
        sock.sendall(exec_request(identity, b" " * (2 << 20) + b"{}") + b"input")
        assert b"400 Bad Request" in read_head(sock)
        assert b"on a connection of its own" in sock.recv(200)


def test_an_error_before_the_stream_is_an_ordinary_one(server: Server) -> None:
    """Status and JSON, and the connection goes on."""
    paused = server.container("cat")
    server.call("POST", f"/containers/{paused}/pause")

    missing = server.call(
        "POST", f"/containers/nobody/attach?{ALL}", headers={"Connection": "Upgrade", "Upgrade": "tcp"}
    )
    assert (missing.status, missing.json()) == (404, {"message": "No such container: nobody"})
    answer = server.call("POST", f"/containers/{paused}/attach?{ALL}")
    assert answer.status == 409
    assert "is paused, unpause the container" in answer.json()["message"]
    keys = server.call("POST", f"/containers/{server.container('cat')}/attach?detachKeys=ctrl-1")
    assert (keys.status, keys.json()["message"]) == (400, "Invalid detach keys (ctrl-1) provided")


def test_what_to_attach_reaches_the_engine(server: Server) -> None:
    """Each flag as it was sent."""
    identity = server.container("cat")
    with server.connect() as sock:
        path = f"/containers/{identity}/attach?stdin=0&stdout=1&logs=true&detachKeys=ctrl-a,b"
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        read_head(sock)
        deadline = time.monotonic() + PATIENCE
        while not server.engine.containers.calls and time.monotonic() < deadline:
            server.call("GET", "/_ping")

    assert server.engine.containers.calls == [("attach", False, True, False, True, False, "ctrl-a,b")]


@pytest.mark.parametrize("headers", [UPGRADE, ""])
def test_exec_takes_the_connection_behind_its_body(server: Server, headers: str) -> None:
    """Body, input and end of input sent at once."""
    identity = created_exec(server, "cat")
    with server.connect() as sock:
        sock.sendall(exec_request(identity, b'{"Detach": false}', headers) + b"input")
        sock.shutdown(socket.SHUT_WR)
        read_head(sock)
        assert frames(read_all(sock)) == b"input"
    state = server.call("GET", f"/exec/{identity}/json").json()
    assert (state["ExitCode"], state["Running"]) == (0, False)


def test_exec_takes_the_connection_behind_a_chunked_body(server: Server) -> None:
    """As clients send it that do not know the length."""
    identity = created_exec(server, "cat", tty=True)
    with server.connect() as sock:
        head = (
            f"POST /exec/{identity}/start HTTP/1.1\r\nHost: d\r\n{UPGRADE}Transfer-Encoding: chunked\r\n\r\n"
        )
        sock.sendall(head.encode() + b'c\r\n{"Tty": true\r\n1\r\n}\r\n0\r\n\r\ninput')
        sock.shutdown(socket.SHUT_WR)
        assert b"101 UPGRADED" in read_head(sock)
        assert read_all(sock) == b"input"


def test_exec_detached_answers_at_once(server: Server) -> None:
    """With status 200 and nothing else."""
    identity = created_exec(server, "echo", "hi")
    answer = server.call("POST", f"/exec/{identity}/start", {"Detach": True, "ConsoleSize": [24, 80]})

    assert (answer.status, answer.body) == (200, b"")
    assert server.engine.execs.calls == [("start", True, False, (24, 80))]


def test_exec_cannot_start_twice(server: Server) -> None:
    """Nor one that nobody created, nor with a body of another form."""
    identity = created_exec(server, "echo", "hi")
    server.call("POST", f"/exec/{identity}/start", {"Detach": True})

    assert server.call("POST", f"/exec/{identity}/start", {"Detach": True}).status == 409
    assert server.call("POST", "/exec/nobody/start", {}).json() == {
        "message": "No such exec instance: nobody"
    }
    assert server.call("POST", f"/exec/{identity}/start", {"Detach": "x"}).status == 400


@pytest.mark.parametrize("tty", [False, True])
def test_a_command_that_cannot_start_is_told_in_the_stream(server: Server, tty: bool) -> None:
    """The stream has begun by then; the exit code says the rest."""
    identity = created_exec(server, "nope", tty=tty)
    with server.connect() as sock:
        sock.sendall(exec_request(identity, json.dumps({"Tty": tty}).encode()))
        read_head(sock)
        data = read_all(sock)

    text = data if tty else frames(data)
    assert text == b'exec: "nope": executable file not found in $PATH\r\n'
    assert server.call("GET", f"/exec/{identity}/json").json()["ExitCode"] == 127


def test_a_detached_command_that_cannot_start_is_an_error(server: Server) -> None:
    """No stream: status 400."""
    identity = created_exec(server, "nope")

    assert server.call("POST", f"/exec/{identity}/start", {"Detach": True}).status == 400


def test_streams_outlive_the_door(server: Server) -> None:
    """A taken connection is the engine's: closing the door does not touch it."""
    identity = server.container("cat")
    with server.connect() as sock:
        sock.sendall(attach_request(identity))
        read_head(sock)
        sock.sendall(b"1")
        assert sock.recv(100)[8:] == b"1"
        server.do(server.door.close())
        sock.sendall(b"2")
        assert sock.recv(100)[8:] == b"2"


def test_the_head_is_received_apart_from_the_stream(server: Server) -> None:
    """A client that reads the head through a buffer of its own loses nothing."""
    identity = created_exec(server, "echo", "hi")
    with server.connect() as sock:
        sock.sendall(exec_request(identity, b"{}"))
        deadline = time.monotonic() + PATIENCE
        while server.call("GET", f"/exec/{identity}/json").json()["ExitCode"] is None:
            assert time.monotonic() < deadline
        assert sock.recv(1 << 16).endswith(b"\r\n\r\n")
        assert frames(read_all(sock)) == b"hi\n"
