"""The system over HTTP."""

import json

from tests.unit.serve.api.conftest import Server, read_head


def test_ping(server: Server) -> None:
    """What clients find out the version with."""
    answer = server.call("GET", "/_ping")

    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    assert answer.headers["Swarm"] == "inactive"
    head = server.call("HEAD", "/_ping")
    assert (head.status, head.body, head.headers["Api-Version"]) == (200, b"", "1.51")


def test_version_and_info_carry_the_engines_facts(server: Server) -> None:
    """Over what clients read without asking."""
    version = server.call("GET", "/version").json()
    info = server.call("GET", "/info").json()

    assert (version["KernelVersion"], version["MinAPIVersion"]) == ("6.18.0", "1.24")
    assert version["Components"][0]["Details"]["KernelVersion"] == "6.18.0"
    assert (info["NCPU"], info["Swarm"]["LocalNodeState"]) == (2, "inactive")
    assert server.call("GET", "/system/df").json()["LayersSize"] == 0


def test_events_come_as_they_happen(server: Server) -> None:
    """One line each, in Docker's form, chosen by filters."""
    with server.connect() as sock:
        sock.sendall(b'GET /events?filters={"event":["start","die"]} HTTP/1.1\r\nHost: d\r\n\r\n')
        read_head(sock)
        identity = server.container("exit", "0")
        with sock.makefile("rb") as file:
            seen = [json.loads(line) for line in (file.readline() for _ in range(6)) if line.startswith(b"{")]

    assert [(event["Action"], event["id"]) for event in seen] == [("start", identity), ("die", identity)]


def test_past_events_end_at_a_past_time(server: Server) -> None:
    """A closed span of time is answered at once."""
    server.container("sleep", start=False)

    past = server.call("GET", "/events?since=1&until=2")
    assert (past.status, past.body) == (200, b"")


def test_bad_event_queries_are_refused(server: Server) -> None:
    """Before the stream begins."""
    assert server.call("GET", "/events?since=2&until=1").status == 400
    assert server.call("GET", "/events?since=now").status == 400
    assert server.call("GET", '/events?filters={"colour":["red"]}').status == 400
