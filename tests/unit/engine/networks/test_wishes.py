"""What a container asks of networks."""

import pytest

from corten.engine.networks import wishes
from corten.engine.records.config import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    IpamConfig,
    PortBinding,
)
from corten.engine.records.container import Endpoint
from corten.errors import InvalidInput, NotFound
from tests.unit.engine.networks.records import BRIDGE, DATA, HOST, LENDER, WEB, find


def planned(
    mode: str, given: dict[str, EndpointSettings | None] | None = None, **host: object
) -> list[Endpoint]:
    """The attachments of a container in *mode*."""
    host_config = HostConfig(network_mode=mode, **host)  # type: ignore[arg-type]
    named = wishes.mode_of(ContainerConfig(), host_config)
    return list(wishes.endpoints(named, ContainerConfig(), host_config, given or {}, find))


@pytest.mark.parametrize(
    ("mode", "disabled", "meant"),
    [("", False, "bridge"), ("default", False, "bridge"), ("web", False, "web"), ("web", True, "none")],
)
def test_mode(mode: str, disabled: bool, meant: str) -> None:
    """No mode means the default bridge, and a disabled network is none."""
    config = ContainerConfig(network_disabled=disabled)
    assert wishes.mode_of(config, HostConfig(network_mode=mode)) == meant


def test_one_network() -> None:
    """A mode alone is one attachment, by the network's name and id."""
    (endpoint,) = planned("web")
    assert (endpoint.network, endpoint.network_id) == ("web", WEB.id)


def test_several_networks_keep_their_order() -> None:
    """The network of the mode comes first, then the others as they were named."""
    given: dict[str, EndpointSettings | None] = {
        DATA.id: EndpointSettings(aliases=("db",)),
        "web": EndpointSettings(aliases=("www",)),
    }
    found = planned("web", given)
    assert [(e.network, e.wishes.aliases if e.wishes else None) for e in found] == [
        ("web", ("www",)),
        ("data", ("db",)),
    ]


def test_settings_by_id_belong_to_the_mode() -> None:
    """Settings under the id of the mode's network are that network's."""
    (endpoint,) = planned("web", {WEB.id: EndpointSettings(aliases=("www",))})
    assert endpoint.wishes is not None
    assert endpoint.wishes.aliases == ("www",)


def test_default_settings_are_the_bridges() -> None:
    """The key ``default`` of older clients means the network of the mode."""
    (endpoint,) = planned("", {"default": EndpointSettings(mac_address="02:42:ac:11:00:09")})
    assert endpoint.network == "bridge"
    assert endpoint.wishes is not None
    assert endpoint.wishes.mac_address == "02:42:ac:11:00:09"


def test_mac_and_links_of_old_clients() -> None:
    """A MAC address of the configuration and links of the host configuration go to the main network."""
    config = ContainerConfig(mac_address="02:42:ac:11:00:08")
    (endpoint,) = wishes.endpoints("bridge", config, HostConfig(links=("db:database",)), {}, find)
    assert endpoint.wishes is not None
    assert (endpoint.wishes.mac_address, endpoint.wishes.links) == ("02:42:ac:11:00:08", ("db:database",))


@pytest.mark.parametrize(
    ("mode", "settings", "words"),
    [
        ("bridge", EndpointSettings(aliases=("x",)), "aliases are only supported for user-defined"),
        (
            "bridge",
            EndpointSettings(ipam_config=IpamConfig(ipv4_address="172.17.0.9")),
            "static IP addresses",
        ),
        ("host", EndpointSettings(aliases=("x",)), "has no addresses or names"),
        ("settings", EndpointSettings(), "configuration-only"),
    ],
)
def test_refuses_what_a_network_cannot_give(mode: str, settings: EndpointSettings, words: str) -> None:
    """What the network cannot give is refused in Docker's words."""
    with pytest.raises(InvalidInput, match=words):
        planned(mode, {mode: settings})


def test_host_stands_alone() -> None:
    """The host's network does not go together with others."""
    with pytest.raises(InvalidInput, match="conflicting options"):
        planned("host", {"web": None})


def test_unknown_network() -> None:
    """A network that does not exist is told by its name."""
    with pytest.raises(NotFound, match="nowhere"):
        planned("nowhere")


def test_sharing_needs_no_attachments() -> None:
    """A container in another one's namespace has none of its own."""
    assert planned("container:db") == []


@pytest.mark.parametrize(
    ("config", "host", "words"),
    [
        (ContainerConfig(hostname="x"), HostConfig(), "hostname and the network mode"),
        (ContainerConfig(), HostConfig(links=("a:b",)), "links and the network mode"),
        (ContainerConfig(), HostConfig(dns=("1.1.1.1",)), "dns and the network mode"),
        (ContainerConfig(), HostConfig(extra_hosts=("a:1.1.1.1",)), "custom host-to-IP mapping"),
        (ContainerConfig(), HostConfig(publish_all_ports=True), "port publishing and the container type"),
    ],
)
def test_sharing_contradicts(config: ContainerConfig, host: HostConfig, words: str) -> None:
    """What belongs to the namespace's owner cannot be asked for by one who shares it."""
    shared = type(host)(
        network_mode="container:db",
        links=host.links,
        dns=host.dns,
        extra_hosts=host.extra_hosts,
        publish_all_ports=host.publish_all_ports,
    )
    with pytest.raises(InvalidInput, match=words):
        wishes.check(config, shared)


def test_links_with_the_hosts_network() -> None:
    """Links make no sense where there is no network of one's own."""
    with pytest.raises(InvalidInput, match="host type networking"):
        wishes.check(ContainerConfig(), HostConfig(network_mode="host", links=("a:b",)))


def attached(*networks: str, **priorities: int) -> list[Endpoint]:
    """Attachments to networks, with the priority of some."""
    return [
        Endpoint(name, find(name).id, wishes=EndpointSettings(gw_priority=priorities.get(name, 0)))
        for name in networks
    ]


@pytest.mark.parametrize(
    ("endpoints", "gateway"),
    [
        (attached("web", "bridge"), "bridge"),
        (attached("web", "bridge", web=1), "web"),
        (attached("data", "web"), "web"),
        (attached("data"), None),
        (attached("none"), None),
        ([], None),
    ],
)
def test_gateway(endpoints: list[Endpoint], gateway: str | None) -> None:
    """The way out leads through the highest priority, then the first by name, never an internal network."""
    found = wishes.gateway_of(endpoints, find)
    assert (found.network if found else None) == gateway


def test_ports_bound() -> None:
    """Each binding is one wish; an empty one leaves the choice to the engine."""
    host = HostConfig(
        port_bindings={
            "80/tcp": (
                PortBinding(host_ip="127.0.0.1", host_port="8080"),
                PortBinding(host_ip="[::1]", host_port="8000-8010"),
            ),
            "53/udp": None,
        }
    )
    found = wishes.ports(ContainerConfig(), host)
    assert [(w.protocol, w.container_port, w.host_ip, w.first, w.last) for w in found] == [
        ("tcp", 80, "127.0.0.1", 8080, 8080),
        ("tcp", 80, "::1", 8000, 8010),
        ("udp", 53, "", 0, 0),
    ]


def test_publish_all() -> None:
    """With -P each exposed port that is not bound is published, ranges too."""
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "90-91/udp": {}})
    host = HostConfig(publish_all_ports=True, port_bindings={"80": (PortBinding(host_port="8080"),)})
    found = wishes.ports(config, host)
    assert [(w.container_port, w.protocol, w.first) for w in found] == [
        (80, "tcp", 8080),
        (90, "udp", 0),
        (91, "udp", 0),
    ]


@pytest.mark.parametrize("port", ["", "0", "80-90", "80/icmp", "x", "70000", "-1"])
def test_bad_ports(port: str) -> None:
    """A port that makes no sense is refused."""
    with pytest.raises(InvalidInput, match="invalid port specification"):
        wishes.ports(ContainerConfig(), HostConfig(port_bindings={port: (PortBinding(),)}))


@pytest.mark.parametrize("port", ["x", "90-80", "70000", "1-70000"])
def test_bad_host_ports(port: str) -> None:
    """A port of the host that makes no sense is refused."""
    host_config = HostConfig(port_bindings={"80/tcp": (PortBinding(host_port=port),)})
    with pytest.raises(InvalidInput, match="invalid port specification"):
        wishes.ports(ContainerConfig(), host_config)


def test_names() -> None:
    """Name, aliases, short id and host name, each once."""
    endpoint = Endpoint("web", wishes=EndpointSettings(aliases=("www", "site", "www")))
    assert wishes.names("0123456789abcdef", "site", "box", endpoint) == ("site", "www", "0123456789ab", "box")


def test_links() -> None:
    """A link names a container and perhaps another name for it."""
    endpoint = Endpoint("web", wishes=EndpointSettings(links=("db:database", "/cache", "mail:/site/post")))
    assert wishes.links([endpoint]) == {"database": "db", "cache": "cache", "post": "mail"}


def test_settings_fit_what_they_are_for() -> None:
    """A user-defined network gives addresses and names."""
    wishes.check_settings(
        WEB, EndpointSettings(aliases=("a",), ipam_config=IpamConfig(ipv4_address="10.0.0.9"))
    )
    wishes.check_settings(BRIDGE, EndpointSettings(mac_address="02:42:ac:11:00:09"))
    wishes.check_settings(HOST, EndpointSettings())
    with pytest.raises(InvalidInput):
        wishes.check_settings(LENDER, EndpointSettings())
