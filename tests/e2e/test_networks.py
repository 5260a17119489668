"""Networks of users: made, joined, left and removed by the docker client and docker-py; who reaches whom over them.

The engine's host has two neighbours (``hosts``). What is on a network is asked
by sockets made in the namespaces of containers, and by the kernel's own files
inside of them.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from typing import TYPE_CHECKING

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.e2e.conftest import until
from tests.e2e.hosts import (
    HOST,
    KINDS,
    OUTSIDE,
    Neighbours,
    address,
    ask,
    at,
    greeter,
    idler,
    looked_up,
    namespace_of,
    neighbours,
    network,
    pid_of,
    place,
    ready,
    refused,
    service,
    silent,
)
from tests.e2e.tools import state, told, unique
from tests.kernel.isolated import new_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from docker import DockerClient

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

MANY = 60
PREFIX = "com.docker.network"


@pytest.fixture(scope="module")
def around(engine: Engine) -> Iterator[Neighbours]:
    """The neighbours of the engine's host."""
    with neighbours(engine) as made:
        yield made


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[DockerClient]:
    """The Python client of Docker."""
    connection = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    yield connection
    connection.close()


# who reaches whom


def test_fellows_talk_and_networks_are_apart(engine: Engine) -> None:
    """Both families and protocols: on one network everybody is reached by their own address, from another nobody is."""
    with ExitStack() as stack:
        one, two = (stack.enter_context(network(engine, "--ipv6")) for _ in range(2))
        here = stack.enter_context(service(engine, "--network", one))
        there = stack.enter_context(service(engine, "--network", two))
        fellow = stack.enter_context(idler(engine, "--network", one))
        asking = stack.enter_context(namespace_of(engine, fellow))
        beyond = stack.enter_context(namespace_of(engine, there))
        for protocol in KINDS:
            for version in (4, 6):
                target, own = address(engine, here, one, version), address(engine, fellow, one, version)
                assert ask(asking, protocol, target, 80) == f"{here} {own}"
                assert silent(beyond, protocol, target, 80)
                assert silent(asking, protocol, address(engine, there, two, version), 80)


def test_the_default_bridge_and_user_networks_are_apart(engine: Engine) -> None:
    """Neither reaches the other, by either protocol."""
    with ExitStack() as stack:
        own = stack.enter_context(network(engine))
        inner = stack.enter_context(service(engine, "--network", own))
        plain = stack.enter_context(service(engine))
        asking, other = (stack.enter_context(namespace_of(engine, name)) for name in (inner, plain))
        for protocol in KINDS:
            assert silent(asking, protocol, address(engine, plain, "bridge"), 80)
            assert silent(other, protocol, address(engine, inner, own), 80)


def test_the_way_out(engine: Engine, around: Neighbours) -> None:
    """What leaves a network of both families carries the host's address, whichever the family."""
    with (
        network(engine, "--ipv6") as own,
        service(engine, "--network", own) as name,
        namespace_of(engine, name) as asking,
        greeter(around.outside) as server,
    ):
        for target, seen in ((OUTSIDE, HOST), ("2001:db8:1::2", "2001:db8:1::1")):
            assert ask(asking, "tcp", target, server) == f"neighbour {seen}"


def test_no_masquerading(engine: Engine, around: Neighbours) -> None:
    """With ip_masquerade off the outside sees the container's own address."""
    with (
        network(engine, "-o", f"{PREFIX}.bridge.enable_ip_masquerade=false") as own,
        idler(engine, "--network", own) as name,
        namespace_of(engine, name) as asking,
        greeter(around.outside) as server,
    ):
        theirs = looked_up(engine, own)["IPAM"]["Config"][0]["Subnet"]
        at(around.outside, "ip", "route", "add", theirs, "via", HOST)
        assert ask(asking, "tcp", OUTSIDE, server) == f"neighbour {address(engine, name, own)}"
        at(around.outside, "ip", "route", "del", theirs)


def test_containers_kept_from_each_other(engine: Engine, around: Neighbours) -> None:
    """With icc off, fellows reach no address of each other, but the outside, and published ports by the host."""
    flags = ("--ipv6", "-o", f"{PREFIX}.bridge.enable_icc=false")
    with ExitStack() as stack:
        own = stack.enter_context(network(engine, *flags))
        name = stack.enter_context(service(engine, "--network", own, "-p", "8500:80", "-p", "8500:80/udp"))
        fellow = stack.enter_context(idler(engine, "--network", own))
        asking = stack.enter_context(namespace_of(engine, fellow))
        port = stack.enter_context(greeter(around.outside))
        for protocol in KINDS:
            for version in (4, 6):
                assert silent(asking, protocol, address(engine, name, own, version), 80)
            assert ask(asking, protocol, HOST, 8500).startswith(name)
            assert ask(around.outside, protocol, HOST, 8500) == f"{name} {OUTSIDE}"
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"


def test_internal_networks(engine: Engine, around: Neighbours) -> None:
    """Containers of an internal network talk to each other; nothing leads in or out, and there is no default route."""
    with ExitStack() as stack:
        hidden = stack.enter_context(network(engine, "--internal", "--ipv6"))
        name = stack.enter_context(service(engine, "--network", hidden))
        fellow = stack.enter_context(idler(engine, "--network", hidden))
        asking = stack.enter_context(namespace_of(engine, fellow))
        port = stack.enter_context(greeter(around.outside))
        assert looked_up(engine, hidden)["Internal"] is True
        assert at(asking, "ip", "route", "show", "default") == ""
        assert at(asking, "ip", "-6", "route", "show", "default") == ""
        for version in (4, 6):
            target = address(engine, name, hidden, version)
            assert ask(asking, "tcp", target, 80).startswith(name)
            assert silent(around.intruder, "tcp", target, 80)
            assert silent(around.intruder, "udp", target, 80)
        gateway = str(ip_network(looked_up(engine, hidden)["IPAM"]["Config"][0]["Subnet"])[1])
        at(asking, "ip", "route", "add", "default", "via", gateway, "onlink", "dev", "eth0")
        assert silent(asking, "tcp", OUTSIDE, port)  # not even with a route of its own making


# many networks, one container


def test_join_and_leave_while_it_runs(engine: Engine) -> None:
    """A living container gets a link for each network it joins, and loses it when it leaves; it stays the same process."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(network(engine, "--ipv6")) for _ in range(2))
        there = stack.enter_context(service(engine, "--network", second))
        name = stack.enter_context(service(engine, "--network", first))
        pid = pid_of(engine, name)
        asking, other = (stack.enter_context(namespace_of(engine, one)) for one in (name, there))
        target = address(engine, there, second)
        assert silent(asking, "tcp", target, 80)
        engine.docker("network", "connect", second, name)
        assert ask(asking, "tcp", target, 80) == f"{there} {address(engine, name, second)}"
        for version in (4, 6):
            assert ask(other, "udp", address(engine, name, second, version), 80).startswith(name)
        assert links_in(asking) == {"lo", "eth0", "eth1"}
        assert set(looked_up(engine, second)["Containers"]) == {identifier(engine, n) for n in (name, there)}
        engine.docker("network", "disconnect", second, name)
        assert links_in(asking) == {"lo", "eth0"}
        assert silent(asking, "tcp", target, 80)
        assert set(looked_up(engine, second)["Containers"]) == {identifier(engine, there)}
        assert pid_of(engine, name) == pid
        assert networks_of(engine, name) == {first}


def links_in(namespace: int) -> set[str]:
    """Return the names of the links in *namespace*."""
    return {one["ifname"] for one in json.loads(at(namespace, "ip", "-json", "link", "show"))}


def identifier(engine: Engine, name: str) -> str:
    """Return the whole id of a container."""
    return state(engine, name, "{{.Id}}")


def networks_of(engine: Engine, name: str) -> set[str]:
    """Return the networks of a container by inspect."""
    return set(json.loads(state(engine, name, "{{json .NetworkSettings.Networks}}")))


def test_the_way_out_moves(engine: Engine, around: Neighbours) -> None:
    """The default route leads through one network, and through another when that is left; gw-priority chooses."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(network(engine, name=f"{unique(p)}")) for p in ("a", "b"))
        hidden = stack.enter_context(network(engine, "--internal"))
        port = stack.enter_context(greeter(around.outside))
        name = stack.enter_context(
            idler(
                engine, "--network", hidden, "--network", f"name={second},gw-priority=1", "--network", first
            )
        )
        asking = stack.enter_context(namespace_of(engine, name))
        assert gateway_of(asking) == place(engine, name, second)["Gateway"]
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"
        engine.docker("network", "disconnect", second, name)
        assert gateway_of(asking) == place(engine, name, first)["Gateway"]
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"
        engine.docker("network", "disconnect", first, name)
        assert at(asking, "ip", "route", "show", "default") == ""
        engine.docker("network", "connect", second, name)
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"


def gateway_of(namespace: int) -> str:
    """Return the gateway of the one default route in *namespace*."""
    (route,) = json.loads(at(namespace, "ip", "-json", "route", "show", "default"))
    return str(route["gateway"])


def test_attachments_of_a_stopped_container(engine: Engine) -> None:
    """A container that does not run joins and leaves too; its next start follows, with the wishes kept."""
    with (
        network(engine, "--subnet", "10.71.0.0/24") as first,
        network(engine) as second,
        idler(engine, "--network", second) as name,
    ):
        engine.docker("stop", "-t", "0", name)
        engine.docker("network", "connect", "--ip", "10.71.0.71", first, name)
        engine.docker("network", "disconnect", second, name)
        assert networks_of(engine, name) == {first}
        for _ in range(2):
            engine.docker("start", name)
            assert address(engine, name, first) == "10.71.0.71"
            engine.docker("stop", "-t", "0", name)
        assert place(engine, name, first)["IPAMConfig"]["IPv4Address"] == "10.71.0.71"
        assert address(engine, name, first) == ""


def test_joining_the_second_time(engine: Engine) -> None:
    """What is joined already, left already, the host's or nobody's is refused in one line, and changes nothing."""
    with network(engine) as own, network(engine) as other, idler(engine, "--network", own) as name:
        joined = refused(engine, 1, "network", "connect", own, name)
        assert joined == f"endpoint with name {name} already exists in network {own}"
        left = refused(engine, 1, "network", "disconnect", other, name)
        assert left.endswith(f"is not connected to network {other}")
        assert "host network" in refused(engine, 1, "network", "connect", "host", name)
        assert "(none)" in refused(engine, 1, "network", "connect", "none", name)
        assert refused(engine, 1, "network", "connect", "nosuch", name) == "network nosuch not found"
        assert refused(engine, 1, "network", "connect", own, "nosuch") == "No such container: nosuch"
        assert networks_of(engine, name) == {own}


# addresses


def test_chosen_addresses(engine: Engine) -> None:
    """``--ip``, ``--ip6`` and ``--mac-address`` are what the container has, before and after a restart of it and of the daemon."""
    subnets = ("--ipv6", "--subnet", "10.72.0.0/24", "--subnet", "fd00:72::/64")
    wishes = ("--ip", "10.72.0.72", "--ip6", "fd00:72::72", "--mac-address", "02:11:22:33:44:55")
    with network(engine, *subnets) as own, idler(engine, "--network", own, *wishes) as name:
        for again in (lambda: None, lambda: engine.docker("restart", "-t", "0", name), engine.restart_daemon):
            again()
            with namespace_of(engine, name) as there:
                assert facts_of(there, "eth0") == (
                    "02:11:22:33:44:55",
                    {"10.72.0.72/24", "fd00:72::72/64"},
                    1500,
                )
            found = place(engine, name, own)
            assert (found["IPAddress"], found["IPPrefixLen"]) == ("10.72.0.72", 24)
            assert (found["GlobalIPv6Address"], found["GlobalIPv6PrefixLen"]) == ("fd00:72::72", 64)
            assert found["MacAddress"] == "02:11:22:33:44:55"
        taken = refused(engine, 125, "run", "--rm", "--network", own, "--ip", "10.72.0.72", "debian", "true")
        assert "10.72.0.72" in taken


def facts_of(namespace: int, link: str) -> tuple[str, set[str], int]:
    """Return MAC, addresses with prefix (not fe80::) and MTU of a link as the kernel has them."""
    (found,) = json.loads(at(namespace, "ip", "-json", "address", "show", link))
    listed = {f"{one['local']}/{one['prefixlen']}" for one in found["addr_info"] if one["scope"] != "link"}
    return str(found["address"]), listed, int(found["mtu"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("10.73.0.900", "10.73.0.900"),
        ("10.99.0.9", "10.99.0.9"),
        ("10.73.0.1", "10.73.0.1"),  # the gateway's
        ("10.73.0.255", "10.73.0.255"),  # the broadcast address
    ],
)
def test_addresses_that_cannot_be(engine: Engine, given: str, said: str) -> None:
    """An address that is none, is elsewhere or is not for containers is refused by its name, and nothing is left."""
    with network(engine, "--subnet", "10.73.0.0/24") as own, idler(engine) as name:
        assert said in refused(engine, 1, "network", "connect", "--ip", given, own, name)
        assert networks_of(engine, name) == {"bridge"}
        assert looked_up(engine, own)["Containers"] == {}


def test_no_chosen_address_on_the_default_bridge(engine: Engine) -> None:
    """It is for user networks, Docker says, and so do we."""
    words = ("run", "--rm", "--network", "bridge", "--ip", "172.17.0.9", "debian", "true")
    assert "supported only on user defined networks" in refused(engine, 125, *words)


def test_ranges_and_reserved_addresses(engine: Engine) -> None:
    """Containers get addresses of the range alone, never a reserved one; when none is left, a line says so."""
    flags = ("--subnet", "10.74.0.0/24", "--ip-range", "10.74.0.8/30", "--aux-address", "nas=10.74.0.9")
    with network(engine, *flags, "--gateway", "10.74.0.254") as own, ExitStack() as stack:
        found = set()
        for _ in range(3):
            name = stack.enter_context(idler(engine, "--network", own))
            found.add(address(engine, name, own))
        assert found == {"10.74.0.8", "10.74.0.10", "10.74.0.11"}
        assert place(engine, name, own)["Gateway"] == "10.74.0.254"
        line = refused(engine, 125, "run", "--rm", "--network", own, "debian", "true")
        assert "no " in line
        assert "address" in line
        stack.enter_context(idler(engine, "--network", own, "--ip", "10.74.0.100"))  # beyond the range


def test_both_families(engine: Engine) -> None:
    """A network of both families gives each container an address and a gateway of each, as inspect says."""
    with (
        network(engine, "--ipv6") as own,
        idler(engine, "--network", own) as name,
        namespace_of(engine, name) as there,
    ):
        subnets = [ip_network(one["Subnet"]) for one in looked_up(engine, own)["IPAM"]["Config"]]
        assert [subnet.version for subnet in subnets] == [4, 6]
        assert subnets[1].is_private
        found = place(engine, name, own)
        four = IPv4Interface(f"{found['IPAddress']}/{found['IPPrefixLen']}")
        six = IPv6Interface(f"{found['GlobalIPv6Address']}/{found['GlobalIPv6PrefixLen']}")
        assert [four.network, six.network] == subnets
        assert facts_of(there, "eth0")[1] == {str(four), str(six)}
        (listed,) = looked_up(engine, own)["Containers"].values()
        assert (listed["IPv4Address"], listed["IPv6Address"]) == (str(four), str(six))
        (route,) = json.loads(at(there, "ip", "-6", "-json", "route", "show", "default"))
        assert route["gateway"] == found["IPv6Gateway"]


def test_ipv6_alone(engine: Engine, around: Neighbours) -> None:
    """A network without IPv4 has one subnet, and its containers are reached by that."""
    with (
        network(engine, "--ipv4=false", "--ipv6") as own,
        service(engine, "--network", own, "-p", "8600:80") as name,
        namespace_of(engine, name) as there,
    ):
        found = place(engine, name, own)
        assert found["IPAddress"] == ""
        assert {ip_address(text.split("/")[0]).version for text in facts_of(there, "eth0")[1]} == {6}
        assert ask(around.outside, "tcp", "2001:db8:1::1", 8600) == f"{name} 2001:db8:1::2"


def test_mtu(engine: Engine) -> None:
    """The driver's option sets the MTU of the container's link and of the bridge."""
    with (
        network(engine, "-o", f"{PREFIX}.driver.mtu=1400", "-o", f"{PREFIX}.bridge.name=brmtu") as own,
        idler(engine, "--network", own) as name,
        namespace_of(engine, name) as there,
    ):
        assert facts_of(there, "eth0")[2] == 1400
        assert facts_of(engine.netns, "brmtu")[2] == 1400


# other kinds


def test_macvlan(engine: Engine, around: Neighbours) -> None:
    """Containers on a parent link reach each other and the neighbour on that cable; nothing is translated."""
    parent = "mac0"
    beyond = new_namespace()
    try:
        in_fd = f"/proc/{os.getpid()}/fd/{beyond}"
        engine.inside("ip", "link", "add", parent, "type", "veth", "peer", "name", "eth0", "netns", in_fd)
        engine.inside("ip", "link", "set", parent, "up")
        at(beyond, "ip", "address", "add", "10.75.0.1/24", "dev", "eth0")
        at(beyond, "ip", "link", "set", "eth0", "up")
        flags = (
            "-d",
            "macvlan",
            "--subnet",
            "10.75.0.0/24",
            "--gateway",
            "10.75.0.1",
            "-o",
            f"parent={parent}",
        )
        with (
            network(engine, *flags) as own,
            service(engine, "--network", own) as one,
            service(engine, "--network", own, "--ip", "10.75.0.75") as two,
            namespace_of(engine, one) as asking,
            greeter(beyond) as port,
        ):
            mine = address(engine, one, own)
            for protocol in KINDS:
                assert ask(asking, protocol, "10.75.0.75", 80) == f"{two} {mine}"
                assert ask(beyond, protocol, mine, 80) == f"{one} 10.75.0.1"
            assert ask(asking, "tcp", "10.75.0.1", port) == f"neighbour {mine}"
            assert looked_up(engine, own)["Driver"] == "macvlan"
            assert looked_up(engine, own)["Options"] == {"parent": parent}
    finally:
        engine.inside("ip", "link", "del", parent)
        os.close(beyond)


def test_macvlan_without_a_parent(engine: Engine, around: Neighbours) -> None:
    """Its containers reach each other and nobody else; the link that it made goes with it."""
    before = links_in(engine.netns)
    with (
        network(engine, "-d", "macvlan", "--subnet", "10.76.0.0/24") as own,
        service(engine, "--network", own) as one,
        service(engine, "--network", own) as two,
        namespace_of(engine, one) as asking,
    ):
        assert ask(asking, "tcp", address(engine, two, own), 80).startswith(two)
        assert silent(around.intruder, "tcp", address(engine, two, own), 80)
    until(lambda: links_in(engine.netns) <= before, "the parent to be gone")


def test_the_network_of_another_container(engine: Engine) -> None:
    """``container:NAME`` shares links, loopback and names; it needs one that runs, and may publish nothing itself."""
    with (
        network(engine) as own,
        service(engine, "--network", own, name=unique()) as owner,
        idler(engine, "--network", f"container:{owner}") as guest,
        namespace_of(engine, owner) as first,
        namespace_of(engine, guest) as second,
    ):
        assert os.fstat(first).st_ino == os.fstat(second).st_ino
        assert ask(second, "tcp", "127.0.0.1", 80) == f"{owner} 127.0.0.1"
        hosts, names = (
            engine.docker("exec", n, "cat", "/etc/hosts", "/etc/resolv.conf").stdout for n in (owner, guest)
        )
        assert hosts == names
        mode = f"container:{owner}"
        assert "port publishing" in refused(
            engine, 125, "run", "--rm", "--network", mode, "-p", "80:80", "debian", "true"
        )
        with network(engine) as other:
            assert "sharing network namespace" in refused(engine, 1, "network", "connect", other, guest)
        engine.docker("kill", owner)
        until(lambda: state(engine, owner) == "exited", "the owner to end")
        assert "non running container" in refused(
            engine, 125, "run", "--rm", "--network", mode, "debian", "true"
        )
        assert state(engine, guest) == "running"
        engine.docker("start", owner)
        ready(engine, owner)


def test_the_hosts_own_network(engine: Engine, around: Neighbours) -> None:
    """A service on ``host`` is reached at the host's addresses without a port published."""
    with service(engine, "--network", "host", ports=(8700,)) as name:
        assert ask(around.outside, "tcp", HOST, 8700) == f"{name} {OUTSIDE}"
        assert ask(engine.netns, "udp", "127.0.0.1", 8700) == f"{name} 127.0.0.1"
        assert networks_of(engine, name) == {"host"}


def test_no_network(engine: Engine) -> None:
    """On ``none`` there is loopback alone; a container may join a network from there while it lives."""
    with (
        network(engine) as own,
        service(engine, "--network", "none") as name,
        namespace_of(engine, name) as there,
    ):
        assert links_in(there) == {"lo"}
        assert ask(there, "tcp", "127.0.0.1", 80) == f"{name} 127.0.0.1"
        engine.docker("network", "connect", own, name)
        assert links_in(there) == {"lo", "eth0"}
        assert ask(engine.netns, "tcp", address(engine, name, own), 80).startswith(name)


# what the client shows


def test_inspect(engine: Engine) -> None:
    """``network inspect`` has every member that Docker's has, with what was asked for."""
    flags = ("--subnet", "10.77.0.0/24", "--gateway", "10.77.0.7", "--ip-range", "10.77.0.128/25")
    more = (
        "--aux-address",
        "nas=10.77.0.9",
        "--label",
        "site=a",
        "--attachable",
        "-o",
        f"{PREFIX}.driver.mtu=1450",
    )
    with network(engine, *flags, *more) as own, idler(engine, "--network", own) as name:
        found = looked_up(engine, own)
        assert len(found.pop("Id")) == 64
        assert found.pop("Created").endswith("Z")
        (member,) = found.pop("Containers").items()
        assert member[0] == identifier(engine, name)
        assert set(member[1]) == {"Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"}
        assert member[1]["Name"] == name
        assert member[1]["IPv4Address"] == "10.77.0.128/24"
        assert found == {
            "Name": own,
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {
                "Driver": "default",
                "Options": {},
                "Config": [
                    {
                        "Subnet": "10.77.0.0/24",
                        "IPRange": "10.77.0.128/25",
                        "Gateway": "10.77.0.7",
                        "AuxiliaryAddresses": {"nas": "10.77.0.9"},
                    }
                ],
            },
            "Internal": False,
            "Attachable": True,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Options": {f"{PREFIX}.driver.mtu": "1450"},
            "Labels": {"site": "a"},
        }


def test_list(engine: Engine) -> None:
    """``network ls`` has the predefined three and the user's; filters and formats are Docker's."""
    with network(engine, "--label", "site=b") as own, network(engine, "--internal") as other:
        rows = [json.loads(line) for line in listed(engine, "--format", "json")]
        named = {row["Name"]: (row["Driver"], row["Scope"]) for row in rows}
        assert {"bridge", "host", "none", own, other} <= set(named)
        assert named["none"] == ("null", "local")
        assert named[own] == ("bridge", "local")
        name = ("--format", "{{.Name}}")
        assert listed(engine, "-f", "label=site=b", *name) == [own]
        assert set(listed(engine, "-f", "type=builtin", *name)) == {"bridge", "host", "none"}
        assert {own, other} <= set(listed(engine, "-f", "type=custom", *name))
        assert listed(engine, "-f", "driver=null", *name) == ["none"]
        assert listed(engine, "-f", f"name={own[:8]}", *name) == [own]
        whole = looked_up(engine, own)["Id"]
        assert listed(engine, "-f", f"id={whole[:12]}", *name) == [own]
        assert listed(engine, "-q", "--no-trunc", "-f", f"name={own}") == [whole]
        assert set(listed(engine, "-f", "dangling=true", *name)) >= {own, other}


def listed(engine: Engine, *flags: str) -> list[str]:
    """Return the lines of ``docker network ls``."""
    lines: list[str] = engine.docker("network", "ls", *flags).stdout.splitlines()
    return lines


def test_remove(engine: Engine) -> None:
    """Several at once, by name, id or its beginning; the predefined and those in use stay, one line for each."""
    first, second, third = (made(engine) for _ in range(3))
    whole = looked_up(engine, third)["Id"]
    done = engine.docker("network", "rm", first, "nosuch", whole[:12], check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [first, whole[:12]]
    assert done.stderr.splitlines()[0] == "Error response from daemon: network nosuch not found"
    with idler(engine, "--network", second) as name:
        line = refused(engine, 1, "network", "rm", second)
        assert line.startswith(f"error while removing network: network {second} has active endpoints")
        assert name in line
        assert engine.api("DELETE", f"/networks/{second}")[0] == 403
        engine.docker("network", "disconnect", second, name)
        engine.docker("network", "rm", second)
    assert engine.docker("network", "rm", "-f", "nosuch").returncode == 0
    for predefined in ("bridge", "host", "none"):
        assert "pre-defined" in refused(engine, 1, "network", "rm", predefined)
        assert engine.api("DELETE", f"/networks/{predefined}")[0] == 403


def made(engine: Engine, *flags: str) -> str:
    """Make a network that the test removes; return its name."""
    name = unique("n")
    engine.docker("network", "create", *flags, name)
    return name


def test_prune(engine: Engine) -> None:
    """It removes what no container refers to, running or stopped, and what the filters let through."""
    free, labelled, used = made(engine), made(engine, "--label", "keep"), made(engine)
    with idler(engine, "--network", used) as name:
        engine.docker("stop", "-t", "0", name)
        done = engine.docker("network", "prune", "-f", "--filter", "label!=keep").stdout
        assert done.splitlines()[0] == "Deleted Networks:"
        assert free in done.splitlines()
        left = set(listed(engine, "--format", "{{.Name}}"))
        assert {"bridge", "host", "none", labelled, used} <= left
        assert free not in left
    done = engine.docker("network", "prune", "-f").stdout
    assert {labelled, used} <= set(done.splitlines())


# what is refused

BAD = [
    (("--subnet", "10.300.0.0/24"), 400, "10.300.0.0/24"),
    (("--subnet", "10.78.0.5/24"), 400, "10.78.0.5/24"),
    (("--subnet", "10.78.0.0/32"), 400, "10.78.0.0/32"),
    (("-d", "nosuch"), 404, 'plugin "nosuch" not found'),
    (("--ipam-driver", "nosuch"), 404, "nosuch"),
    (("-d", "host"), 403, 'only one instance of "host" network is allowed'),
    (("-d", "overlay"), 501, "several machines"),
    (("-d", "macvlan", "-o", "parent=nosuchlink"), 0, "nosuchlink"),
    (("-o", f"{PREFIX}.driver.mtu=many"), 400, "many"),
    (("-o", "nosuchoption=1"), 400, "nosuchoption"),
    (("-o", f"{PREFIX}.bridge.enable_icc=perhaps"), 400, "perhaps"),
    (("-o", f"{PREFIX}.bridge.name=far-too-long-for-a-link"), 400, "far-too-long-for-a-link"),
    (("-o", f"{PREFIX}.bridge.name=lo"), 0, "lo"),
    (("--ipv6", "--subnet", "fd00::1/64"), 400, "fd00::1/64"),
    (("--config-from", "nosuch"), 404, "nosuch"),
]


@pytest.mark.parametrize(
    ("flags", "status", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_networks_that_cannot_be(engine: Engine, flags: tuple[str, ...], status: int, said: str) -> None:
    """One line names what is wrong; no network, link or rule is left of the try."""
    before = kernel_objects(engine)
    assert said in refused(engine, 1, "network", "create", *flags, "bad")
    assert engine.docker("network", "inspect", "bad", check=False).returncode == 1
    assert kernel_objects(engine) == before


def kernel_objects(engine: Engine) -> dict[str, list[str]]:
    """Return all links, rules of routing, routes and elements of the firewall on the engine's host, but containers' links."""
    links = json.loads(engine.inside("ip", "-json", "link", "show"))
    found = {"links": sorted(one["ifname"] for one in links if not one["ifname"].startswith("ct"))}
    for family in ("-4", "-6"):
        found[f"rules {family}"] = engine.inside("ip", family, "rule", "show").splitlines()
        routes = engine.inside("ip", family, "route", "show", "table", "all").splitlines()
        found[f"routes {family}"] = sorted(line for line in routes if " dev ct" not in line)
    found["firewall"] = firewall(engine)
    return found


def firewall(engine: Engine) -> list[str]:
    """Return every rule, set and element of the firewall, in an order that says nothing of when it was made."""
    listed = json.loads(engine.inside("nft", "-j", "list", "ruleset"))["nftables"]
    lines = []
    for one in listed:
        for kind, facts in one.items():
            facts.pop("handle", None)
            elements = facts.pop("elem", [])
            lines.append(f"{kind} {json.dumps(facts, sort_keys=True)}")
            lines += [f"{facts['name']} {json.dumps(element, sort_keys=True)}" for element in elements]
    return sorted(lines)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"Name": "bridge"}, 403, "predefined bridge network"),
        ({"Name": ""}, 400, "name"),
        ({"Name": "_bad"}, 400, "_bad"),
        ({"Name": "a/b"}, 400, "a/b"),
        ({"Name": "bad", "Driver": "nosuch"}, 404, "nosuch"),
        ({"Name": "bad", "Driver": "host"}, 403, "host"),
        ({"Name": "bad", "EnableIPv4": False}, 400, "IPv6"),
        ({"Name": "bad", "IPAM": {"Config": [{"Gateway": "10.78.0.1"}]}}, 400, "subnet"),
        (
            {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.78.0.0/24", "Gateway": "10.79.0.1"}]}},
            400,
            "10.79.0.1",
        ),
        (
            {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.78.0.0/24", "IPRange": "10.79.0.0/25"}]}},
            400,
            "10.79.0.0/25",
        ),
        (
            {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.78.0.0/24"}, {"Subnet": "10.78.0.0/25"}]}},
            400,
            "10.78.0.0",
        ),
        ({"Name": "bad", "Internal": "yes"}, 400, "Internal"),
    ],
)
def test_requests_that_cannot_be(engine: Engine, body: dict[str, Any], status: int, said: str) -> None:
    """The API answers with Docker's codes, one line each."""
    found, answer = engine.api("POST", "/networks/create", body)
    assert (found, len(answer["message"].splitlines())) == (status, 1), answer
    assert said in answer["message"]


def test_the_same_name_twice(engine: Engine) -> None:
    """The second is a conflict, as is an overlapping subnet a thing that Docker forbids."""
    with network(engine, "--subnet", "10.80.0.0/24") as own:
        line = refused(engine, 1, "network", "create", own)
        assert line.startswith(f"network with name {own} already exists")
        assert engine.api("POST", "/networks/create", {"Name": own})[0] == 409
        body = {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.80.0.128/25"}]}}
        status, answer = engine.api("POST", "/networks/create", body)
        assert status == 403, answer
        assert "Pool overlaps with other one on this address space" in answer["message"]


def test_a_subnet_of_the_host(engine: Engine, around: Neighbours) -> None:
    """The choice of the engine avoids what the host is on; the user's own is done, with a warning."""
    engine.inside("ip", "address", "add", "10.81.0.1/16", "dev", "wan0")
    try:
        body = {"Name": unique("n"), "IPAM": {"Config": [{"Subnet": "10.81.5.0/24"}]}}
        status, answer = engine.api("POST", "/networks/create", body)
        assert status == 201, answer
        assert "10.81" in answer["Warning"]
        engine.docker("network", "rm", body["Name"])
        used = [ip_network("10.81.0.0/16"), ip_network("203.0.113.0/24"), ip_network("172.17.0.0/16")]
        with network(engine) as own:
            chosen = ip_network(looked_up(engine, own)["IPAM"]["Config"][0]["Subnet"])
            assert not any(chosen.overlaps(subnet) for subnet in used)
    finally:
        engine.inside("ip", "address", "del", "10.81.0.1/16", "dev", "wan0")


# settings to lend, many networks, the daemon's end


def test_settings_to_lend(engine: Engine) -> None:
    """A network made from a configuration has its subnet; the configuration itself carries nobody, and stays while lent."""
    lender = made(engine, "--config-only", "--subnet", "10.82.0.0/24")
    try:
        with network(engine, "--config-from", lender) as own, idler(engine, "--network", own) as name:
            assert address(engine, name, own).startswith("10.82.0.")
            assert looked_up(engine, own)["ConfigFrom"] == {"Network": lender}
            assert looked_up(engine, lender)["ConfigOnly"] is True
            assert lender in refused(engine, 1, "network", "rm", lender)
            assert lender in refused(engine, 125, "run", "--rm", "--network", lender, "debian", "true")
    finally:
        engine.docker("network", "rm", lender)


def test_many_networks_leave_nothing(engine: Engine) -> None:
    """Sixty networks, one of each with a container joined and gone, leave no link, rule, route or firewall element."""
    settled(engine)
    before = kernel_objects(engine)
    with idler(engine) as name:
        names = [f"many{number}" for number in range(MANY)]
        for one in names:
            body = {"Name": one, "EnableIPv6": True}
            assert engine.api("POST", "/networks/create", body)[0] == 201
        subnets = {
            looked["IPAM"]["Config"][0]["Subnet"] for looked in everything(engine) if looked["Name"] in names
        }
        assert len(subnets) == MANY
        for one in names:
            assert engine.api("POST", f"/networks/{one}/connect", {"Container": name})[0] == 200
            assert engine.api("POST", f"/networks/{one}/disconnect", {"Container": name})[0] == 200
        for one in names:
            assert engine.api("DELETE", f"/networks/{one}")[0] == 204
    settled(engine)
    assert kernel_objects(engine) == before


def everything(engine: Engine) -> list[dict[str, Any]]:
    """Return all networks as the API lists them."""
    status, answer = engine.api("GET", "/networks")
    assert status == 200, answer
    return list(answer)


def settled(engine: Engine) -> None:
    """Wait until no look at the kernel differs from the one before."""
    seen: list[dict[str, list[str]]] = [{}]

    def same() -> bool:
        seen.append(kernel_objects(engine))
        return seen[-1] == seen[-2]

    until(same, "the kernel's objects to settle")


def test_after_a_new_daemon(engine: Engine) -> None:
    """Killed and started again it has the same networks, members and ways; nothing is made twice."""
    with (
        network(engine, "--ipv6") as own,
        network(engine) as empty,
        service(engine, "--network", own) as name,
        idler(engine, "--network", own) as fellow,
    ):
        engine.docker("network", "connect", empty, fellow)
        settled(engine)
        before, objects = [looked_up(engine, one) for one in (own, empty, "bridge")], kernel_objects(engine)
        engine.restart_daemon(9)
        settled(engine)
        assert [looked_up(engine, one) for one in (own, empty, "bridge")] == before
        assert kernel_objects(engine) == objects
        with namespace_of(engine, fellow) as asking:
            assert ask(asking, "tcp", address(engine, name, own, 6), 80).startswith(name)
        with idler(engine, "--network", own) as newer, namespace_of(engine, newer) as asking:
            taken = {address(engine, one, own) for one in (name, fellow)}
            assert address(engine, newer, own) not in taken
            assert ask(asking, "tcp", address(engine, name, own), 80).startswith(name)
        engine.docker("network", "disconnect", empty, fellow)
        assert looked_up(engine, empty)["Containers"] == {}


def test_a_link_deleted_by_hand(engine: Engine, around: Neighbours) -> None:
    """A bridge that somebody deleted comes back with its containers on it, and they are reached again."""
    with network(engine, "-o", f"{PREFIX}.bridge.name=brhand") as own, ExitStack() as stack:
        name = stack.enter_context(service(engine, "--network", own, "-p", "8800:80"))
        fellow = stack.enter_context(idler(engine, "--network", own))
        asking = stack.enter_context(namespace_of(engine, fellow))
        engine.inside("ip", "link", "del", "brhand")
        target = address(engine, name, own)
        until(lambda: not silent(asking, "tcp", target, 80), "the fellow to be reached again")
        until(lambda: not silent(around.outside, "tcp", HOST, 8800), "the port to answer again")


def test_events(engine: Engine) -> None:
    """Create, connect, disconnect and destroy are told, with the network's name and type and the container."""
    with network(engine) as own, idler(engine) as name:
        engine.docker("network", "connect", own, name)
        engine.docker("network", "disconnect", own, name)
        whole = identifier(engine, name)
    events = told(engine, "type=network", f"network={own}")
    assert [event["Action"] for event in events] == ["create", "connect", "disconnect", "destroy"]
    assert all(event["Actor"]["Attributes"]["name"] == own for event in events)
    assert all(event["Actor"]["Attributes"]["type"] == "bridge" for event in events)
    assert [event["Actor"]["Attributes"].get("container") for event in events] == [None, whole, whole, None]


# docker-py


def test_docker_py(engine: Engine, client: DockerClient) -> None:
    """Its networks are made with pools, listed, joined with aliases and addresses, left, reloaded and removed."""
    pool = IPAMPool(subnet="10.83.0.0/24", gateway="10.83.0.254", iprange="10.83.0.64/26")
    name = unique("n")
    own = client.networks.create(
        name, driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), labels={"by": "py"}, internal=False
    )
    joined = client.containers.run("debian", ["sleep", "1000"], detach=True, network=name)
    later = client.containers.run("debian", ["sleep", "1000"], detach=True)
    try:
        own.connect(later, aliases=["later"], ipv4_address="10.83.0.83")
        own.reload()
        assert {one.id for one in own.containers} == {joined.id, later.id}
        assert own.attrs["IPAM"]["Config"][0]["Gateway"] == "10.83.0.254"
        later.reload()
        settings = later.attrs["NetworkSettings"]["Networks"][name]
        assert settings["IPAddress"] == "10.83.0.83"
        assert "later" in settings["Aliases"]
        code, output = joined.exec_run(["getent", "hosts", "later"])
        assert (code, output.split()[0]) == (0, b"10.83.0.83")
        own.disconnect(later)
        assert [one.id for one in client.networks.list(filters={"label": "by=py"})] == [own.id]
        with pytest.raises(docker.errors.APIError) as failure:
            own.remove()
        assert failure.value.status_code == 403
    finally:
        joined.remove(force=True)
        later.remove(force=True)
    assert name in client.networks.prune({"label": ["by=py"]})["NetworksDeleted"]
    with pytest.raises(docker.errors.NotFound):
        client.networks.get(name)
