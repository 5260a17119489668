"""What an update makes of a record."""

from typing import Any

import pytest
from msgspec.structs import replace

from corten.engine.containers.revision import revised
from corten.engine.containers.status import Status
from corten.engine.containers.update_request import UpdateRequest
from corten.engine.records.config import (
    ContainerConfig,
    HostConfig,
    PortBinding,
    Resources,
    RestartPolicy,
)
from corten.engine.records.container import Container
from corten.errors import Conflict, CortenError, InvalidInput, NotFound
from tests.unit.engine.containers.examples import HOST
from tests.unit.engine.containers.test_status import container

ANY = PortBinding()
LOCAL = PortBinding(host_ip="127.0.0.1", host_port="8080")
OPEN = PortBinding(host_port="80")


def made(config: ContainerConfig | None = None, **wishes: Any) -> Container:
    """A running container with these wishes."""
    return replace(
        container(Status.RUNNING), config=config or ContainerConfig(), host_config=HostConfig(**wishes)
    )


def test_nothing_asked_changes_nothing() -> None:
    """An empty request leaves the record as it is, to the last default."""
    record = made(memory=1 << 30)
    assert revised(record, UpdateRequest(), HOST) == record


def test_labels() -> None:
    """A label is added, changed or removed; one that is not there is removed already."""
    record = made(ContainerConfig(labels={"a": "1", "b": "2"}))
    request = UpdateRequest(label_add={"a": "9", "c": "3"}, label_remove=("b", "none"))
    assert revised(record, request, HOST).config.labels == {"a": "9", "c": "3"}


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (RestartPolicy(name="always"), RestartPolicy(name="always")),
        (
            RestartPolicy(name="on-failure", maximum_retry_count=3),
            RestartPolicy(name="on-failure", maximum_retry_count=3),
        ),
        (RestartPolicy(name="no"), RestartPolicy(name="no")),
        (RestartPolicy(), RestartPolicy(name="unless-stopped")),
    ],
)
def test_restart_policy(policy: RestartPolicy, kept: RestartPolicy) -> None:
    """A policy without a name is none asked for: the docker command always sends one."""
    record = made(restart_policy=RestartPolicy(name="unless-stopped"))
    assert revised(record, UpdateRequest(restart_policy=policy), HOST).host_config.restart_policy == kept


@pytest.mark.parametrize(
    ("wishes", "request_", "kind", "line"),
    [
        (
            {"auto_remove": True},
            UpdateRequest(restart_policy=RestartPolicy(name="always")),
            Conflict,
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
        (
            {},
            UpdateRequest(restart_policy=RestartPolicy(name="sometimes")),
            InvalidInput,
            "unknown policy 'sometimes'",
        ),
        (
            {},
            UpdateRequest(restart_policy=RestartPolicy(name="always", maximum_retry_count=2)),
            InvalidInput,
            "maximum retry count can only be used with 'on-failure'",
        ),
        ({}, UpdateRequest(resources=Resources(memory=5)), InvalidInput, "Minimum memory limit"),
        ({}, UpdateRequest(publish_remove={"80/tcp": None}), NotFound, "no such published port: 80/tcp"),
        (
            {"port_bindings": {"80/tcp": (OPEN,)}},
            UpdateRequest(publish_remove={"80/tcp": (LOCAL,)}),
            NotFound,
            "no such published port: 127.0.0.1:8080:80/tcp",
        ),
    ],
)
def test_what_cannot_be(
    wishes: dict[str, Any], request_: UpdateRequest, kind: type[CortenError], line: str
) -> None:
    """Each refusal is one line that says what is wrong."""
    with pytest.raises(kind, match=line):
        revised(made(**wishes), request_, HOST)


def bindings(record: Container, **request: Any) -> Any:
    """Return the ports of a record on a user's network after a request."""
    return revised(record, UpdateRequest(**request), HOST).host_config.port_bindings


def test_ports_are_added() -> None:
    """A port is published beside the present ones, once, and exposed."""
    record = made(network_mode="host", port_bindings={"80/tcp": (OPEN,), "53/udp": None})
    request = UpdateRequest(publish_add={"80/tcp": (OPEN, LOCAL), "90": None})
    then = revised(record, request, HOST)
    assert then.host_config.port_bindings == {"80/tcp": (OPEN, LOCAL), "90/tcp": (ANY,)}
    assert then.config.exposed_ports == {"80/tcp": {}, "90/tcp": {}}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        (None, {}),
        ((ANY,), {}),
        ((LOCAL,), {"80/tcp": (OPEN,)}),
        ((PortBinding(host_port="80"),), {"80/tcp": (LOCAL,)}),
        ((PortBinding(host_ip="127.0.0.1"),), {"80/tcp": (OPEN,)}),
    ],
)
def test_ports_are_removed(pattern: tuple[PortBinding, ...] | None, left: Any) -> None:
    """What a binding to remove leaves open fits any; a port without bindings is not published."""
    record = made(network_mode="host", port_bindings={"80/tcp": (OPEN, LOCAL)})
    assert bindings(record, publish_remove={"80/tcp": pattern}) == left


def test_a_port_can_change_its_place() -> None:
    """Removal comes first, so that one request moves a port."""
    record = made(network_mode="host", port_bindings={"80/tcp": (OPEN,)})
    assert bindings(record, publish_remove={"80": None}, publish_add={"80/tcp": (LOCAL,)}) == {
        "80/tcp": (LOCAL,)
    }
