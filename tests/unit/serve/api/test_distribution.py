"""Images in registries over HTTP: credentials, status codes, streams."""

import base64
import json
from typing import Any

import pytest

from corten.oci.platform import host
from tests.fakes.remote import DIGEST, MANIFEST, MEDIA_TYPE, PASSWORD, USER
from tests.unit.serve.api.conftest import Server, read_head

ANNA = {"username": USER, "password": PASSWORD}


def header(login: dict[str, Any]) -> dict[str, str]:
    """Return the header as Docker's clients send it."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


def lines(body: bytes) -> list[dict[str, Any]]:
    """Return the messages of a progress stream."""
    return [json.loads(line) for line in body.splitlines()]


def test_a_pull_streams_its_progress(server: Server) -> None:
    """Name, tag, platform and user reach the engine."""
    path = "/images/create?fromImage=hello&tag=1&platform=linux/arm64"
    answer = server.call("POST", path, headers=header(ANNA))

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert lines(answer.body) == [
        {"status": "Pulling from hello", "id": "1"},
        {"status": f"Digest: {DIGEST}"},
    ]
    assert server.engine.images.remote.calls == [("pull", "hello", "1", "linux/arm64", USER)]


def test_a_pull_of_nothing_is_no_stream(server: Server) -> None:
    """Clients decide by the status; the message is Docker's."""
    answer = server.call("POST", "/images/create?fromImage=nowhere&tag=1")

    assert answer.status == 404
    assert answer.json()["message"].startswith("pull access denied for nowhere, repository does not exist")


def test_a_pull_ends_with_its_client(server: Server) -> None:
    """Nobody waits for an image that nobody waits for."""
    with server.connect() as sock:
        sock.sendall(b"POST /images/create?fromImage=endless&tag=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        read_head(sock)
    server.do(server.engine.images.remote.cancelled.wait())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"X-Registry-Auth": "nonsense!"},
        {"X-Registry-Auth": base64.urlsafe_b64encode(b"[1]").decode()},
        header({}),
        header({"username": USER, "password": "wrong"}),
        header({"auth": "%%%"}),
    ],
)
def test_credentials_that_are_none(server: Server, given: dict[str, str]) -> None:
    """What cannot be read is nobody, as in Docker."""
    answer = server.call("GET", "/distribution/private:1/json", headers=given)

    assert (answer.status, answer.json()["message"]) == (
        401,
        "unauthorized: incorrect username or password",
    )


@pytest.mark.parametrize("login", [ANNA, {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}])
def test_credentials_in_both_forms(server: Server, login: dict[str, str]) -> None:
    """Name and password apart, or together as in the client's file, with or without padding."""
    given = header(login)
    for text in (given["X-Registry-Auth"], given["X-Registry-Auth"].rstrip("=")):
        answer = server.call("GET", "/distribution/private:1/json", headers={"X-Registry-Auth": text})
        assert answer.status == 200


def test_bearer_tokens_are_refused_clearly(server: Server) -> None:
    """With what to do instead."""
    answer = server.call("GET", "/distribution/hello:1/json", headers=header({"registrytoken": "x"}))

    assert answer.status == 501
    assert "log in with a name and a password" in answer.json()["message"]


def test_manifests_come_as_they_are(server: Server) -> None:
    """The bytes, what they are, and their digest; names may hold slashes and digests."""
    answer = server.call("GET", "/v1.47/distribution/hello:1/manifest")

    assert answer.body == MANIFEST
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.headers["Docker-Content-Digest"] == DIGEST
    assert server.call("GET", f"/distribution/a/b@{DIGEST}/manifest").status == 404
    assert server.call("GET", "/distribution/private:1/manifest").status == 401


def test_images_that_were_not_pulled(server: Server) -> None:
    """As inspect shows those that were; the platform is passed on, and who may not see it is told."""
    assert server.call("GET", "/distribution/hello:1/image").json()["Architecture"] == "this"
    found = server.call("GET", "/distribution/hello:1/image?platform=linux/arm64").json()
    assert found == {"Id": DIGEST, "Architecture": "linux/arm64"}
    assert server.call("GET", "/distribution/private:1/image").status == 401


def test_a_push_streams_its_progress(server: Server) -> None:
    """A failure after the first line is the last one; the platform comes as JSON."""
    server.call("POST", "/images/create?fromImage=hello&tag=1")
    path = '/images/hello/push?tag=1&compression=zstd&platform={"os":"linux","architecture":"aarch64"}'
    pushed = lines(server.call("POST", path).body)
    failed = lines(server.call("POST", "/images/a/b/push?tag=2&platform=linux").body)

    assert pushed[-1]["aux"] == {"Tag": "1", "Digest": DIGEST, "Size": 2}
    assert failed[-1]["error"] == "No such image: a/b:2"
    assert [call[1:] for call in server.engine.images.remote.calls[1:]] == [
        ("hello", "1", "linux/arm64", "zstd"),
        ("a/b", "2", f"linux/{host().architecture}", ""),
    ]
    assert server.call("POST", "/images/a/push?platform={x").status == 400


def test_logins(server: Server) -> None:
    """A wrong password is 401, by which clients ask again; a token is handed on."""
    good = server.call("POST", "/auth", ANNA | {"serveraddress": "tokens:5000"})
    wrong = server.call("POST", "/auth", ANNA | {"password": "x"})

    assert good.json() == {"Status": "Login Succeeded", "IdentityToken": "token"}
    assert wrong.status == 401
    assert server.call("POST", "/auth", {}).status == 400
    assert server.engine.images.remote.calls == [("login", "tokens:5000", USER), ("login", "", USER)]


def test_search(server: Server) -> None:
    """Limit and filters reach the engine; unknown ones do not."""
    path = '/images/search?term=deb&limit=3&filters={"stars":["3"]}'
    found = server.call("GET", path).json()

    assert found[0]["name"] == "deb"
    assert json.loads(found[0]["description"]) == [3, {"stars": ["3"]}]
    assert server.call("GET", '/images/search?term=deb&filters={"x":["3"]}').status == 400
    assert server.call("GET", "/images/search").status == 400
