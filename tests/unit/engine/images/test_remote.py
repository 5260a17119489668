"""The verbs on images in registries as the doors see them."""

from collections.abc import Iterator
from typing import Any

import pytest

from corten.engine.images.remote import Credential, host_of
from corten.engine.images.stores import Stores
from corten.errors import CortenError, Forbidden, InvalidInput, NotFound, Unsupported
from corten.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from corten.oci.platform import host
from tests.fakes.registry import FakeRegistry
from tests.unit.engine.images.registries import Told, offer, offer_index, with_remote
from tests.unit.engine.images.samples import make

ONE = make([{"etc/name": b"one"}])
ANNA = Credential("anna", "secret")
RESULTS: list[dict[str, Any]] = [
    {"name": "deb", "description": "d", "star_count": 10, "is_official": True},
    {"name": "a/deb", "description": None, "star_count": 3, "is_official": False},
]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry with one image."""
    with FakeRegistry() as found:
        offer(found, "app", "1", ONE)
        yield found


def test_events(registry: FakeRegistry, stores: Stores) -> None:
    """A pull and a push are told, with name and labels."""
    told: list[tuple[str, str, str, dict[str, str]]] = []
    name = f"{registry.host}/app"

    async def work(remote: Any) -> None:
        await remote.pull(name, "1", None, None, Told())
        await remote.push(name, "1", None, "", None, Told())

    with_remote(stores, work, publish=lambda *event: told.append(event))
    attributes = {"name": name, "stage": "test"}
    assert told == [("image", action, f"{name}:1", attributes) for action in ("pull", "push")]


@pytest.mark.parametrize("identity", ["", "token"])
def test_login(registry: FakeRegistry, stores: Stores, identity: str) -> None:
    """The registry is asked; a token comes back where it gives one; a wrong password is Forbidden."""
    registry.passwords = {"anna": "secret"}
    registry.realm, registry.identity = ("self", identity) if identity else ("", "")
    server = f"http://{registry.host}/v2/"

    assert with_remote(stores, lambda remote: remote.login(server, ANNA)) == identity
    with pytest.raises(Forbidden, match="incorrect username or password"):
        with_remote(stores, lambda remote: remote.login(server, Credential("anna", "wrong")))


def test_a_pull_with_a_password(registry: FakeRegistry, stores: Stores) -> None:
    """Without it there is no such image as far as we may know."""
    registry.passwords = {"anna": "secret"}
    name = f"{registry.host}/app:1"
    with pytest.raises(CortenError):
        with_remote(stores, lambda remote: remote.pull(name, "", None, None, Told()))
    with_remote(stores, lambda remote: remote.pull(name, "", None, ANNA, Told()))
    assert stores.images.get(ONE.id)


def test_inspect_of_a_manifest(registry: FakeRegistry, stores: Stores) -> None:
    """Its descriptor, and the platform that its configuration states."""
    found = with_remote(stores, lambda remote: remote.inspect(f"{registry.host}/app:1", None))

    kind, raw = registry.manifests["app", "1"]
    assert found["Descriptor"]["size"] == len(raw)
    assert found["Descriptor"]["mediaType"] == kind == OCI_MANIFEST
    assert found["Platforms"] == [{"os": "linux", "architecture": host().architecture}]
    assert registry.saw("GET .*/blobs/")[0].path.endswith(ONE.id)


def test_inspect_of_an_index(registry: FakeRegistry, stores: Stores) -> None:
    """All its platforms."""
    manifest = offer(registry, "app", "1", ONE)
    digest = offer_index(registry, "app", "2", {"linux/arm64": manifest, "linux/arm/v7": manifest})
    found = with_remote(stores, lambda remote: remote.inspect(f"{registry.host}/app:2", None))

    assert found["Descriptor"]["digest"] == digest
    assert found["Platforms"] == [
        {"os": "linux", "architecture": "arm64"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
    ]
    raw = with_remote(stores, lambda remote: remote.manifest(f"{registry.host}/app:2", None))
    assert raw == (OCI_INDEX, digest, registry.manifests["app", "2"][1])


def test_an_image_that_was_not_pulled(registry: FakeRegistry, stores: Stores) -> None:
    """What its configuration says, what a pull would transfer, and nothing of it is here afterwards."""
    name = f"{registry.host}/app"
    found = with_remote(stores, lambda remote: remote.image(f"{name}:1", None, None))

    assert found["Id"] == ONE.id
    assert found["RepoTags"] == [f"{name}:1"]
    assert found["RepoDigests"] == [f"{name}@{found['Descriptor']['digest']}"]
    assert found["Config"]["Labels"] == {"stage": "test"}
    assert found["Size"] > 0
    assert not stores.images.all()
    assert not list(stores.content.walk())
    with pytest.raises(NotFound, match="does not match the specified platform"):
        with_remote(stores, lambda remote: remote.image(f"{name}:1", "linux/s390x", None))


def test_inspect_of_nothing(registry: FakeRegistry, stores: Stores) -> None:
    """It is not there; a bad name is refused."""
    with pytest.raises(NotFound):
        with_remote(stores, lambda remote: remote.inspect(f"{registry.host}/app:none", None))
    with pytest.raises(InvalidInput):
        with_remote(stores, lambda remote: remote.manifest("UPPER", None))


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["deb", "a/deb"]),
        ({"stars": ["5"]}, ["deb"]),
        ({"is-official": ["false"]}, ["a/deb"]),
        ({"is-automated": ["true"]}, []),
        ({"is-official": ["true"], "stars": ["11"]}, []),
    ],
)
def test_search(
    registry: FakeRegistry, stores: Stores, filters: dict[str, list[str]], names: list[str]
) -> None:
    """A registry before the slash is asked; filters are ours."""
    registry.results = RESULTS
    found = with_remote(stores, lambda remote: remote.search(f"{registry.host}/deb", 5, filters, None))

    assert [row["name"] for row in found] == [f"{registry.host}/{name}" for name in names]
    assert registry.saw("GET /v1/search")[0].query == {"q": "deb", "n": "5"}
    assert all(isinstance(row["description"], str) for row in found)


@pytest.mark.parametrize(
    ("limit", "filters"),
    [
        (101, {}),
        (-1, {}),
        (None, {"stars": ["many"]}),
        (None, {"is-official": ["perhaps"]}),
        (None, {"x": ["y"]}),
    ],
)
def test_searches_that_make_no_sense(
    registry: FakeRegistry, stores: Stores, limit: int | None, filters: dict[str, list[str]]
) -> None:
    """They are refused before anybody is asked."""
    with pytest.raises(InvalidInput):
        with_remote(stores, lambda remote: remote.search(f"{registry.host}/x", limit, filters, None))
    assert registry.seen == []


def test_a_registry_without_search(registry: FakeRegistry, stores: Stores) -> None:
    """It says so."""
    with pytest.raises((Unsupported, CortenError)):
        with_remote(stores, lambda remote: remote.search(f"{registry.host}/x", None, {}, None))


@pytest.mark.parametrize(
    ("server", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("HOST:5000", "host:5000"),
        ("http://host:5000/v2/", "host:5000"),
    ],
)
def test_which_host_a_login_means(server: str, domain: str) -> None:
    """Addresses and names alike."""
    assert host_of(server) == domain
