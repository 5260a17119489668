"""Images over HTTP."""

import asyncio
import json
from typing import Any

import pytest

from tests.fakes.engine import IMAGE_ID
from tests.unit.serve.api.conftest import Server, read_head


def lines(body: bytes) -> list[dict[str, Any]]:
    """Return the messages of a progress stream."""
    return [json.loads(line) for line in body.splitlines()]


def test_lists_images(server: Server) -> None:
    """Filters reach the engine, also in the oldest form."""
    assert [i["RepoTags"] for i in server.call("GET", "/images/json?all=1").json()] == [["debian:latest"]]
    assert server.call("GET", '/images/json?filters={"reference":["x"]}').json() == []
    assert server.call("GET", "/images/json?filter=x").json() == []
    assert server.call("GET", '/images/json?filters={"x":["x"]}').status == 400
    assert server.engine.images.calls[0] == ("list", {}, True)


def test_inspects_and_shows_history(server: Server) -> None:
    """An image that is not here is named as Docker does."""
    assert server.call("GET", "/images/debian/json").json()["Id"] == IMAGE_ID
    assert server.call("GET", "/images/debian/history").json()[0]["CreatedBy"] == "test"
    missing = server.call("GET", "/images/a/b/json")
    assert (missing.status, missing.json()) == (404, {"message": "No such image: a/b:latest"})


def test_tags_and_removes(server: Server) -> None:
    """Repository and tag become one reference."""
    assert server.call("POST", "/images/debian/tag?repo=host:5000/a&tag=1").status == 201
    assert "host:5000/a:1" in server.engine.images.names
    removed = server.call("DELETE", "/images/host:5000/a:1?force=1")
    assert (removed.status, removed.json()) == (200, [{"Untagged": "host:5000/a:1"}])
    assert server.engine.images.calls == [("remove", "host:5000/a:1", True, False)]


def test_loads_an_archive(server: Server) -> None:
    """Progress comes line by line, from a worker thread, in order."""
    names = [f"image{n}:1" for n in range(2000)]
    answer = server.call("POST", "/images/load", "\n".join(names).encode())
    told = [m["stream"] for m in lines(answer.body) if "stream" in m]

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert told == [f"Loaded image: {name}\n" for name in names]
    assert server.engine.images.names >= set(names)


def test_a_quiet_load_tells_results_only(server: Server) -> None:
    """No message of how far it is."""
    answer = server.call("POST", "/images/load?quiet=1", b"a:1\n")

    assert lines(answer.body) == [{"stream": "Loaded image: a:1\n"}]


def test_a_load_that_fails_at_once_is_an_ordinary_error(server: Server) -> None:
    """Status and message, since nothing has been sent."""
    answer = server.call("POST", "/images/load", b"rubbish")

    assert (answer.status, answer.json()) == (500, {"message": "not an image: rubbish"})


def test_a_load_that_fails_later_says_so_in_the_stream(server: Server) -> None:
    """The last line is the error."""
    answer = server.call("POST", "/images/load", b"a:1\nrubbish\n")
    text = "not an image: rubbish"

    assert answer.status == 200
    assert lines(answer.body)[-1] == {"errorDetail": {"message": text}, "error": text}


def test_an_upload_that_breaks_off_ends_the_verb(server: Server) -> None:
    """The worker thread that reads it does not wait for ever."""
    with server.connect() as sock:
        sock.sendall(b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\na:1\n")
        read_head(sock)  # the first line has been read and told

    async def quiet() -> None:
        while server.door.busy:  # noqa: ASYNC110  # the door has no event for this
            await asyncio.sleep(0)

    server.do(quiet())


def test_imports_an_archive(server: Server) -> None:
    """The id is the last status."""
    path = "/images/create?fromSrc=-&repo=own&tag=1&message=hi&changes=CMD+a&changes=USER+b&platform=linux"
    answer = server.call("POST", path, b"x" * 3_000_000)

    assert lines(answer.body) == [{"status": "Importing"}, {"status": IMAGE_ID}]
    assert server.engine.images.calls == [("import", 3_000_000, "own:1", "hi", ("CMD a", "USER b"), "linux")]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("fromImage=debian&tag=1", 501, "pull is not available yet: load, import or bootstrap an image"),
        ("fromSrc=http://x/y.tar", 501, "import from a URL"),
        ("", 400, "nothing to create"),
    ],
)
def test_what_cannot_be_created_says_what_can(server: Server, query: str, status: int, message: str) -> None:
    """The message names the way that is open."""
    answer = server.call("POST", f"/images/create?{query}")

    assert answer.status == status
    assert message in answer.json()["message"]


def test_saves_archives(server: Server) -> None:
    """One image by path, several by query in either form."""
    server.call("POST", "/images/debian/tag?repo=a&tag=1")

    assert server.call("GET", "/images/debian/get").body == b"debian\n"
    assert server.call("GET", "/images/get?names=debian&names=a:1").body == b"debian\na:1\n"
    assert server.call("GET", "/images/get?names=debian,a:1").body == b"debian\na:1\n"
    assert server.call("GET", "/images/get").status == 400
    assert server.call("GET", "/images/get?names=nowhere").status == 404


def test_bootstraps_a_base_image(server: Server) -> None:
    """Progress, and the id last."""
    answer = server.call("POST", "/corten/images/bootstrap?distribution=debian&suite=trixie&include=a,b")

    assert lines(answer.body) == [
        {"status": "making trixie with a+b", "id": "minbase"},
        {"aux": {"ID": IMAGE_ID}},
    ]
    assert server.call("POST", "/corten/images/bootstrap?distribution=plan9").status == 501
    broken = server.call("POST", "/corten/images/bootstrap?suite=broken")
    assert lines(broken.body)[-1]["error"] == "no such suite: broken"


def test_a_bootstrap_ends_with_its_client(server: Server) -> None:
    """Nobody is left to use the image."""
    with server.connect() as sock:
        sock.sendall(b"POST /corten/images/bootstrap?suite=endless HTTP/1.1\r\nHost: d\r\n\r\n")
        read_head(sock)

    server.do(server.engine.images.cancelled.wait())
