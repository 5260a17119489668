"""The verbs on volumes."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.commands.test_images import run
from tests.unit.cli.server import Daemon, Reply, corten

VOLUME: dict[str, Any] = {
    "CreatedAt": "2026-01-02T03:04:05Z",
    "Driver": "local",
    "Labels": {"b": "2", "a": ""},
    "Mountpoint": "/v/data/_data",
    "Name": "data",
    "Options": None,
    "Scope": "local",
}


def test_create(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag has its member; the name is printed."""
    daemon.on("POST", "/volumes/create", Reply(201, VOLUME))
    words = ("-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "--label", "a", "--size", "10m")
    assert run(daemon, "volume", "create", *words, "data") == 0
    assert run(daemon, "volume", "create") == 0
    assert capsys.readouterr().out == "data\ndata\n"
    assert [request.json() for request in daemon.requests] == [
        {
            "Name": "data",
            "Driver": "local",
            "DriverOpts": {"type": "tmpfs", "device": "tmpfs"},
            "Labels": {"a": ""},
            "Size": 10 << 20,
        },
        {"Name": "", "Driver": "local", "DriverOpts": {}, "Labels": {}},
    ]


def test_create_takes_one_name(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Also by the flag of old; both are a contradiction."""
    daemon.on("POST", "/volumes/create", Reply(201, VOLUME))
    assert run(daemon, "volume", "create", "--name", "a") == 0
    assert daemon.requests[0].json()["Name"] == "a"
    assert run(daemon, "volume", "create", "--name", "a", "b") == 1
    assert "conflicting options" in capsys.readouterr().err


def test_ls(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Sorted as people count."""
    volumes = [VOLUME | {"Name": name} for name in ("v10", "v9")]
    daemon.on("GET", "/volumes", Reply(200, {"Volumes": volumes, "Warnings": None}))
    assert run(daemon, "volume", "ls", "-f", "dangling=true") == 0
    assert capsys.readouterr().out == "DRIVER    VOLUME NAME\nlocal     v9\nlocal     v10\n"
    assert daemon.requests[0].query == {"filters": ['{"dangling":{"true":true}}']}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-q"], "data\n"),
        (
            ["--format", '{{.Mountpoint}} {{.Labels}} {{.Label "b"}} {{.Size}}'],
            "/v/data/_data a=,b=2 2 N/A\n",
        ),
    ],
)
def test_ls_formats(daemon: Daemon, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names alone, templates."""
    daemon.on("GET", "/volumes", Reply(200, {"Volumes": [VOLUME]}))
    run(daemon, "volume", "list", *words)
    assert capsys.readouterr().out == text


def test_ls_of_the_trash(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What can be taken back, the latest first."""
    item = {"RemovedAt": "2026-01-01T00:00:00Z", "ExpiresAt": "2026-01-02T00:00:00Z"}
    items = [item | {"Id": "t1", "Name": "a", "Size": -1}, item | {"Id": "t2", "Name": "b", "Size": 1000}]
    daemon.on("GET", "/corten/volumes/trash", Reply(200, items))
    assert (
        run(daemon, "volume", "ls", "--trash", "--format", "{{.ID}} {{.Name}} {{.Size}} {{.ExpiresAt}}") == 0
    )
    assert capsys.readouterr().out == "t2 b 1kB 2026-01-02T00:00:00Z\nt1 a N/A 2026-01-02T00:00:00Z\n"
    run(daemon, "volume", "ls", "--trash")
    assert capsys.readouterr().out.startswith("TRASH ID   VOLUME NAME   REMOVED ")
    assert run(daemon, "volume", "ls", "--trash", "-f", "name=a") == 1


def test_inspect(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """As every inspect."""
    daemon.on("GET", "/volumes/data", Reply(200, VOLUME))
    assert run(daemon, "volume", "inspect", "-f", "{{.Mountpoint}}", "data") == 0
    assert capsys.readouterr().out == "/v/data/_data\n"


def test_rm(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The names as they go."""
    daemon.on("DELETE", "/volumes/a", Reply(204))
    assert run(daemon, "volume", "rm", "a", "gone") == 1
    assert run(daemon, "volume", "remove", "-f", "--now", "a") == 0
    assert capsys.readouterr().out == "a\na\n"
    assert daemon.requests[-1].query == {"force": ["1"], "now": ["1"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "warning", "filters"),
    [
        ((), "anonymous local volumes", None),
        (("-a",), "all local volumes", '{"all":{"true":true}}'),
        (("--filter", "label=x"), "anonymous local volumes", '{"label":{"x":true}}'),
    ],
)
def test_prune_asks_first(daemon: Daemon, words: tuple[str, ...], warning: str, filters: str | None) -> None:
    """Anonymous ones alone, or all."""
    daemon.on("POST", "/volumes/prune", Reply(200, {"VolumesDeleted": ["a"], "SpaceReclaimed": 1000}))
    done = corten(daemon, "volume", "prune", *words, stdin=b"y\n")
    question, _, answer = done.stdout.decode().partition("[y/N] ")
    assert f"This will remove {warning} not used by at least one container." in question
    assert answer == "Deleted Volumes:\na\n\nTotal reclaimed space: 1kB\n"
    assert daemon.requests[0].query == ({"filters": [filters]} if filters else {})


def test_export_and_import(daemon: Daemon, tmp_path: Path) -> None:
    """A tar in a file, out and in."""
    daemon.on("GET", "/corten/volumes/data/export", Reply(200, chunks=[b"ab", b"c"]))
    daemon.on("POST", "/corten/volumes/data/import", Reply(204))
    file = tmp_path / "data.tar"
    assert run(daemon, "volume", "export", "-o", str(file), "data") == 0
    assert file.read_bytes() == b"abc"
    assert run(daemon, "volume", "import", "data", str(file)) == 0
    assert daemon.requests[-1].body == b"abc"


@pytest.mark.slow
def test_export_and_import_through_pipes(daemon: Daemon) -> None:
    """Stdout by default, stdin by a dash."""
    daemon.on("GET", "/corten/volumes/data/export", Reply(200, chunks=[b"abc"]))
    daemon.on("POST", "/corten/volumes/data/import", Reply(204))
    assert corten(daemon, "volume", "export", "data").stdout == b"abc"
    assert corten(daemon, "volume", "import", "data", "-", stdin=b"xyz").returncode == 0
    assert daemon.requests[-1].body == b"xyz"


def test_import_of_nothing(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is told before the daemon is asked."""
    assert run(daemon, "volume", "import", "data", "/nonexistent") == 1
    assert capsys.readouterr().err == "open /nonexistent: no such file or directory\n"
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "request_", "query", "out"),
    [
        (["clone", "data", "new"], "POST /corten/volumes/data/clone", {"name": ["new"]}, "data\n"),
        (["rename", "data", "new"], "POST /corten/volumes/data/rename", {"name": ["new"]}, ""),
        (["undelete", "data"], "POST /corten/volumes/data/undelete", {}, "data\n"),
        (["undelete", "data", "new"], "POST /corten/volumes/data/undelete", {"name": ["new"]}, "data\n"),
        (["snapshot", "data"], "POST /corten/volumes/data/snapshots", {}, "data\n"),
        (["snapshot", "data", "s"], "POST /corten/volumes/data/snapshots", {"snapshot": ["s"]}, "data\n"),
        (
            ["snapshot", "--rm", "data", "s"],
            "DELETE /corten/volumes/data/snapshots",
            {"snapshot": ["s"]},
            "s\n",
        ),
        (["restore", "data", "s"], "POST /corten/volumes/data/restore", {"snapshot": ["s"]}, ""),
    ],
)
def test_copies(
    daemon: Daemon,
    words: list[str],
    request_: str,
    query: dict[str, list[str]],
    out: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One request each; a name that the daemon chose, or was given, is printed."""
    method, _, path = request_.partition(" ")
    daemon.on(method, path, Reply(200, VOLUME | {"Trash": "t1"}))
    assert run(daemon, "volume", *words) == 0
    assert daemon.asked() == [request_]
    assert daemon.requests[0].query == query
    assert capsys.readouterr().out == out


def test_restore_tells_the_way_back(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What was there is not lost."""
    daemon.on("POST", "/corten/volumes/data/restore", Reply(200, {"Trash": "t7"}))
    assert run(daemon, "volume", "restore", "data", "s") == 0
    assert "'corten volume undelete t7 NEW_NAME'" in capsys.readouterr().err


def test_snapshot_lists(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, ages and sizes; a removal needs a name."""
    found = [{"Name": "s1", "CreatedAt": "2026-01-01T00:00:00Z", "Size": 1000}]
    daemon.on("GET", "/corten/volumes/data/snapshots", Reply(200, found))
    assert run(daemon, "volume", "snapshot", "-l", "data") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert (header.split(), row.split()[0], row.split()[-1]) == (["SNAPSHOT", "CREATED", "SIZE"], "s1", "1kB")
    assert run(daemon, "volume", "snapshot", "--rm", "data") == 1
    assert "no snapshot named" in capsys.readouterr().err
