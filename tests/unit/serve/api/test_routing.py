"""Which handler answers which path."""

import pytest

from corten.errors import InvalidInput, NotFound
from corten.serve.api import containers, images, volumes
from corten.serve.api.app import ROUTER


def test_finds_a_fixed_path_with_and_without_version() -> None:
    """The version prefix only says which version the client speaks."""
    plain, versioned = (ROUTER.find("GET", path) for path in ("/containers/json", "/v1.41/containers/json"))

    assert plain.route.handler is versioned.route.handler is containers.list_containers
    assert (plain.version, versioned.version) == ((1, 51), (1, 41))


def test_finds_the_name_in_a_path() -> None:
    """The segment between noun and verb is the name, decoded."""
    match = ROUTER.find("POST", "/v1.51/containers/a%2eb/start")

    assert (match.route.handler, match.name) == (containers.start, "a.b")


def test_image_names_may_hold_slashes() -> None:
    """A name is all that stands before the verb."""
    match = ROUTER.find("GET", "/images/host:5000/a/b:tag/json")

    assert (match.route.handler, match.name) == (images.inspect, "host:5000/a/b:tag")


def test_a_verb_may_be_missing() -> None:
    """DELETE names its object and nothing more."""
    assert ROUTER.find("DELETE", "/images/a/json").name == "a/json"
    assert ROUTER.find("DELETE", "/containers/abc").name == "abc"


def test_what_is_not_dockers_has_nouns_of_two_parts() -> None:
    """With a name, or without."""
    match = ROUTER.find("GET", "/corten/volumes/my%20data/export")
    assert (match.route.handler, match.name) == (volumes.export, "my data")
    assert ROUTER.find("GET", "/corten/volumes/trash").route.handler is volumes.trash


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/corten/volumes/a/b/export"),
        ("GET", "/corten/volumes/a"),
        ("GET", "/volumes/a/export"),
        ("GET", "/corten"),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/containers/a/b/json"),
        ("GET", "/containers//json"),
        ("DELETE", "/containers/"),
        ("DELETE", "/containers"),
        ("PATCH", "/containers/json"),
        ("GET", "/v1.51"),
        ("GET", "/v1.51/v1.51/info"),
    ],
)
def test_an_unknown_path_is_no_page(method: str, path: str) -> None:
    """What is not in the table is not found."""
    with pytest.raises(NotFound):
        ROUTER.find(method, path)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("1.23", "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade"),
        ("1.56", "client version 1.56 is too new. Maximum supported API version is 1.51"),
        ("2.0", "client version 2.0 is too new"),
    ],
)
def test_refuses_versions_out_of_range(version: str, text: str) -> None:
    """A client learns which versions would do."""
    with pytest.raises(InvalidInput, match=text):
        ROUTER.find("GET", f"/v{version}/info")
