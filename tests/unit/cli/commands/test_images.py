"""The verbs on images and on the engine."""

import time
from pathlib import Path
from typing import Any

import pytest

from corten.cli.main import command_line
from tests.unit.cli.server import Daemon, Reply, corten

IMAGE: dict[str, Any] = {
    "Id": "sha256:" + "0123456789abcdef" * 4,
    "RepoTags": ["debian:latest", "host:5000/d:1"],
    "RepoDigests": ["debian@sha256:ff"],
    "Created": int(time.time()) - 3 * 86400,
    "Size": 77812345,
    "SharedSize": -1,
    "Containers": -1,
}


def run(daemon: Daemon, *words: str) -> int:
    """Run the client in this process."""
    return command_line(["-H", f"unix://{daemon.path}", *words])


def test_images(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """One row per name."""
    daemon.on("GET", "/images/json", Reply(200, [IMAGE, IMAGE | {"RepoTags": [], "RepoDigests": []}]))

    assert run(daemon, "images", "debian") == 0
    assert capsys.readouterr().out == (
        "REPOSITORY    TAG       IMAGE ID       CREATED      SIZE\n"
        "debian        latest    0123456789ab   3 days ago   77.8MB\n"
        "host:5000/d   1         0123456789ab   3 days ago   77.8MB\n"
        "<none>        <none>    0123456789ab   3 days ago   77.8MB\n"
    )
    assert daemon.requests[0].query == {"filters": ['{"reference":{"debian":true}}']}


def test_digests(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A digest belongs to a repository."""
    daemon.on("GET", "/images/json", Reply(200, [IMAGE]))

    run(daemon, "image", "ls", "--digests", "--format", "{{.Repository}} {{.Digest}}")

    assert capsys.readouterr().out == "debian sha256:ff\nhost:5000/d <none>\n"


def test_history(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Layers with what made them."""
    step = {
        "Id": "<missing>",
        "Created": int(time.time()) - 60,
        "CreatedBy": "x" * 60,
        "Size": 5,
        "Comment": "c",
    }
    daemon.on("GET", "/images/debian/history", Reply(200, [step]))

    assert run(daemon, "history", "debian") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line == f"<missing>   About a minute ago   {'x' * 44}…   5B        c"


def test_rmi(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What went is told."""
    daemon.on("DELETE", "/images/a/b:1", Reply(200, [{"Untagged": "a/b:1"}, {"Deleted": "sha256:1"}]))

    assert run(daemon, "rmi", "-f", "a/b:1") == 0
    assert capsys.readouterr().out == "Untagged: a/b:1\nDeleted: sha256:1\n"


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("b", {"repo": ["b"], "tag": ["latest"]}),
        ("host:5000/b", {"repo": ["host:5000/b"], "tag": ["latest"]}),
        ("host:5000/b:2", {"repo": ["host:5000/b"], "tag": ["2"]}),
    ],
)
def test_tag(daemon: Daemon, name: str, query: dict[str, list[str]]) -> None:
    """The port of a registry is not a tag."""
    daemon.on("POST", "/images/a/tag", Reply(201))

    assert run(daemon, "tag", "a", name) == 0
    assert daemon.requests[0].query == query


def test_save_into_a_file(daemon: Daemon, tmp_path: Path) -> None:
    """The archive is there when it is complete; half of one never is."""
    daemon.on("GET", "/images/get", Reply(200, chunks=[b"tar", b"ball"]))

    assert run(daemon, "save", "-o", str(tmp_path / "a"), "x", "y") == 0
    assert (tmp_path / "a").read_bytes() == b"tarball"
    assert daemon.requests[0].query == {"names": ["x", "y"]}
    daemon.on("GET", "/images/get", Reply(200, b"ab", headers={"Content-Length": "9"}, close=True))
    assert run(daemon, "save", "-o", str(tmp_path / "b"), "x") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a"]


def test_export_to_stdout(daemon: Daemon) -> None:
    """The stream goes through unchanged."""
    daemon.on("GET", "/containers/c/export", Reply(200, chunks=[b"\0\xff" * 1000]))

    assert corten(daemon, "export", "c").stdout == b"\0\xff" * 1000


def test_load(daemon: Daemon, tmp_path: Path) -> None:
    """From a file or from stdin; what the daemon says is shown without its steps."""
    lines = b'{"status":"Loading","id":"l","progressDetail":{"current":5,"total":9}}\n{"stream":"Loaded image: x\\n"}\n'
    daemon.on("POST", "/images/load", Reply(200, chunks=[lines]))
    (tmp_path / "a.tar").write_bytes(b"archive")

    shown = corten(daemon, "load", "-i", str(tmp_path / "a.tar")).stdout
    quiet = corten(daemon, "load", "-q", stdin=b"stdin")

    assert (shown, quiet.stdout) == (b"Loaded image: x\n", b"Loaded image: x\n")
    assert [request.query for request in daemon.requests] == [{}, {"quiet": ["1"]}]
    assert [request.body for request in daemon.requests] == [b"archive", b"stdin"]


def test_a_failure_in_the_stream(daemon: Daemon) -> None:
    """An error that comes late is an error."""
    daemon.on(
        "POST", "/images/load", Reply(200, chunks=[b'{"errorDetail":{"message":"bad"},"error":"bad"}\n'])
    )

    done = corten(daemon, "load", stdin=b"x")

    assert (done.returncode, done.stderr) == (1, b"bad\n")


def test_import(daemon: Daemon) -> None:
    """The archive from stdin, the name and the changes in the query; the id is printed."""
    daemon.on("POST", "/images/create", Reply(200, chunks=[b'{"status":"sha256:1"}\n']))

    done = corten(daemon, "import", "-c", "CMD x", "-m", "hi", "-", "a/b:1", stdin=b"tar")

    assert done.stdout == b"sha256:1\n"
    assert daemon.requests[0].body == b"tar"
    query = {"fromSrc": ["-"], "repo": ["a/b"], "tag": ["1"], "message": ["hi"], "changes": ["CMD x"]}
    assert daemon.requests[0].query == query


def test_bootstrap(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Distribution, suite and packages; the id comes last."""
    daemon.on(
        "POST",
        "/corten/images/bootstrap",
        Reply(200, chunks=[b'{"status":"Installing"}\n{"aux":{"ID":"sha256:1"}}\n']),
    )

    assert run(daemon, "image", "bootstrap", "debian:bookworm", "--include", "a,b", "--include", "c") == 0
    assert capsys.readouterr().out == "Installing\nsha256:1\n"
    wanted = {"distribution": ["debian"], "suite": ["bookworm"], "include": ["a,b,c"]}
    assert daemon.requests[0].query == wanted


def test_events(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per event, or what the template makes of it."""
    event = b'{"Type":"container","Action":"start","Actor":{"ID":"c","Attributes":{"name":"w","image":"i"}},"timeNano":1500000001000000002}\n'
    daemon.on("GET", "/events", Reply(200, chunks=[event]))

    assert run(daemon, "events", "--until", "5") == 0
    assert run(daemon, "system", "events", "--format", "{{.Action}} {{.Actor.ID}}") == 0
    line, formatted = capsys.readouterr().out.splitlines()
    assert line.endswith(" container start c (image=i, name=w)")
    assert ".000000002" in line
    assert formatted == "start c"


def test_version(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides; the client's alone when nobody answers."""
    daemon.on(
        "GET",
        "/version",
        Reply(200, {"Version": "9", "Platform": {"Name": "corten"}, "Os": "linux", "Arch": "x"}),
    )

    assert run(daemon, "version") == 0
    assert "Server: corten\n Version:          9\n" in capsys.readouterr().out
    assert run(daemon, "version", "-f", "{{.Server.Version}}") == 0
    assert capsys.readouterr().out == "9\n"
    assert command_line(["-H", "unix:///none", "version"]) == 1
    assert capsys.readouterr().out.startswith("Client:\n")


def test_info(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known is shown; warnings go to stderr."""
    facts = {"Containers": 2, "Driver": "overlay", "MemTotal": 8237563904, "Warnings": ["WARNING: x"]}
    daemon.on("GET", "/info", Reply(200, facts))

    assert run(daemon, "info") == 0
    shown = capsys.readouterr()
    assert " Containers: 2\n" in shown.out
    assert " Total Memory: 7.672GiB\n" in shown.out
    assert shown.err == "WARNING: x\n"
