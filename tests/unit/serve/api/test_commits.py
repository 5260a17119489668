"""Changes and commits over HTTP."""

from corten.engine.containers.commit import Order
from tests.fakes.engine import IMAGE_ID
from tests.unit.serve.api.conftest import Server


def test_changes(server: Server) -> None:
    """Kinds are numbers; a name that is no text is shown all the same; nothing is null, as in Docker."""
    identity = server.container("exit", "0")
    assert server.call("GET", f"/containers/{identity}/changes").json() == [
        {"Path": "/etc", "Kind": 0},
        {"Path": "/etc/new\N{REPLACEMENT CHARACTER}", "Kind": 1},
        {"Path": "/gone", "Kind": 2},
    ]
    fresh = server.container("exit", "0", start=False)
    assert server.call("GET", f"/containers/{fresh}/changes").json() is None
    assert server.call("GET", "/containers/gone/changes").status == 404


def test_commit(server: Server) -> None:
    """All that can be said reaches the engine."""
    identity = server.container("exit", "0", name="c1")
    query = "container=c1&repo=own&tag=1&comment=why&author=me&changes=CMD+a&changes=USER+b&pause=0"
    answer = server.call("POST", f"/commit?{query}", {"Env": ["A=1"], "Cmd": "x"})
    assert (answer.status, answer.json()) == (201, {"Id": IMAGE_ID})
    ((found, order),) = server.engine.containers.commits
    assert (found, order.reference, order.author, order.comment) == (identity, "own:1", "me", "why")
    assert (order.changes, order.pause) == (("CMD a", "USER b"), False)
    assert order.config is not None
    assert (order.config.env, order.config.cmd) == (("A=1",), ("x",))


def test_commit_without_more(server: Server) -> None:
    """No body, and none of the forms of nothing, asks for anything; it is paused unless said."""
    server.container("exit", "0", name="c1")
    for body in (None, b"null", b"{}", b" "):
        assert server.call("POST", "/commit?container=c1", body).status == 201
    assert {order for _, order in server.engine.containers.commits} == {Order()}


def test_commit_of_nothing(server: Server) -> None:
    """What is missing or malformed is said."""
    assert server.call("POST", "/commit").status == 400
    assert server.call("POST", "/commit?container=gone").status == 404
    server.container("exit", "0", name="c1")
    assert server.call("POST", "/commit?container=c1", b"[").status == 400
    assert server.engine.containers.commits == []
