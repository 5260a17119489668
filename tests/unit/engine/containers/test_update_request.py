"""The body of an update request."""

import pytest

from corten.engine.containers.update_request import UpdateRequest, decode_update
from corten.engine.records.config import (
    EndpointSettings,
    MountRequest,
    PortBinding,
    Resources,
    RestartPolicy,
)
from corten.errors import InvalidInput


def test_what_docker_sends() -> None:
    """The docker command sends every member of Resources, null where it has nothing to say."""
    body = b"""{"CpuShares": 5, "Memory": 0, "NanoCpus": 0, "BlkioWeightDevice": null, "Devices": [],
        "DeviceCgroupRules": null, "PidsLimit": null, "Ulimits": null, "OomKillDisable": null,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "KernelMemory": 7}"""
    assert decode_update(body) == UpdateRequest(
        resources=Resources(cpu_shares=5, devices=()),
        restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=3),
    )


def test_our_own_members() -> None:
    """Ports, mounts, labels and networks come in the forms that a create request has."""
    body = b"""{"LabelAdd": {"a": "1"}, "LabelRemove": ["b"],
        "PublishAdd": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}, "PublishRemove": {"81/tcp": null},
        "MountAdd": [{"Type": "tmpfs", "Target": "/t"}], "BindAdd": ["/a:/b:ro"], "MountRemove": ["/old"],
        "NetworkAdd": {"front": {"Aliases": ["web"]}, "back": null}, "NetworkRemove": ["bridge"]}"""
    request = decode_update(body)
    assert request == UpdateRequest(
        label_add={"a": "1"},
        label_remove=("b",),
        publish_add={"80/tcp": (PortBinding(host_ip="127.0.0.1", host_port="8080"),)},
        publish_remove={"81/tcp": None},
        mount_add=(MountRequest(type="tmpfs", target="/t"),),
        bind_add=("/a:/b:ro",),
        mount_remove=("/old",),
        network_add={"front": EndpointSettings(aliases=("web",)), "back": None},
        network_remove=("bridge",),
    )
    assert request.changes_mounts
    assert request.changes_ports
    assert not UpdateRequest().changes_mounts
    assert not UpdateRequest().changes_ports


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b'{"Memory": "x"}', b'{"LabelAdd": []}', b'{"MountAdd": [1]}']
)
def test_what_makes_no_sense(body: bytes) -> None:
    """A malformed body is refused in one line that names the member."""
    with pytest.raises(InvalidInput) as refusal:
        decode_update(body)
    assert "\n" not in str(refusal.value)
