"""Disk use and pruning over HTTP."""

import pytest

from tests.unit.serve.api.conftest import Server


def test_disk_usage(server: Server) -> None:
    """Containers are shown as in the list, with their sizes."""
    identity = server.container("exit", "0", name="c1")
    found = server.call("GET", "/system/df").json()
    (row,) = found["Containers"]
    assert (row["Id"], row["Names"], row["SizeRw"], row["SizeRootFs"]) == (identity, ["/c1"], 1, 3)
    assert (found["LayersSize"], found["BuildCache"]) == (0, [])
    assert "Items" not in found["ContainerUsage"]


def test_disk_usage_in_detail(server: Server) -> None:
    """Newer clients ask for the objects inside the sums, and for some kinds alone."""
    identity = server.container("exit", "0")
    found = server.call("GET", "/system/df?type=container&verbose=1").json()
    assert set(found) == {"Containers", "ContainerUsage"}
    assert [row["Id"] for row in found["ContainerUsage"]["Items"]] == [identity]
    assert server.call("GET", "/system/df?type=image,socks").json() == {
        "message": "unknown object type: socks"
    }


def test_prunes_containers(server: Server) -> None:
    """Ids and bytes come back; nothing is null, as in Docker."""
    identity = server.container("exit", "0", start=False)
    answer = server.call("POST", '/containers/prune?filters={"until":["1h"],"label!":{"a":true}}').json()
    assert answer == {"ContainersDeleted": [identity], "SpaceReclaimed": 7}
    assert server.engine.containers.prunes == [{"until": ["1h"], "label!": ["a"]}]
    assert server.call("POST", "/containers/prune").json() == {"ContainersDeleted": None, "SpaceReclaimed": 0}


def test_prunes_images(server: Server) -> None:
    """What went, and what that freed."""
    answer = server.call("POST", '/images/prune?filters={"dangling":["false"]}').json()
    assert answer == {"ImagesDeleted": [{"Untagged": "debian:latest"}], "SpaceReclaimed": 10}
    assert server.engine.images.calls == [("prune", {"dangling": ["false"]})]
    assert server.call("POST", "/images/prune").json()["ImagesDeleted"] is None


def test_disk_usage_of_volumes(server: Server) -> None:
    """Each volume as it is shown elsewhere, with its size and users."""
    for name, content in (("a", b"12345"), ("b", b"123")):
        server.call("POST", "/volumes/create", {"Name": name})
        server.engine.volumes.content[name].files["f"] = content
    found = server.call("GET", "/system/df").json()
    assert {v["Name"]: v["UsageData"] for v in found["Volumes"]} == {
        "a": {"Size": 5, "RefCount": 0},
        "b": {"Size": 3, "RefCount": 0},
    }
    assert all(volume["Driver"] == "local" for volume in found["Volumes"])


def test_prunes_networks(server: Server) -> None:
    """Names come back; those that every engine has stay."""
    server.call("POST", "/networks/create", {"Name": "n1"})
    answer = server.call("POST", '/networks/prune?filters={"label":["a=b"]}').json()
    assert answer == {"NetworksDeleted": ["n1"]}
    assert server.engine.networks.calls[-1] == ("prune", {"label": ["a=b"]})
    assert server.call("POST", "/networks/prune").json() == {"NetworksDeleted": None}


def test_prunes_volumes(server: Server) -> None:
    """Anonymous ones alone; a client of an old version means all."""
    server.call("POST", "/volumes/create", {"Name": "kept"})
    anonymous = server.call("POST", "/volumes/create", {}).json()["Name"]
    answer = server.call("POST", "/v1.47/volumes/prune").json()
    assert answer == {"VolumesDeleted": [anonymous], "SpaceReclaimed": 0}
    assert server.call("POST", "/v1.41/volumes/prune").json()["VolumesDeleted"] == ["kept"]
    assert server.engine.volumes.calls == [("prune", {}), ("prune", {"all": ["true"]})]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/networks/prune", {"NetworksDeleted": None}),
        ("/volumes/prune", {"VolumesDeleted": None, "SpaceReclaimed": 0}),
        ("/build/prune", {"CachesDeleted": None, "SpaceReclaimed": 0}),
    ],
)
def test_what_is_not_there_is_pruned_at_once(server: Server, path: str, body: object) -> None:
    """``docker system prune`` asks for these, too."""
    assert server.call("POST", path).json() == body


@pytest.mark.parametrize("path", ["containers", "images", "networks", "volumes", "build"])
def test_filters_are_checked(server: Server, path: str) -> None:
    """A filter that is not known is refused before anything goes."""
    answer = server.call("POST", f'/{path}/prune?filters={{"colour":["red"]}}')
    assert (answer.status, answer.json()) == (400, {"message": "invalid filter 'colour'"})
