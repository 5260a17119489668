"""The verbs on changes and on disk space: commit, diff, df and the prunes."""

import json
import time
from typing import Any

import pytest

from tests.unit.cli.commands.test_images import IMAGE, run
from tests.unit.cli.server import Daemon, Reply, corten

SUMS = {"ActiveCount": 1, "TotalCount": 3, "Reclaimable": 250, "TotalSize": 1000}
NONE = {"ActiveCount": 0, "TotalCount": 0, "Reclaimable": 0, "TotalSize": 0}
CONTAINER = {
    "Id": "c" * 64,
    "Names": ["/web"],
    "Image": "debian",
    "ImageID": IMAGE["Id"],
    "Command": "sleep 5",
    "Created": int(time.time()) - 3 * 3600,
    "State": "running",
    "Status": "Up 2 seconds",
    "SizeRw": 12345,
}
USAGE: dict[str, Any] = {
    "LayersSize": 1000,
    "Images": [IMAGE | {"Size": 900, "SharedSize": 100, "Containers": 2}],
    "Containers": [CONTAINER],
    "Volumes": [
        {
            "Name": "data",
            "Driver": "local",
            "Scope": "local",
            "Mountpoint": "/m",
            "Labels": None,
            "UsageData": {"Size": 2500, "RefCount": 1},
        },
        {
            "Name": "nfs",
            "Driver": "local",
            "Scope": "local",
            "Mountpoint": "/n",
            "Labels": None,
            "UsageData": {"Size": -1, "RefCount": 0},
        },
    ],
    "BuildCache": [],
    "ImageUsage": SUMS,
    "ContainerUsage": SUMS | {"TotalSize": 2000},
    "VolumeUsage": NONE,
    "BuildCacheUsage": NONE,
    "Corten": {
        "ContainerFiles": 4,
        "RemovedImages": 0,
        "VolumeSnapshots": 0,
        "Partial": 2_000_000,
        "Trash": 0,
        "Registry": 0,
        "Engine": 5,
        "Total": 2_003_009,
    },
}


def test_commit(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything goes into the query; the id is printed."""
    daemon.on("POST", "/commit", Reply(201, {"Id": "sha256:1"}))
    assert (
        run(daemon, "commit", "-a", "me", "-m", "why", "-c", "CMD a", "-c", "USER b", "c1", "h:5000/own") == 0
    )
    assert run(daemon, "container", "commit", "--no-pause", "c1") == 0
    assert run(daemon, "commit", "-p=false", "c1") == 0
    assert capsys.readouterr().out == "sha256:1\n" * 3
    assert [request.query for request in daemon.requests] == [
        {
            "container": ["c1"],
            "repo": ["h:5000/own"],
            "tag": ["latest"],
            "comment": ["why"],
            "author": ["me"],
            "changes": ["CMD a", "USER b"],
            "pause": ["1"],
        },
        {"container": ["c1"], "pause": ["0"]},
        {"container": ["c1"], "pause": ["0"]},
    ]


def test_diff(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A letter and a path in each line; nothing for nothing."""
    rows = [{"Path": "/a", "Kind": 0}, {"Path": "/a/b c", "Kind": 1}, {"Path": "/d", "Kind": 2}]
    daemon.on("GET", "/containers/c1/changes", Reply(200, rows))
    daemon.on("GET", "/containers/c2/changes", Reply(200, None))
    assert run(daemon, "diff", "c1") == run(daemon, "container", "diff", "c2") == 0
    assert capsys.readouterr().out == "C /a\nA /a/b c\nD /d\n"


def test_container_prune(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The ids, and what that frees, as Docker prints them."""
    answer = {"ContainersDeleted": ["c1", "c2"], "SpaceReclaimed": 1500}
    daemon.on("POST", "/containers/prune", Reply(200, answer))
    assert run(daemon, "container", "prune", "-f", "--filter", "until=1h", "--filter", "label!=a=b") == 0
    assert capsys.readouterr().out == "Deleted Containers:\nc1\nc2\n\nTotal reclaimed space: 1.5kB\n"
    assert json.loads(daemon.requests[0].query["filters"][0]) == {
        "until": {"1h": True},
        "label!": {"a=b": True},
    }


def test_image_prune(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and ids, as Docker prints them; which images are meant is a filter."""
    gone = [{"Untagged": "a:1"}, {"Deleted": "sha256:1"}]
    daemon.on("POST", "/images/prune", Reply(200, {"ImagesDeleted": gone, "SpaceReclaimed": 0}))
    assert run(daemon, "image", "prune", "-f") == run(daemon, "image", "prune", "-af") == 0
    once = "Deleted Images:\nuntagged: a:1\ndeleted: sha256:1\n\nTotal reclaimed space: 0B\n"
    assert capsys.readouterr().out == once * 2
    assert [request.query["filters"] for request in daemon.requests] == [
        ['{"dangling":{"true":true}}'],
        ['{"dangling":{"false":true}}'],
    ]


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (("container", "prune"), b"WARNING! This will remove all stopped containers."),
        (("image", "prune"), b"WARNING! This will remove all dangling images."),
        (("image", "prune", "-a"), b"WARNING! This will remove all images without at least one container"),
        (("system", "prune", "--volumes"), b"  - all anonymous volumes not used by at least one container"),
        (
            ("system", "prune", "--filter", "label=a"),
            b"  Items to be pruned will be filtered with:\n  - label=a",
        ),
    ],
)
def test_a_prune_asks_first(daemon: Daemon, words: tuple[str, ...], warning: bytes) -> None:
    """Anything but yes calls it off; no request is made."""
    for answer in (b"n\n", b"\n", b""):
        done = corten(daemon, *words, stdin=answer)
        assert warning in done.stdout
        assert done.stdout.endswith(b"Are you sure you want to continue? [y/N] ")
        assert (done.returncode, done.stderr) == (1, f"{' '.join(words[:2])} has been cancelled\n".encode())
    assert daemon.requests == []


def test_system_prune(daemon: Daemon) -> None:
    """Containers first, then what only they used; one sum for all."""
    containers = {"ContainersDeleted": ["c1"], "SpaceReclaimed": 1000}
    daemon.on("POST", "/containers/prune", Reply(200, containers))
    daemon.on("POST", "/volumes/prune", Reply(200, {"VolumesDeleted": ["v"], "SpaceReclaimed": 4000}))
    daemon.on("POST", "/networks/prune", Reply(200, {"NetworksDeleted": ["n"]}))
    images = {"ImagesDeleted": [{"Deleted": "sha256:1"}], "SpaceReclaimed": 2000}
    daemon.on("POST", "/images/prune", Reply(200, images))
    done = corten(daemon, "system", "prune", "-a", "--volumes", stdin=b"y\n")
    shown = done.stdout.decode().partition("[y/N] ")[2]
    assert shown == (
        "Deleted Containers:\nc1\n\nDeleted Volumes:\nv\n\nDeleted Networks:\nn\n\n"
        "Deleted Images:\ndeleted: sha256:1\n\nTotal reclaimed space: 7kB\n"
    )
    nouns = ("containers", "volumes", "networks", "images")
    assert daemon.asked("POST") == [f"POST /{noun}/prune" for noun in nouns]


def test_system_prune_of_volumes_knows_no_age(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Docker's refusal, before anything is asked or removed."""
    assert run(daemon, "system", "prune", "-f", "--volumes", "--filter", "until=1h") == 1
    assert 'The "until" filter is not supported with "--volumes"' in capsys.readouterr().err
    assert daemon.requests == []


def test_system_df(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Docker's rows, then what else there is, then all of it."""
    daemon.on("GET", "/system/df", Reply(200, USAGE))
    assert run(daemon, "system", "df") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines[:6]] == [
        "TYPE                TOTAL     ACTIVE    SIZE      RECLAIMABLE",
        "Images              3         1         1kB       250B (25%)",
        "Containers          3         1         2kB       250B (12%)",
        "Local Volumes       0         0         0B        0B",
        "Build Cache         0         0         0B        0B",
        "Container Files                         4B",
    ]
    assert lines[8].split() == ["Partial", "Downloads", "2MB", "2MB", "(100%)"]
    assert lines[-1].split() == ["Total", "2.003MB"]


def test_system_df_by_template(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Fields have Docker's names."""
    daemon.on("GET", "/system/df", Reply(200, USAGE))
    form = "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"
    assert run(daemon, "system", "df", "--format", form) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Images 3 1 1kB 250B (25%)"
    run(daemon, "system", "df", "--format", "json")
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["Reclaimable"] == "250B (25%)"


def test_system_df_in_detail(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for each kind."""
    daemon.on("GET", "/system/df", Reply(200, USAGE))
    assert run(daemon, "system", "df", "-v") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Images space usage:\n\nREPOSITORY ")
    assert "SHARED SIZE   UNIQUE SIZE   CONTAINERS\n" in shown
    assert "0123456789ab   3 days ago   900B      100B          800B          2\n" in shown
    assert "Containers space usage:\n\nCONTAINER ID   IMAGE " in shown
    assert 'cccccccccccc   debian    "sleep 5"   0               12.35kB   3 hours ago' in shown
    assert (
        "Local Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\n"
        "data          1         2.5kB\nnfs           0         N/A\n" in shown
    )
    assert "Build cache usage: 0B\n\nCACHE ID " in shown
    assert "Partial Downloads   2MB       what has come of transfers" in shown


def test_system_df_in_detail_by_template(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The template gets all kinds at once."""
    daemon.on("GET", "/system/df", Reply(200, USAGE))
    run(daemon, "system", "df", "-v", "--format", "{{range .Images}}{{.Repository}} {{end}}")
    assert capsys.readouterr().out == "debian host:5000/d \n"
    run(daemon, "system", "df", "-v", "--format", "json")
    whole = json.loads(capsys.readouterr().out)
    assert whole["Containers"][0]["Names"] == "web"
    assert "Label" not in whole["Containers"][0]


def test_images_with_shared_sizes(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What costs something is asked for where a template wants it."""
    daemon.on("GET", "/images/json", Reply(200, [IMAGE | {"SharedSize": 812345, "Containers": 3}]))
    run(daemon, "images", "--format", "{{.SharedSize}} {{.UniqueSize}} {{.Containers}}")
    assert capsys.readouterr().out == "812kB 77MB 3\n" * 2
    assert daemon.requests[0].query == {"shared-size": ["1"]}


@pytest.mark.parametrize("flag", ["--quiet", "--no-trunc", "--digests", "--format=x"])
def test_a_tree_has_one_form(daemon: Daemon, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """Flags that mean nothing there are refused."""
    assert run(daemon, "images", "--tree", flag) == 1
    assert f"{flag.partition('=')[0]} cannot be used together with --tree" in capsys.readouterr().err
