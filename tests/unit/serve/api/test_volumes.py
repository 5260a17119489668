"""Volumes over HTTP."""

import io
from typing import Any

import pytest
from msgspec.structs import replace

from corten.engine.records.container import MountPoint
from tests.fakes.volumes import packed, unpacked
from tests.unit.serve.api.conftest import Server


def made(server: Server, name: str = "v1", files: dict[str, bytes] | None = None, **members: Any) -> str:
    """Make a volume that holds *files*, and return its name."""
    answer = server.call("POST", "/volumes/create", {"Name": name, **members})
    assert answer.status == 201, answer.body
    found: str = answer.json()["Name"]
    server.engine.volumes.content[found].files.update(files or {})
    return found


def content(body: bytes) -> dict[str, bytes]:
    """Return the files of a tar."""
    return unpacked(io.BytesIO(body))


def test_creates(server: Server) -> None:
    """The volume comes back, in Docker's members alone."""
    body = {"Name": "v1", "Driver": "local", "DriverOpts": {"o": None}, "Labels": {"a": "b"}}
    answer = server.call("POST", "/v1.47/volumes/create", body)
    assert (answer.status, answer.json()) == (
        201,
        {
            "CreatedAt": "2026-01-01T00:00:00Z",
            "Driver": "local",
            "Labels": {"a": "b"},
            "Mountpoint": "/volumes/v1/_data",
            "Name": "v1",
            "Options": {"o": ""},
            "Scope": "local",
        },
    )


def test_an_anonymous_volume_says_so(server: Server) -> None:
    """Without a name, or with null for everything, as docker-py asks."""
    body = dict.fromkeys(("Name", "Driver", "DriverOpts", "Labels", "ClusterVolumeSpec"))
    found = server.call("POST", "/volumes/create", body).json()
    assert len(found["Name"]) == 64
    assert found["Labels"] == {"com.docker.volume.anonymous": ""}
    assert found["Options"] is None


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            {"Name": "x", "Driver": "socks"},
            404,
            'error looking up volume plugin socks: plugin "socks" not found',
        ),
        ({"Name": "taken", "DriverOpts": {"o": "1"}}, 409, "volume taken exists with other options"),
        (
            {"Name": "x", "ClusterVolumeSpec": {"Group": "g"}},
            501,
            "volumes over several machines are not available",
        ),
        ({"Name": "x", "Size": -1}, 400, "invalid size: -1"),
        ({"Name": 1}, 400, "invalid JSON: Expected `str | null`, got `int` - at `$.Name`"),
        (b"[", 400, "invalid JSON"),
    ],
)
def test_refuses_to_create(server: Server, body: object, status: int, message: str) -> None:
    """Docker's codes, one line each."""
    made(server, "taken")
    answer = server.call("POST", "/volumes/create", body)
    assert (answer.status, answer.json()["message"][: len(message)]) == (status, message)


def test_inspects(server: Server) -> None:
    """Null for what is empty; a size, and what the driver says, where there is one."""
    made(server)
    found = server.call("GET", "/volumes/v1").json()
    assert (found["Labels"], found["Options"]) == (None, None)
    assert "Status" not in found
    assert "UsageData" not in found
    made(server, "small", Size=1000)
    found = server.call("GET", "/volumes/small").json()
    assert (found["Corten"], found["Status"]) == ({"Size": 1000}, {"quota": "project"})
    answer = server.call("GET", "/volumes/gone")
    assert (answer.status, answer.json()) == (404, {"message": "get gone: no such volume"})


def test_an_empty_list_is_no_null(server: Server) -> None:
    """Clients walk it without a look."""
    assert server.call("GET", "/volumes").json() == {"Volumes": [], "Warnings": None}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("{}", ["data", "free"]),
        ('{"dangling":["true"]}', ["free"]),
        ('{"dangling":{"false":true}}', ["data"]),
        ('{"driver":["local"]}', ["data", "free"]),
        ('{"driver":["nfs"]}', []),
        ('{"label":["a"]}', ["free"]),
        ('{"name":["^da"]}', ["data"]),
    ],
)
def test_filters_the_list(server: Server, filters: str, found: list[str]) -> None:
    """Volumes of containers that do not run are in use, too."""
    made(server, "data")
    made(server, "free", Labels={"a": "b"})
    record = server.engine.containers.get(server.container("sleep", start=False))
    mount = MountPoint("volume", "/volumes/data/_data", "/data", name="data", driver="local")
    server.engine.containers.put(replace(record, mounts=(mount,)))
    rows = server.call("GET", f"/volumes?filters={filters}").json()["Volumes"]
    assert [row["Name"] for row in rows] == found


@pytest.mark.parametrize("filters", ['{"dangling":["maybe"]}', '{"scope":["local"]}'])
def test_refuses_unknown_filters(server: Server, filters: str) -> None:
    """Rather than showing too much."""
    assert server.call("GET", f"/volumes?filters={filters}").status == 400


def test_removes(server: Server) -> None:
    """Into the trash, unless now; with force one that is gone is fine."""
    made(server)
    made(server, "v2")
    answer = server.call("DELETE", "/volumes/v1")
    assert (answer.status, answer.body) == (204, b"")
    assert server.call("DELETE", "/volumes/v2?now=1").status == 204
    assert [each.name for each in server.engine.volumes.thrown] == ["v1"]
    assert server.call("DELETE", "/volumes/v1").status == 404
    assert server.call("DELETE", "/volumes/v1?force=1").status == 204


def test_a_used_volume_stays(server: Server) -> None:
    """Who uses it is told."""
    made(server)
    identity = server.container("sleep", start=False)
    record = server.engine.containers.get(identity)
    server.engine.containers.put(
        replace(record, mounts=(MountPoint("volume", "/v", "/d", name="v1", driver="local"),))
    )
    answer = server.call("DELETE", "/volumes/v1?force=1")
    assert answer.status == 409
    assert answer.json() == {"message": f"remove v1: volume is in use - [{identity}]"}


def test_content_goes_out_and_in(server: Server) -> None:
    """A tar of everything, and one unpacked into another volume."""
    made(server, files={"a/b": b"1", "c": b"2"})
    made(server, "v2", files={"old": b"0"})
    answer = server.call("GET", "/corten/volumes/v1/export")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-tar")
    assert server.call("POST", "/corten/volumes/v2/import", answer.body).status == 204
    assert server.engine.volumes.content["v2"].files == {"old": b"0", "a/b": b"1", "c": b"2"}
    assert server.call("GET", "/corten/volumes/gone/export").status == 404
    assert server.call("POST", "/corten/volumes/gone/import", b"").status == 404


def test_files_go_out_and_in(server: Server) -> None:
    """One file or folder, under its own last name."""
    made(server, files={"a/b/c": b"1"})
    answer = server.call("GET", "/corten/volumes/v1/archive?path=/a/b")
    assert content(answer.body) == {"b/c": b"1"}
    body = packed({"new": b"2"})
    assert server.call("POST", "/corten/volumes/v1/archive?path=/a", body).status == 204
    assert server.engine.volumes.content["v1"].files == {"a/b/c": b"1", "a/new": b"2"}
    assert server.call("GET", "/corten/volumes/v1/archive?path=/gone").status == 404
    answer = server.call("GET", "/corten/volumes/v1/archive")
    assert (answer.status, answer.json()["message"]) == (400, "path is missing: give path=... in the query")


def test_clones_and_renames(server: Server) -> None:
    """Both need a name."""
    made(server, files={"a": b"1"})
    answer = server.call("POST", "/corten/volumes/v1/clone?name=v2")
    assert (answer.status, answer.json()["Name"]) == (201, "v2")
    assert server.call("POST", "/corten/volumes/v2/rename?name=v3").status == 204
    assert server.call("GET", "/volumes/v2").status == 404
    assert server.engine.volumes.content["v3"].files == {"a": b"1"}
    assert server.call("POST", "/corten/volumes/v3/rename?name=v1").status == 409
    assert server.call("POST", "/corten/volumes/v3/rename").status == 400
    assert server.call("POST", "/corten/volumes/v3/clone").status == 400


def test_snapshots(server: Server) -> None:
    """Taken, listed, brought back, removed; what was there goes to the trash."""
    made(server, files={"a": b"1"})
    answer = server.call("POST", "/corten/volumes/v1/snapshots?snapshot=s1")
    assert (answer.status, answer.json()) == (201, {"Name": "s1"})
    assert server.call("POST", "/corten/volumes/v1/snapshots").json() == {"Name": "20260101T000000Z"}
    found = server.call("GET", "/corten/volumes/v1/snapshots").json()
    assert found[0] == {"Name": "s1", "CreatedAt": "2026-01-01T00:00:00Z", "Size": 1}

    server.engine.volumes.content["v1"].files["a"] = b"2"
    assert server.call("POST", "/corten/volumes/v1/restore?snapshot=s1").json() == {"Trash": "t0"}
    assert server.engine.volumes.content["v1"].files == {"a": b"1"}
    assert server.call("DELETE", "/corten/volumes/v1/snapshots?snapshot=s1").status == 204
    answer = server.call("POST", "/corten/volumes/v1/restore?snapshot=s1")
    assert (answer.status, answer.json()) == (404, {"message": "No such snapshot: s1"})


def test_the_trash(server: Server) -> None:
    """What was removed is listed and can be taken back, under another name as well."""
    made(server, files={"a": b"1"})
    server.call("DELETE", "/volumes/v1")
    (item,) = server.call("GET", "/corten/volumes/trash").json()
    assert item == {
        "Id": "t0",
        "Name": "v1",
        "RemovedAt": "2026-01-01T00:00:00Z",
        "ExpiresAt": "2026-01-02T00:00:00Z",
        "Size": -1,
    }
    answer = server.call("POST", "/corten/volumes/v1/undelete?name=v2")
    assert (answer.status, answer.json()["Name"]) == (201, "v2")
    assert server.engine.volumes.content["v2"].files == {"a": b"1"}
    assert server.call("POST", "/corten/volumes/v1/undelete").status == 404
