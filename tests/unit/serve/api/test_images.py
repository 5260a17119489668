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


def test_imports_an_address(server: Server) -> None:
    """The engine fetches it; the body is not looked at."""
    answer = server.call("POST", "/images/create?fromSrc=http://x/y.tar&repo=own&changes=CMD+a")

    assert lines(answer.body) == [{"status": IMAGE_ID}]
    assert server.engine.images.calls == [("import", "http://x/y.tar", "own", "", ("CMD a",), None)]


def test_what_cannot_be_created_says_what_can(server: Server) -> None:
    """The message names the way that is open."""
    answer = server.call("POST", "/images/create")

    assert (answer.status, answer.json()) == (
        400,
        {"message": "nothing to create: give fromSrc=- and the archive as the body"},
    )


ARM = '{"os":"linux","architecture":"aarch64"}'


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("GET", f"/images/debian/json?platform={ARM}&manifests=1", ("inspect", "linux/arm64", True)),
        ("GET", "/images/debian/json?platform=linux/arm64", ("inspect", "linux/arm64", False)),
        ("GET", f"/images/debian/history?platform={ARM}", ("history", "linux/arm64")),
        (
            "GET",
            f"/images/debian/get?platform={ARM}&platform=linux/386",
            ("save", "linux/arm64", "linux/386"),
        ),
        ("GET", f"/images/get?names=debian&platform=[{ARM}]", ("save", "linux/arm64")),
        ("POST", f"/images/load?platform={ARM}", ("load", "linux/arm64")),
        ("DELETE", f"/images/debian?platforms={ARM}", ("remove", "debian", False, False, "linux/arm64")),
        ("GET", "/images/json?shared-size=1&layers=1", ("list", {}, False, "layers", "shared-size")),
        ("GET", "/images/json?manifests=true", ("list", {}, False, "manifests")),
    ],
)
def test_platforms_and_extras(server: Server, method: str, path: str, call: tuple[object, ...]) -> None:
    """Platforms are read in both of their forms, and reach the engine as extras of the list do."""
    assert server.call(method, path).status == 200
    assert server.engine.images.calls == [call]


@pytest.mark.parametrize("query", ["platform={", "platform=a/b/c/d", "platform=linux/386&platform=linux/arm"])
def test_malformed_platforms_are_refused(server: Server, query: str) -> None:
    """A platform that cannot be read, or one too many, is refused before anything is done."""
    assert server.call("GET", f"/images/debian/json?{query}").status == 400
    assert server.engine.images.calls == []


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
