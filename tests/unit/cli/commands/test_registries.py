"""The verbs on images in registries."""

import base64
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.server import Daemon, Reply, Request, command, corten

PATIENCE = 20.0  # seconds
MANIFEST = b'{"schemaVersion":2,"config":{"size":3}}'
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with a folder of their own."""
    return {"DOCKER_CONFIG": str(tmp_path / "docker"), "HOME": str(tmp_path)}


def stream(*messages: dict[str, Any]) -> Reply:
    """Return a stream of progress messages."""
    return Reply(200, chunks=[json.dumps(message).encode() + b"\n" for message in messages])


def login_of(request: Request) -> Any:
    """Return who the client says it is."""
    return json.loads(base64.urlsafe_b64decode(request.headers["x-registry-auth"]))


def test_pull(daemon: Daemon, config: dict[str, str]) -> None:
    """Steps are left out, the last line is the full name."""
    step = {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "a"}
    reply = stream({"status": "Pulling from library/debian", "id": "latest"}, step, {"status": "Status: x"})
    daemon.on("POST", "/images/create", reply)

    done = corten(daemon, "pull", "--platform", "linux/arm64", "debian", env=config)

    assert done.stdout.decode().splitlines() == [
        "Using default tag: latest",
        "latest: Pulling from library/debian",
        "Status: x",
        "docker.io/library/debian:latest",
    ]
    asked = {"fromImage": ["debian"], "tag": ["latest"], "platform": ["linux/arm64"]}
    assert daemon.requests[0].query == asked
    assert login_of(daemon.requests[0]) == {}


@pytest.mark.parametrize(
    ("words", "query", "out"),
    [
        (("-q", "h:5000/a:1"), {"fromImage": ["h:5000/a"], "tag": ["1"]}, "h:5000/a:1\n"),
        (("-qa", "h:5000/a"), {"fromImage": ["h:5000/a"]}, "h:5000/a\n"),
        (("-q", "a@sha256:1"), {"fromImage": ["a@sha256:1"]}, "docker.io/library/a@sha256:1\n"),
    ],
)
def test_pull_names(
    daemon: Daemon, config: dict[str, str], words: tuple[str, ...], query: dict[str, list[str]], out: str
) -> None:
    """Tags, digests and whole repositories."""
    daemon.on("POST", "/images/create", stream({"status": "x"}))

    done = corten(daemon, "image", "pull", *words, env=config)

    assert (done.stdout.decode(), done.returncode) == (out, 0)
    assert daemon.requests[0].query == query


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("pull", "-a", "a:1"), 1, "tag can't be used with --all-tags/-a\n"),
        (("push", "-a", "a:1"), 1, "tag can't be used with --all-tags/-a\n"),
        (("push", "a@sha256:1"), 1, "cannot push a digest reference\n"),
        (("push", "--compression", "lzma", "a"), 1, 'unknown compression "lzma": choose gzip or zstd\n'),
        (("pull", "a"), 1, "Error response from daemon: pull access denied\n"),
        (("search", "a"), 1, "Error response from daemon: no search\n"),
        (("manifest", "inspect", "a", "b"), 1, "No such manifest: b: there are no local lists"),
    ],
)
def test_what_fails(
    daemon: Daemon, config: dict[str, str], words: tuple[str, ...], code: int, text: str
) -> None:
    """One line, and the status of Docker's client."""
    daemon.on("POST", "/images/create", Reply(404, {"message": "pull access denied"}))
    daemon.on("GET", "/images/search", Reply(501, {"message": "no search"}))

    done = corten(daemon, *words, env=config)

    assert done.returncode == code
    assert done.stderr.decode().startswith(text)


def test_a_pull_that_breaks(daemon: Daemon, config: dict[str, str]) -> None:
    """The error in the stream ends the command, with no name behind it."""
    daemon.on("POST", "/images/create", stream({"status": "x"}, {"error": "toomanyrequests: later"}))

    done = corten(daemon, "pull", "-q", "a", env=config)

    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"toomanyrequests: later\n")


def test_push(daemon: Daemon, config: dict[str, str]) -> None:
    """Repository in the path, tag in the query, the platform as JSON."""
    daemon.on("POST", "/images/h:5000/a/push", stream({"status": "Pushed", "id": "x"}, {"aux": {"Size": 1}}))

    done = corten(daemon, "push", "--platform", "linux/arm64", "--compression=zstd", "h:5000/a", env=config)

    assert done.stdout == b"Using default tag: latest\nx: Pushed\n"
    assert daemon.requests[0].query == {
        "tag": ["latest"],
        "platform": ['{"os":"linux","architecture":"arm64"}'],
        "compression": ["zstd"],
    }
    quiet = corten(daemon, "push", "-q", "h:5000/a:2", env=config)
    assert quiet.stdout == b"h:5000/a:2\n"


def test_login_and_logout(daemon: Daemon, config: dict[str, str]) -> None:
    """What worked is kept and sent along; logging out forgets it."""
    daemon.on("POST", "/auth", Reply(200, {"Status": "Login Succeeded", "IdentityToken": ""}))
    daemon.on("POST", "/images/create", stream({"status": "x"}))

    done = corten(daemon, "login", "-u", "anna", "--password-stdin", "h:5000", stdin=b"pw\r\n", env=config)
    corten(daemon, "pull", "h:5000/a", env=config)
    out = corten(daemon, "logout", "h:5000", env=config)
    again = corten(daemon, "logout", "h:5000", env=config)

    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n")
    assert b"stored unencrypted" in done.stderr
    anna = {"username": "anna", "password": "pw", "serveraddress": "h:5000"}
    assert [daemon.requests[0].json(), login_of(daemon.requests[1])] == [anna, anna]
    assert out.stdout == b"Removing login credentials for h:5000\n"
    assert again.stdout == b"Not logged in to h:5000\n"


def test_a_wrong_password_is_not_kept(daemon: Daemon, config: dict[str, str]) -> None:
    """The daemon's words, and no file."""
    daemon.on("POST", "/auth", Reply(401, {"message": "unauthorized: wrong"}))

    done = corten(daemon, "login", "-u", "anna", "-p", "pw", env=config)

    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        "Error response from daemon: unauthorized: wrong",
    ]
    assert not os.path.exists(config["DOCKER_CONFIG"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--password-stdin",), "the --password-stdin option requires --username to be set"),
        (("-u", "a", "-p", "x", "--password-stdin"), "conflicting options"),
        ((), "without a terminal"),
        (("-u", "a"), "without a terminal"),
        (("-u", "a", "--password-stdin"), "without a terminal"),
    ],
)
def test_login_without_what_it_needs(
    daemon: Daemon, config: dict[str, str], words: tuple[str, ...], text: str
) -> None:
    """One line each; nobody is asked where nobody can answer."""
    done = corten(daemon, "login", *words, env=config)

    assert done.returncode == 1
    assert text in done.stderr.decode()
    assert daemon.requests == []


def test_a_login_that_is_known_is_tried_first(daemon: Daemon, config: dict[str, str]) -> None:
    """A token comes in place of the password, and is kept."""
    daemon.on("POST", "/auth", Reply(200, {"Status": "Login Succeeded", "IdentityToken": "token"}))
    corten(daemon, "login", "-u", "anna", "--password-stdin", stdin=b"pw", env=config)
    done = corten(daemon, "login", env=config)

    assert done.stdout.decode().splitlines() == [
        "Authenticating with existing credentials... [Username: anna]",
        "Login Succeeded",
    ]
    assert daemon.requests[1].json()["identitytoken"] == "token"


@pytest.mark.slow
def test_passwords_are_asked_for_in_secret(daemon: Daemon, config: dict[str, str]) -> None:
    """The name is shown, the password is not, and the terminal is as before."""
    daemon.on("POST", "/auth", Reply(200, {"Status": "Login Succeeded"}))
    ours, theirs = pty.openpty()
    words = command(daemon, "login", "h:1")
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | config) as run:
        os.close(theirs)
        shown = _until(ours, b"Username: ")
        os.write(ours, b"anna\n")
        shown += _until(ours, b"Password: ")
        os.write(ours, b"hidden\n")
        shown += _until(ours, b"Succeeded")
        assert run.wait(PATIENCE) == 0
    os.close(ours)

    assert b"anna" in shown
    assert b"hidden" not in shown
    body = {"username": "anna", "password": "hidden", "serveraddress": "h:1"}
    assert daemon.requests[0].json() == body


def _until(descriptor: int, text: bytes) -> bytes:
    """Read what a terminal shows up to *text*."""
    shown = b""
    while text not in shown:
        shown += os.read(descriptor, 4096)
    return shown


def test_search(daemon: Daemon, config: dict[str, str]) -> None:
    """The most popular first; long descriptions are cut."""
    row = {"star_count": 1, "is_official": False, "name": "a/b", "description": "x" * 50}
    top = {"star_count": 9, "is_official": True, "name": "a", "description": "two\nlines"}
    daemon.on("GET", "/images/search", Reply(200, [row, top]))

    done = corten(daemon, "search", "--limit", "5", "-f", "stars=3", "deb", env=config)
    lines = done.stdout.decode().splitlines()

    assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["a", "a/b"]
    assert "two lines" in lines[1]
    assert "[OK]" in lines[1]
    assert "x" * 44 + "…" in lines[2]
    assert daemon.requests[0].query == {
        "term": ["deb"],
        "limit": ["5"],
        "filters": ['{"stars":{"3":true}}'],
    }
    form = corten(daemon, "search", "--no-trunc", "--format", "{{.Name}}:{{.Description}}", "d", env=config)
    assert form.stdout.decode().splitlines() == ["a:two lines", f"a/b:{'x' * 50}"]


def test_manifest_inspect(daemon: Daemon, config: dict[str, str]) -> None:
    """The document in its own order; with -v what it is, and its platform."""
    headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": "sha256:1"}
    daemon.on("GET", "/distribution/a:latest/manifest", Reply(200, MANIFEST, headers))
    platform = {"os": "linux", "architecture": "arm64"}
    daemon.on("GET", "/distribution/a:latest/json", Reply(200, {"Platforms": [platform]}))

    plain = corten(daemon, "manifest", "inspect", "a", env=config)
    more = json.loads(corten(daemon, "manifest", "inspect", "-v", "a", env=config).stdout)

    assert list(json.loads(plain.stdout)) == ["schemaVersion", "config"]
    assert more["Ref"] == "docker.io/library/a:latest"
    assert more["Descriptor"]["platform"] == platform
    assert base64.b64decode(more["Raw"]) == MANIFEST
    assert more["OCIManifest"] == json.loads(MANIFEST)


def test_inspect_of_an_image_that_was_not_pulled(daemon: Daemon, config: dict[str, str]) -> None:
    """--remote asks the registry, for the platform wanted."""
    daemon.on("GET", "/distribution/a:latest/image", Reply(200, {"Id": "sha256:1"}))
    words = ("image", "inspect", "--remote", "--platform", "linux/arm64", "-f", "{{.Id}}", "a")

    assert corten(daemon, *words, env=config).stdout == b"sha256:1\n"
    assert daemon.requests[-1].query == {"platform": ["linux/arm64"]}


def test_manifest_inspect_of_a_list(daemon: Daemon, config: dict[str, str]) -> None:
    """With -v every image of it."""
    index = {"schemaVersion": 2, "manifests": [{"digest": "sha256:1", "platform": {"os": "linux"}}]}
    daemon.on(
        "GET",
        "/distribution/h:5/a:1/manifest",
        Reply(
            200,
            json.dumps(index).encode(),
            {"Content-Type": OCI_INDEX, "Docker-Content-Digest": "sha256:0"},
        ),
    )
    headers = {"Content-Type": "application/vnd.docker.x", "Docker-Content-Digest": "sha256:1"}
    daemon.on("GET", "/distribution/h:5/a@sha256:1/manifest", Reply(200, MANIFEST, headers))

    done = corten(daemon, "manifest", "inspect", "-v", "h:5/a:1", env=config)

    (entry,) = json.loads(done.stdout)
    assert entry["Ref"] == "h:5/a:1@sha256:1"
    assert entry["Descriptor"]["platform"] == {"os": "linux"}
    assert entry["SchemaV2Manifest"] == json.loads(MANIFEST)


def test_run_pulls_what_is_missing(daemon: Daemon, config: dict[str, str]) -> None:
    """With the login for that registry; everything about it is on stderr."""
    asked: list[str] = []

    def create(request: Request) -> Reply:
        asked.append(request.path)
        if len(asked) == 1:
            return Reply(404, {"message": "No such image: h:5000/a:latest"})
        return Reply(201, {"Id": "c", "Warnings": []})

    daemon.on("POST", "/containers/create", create)
    daemon.on("POST", "/images/create", stream({"status": "Pulling", "id": "latest"}))
    daemon.on("POST", "/containers/c/start", Reply(204))
    os.makedirs(config["DOCKER_CONFIG"])
    logins = {"auths": {"h:5000": {"auth": base64.b64encode(b"anna:pw").decode()}}}
    Path(config["DOCKER_CONFIG"], "config.json").write_text(json.dumps(logins))

    done = corten(daemon, "run", "-d", "--platform", "linux/amd64", "h:5000/a", env=config)

    assert (done.returncode, done.stdout) == (0, b"c\n")
    assert done.stderr.decode().splitlines() == [
        "Unable to find image 'h:5000/a:latest' locally",
        "latest: Pulling",
    ]
    pulled = next(request for request in daemon.requests if request.path == "/images/create")
    assert login_of(pulled)["username"] == "anna"
    assert pulled.query["platform"] == ["linux/amd64"]


@pytest.mark.parametrize(("pull", "images"), [("always", 1), ("never", 0)])
def test_when_run_pulls(daemon: Daemon, config: dict[str, str], pull: str, images: int) -> None:
    """Always first, or never: then the daemon's words are the last."""
    daemon.on("POST", "/containers/create", Reply(404, {"message": "No such image: a:latest"}))
    daemon.on("POST", "/images/create", stream({"status": "x"}))

    done = corten(daemon, "run", "--pull", pull, "a", env=config)

    assert done.returncode == 125
    assert b"No such image: a:latest" in done.stderr
    assert daemon.asked().count("POST /images/create") == images
