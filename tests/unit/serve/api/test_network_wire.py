"""Attachments and ports in Docker's JSON."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from corten.engine.records.config import ContainerConfig, EndpointSettings, HostConfig, IpamConfig
from corten.engine.records.container import Container, Endpoint, Published, State
from corten.engine.records.network import IpamSubnet, Network
from corten.serve.api import network_wire
from tests.fakes.engine import BRIDGE

CONTAINER = Container(
    id="a" * 64,
    name="web",
    created="2026-01-01T00:00:00Z",
    image_id="sha256:1",
    config=ContainerConfig(exposed_ports={"443": {}, "80/tcp": {}, "53-54/udp": {}}),
    host_config=HostConfig(),
    path="sleep",
    args=(),
    snapshotter="overlay",
    state=State(status="running"),
    endpoints=(BRIDGE,),
    published=(
        Published("tcp", 80, "::", 8080),
        Published("tcp", 80, "0.0.0.0", 8080),
        Published("tcp", 9000, "127.0.0.1", 9000),
    ),
)
DUAL = Endpoint(
    "lan",
    "1" * 64,
    "2" * 64,
    address="10.0.0.2",
    prefix=24,
    gateway="10.0.0.1",
    mac="02:42:0a:00:00:02",
    address6="fd00::2",
    prefix6=64,
    gateway6="fd00::1",
    names=("web", "www", "aaaaaaaaaaaa"),
    wishes=EndpointSettings(
        ipam_config=IpamConfig(ipv4_address="10.0.0.2"),
        aliases=("www",),
        links=("db:database",),
        driver_opts={"k": "v"},
        gw_priority=5,
    ),
)


def seen(value: object) -> Any:
    """Return *value* as a client gets it."""
    return json.loads(msgspec.json.encode(value))


def test_ports_by_number() -> None:
    """Exposed ports are null, published ones have each binding, IPv4 first; ranges are taken apart."""
    assert seen(network_wire.port_map(CONTAINER)) == {
        "53/udp": None,
        "54/udp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "443/tcp": None,
        "9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}],
    }


def test_ports_as_a_list() -> None:
    """One entry for each binding; what is not published has no address."""
    assert network_wire.ports(CONTAINER) == [
        {"PrivatePort": 53, "Type": "udp"},
        {"PrivatePort": 54, "Type": "udp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "Type": "tcp", "PublicPort": 8080},
        {"IP": "::", "PrivatePort": 80, "Type": "tcp", "PublicPort": 8080},
        {"PrivatePort": 443, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 9000, "Type": "tcp", "PublicPort": 9000},
    ]


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONTAINER, state=State(status="exited")),
        replace(CONTAINER, published=(), endpoints=(Endpoint("host"),)),
        replace(CONTAINER, published=(), endpoints=()),
    ],
)
def test_no_ports_without_a_network_of_its_own(changed: Container) -> None:
    """Neither while stopped, nor in the namespace of the host or of another container."""
    assert network_wire.port_map(changed) == {}
    assert network_wire.ports(changed) == []


def test_an_attachment_shows_wishes_and_facts() -> None:
    """What was asked for stands beside what was given."""
    assert seen(network_wire.endpoint(DUAL)) == {
        "IPAMConfig": {"IPv4Address": "10.0.0.2"},
        "Links": ["db:database"],
        "Aliases": ["www"],
        "MacAddress": "02:42:0a:00:00:02",
        "DriverOpts": {"k": "v"},
        "GwPriority": 5,
        "NetworkID": "1" * 64,
        "EndpointID": "2" * 64,
        "Gateway": "10.0.0.1",
        "IPAddress": "10.0.0.2",
        "IPPrefixLen": 24,
        "IPv6Gateway": "fd00::1",
        "GlobalIPv6Address": "fd00::2",
        "GlobalIPv6PrefixLen": 64,
        "DNSNames": ["web", "www", "aaaaaaaaaaaa"],
    }


def test_an_attachment_without_wishes_has_nulls() -> None:
    """An empty wish of addresses is an object, none is null: clients tell them apart."""
    bare = seen(network_wire.endpoint(Endpoint("lan")))
    assert {key for key, value in bare.items() if value is None} == {
        "IPAMConfig",
        "Links",
        "Aliases",
        "DriverOpts",
        "DNSNames",
    }
    asked = Endpoint("lan", wishes=EndpointSettings(ipam_config=IpamConfig()))
    assert network_wire.endpoint(asked)["IPAMConfig"] == {}


def test_settings_keep_the_old_members() -> None:
    """Those of the default bridge stand at the top as well, in both families."""
    bridge = replace(DUAL, network="bridge")
    found = network_wire.network_settings(replace(CONTAINER, endpoints=(bridge, DUAL)))
    assert (found["IPAddress"], found["IPPrefixLen"], found["Gateway"]) == ("10.0.0.2", 24, "10.0.0.1")
    assert (found["GlobalIPv6Address"], found["GlobalIPv6PrefixLen"]) == ("fd00::2", 64)
    assert list(found["Networks"]) == ["bridge", "lan"]
    assert network_wire.network_settings(replace(CONTAINER, endpoints=(DUAL,)))["IPAddress"] == ""


def test_a_network_shows_its_members_and_ranges() -> None:
    """Empty parts of a range are left out, those of an endpoint are empty texts."""
    network = Network(
        id="1" * 64,
        name="lan",
        created="2026-01-01T00:00:00Z",
        ipam_options={"o": "1"},
        subnets=(
            IpamSubnet(
                subnet="10.0.0.0/24", ip_range="10.0.0.128/25", gateway="10.0.0.1", reserved={"r": "10.0.0.9"}
            ),
            IpamSubnet(subnet="fd00::/64"),
        ),
        config_from="base",
    )
    found = seen(network_wire.network(network, [replace(CONTAINER, endpoints=(BRIDGE, DUAL))]))
    assert found["IPAM"] == {
        "Driver": "default",
        "Options": {"o": "1"},
        "Config": [
            {
                "Subnet": "10.0.0.0/24",
                "IPRange": "10.0.0.128/25",
                "Gateway": "10.0.0.1",
                "AuxiliaryAddresses": {"r": "10.0.0.9"},
            },
            {"Subnet": "fd00::/64"},
        ],
    }
    assert found["ConfigFrom"] == {"Network": "base"}
    assert found["Containers"] == {
        "a" * 64: {
            "Name": "web",
            "EndpointID": "2" * 64,
            "MacAddress": "02:42:0a:00:00:02",
            "IPv4Address": "10.0.0.2/24",
            "IPv6Address": "fd00::2/64",
        }
    }
