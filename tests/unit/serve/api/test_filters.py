"""Docker's filters."""

import json
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from corten.engine.records.config import ContainerConfig, HostConfig, PortBinding
from corten.engine.records.container import Container, MountPoint, Published, State
from corten.errors import InvalidInput
from corten.serve.api.filters import CONTAINER_FILTERS, container_test, decode_filters
from corten.serve.api.query import Query
from tests.fakes.engine import BRIDGE

CONTAINER = Container(
    id="abc123",
    name="web-1",
    created="2026-01-01T00:00:00Z",
    image_id="sha256:1",
    config=ContainerConfig(labels={"tier": "front", "empty": ""}, exposed_ports={"80/tcp": {}}),
    host_config=HostConfig(port_bindings={"53/udp": (PortBinding(host_port="53"),)}),
    path="sleep",
    args=(),
    snapshotter="overlay",
    state=State(status="exited", exit_code=3),
    mounts=(MountPoint("bind", "/src", "/dst"),),
    endpoints=(replace(BRIDGE, network="lan"),),
)


def decode(filters: object) -> dict[str, list[str]]:
    """Decode filters as a client sends them."""
    return decode_filters(Query("filters=" + quote(json.dumps(filters))), CONTAINER_FILTERS)


def test_both_forms_mean_the_same() -> None:
    """A map of truths, from old clients, is a list of its true keys."""
    assert decode({"status": {"running": True, "paused": False}}) == decode({"status": ["running"]})


@pytest.mark.parametrize("filters", ["x", ["status"], {"status": "running"}, {"status": [1]}])
def test_other_forms_are_refused(filters: object) -> None:
    """Anything else is no filter."""
    with pytest.raises(InvalidInput, match="invalid filter"):
        decode(filters)


def test_an_unknown_key_is_refused() -> None:
    """In Docker's words."""
    with pytest.raises(InvalidInput, match="invalid filter 'colour'"):
        decode({"colour": ["red"]})


@pytest.mark.parametrize(
    "filters",
    [
        {"exited": ["3"]},
        {"expose": ["80"]},
        {"expose": ["70-90/tcp"]},
        {"health": ["none"]},
        {"id": ["c12"]},
        {"is-task": ["false"]},
        {"label": ["tier"]},
        {"label": ["tier=front", "empty"]},
        {"name": ["web"]},
        {"name": ["^/web-1$"]},
        {"name": ["nope", "^web"]},
        {"network": ["lan"]},
        {"network": ["b" * 64]},
        {"publish": ["53/udp"]},
        {"status": ["exited", "dead"]},
        {"volume": ["/dst"]},
        {"volume": ["/src"]},
        {"name": ["web"], "status": ["exited"]},
    ],
)
def test_lets_through(filters: dict[str, list[str]]) -> None:
    """Values of a key are or-ed (labels and-ed), keys and-ed."""
    assert container_test(filters)(CONTAINER)


@pytest.mark.parametrize(
    "filters",
    [
        {"exited": ["0"]},
        {"expose": ["80/udp"]},
        {"health": ["healthy"]},
        {"is-task": ["true"]},
        {"label": ["tier", "other"]},
        {"label": ["tier=back"]},
        {"name": ["^web$"]},
        {"name": ["web-1("]},
        {"network": ["wan"]},
        {"publish": ["80"]},
        {"status": ["running"]},
        {"volume": ["/other"]},
        {"name": ["web"], "status": ["running"]},
    ],
)
def test_holds_back(filters: dict[str, list[str]]) -> None:
    """One key that does not match is enough."""
    assert not container_test(filters)(CONTAINER)


@pytest.mark.parametrize("filters", [{"status": ["asleep"]}, {"health": ["ill"]}, {"exited": ["x"]}])
def test_values_out_of_range_are_refused(filters: dict[str, list[str]]) -> None:
    """A status that no container can have is a mistake."""
    with pytest.raises(InvalidInput, match="invalid filter '"):
        container_test(filters)


def test_ports_published_without_a_choice_count_too() -> None:
    """Those of ``-P`` stand in no binding that was asked for."""
    container = replace(CONTAINER, published=(Published("tcp", 80, "0.0.0.0", 32768),))
    assert container_test({"publish": ["80"]})(container)
    assert container_test({"publish": ["53/udp"]})(container)
    assert not container_test({"publish": ["32768"]})(container)


def test_volumes_are_found_by_name() -> None:
    """As well as by the path inside."""
    mount = MountPoint("volume", "/v/data/_data", "/data", name="data")
    container = replace(CONTAINER, mounts=(mount,))
    assert all(container_test({"volume": [text]})(container) for text in ("data", "/data", "/v/data/_data"))
    assert not container_test({"volume": [""]})(container)
