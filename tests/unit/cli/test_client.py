"""The client against a server that answers in every way that HTTP allows."""

import socket
from pathlib import Path

import pytest

from corten.cli.client import Client, documents, quote, raw, target
from corten.cli.connection import ConnectionLost
from corten.cli.failure import ApiError, Failure, NoDaemon
from corten.cli.place import Place
from tests.unit.cli.server import Daemon, Reply, Request


def test_sends_query_and_body_and_reads_json(daemon: Daemon, client: Client) -> None:
    """A request carries its values; the answer comes as a Python value."""
    daemon.on("POST", "/containers/create", Reply(201, {"Id": "abc"}))

    answer = client.post("/containers/create", {"Image": "ü"}, name="a b", all=True, none=None, no=False)

    assert answer == {"Id": "abc"}
    assert daemon.requests[0].json() == {"Image": "ü"}
    assert daemon.requests[0].query == {"name": ["a b"], "all": ["1"]}


def test_uses_a_connection_again(daemon: Daemon, client: Client) -> None:
    """Requests one after the other share a connection, whatever the form of the answers."""
    daemon.on("GET", "/a", Reply(200, chunks=[b'{"x"', b":1}"]))
    daemon.on("GET", "/b", Reply(204))
    daemon.on("GET", "/c", Reply(200, {}))

    assert [client.get("/a"), client.get("/b"), client.get("/c"), client.get("/a")] == [
        {"x": 1},
        None,
        {},
        {"x": 1},
    ]
    assert daemon.connections == 1


def test_replaces_a_connection_that_the_daemon_closed(daemon: Daemon, client: Client) -> None:
    """A request on an idle connection that turns out closed is sent again on a new one."""
    daemon.on("GET", "/a", Reply(200, {}, drop=True))

    assert [client.get("/a") for _ in range(3)] == [{}, {}, {}]


def test_several_requests_are_under_way_at_once(daemon: Daemon, client: Client) -> None:
    """Sending does not wait for the answer of the request before."""
    daemon.on("GET", "/a", Reply(200, 1))
    daemon.on("GET", "/b", Reply(200, 2))

    first, second = client.begin("GET", "/a"), client.begin("GET", "/b")

    assert (second.value(), first.value()) == (2, 1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(404, {"message": "No such container: x"}), "No such container: x"),
        (Reply(500, b"plain words\n"), "plain words"),
        (Reply(502), "HTTP status 502"),
        (Reply(500, [1]), "[1]"),
    ],
)
def test_tells_what_the_daemon_objects_to(daemon: Daemon, client: Client, reply: Reply, reason: str) -> None:
    """An error answer becomes an ApiError with the daemon's words."""
    daemon.on("GET", "/a", reply)

    with pytest.raises(ApiError) as caught:
        client.get("/a")

    assert (caught.value.code, caught.value.reason) == (reply.code, reason)
    assert str(caught.value) == f"Error response from daemon: {reason}"


def test_reads_a_body_that_ends_with_the_connection(daemon: Daemon, client: Client) -> None:
    """No length and no chunks: the body goes on until the end, and the connection is not used again."""
    daemon.on("GET", "/a", Reply(200, b'{"a": 1}', close=True))
    daemon.on("GET", "/b", Reply(200, 2))

    assert client.get("/a") == {"a": 1}
    assert client.get("/b") == 2


def test_reads_documents_that_are_cut_anywhere(daemon: Daemon, client: Client) -> None:
    """One JSON document per line, however the chunks fall."""
    daemon.on("GET", "/events", Reply(200, chunks=[b'{"a":1}\n{"a"', b':2}\r\n\n{"a":', b"3}"]))

    assert list(documents(client.stream("GET", "/events"))) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_uploads_in_chunks(daemon: Daemon, client: Client) -> None:
    """A stream of unknown length arrives whole; empty blocks do not end it."""
    daemon.on("POST", "/images/load", lambda request: Reply(200, {"size": len(request.body)}))

    response = client.upload("/images/load", iter([b"a" * 100_000, b"", b"b"]), quiet=True)

    assert response.read() == b'{"size": 100001}'


def test_an_upload_that_nobody_wants_tells_why(daemon: Daemon, client: Client) -> None:
    """The daemon's error arrives although it stopped reading the body."""
    reply = Reply(400, {"message": "not a tar"}, close=True)
    daemon.on("POST", "/images/load", lambda _: reply)

    with pytest.raises(ApiError, match="not a tar"):
        client.upload("/images/load", iter([b"x"]))


def test_an_upload_that_cannot_be_read_tells_why(daemon: Daemon, client: Client) -> None:
    """A failure of the source ends the request instead of leaving the daemon waiting."""

    def broken() -> object:
        yield b"x"
        raise OSError(5, "Input/output error")

    with pytest.raises(Failure, match="cannot read the archive: input/output error"):
        client.upload("/images/load", broken())  # type: ignore[arg-type]


def test_hands_over_the_connection(daemon: Daemon, client: Client) -> None:
    """After an upgrade the socket is the caller's, with what came along with the head."""

    def echo(sock: socket.socket) -> None:
        sock.sendall(sock.recv(100).upper())

    def attach(request: Request) -> Reply:
        assert request.headers["upgrade"] == "tcp"
        return Reply(stream=echo)

    daemon.on("POST", "/attach", attach)
    sock, early = raw(client.upgrade("/attach"))
    sock.sendall(b"hello")
    received = early
    while data := sock.recv(100):
        received += data
    sock.close()

    assert received == b"HELLO"


def test_nobody_there(tmp_path: Path) -> None:
    """A missing socket is said so, in Docker's words."""
    with pytest.raises(NoDaemon, match=r"Cannot connect to the corten daemon at unix:///.*none"):
        Client(Place(host=f"unix://{tmp_path}/none")).get("/a")


def test_starts_a_daemon_where_none_is(tmp_path: Path) -> None:
    """The absent callback runs once, then the connection is tried again."""
    calls = []
    client = Client(Place(host=f"unix://{tmp_path}/none"), lambda: calls.append(1))

    with pytest.raises(NoDaemon):
        client.get("/a")

    assert calls == [1]


def test_a_broken_answer_is_a_failure(daemon: Daemon, client: Client) -> None:
    """An answer that ends too early does not pass for a whole one."""
    daemon.on("GET", "/a", Reply(200, b"abc", headers={"Content-Length": "10"}, close=True))

    with pytest.raises(ConnectionLost):
        client.stream("GET", "/a").read()


def test_what_is_no_http_is_said(tmp_path: Path) -> None:
    """A socket of another program is recognised."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client = Client(Place(host=f"unix://{tmp_path}/s"))
        exchange = client.begin("GET", "/a")
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"SSH-2.0-OpenSSH\r\n")
            with pytest.raises(Failure, match="not HTTP"):
                exchange.response()
        client.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a-b_c.1~", "a-b_c.1~"), ("a b", "a%20b"), ("é&=?#%", "%C3%A9%26%3D%3F%23%25"), ("x:y/z@1", "x:y/z@1")],
)
def test_quotes_for_addresses(text: str, expected: str) -> None:
    """Names survive as they are, everything with a meaning is encoded."""
    assert quote(text) == expected


def test_paths_of_the_project_carry_no_version() -> None:
    """The engine API is versioned, additions are not; lists repeat their name."""
    assert target("/images/get", {"names": ["a", "b"]}) == "/v1.47/images/get?names=a&names=b"
    assert target("/corten/images/bootstrap", {}) == "/corten/images/bootstrap"
