"""list, inspect, history: what people and programs see."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from corten.engine.images import show
from corten.engine.images.filters import pattern
from corten.engine.images.load import load
from corten.engine.images.remove import User
from corten.engine.images.stores import Stores
from corten.engine.selection import seconds
from corten.errors import InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.oci.platform import Platform, host
from corten.oci.reference import Reference
from tests.unit.engine.images.samples import Told, docker_archive, make

OLD = make([{"a": b"1"}], created="2020-01-01T00:00:00Z")
NEW = make(
    [{"a": b"1"}, {"b": b"2" * 5000}],
    created="2024-01-01T00:00:00.5Z",
    author="someone",
    config={"Cmd": ["run"], "Labels": {"tier": "web", "empty": ""}},
    history=[
        {"created": "2024-01-01T00:00:00Z", "created_by": "ADD a"},
        {"created": "2024-01-01T00:00:00Z", "created_by": "CMD run", "empty_layer": True},
        {"created": "2024-01-01T00:00:01Z", "created_by": "COPY b", "comment": "last"},
    ],
)


@pytest.fixture
def filled(stores: Stores) -> Stores:
    """An old image, a new one with two names, and one without a name."""
    bare = make([{"c": b"3"}], created="2022-01-01T00:00:00Z")
    archive = docker_archive({"base/old:1": OLD, "app:1,reg.example/team/app:2": NEW, "": bare})
    load(io.BytesIO(archive), stores, host(), Told())
    return stores


def names(filters: Mapping[str, Sequence[str]], stores: Stores) -> list[str]:
    """Return the first name, or a dash, of each image that passes."""
    return [(row["RepoTags"] or ["-"])[0] for row in listed(stores, filters)]


def listed(
    stores: Stores,
    filters: Mapping[str, Sequence[str]] | None = None,
    extras: Sequence[str] = (),
    all_images: bool = True,
) -> list[dict[str, Any]]:
    """Return the rows of the list, where a container uses the new image."""
    return show.listed(filters or {}, stores, users, all_images, extras)


def users(image: Digest) -> list[User]:
    """Return a container of the new image, and none of any other."""
    return [User("c" * 64, running=True)] if image == NEW.id else []


def test_the_newest_comes_first(filled: Stores) -> None:
    """Rows have Docker's members."""
    first = listed(filled)[0]
    assert names({}, filled) == ["app:1", "-", "base/old:1"]
    assert first["RepoTags"] == ["app:1", "reg.example/team/app:2"]
    assert first["Created"] == 1704067200
    assert (first["SharedSize"], first["Containers"], first["ParentId"]) == (-1, -1, "")
    assert first["Labels"] == {"tier": "web", "empty": ""}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"dangling": ["true"]}, ["-"]),
        ({"dangling": ["0"]}, ["app:1", "base/old:1"]),
        ({"label": ["tier"]}, ["app:1"]),
        ({"label": ["tier=web", "empty="]}, ["app:1"]),
        ({"label": ["tier=db"]}, []),
        ({"label!": ["tier"]}, ["-", "base/old:1"]),
        ({"before": ["app:1"]}, ["-", "base/old:1"]),
        ({"since": ["base/old:1"]}, ["app:1", "-"]),
        ({"until": ["2021-01-01T00:00:00Z"]}, ["base/old:1"]),
        ({"until": ["1700000000"]}, ["-", "base/old:1"]),
        ({"until": ["24h"]}, ["app:1", "-", "base/old:1"]),
        ({"until": ["2021-01-01"]}, ["base/old:1"]),
        ({"reference": ["app"]}, ["app:1"]),
        ({"reference": ["*/old"]}, ["base/old:1"]),
        ({"reference": ["*:1"]}, ["app:1"]),
        ({"reference": ["reg.example/*/app"]}, ["reg.example/team/app:2"]),
        ({"reference": ["gone", "ap[a-q]"]}, ["app:1"]),
        ({"reference": ["app"], "dangling": ["true"]}, []),
    ],
)
def test_filters(filled: Stores, filters: dict[str, list[str]], expected: list[str]) -> None:
    """Each filter passes what Docker's passes; values of ``reference`` are alternatives."""
    assert names(filters, filled) == expected


@pytest.mark.parametrize(
    "filters",
    [
        {"colour": ["red"]},
        {"dangling": ["maybe"]},
        {"until": ["soon"]},
        {"reference": ["a["]},
        {"reference": ["a\\"]},
    ],
)
def test_malformed_filters_are_refused(filled: Stores, filters: dict[str, list[str]]) -> None:
    """Unknown keys and senseless values are refused by name."""
    with pytest.raises(InvalidInput, match="invalid"):
        listed(filled, filters)


def test_a_filter_may_name_what_is_not_there(filled: Stores) -> None:
    """``before`` an image that is not there is NotFound."""
    with pytest.raises(NotFound):
        listed(filled, {"before": ["gone"]})


@pytest.mark.parametrize(
    ("text", "name", "fits"),
    [
        ("a*", "abc", True),
        ("a*", "a/b", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[^a]b", "cb", True),
        ("[^a]b", "ab", False),
        ("a.b", "axb", False),
        (r"a\*", "a*", True),
        ("[a-c]x", "bx", True),
    ],
)
def test_patterns(text: str, name: str, fits: bool) -> None:
    """Patterns are those of a shell, whose wildcards stop at a slash."""
    assert bool(re.fullmatch(pattern(text), name)) is fits


def test_inspect(filled: Stores) -> None:
    """All of Docker's members are there; what says nothing is left out of the defaults."""
    digest = Digest.of(b"m")
    image = filled.images.tag(NEW.id, Reference.parse(f"app@{digest}"))
    shown = show.inspected(image, filled, users)
    assert shown["Id"] == NEW.id
    assert shown["RepoTags"] == ["app:1", "reg.example/team/app:2"]
    assert shown["RepoDigests"] == [f"app@{digest}"]
    assert shown["Config"] == {"Cmd": ["run"], "Labels": {"tier": "web", "empty": ""}}
    assert (shown["Author"], shown["Comment"], shown["Os"]) == ("someone", "last", "linux")
    assert shown["RootFS"] == {"Type": "layers", "Layers": list(image.diff_ids)}
    assert shown["GraphDriver"]["Name"] == "overlay2"
    assert shown["Created"] == "2024-01-01T00:00:00.5Z"
    assert shown["Size"] == image.size > 5000
    assert (shown["Parent"], shown["DockerVersion"]) == ("", "")
    assert shown["Descriptor"]["digest"] == image.manifest
    upper, lower = shown["GraphDriver"]["Data"]["UpperDir"], shown["GraphDriver"]["Data"]["LowerDir"]
    assert os.listdir(upper) == ["b"]
    assert os.listdir(lower) == ["a"]
    assert "Manifests" not in shown


def test_inspect_with_manifests(filled: Stores) -> None:
    """The one manifest of an image comes with its sizes and its containers."""
    image = filled.images.get(NEW.id)
    (found,) = show.inspected(image, filled, users, True)["Manifests"]
    content = sum(filled.content.info(blob).size for blob in image.blobs)
    assert (found["ID"], found["Kind"], found["Available"]) == (image.manifest, "image", True)
    assert found["Size"] == {"Content": content, "Total": content + image.size}
    assert found["ImageData"]["Containers"] == ["c" * 64]
    assert found["ImageData"]["Platform"] == {"os": "linux", "architecture": host().architecture}


def test_docker_says_which_one_it_was(stores: Stores) -> None:
    """The version of the Docker that made an image is told."""
    made = make([{"a": b"1"}], docker_version="20.10.24")
    (image,) = load(io.BytesIO(docker_archive({"a": made})), stores, host(), Told())
    assert show.inspected(image, stores, users)["DockerVersion"] == "20.10.24"


def test_shared_sizes(filled: Stores) -> None:
    """What is shared, and by how many containers an image is used, is counted where it is asked for."""
    new, bare, old = listed(filled, extras=["shared-size"])
    first = filled.images.get(NEW.id).layer_sizes[0]
    assert (new["SharedSize"], new["Containers"]) == (first, 1)
    assert (old["SharedSize"], old["Size"], old["Containers"]) == (first, first, 0)
    assert bare["SharedSize"] == 0


def test_layers_and_manifests_in_the_list(filled: Stores) -> None:
    """Further members come where they are asked for."""
    image = filled.images.get(NEW.id)
    row = listed(filled, extras=["layers", "manifests"])[0]
    assert [layer["DiffID"] for layer in row["Layers"]] == list(image.diff_ids)
    assert [layer["ChainID"] for layer in row["Layers"]] == list(image.chain_ids)
    assert sum(layer["Size"] for layer in row["Layers"]) == image.size
    assert row["Manifests"][0]["Descriptor"] == row["Descriptor"]


def test_platforms(filled: Stores) -> None:
    """An image is what it is made for, and nothing else; nothing wanted is anything."""
    image = filled.images.get(NEW.id)
    show.on_platform(image, "app", [], filled)
    show.on_platform(image, "app", [Platform("linux", "s390x"), host()], filled)
    with pytest.raises(NotFound, match=r"no such image: app for linux/s390x: it is for linux/"):
        show.on_platform(image, "app", [Platform("linux", "s390x")], filled)


def test_history(filled: Stores) -> None:
    """The last step comes first, with id and tags; steps without a layer have no size."""
    rows = show.history(filled.images.get(NEW.id), filled)
    assert [row["CreatedBy"] for row in rows] == ["COPY b", "CMD run", "ADD a"]
    assert [row["Id"] for row in rows] == [NEW.id, "<missing>", "<missing>"]
    assert rows[0]["Tags"] == ["app:1", "reg.example/team/app:2"]
    assert rows[0]["Comment"] == "last"
    assert (rows[0]["Size"] > 5000, rows[1]["Size"], rows[2]["Size"] > 0) == (True, 0, True)
    assert rows[0]["Created"] == 1704067201


def test_history_of_an_image_without_one(stores: Stores) -> None:
    """Layers that no history mentions are listed all the same."""
    archive = docker_archive({"a": make([{"a": b"1"}, {"b": b"2"}], history=None)})
    (image,) = load(io.BytesIO(archive), stores, host(), Told())
    rows = show.history(image, stores)
    assert [row["CreatedBy"] for row in rows] == ["", ""]
    assert rows[0]["Id"] == image.id


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:00.123456789Z", 0.123456),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("0001-01-01T00:00:00Z", -62135596800.0),
        ("", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_times(text: str, value: float) -> None:
    """RFC 3339 times become seconds; nonsense becomes 0 rather than a failure."""
    assert seconds(text) == pytest.approx(value)
