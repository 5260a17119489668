"""Create and exec bodies are read as Docker reads them, and shown as Docker shows them."""

import msgspec
import pytest

from corten.engine.records.config import (
    ContainerConfig,
    HostConfig,
    PortBinding,
    decode_create,
    decode_exec,
    decode_resources,
    shown,
)
from corten.errors import InvalidInput

BODY = b"""{"Hostname": null, "Cmd": "sleep", "Entrypoint": ["a", "b"], "Env": null, "Labels": {"Cmd": "x"},
  "ExposedPorts": {"80/tcp": {}}, "OnBuild": null, "Healthcheck": {"Test": ["NONE"], "Interval": null},
  "HostConfig": {"Binds": null, "NetworkMode": null, "UTSMode": "host", "BlkioDeviceReadIOps": null,
    "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 5}], "Ulimits": [{"Name": "core", "Soft": 1, "Hard": 2}],
    "PortBindings": {"80/tcp": [{"HostIp": null, "HostPort": "8080"}], "81/tcp": null},
    "LogConfig": {"Type": "local", "Config": null}, "ConsoleSize": [24, 80], "PidsLimit": null, "New": 1},
  "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}}, "net": null}}}
"""


def test_a_body_is_read_as_docker_reads_it() -> None:
    """Null is absent, a string is a list of one, and the keys of a user's map are left alone."""
    request = decode_create(BODY)
    config, host_config = request.config, request.host_config
    assert (config.hostname, config.cmd, config.entrypoint, config.env) == ("", ("sleep",), ("a", "b"), None)
    assert config.labels == {"Cmd": "x"}
    assert (host_config.network_mode, host_config.uts_mode, host_config.binds) == ("", "host", None)
    assert host_config.port_bindings == {"80/tcp": (PortBinding(host_port="8080"),), "81/tcp": None}
    assert host_config.console_size == (24, 80)
    endpoints = request.networking_config.endpoints_config or {}
    assert endpoints["net"] is None
    default = endpoints["default"]
    assert default is not None
    assert default.ipam_config is not None
    assert default.ipam_config.ipv4_address == "10.0.0.2"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"Tty": 1}', b'{"HostConfig": {"Memory": "1g"}}']
)
def test_a_malformed_body_is_refused_in_one_line(body: bytes) -> None:
    """Bad JSON and a member of the wrong type are the caller's mistake."""
    with pytest.raises(InvalidInput, match=r"\Ainvalid .*\Z"):
        decode_create(body)


def test_what_is_stored_reads_back() -> None:
    """Both configurations survive being stored."""
    request = decode_create(BODY)
    for value in (request.config, request.host_config):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_empty_members_are_shown_as_docker_shows_them() -> None:
    """Some members are left out when empty, the others are null."""
    config, host_config = shown(ContainerConfig()), shown(HostConfig())
    assert {"Cmd", "Entrypoint", "Env", "OnBuild", "Volumes"} <= config.keys()
    assert not {"ExposedPorts", "Healthcheck", "Shell", "StopSignal", "StopTimeout"} & config.keys()
    assert {"Binds", "CapAdd", "Ulimits", "MaskedPaths", "ContainerIDFile", "UTSMode"} <= host_config.keys()
    assert not {"Mounts", "Tmpfs", "Sysctls", "Init", "Annotations"} & host_config.keys()
    assert shown(HostConfig(init=False))["Init"] is False


def test_an_exec_and_an_update_are_read_alike() -> None:
    """The other two bodies follow the same rules."""
    assert decode_exec(b'{"Cmd": "ps", "ConsoleSize": null, "User": null}').cmd == ("ps",)
    assert decode_resources(b'{"Memory": 5, "CpusetCpus": null, "RestartPolicy": {}}').memory == 5
