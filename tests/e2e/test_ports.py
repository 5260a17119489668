"""Published ports: who reaches a service, by which address, and whom it sees; flushed rules, a dead daemon, the docker client's words.

One service, ``web``, is on the network ``front``, which has both families, with
its port 80 published three times for each protocol: on all addresses, on the
loopback address, and on one address of the host.
"""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import docker
import pytest

from tests.e2e.conftest import until
from tests.e2e.hosts import (
    HOST,
    HOST2,
    HOST6,
    INTRUDER,
    INTRUDER6,
    KINDS,
    NEAR,
    NEAR6,
    OUTSIDE,
    OUTSIDE6,
    Neighbours,
    address,
    ask,
    idler,
    namespace_of,
    neighbours,
    network,
    pid_of,
    place,
    refused,
    service,
    silent,
    started,
)
from tests.e2e.tools import unique
from tests.kernel.isolated import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])
VERSIONS = pytest.mark.parametrize("version", [4, 6])
ALL, LOOPBACK, ONE = 8001, 8002, 8003  # the host's ports, by where they are published
HOSTS = {4: HOST, 6: HOST6}
NEARS = {4: NEAR, 6: NEAR6}
LOCAL = {4: "127.0.0.1", 6: "::1"}
OUTSIDERS = {4: OUTSIDE, 6: OUTSIDE6}
INTRUDERS = {4: INTRUDER, 6: INTRUDER6}


@dataclass
class World:
    """Who is there: the neighbours, the host, and by descriptors of their namespaces the containers."""

    around: Neighbours
    host: int
    web: str
    itself: int
    beside: int  # on the same network as the service
    elsewhere: int  # on another network
    alone: int  # on the default bridge, which has IPv4 alone
    addresses: dict[int, str]  # of the service
    gateways: dict[int, str]  # of its network
    others: dict[int, str]  # of the one on another network

    @property
    def strangers(self) -> tuple[int, ...]:
        """All that are not the host."""
        return (self.around.outside, self.around.intruder, self.elsewhere, self.beside)


def published() -> list[str]:
    """Return the flags that publish port 80 everywhere that tests ask for."""
    places = [f"{ALL}", f"127.0.0.1:{LOOPBACK}", f"[::1]:{LOOPBACK}", f"{HOST}:{ONE}", f"[{HOST6}]:{ONE}"]
    return [word for text in places for kind in KINDS for word in ("-p", f"{text}:80/{kind}")]


@pytest.fixture(scope="module")
def world(engine: Engine) -> Iterator[World]:
    """The service and everybody who may ask it."""
    with ExitStack() as stack:
        around = stack.enter_context(neighbours(engine))
        front = stack.enter_context(network(engine, "--ipv6", name="front"))
        back = stack.enter_context(network(engine, "--ipv6", name="back"))
        web = stack.enter_context(service(engine, "--network", front, *published(), name="web"))
        beside = stack.enter_context(idler(engine, "--network", front))
        elsewhere = stack.enter_context(idler(engine, "--network", back))
        alone = stack.enter_context(idler(engine))
        spaces = [stack.enter_context(namespace_of(engine, name)) for name in (web, beside, elsewhere, alone)]
        at_front = place(engine, web, front)
        yield World(
            around=around,
            host=engine.netns,
            web=web,
            itself=spaces[0],
            beside=spaces[1],
            elsewhere=spaces[2],
            alone=spaces[3],
            addresses={4: at_front["IPAddress"], 6: at_front["GlobalIPv6Address"]},
            gateways={4: at_front["Gateway"], 6: at_front["IPv6Gateway"]},
            others={version: address(engine, elsewhere, back, version) for version in (4, 6)},
        )


@PROTOCOLS
@VERSIONS
def test_published_on_all_addresses(world: World, protocol: str, version: int) -> None:
    """Neighbours, the host and other networks reach it by every address of the host; each is seen as who it is."""
    host = HOSTS[version]
    assert ask(world.around.outside, protocol, host, ALL) == f"web {OUTSIDERS[version]}"
    assert ask(world.around.intruder, protocol, NEARS[version], ALL) == f"web {INTRUDERS[version]}"
    assert ask(world.host, protocol, host, ALL) == f"web {host}"
    assert ask(world.host, protocol, LOCAL[version], ALL) == f"web {world.gateways[version]}"
    assert ask(world.elsewhere, protocol, host, ALL) == f"web {world.others[version]}"
    assert ask(world.elsewhere, protocol, world.gateways[version], ALL) == f"web {world.others[version]}"


@PROTOCOLS
def test_the_default_bridge_reaches_published_ports(world: World, protocol: str) -> None:
    """A container on the default bridge asks through the host's address, and is seen by its own."""
    assert ask(world.alone, protocol, HOST, ALL).startswith("web 172.")
    assert silent(world.alone, protocol, world.addresses[4], 80)


@PROTOCOLS
@VERSIONS
def test_published_on_loopback(world: World, protocol: str, version: int) -> None:
    """The host alone reaches it; no neighbour, other network or fellow does, by whatever address."""
    local = LOCAL[version]
    assert ask(world.host, protocol, local, LOOPBACK) == f"web {world.gateways[version]}"
    for target in (HOSTS[version], NEARS[version], world.gateways[version]):
        assert [who for who in world.strangers if not silent(who, protocol, target, LOOPBACK)] == []
    assert silent(world.around.intruder, protocol, local, LOOPBACK)


@PROTOCOLS
@VERSIONS
def test_published_on_one_address(world: World, protocol: str, version: int) -> None:
    """It answers at that address of the host, and at no other."""
    host = HOSTS[version]
    assert ask(world.around.outside, protocol, host, ONE) == f"web {OUTSIDERS[version]}"
    assert ask(world.host, protocol, host, ONE) == f"web {host}"
    assert ask(world.elsewhere, protocol, host, ONE) == f"web {world.others[version]}"
    assert silent(world.around.intruder, protocol, NEARS[version], ONE)
    assert silent(world.host, protocol, LOCAL[version], ONE)
    if version == 4:
        assert silent(world.around.outside, protocol, HOST2, ONE)


@PROTOCOLS
@VERSIONS
def test_a_fellow_reaches_published_ports(world: World, protocol: str, version: int) -> None:
    """Who is on the same network reaches the service through the host's address, and is seen as the gateway."""
    for target in (HOSTS[version], world.gateways[version]):
        assert ask(world.beside, protocol, target, ALL) == f"web {world.gateways[version]}"


@PROTOCOLS
@VERSIONS
def test_hairpin(world: World, protocol: str, version: int) -> None:
    """The service reaches itself through the host's address, and sees the gateway."""
    assert ask(world.itself, protocol, HOSTS[version], ALL) == f"web {world.gateways[version]}"


@PROTOCOLS
@VERSIONS
def test_containers_are_reached_by_fellows_alone(world: World, protocol: str, version: int) -> None:
    """Its own address answers the host and its own network; no other network, nor who routes the subnet to the host."""
    target = world.addresses[version]
    assert ask(world.host, protocol, target, 80).startswith("web ")
    assert ask(world.beside, protocol, target, 80).startswith("web ")
    assert silent(world.elsewhere, protocol, target, 80)
    assert silent(world.around.intruder, protocol, target, 80)


def closed(world: World) -> list[str]:
    """Return who gets in that should not, whatever rules and daemon are."""
    found = []
    for protocol in KINDS:
        for version in (4, 6):
            tries = {
                "intruder to container": (world.around.intruder, world.addresses[version], 80),
                "network to network": (world.elsewhere, world.addresses[version], 80),
                "outside to loopback port": (world.around.outside, HOSTS[version], LOOPBACK),
                "intruder to loopback port": (world.around.intruder, LOCAL[version], LOOPBACK),
            }
            found += [
                f"{what}: {protocol} IPv{version}"
                for what, (who, target, port) in tries.items()
                if not silent(who, protocol, target, port)
            ]
    return found


def answering(world: World) -> bool:
    """Tell whether the published ports answer who they should: outside, the host, another network."""
    for protocol in KINDS:
        for version in (4, 6):
            if silent(world.around.outside, protocol, HOSTS[version], ALL):
                return False
            if silent(world.host, protocol, LOCAL[version], LOOPBACK):
                return False
            if silent(world.elsewhere, protocol, HOSTS[version], ONE):
                return False
    return True


def test_flushed_rules_come_back(engine: Engine, world: World) -> None:
    """``nft flush ruleset`` opens nothing, and soon everything answers as before; so does a flushed and a deleted table."""
    before = engine.inside("nft", "list", "ruleset")
    name = before.split()[2]
    for words in (("flush", "ruleset"), ("delete", "table", "inet", name), ("flush", "table", "inet", name)):
        engine.inside("nft", *words)
        until(lambda: engine.inside("nft", "list", "ruleset") == before, f"the rules after {words}")
    assert answering(world)
    assert closed(world) == []


def test_a_dead_daemon(engine: Engine, world: World) -> None:
    """Killed, it leaves ports working and isolation closed; flushed rules close all; restarted, all is well again."""
    pid = pid_of(engine, world.web)
    engine.kill_daemon(signal.SIGKILL)
    try:
        assert answering(world)
        assert closed(world) == []
        engine.inside("nft", "flush", "ruleset")
        assert closed(world) == []
        assert silent(world.around.outside, "tcp", HOST, ALL)
    finally:
        engine.start()
    until(lambda: answering(world), "the ports to answer")
    assert closed(world) == []
    assert pid_of(engine, world.web) == pid


def test_docker_port(engine: Engine, world: World) -> None:
    """It lists all, or those of one port; an unpublished port is refused by name."""
    lines = engine.docker("port", world.web).stdout.splitlines()
    places = [f"0.0.0.0:{ALL}", f"[::]:{ALL}", f"127.0.0.1:{LOOPBACK}", f"[::1]:{LOOPBACK}"]
    places += [f"{HOST}:{ONE}", f"[{HOST6}]:{ONE}"]
    assert sorted(lines) == sorted(f"80/{kind} -> {where}" for kind in KINDS for where in places)
    assert sorted(engine.docker("port", world.web, "80/udp").stdout.splitlines()) == sorted(places)
    assert sorted(engine.corten("port", world.web, "80").stdout.splitlines()) == sorted(places)
    done = engine.docker("port", world.web, "81", check=False)
    assert done.returncode != 0
    assert "81" in done.stderr


def test_what_ps_and_inspect_say(engine: Engine, world: World) -> None:
    """The PORTS column and the ``Ports`` of inspect name each place once."""
    (line,) = engine.docker("ps", "--filter", "name=^web$", "--format", "{{.Ports}}").stdout.splitlines()
    assert f"0.0.0.0:{ALL}->80/tcp" in line.split(", ")
    assert f"[::1]:{LOOPBACK}->80/udp" in line.split(", ")
    text = engine.docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", world.web).stdout
    ports = json.loads(text)
    assert set(ports) == {"80/tcp", "80/udp"}
    assert {"HostIp": "0.0.0.0", "HostPort": str(ALL)} in ports["80/tcp"]
    assert {"HostIp": "::1", "HostPort": str(LOOPBACK)} in ports["80/udp"]


def test_who_can_reach_what(engine: Engine, world: World) -> None:
    """``corten network ports`` tells ports that everybody reaches from those of this host."""
    lines = engine.corten("network", "ports", "front").stdout.splitlines()
    everybody = [line for line in lines if f"0.0.0.0:{ALL}" in line]
    local = [line for line in lines if f"127.0.0.1:{LOOPBACK}" in line]
    assert len(everybody) == len(local) == len(KINDS)
    assert all(world.web in line and "everyone" in line for line in everybody)
    assert all(world.web in line and "this host" in line for line in local)


def ports_of(engine: Engine, name: str) -> dict[str, list[str]]:
    """Return the places of each published port, as ``docker port`` tells them, of IPv4 alone."""
    found: dict[str, list[str]] = {}
    for line in engine.docker("port", name).stdout.splitlines():
        port, _, where = line.partition(" -> ")
        if not where.startswith("["):
            found.setdefault(port, []).append(where)
    return found


def test_ranges(engine: Engine, world: World) -> None:
    """A range maps one to one; one port to a range takes a free one; two at once take different ones."""
    flags = ("-p", "9000-9002:80-82", "-p", "127.0.0.1:9000-9002:80-82/udp")
    with service(engine, *flags, ports=(80, 81, 82)) as name:
        assert ports_of(engine, name) == {
            **{f"{80 + number}/tcp": [f"0.0.0.0:{9000 + number}"] for number in range(3)},
            **{f"{80 + number}/udp": [f"127.0.0.1:{9000 + number}"] for number in range(3)},
        }
        for number in range(3):
            assert ask(world.around.outside, "tcp", HOST, 9000 + number) == f"{name} {OUTSIDE}"
            assert ask(world.host, "udp", "127.0.0.1", 9000 + number).startswith(name)
            assert silent(world.around.outside, "udp", HOST, 9000 + number)
    with idler(engine, "-p", "9000-9001:80") as first, idler(engine, "-p", "9000-9001:80") as second:
        assert ports_of(engine, first) == {"80/tcp": ["0.0.0.0:9000"]}
        assert ports_of(engine, second) == {"80/tcp": ["0.0.0.0:9001"]}
        line = refused(engine, 125, "run", "--rm", "-p", "9000-9001:80", "debian", "true")
        assert line == "Bind for 0.0.0.0:9000-9001 failed: all ports are allocated: choose another range"


def test_all_exposed_ports(engine: Engine, world: World) -> None:
    """``-P`` publishes what is exposed, ranges and udp too, at ports of the kernel's choice, which answer."""
    with service(engine, "-P", "--expose", "80", "--expose", "81-82/udp", ports=(80, 81, 82)) as name:
        ports = ports_of(engine, name)
        assert set(ports) == {"80/tcp", "81/udp", "82/udp"}
        for port, (where,) in ports.items():
            number = int(where.removeprefix("0.0.0.0:"))
            assert number >= 1024
            assert ask(world.around.outside, port.partition("/")[2], HOST, number) == f"{name} {OUTSIDE}"


def test_an_ephemeral_port(engine: Engine, world: World) -> None:
    """``-p 80`` and ``-p 127.0.0.1::80`` take free ports, the same for both families where there are both."""
    with service(engine, "--network", "front", "-p", "80", "-p", "127.0.0.1::81", ports=(80, 81)) as name:
        ports = ports_of(engine, name)
        number = int(ports["80/tcp"][0].removeprefix("0.0.0.0:"))
        assert ask(world.around.outside, "tcp", HOST6, number) == f"{name} {OUTSIDE6}"
        assert ask(world.around.outside, "tcp", HOST, number) == f"{name} {OUTSIDE}"
        local = int(ports["81/tcp"][0].removeprefix("127.0.0.1:"))
        assert ask(world.host, "tcp", "127.0.0.1", local).startswith(name)
        assert silent(world.around.outside, "tcp", HOST, local)


def test_a_port_in_use_by_a_container(engine: Engine, world: World) -> None:
    """It is refused with the owner's name; the container stays created, and starts when the port is free."""
    name = unique()
    with idler(engine, "-p", "9100:80/udp") as owner:
        line = refused(
            engine, 125, "run", "-d", "--name", name, "-p", "9100:80/udp", "debian", "sleep", "1000"
        )
        assert line.startswith("Bind for 0.0.0.0:9100 failed: port is already allocated")
        assert owner in line
        assert refused(engine, 1, "start", name).startswith("Bind for 0.0.0.0:9100 failed")
    try:
        engine.docker("start", name)
        assert ports_of(engine, name) == {"80/udp": ["0.0.0.0:9100"]}
    finally:
        engine.docker("rm", "-f", name)


@PROTOCOLS
def test_a_port_in_use_by_a_program(engine: Engine, protocol: str) -> None:
    """A program of the host that has the port is named; what is published is not free for programs either."""

    def bind(port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, KINDS[protocol])
        try:
            made.bind(("127.0.0.1", port))
            if protocol == "tcp":
                made.listen()
        except BaseException:
            made.close()
            raise
        return made

    with inside(engine.netns, lambda: bind(9200)):
        line = refused(engine, 125, "run", "--rm", "-p", f"9200:80/{protocol}", "debian", "true")
        assert "9200" in line
        assert "process" in line
    with idler(engine, "-p", f"9200:80/{protocol}"), pytest.raises(OSError, match="in use"):
        inside(engine.netns, lambda: bind(9200))
    inside(engine.netns, lambda: bind(9200)).close()


def test_an_address_that_is_not_the_hosts(engine: Engine, world: World) -> None:
    """It cannot be published on; the line names it."""
    assert "192.0.2.99" in refused(engine, 125, "run", "--rm", "-p", "192.0.2.99:9300:80", "debian", "true")


def test_the_same_port_on_two_addresses(engine: Engine, world: World) -> None:
    """Two containers share a port's number where each has an address of its own."""
    with service(engine, "-p", f"{HOST}:9400:80") as one, service(engine, "-p", f"{HOST2}:9400:80") as two:
        assert ask(world.around.outside, "tcp", HOST, 9400) == f"{one} {OUTSIDE}"
        assert ask(world.around.outside, "tcp", HOST2, 9400) == f"{two} {OUTSIDE}"
        assert one in refused(engine, 125, "run", "--rm", "-p", f"{HOST}:9400:80", "debian", "true")


def test_ports_follow_stop_and_start(engine: Engine, world: World) -> None:
    """A stopped container's port is silent and free; started again it answers there, at whatever address it has."""
    with service(engine, "-p", "9500:80") as name:
        assert ask(world.around.outside, "tcp", HOST, 9500) == f"{name} {OUTSIDE}"
        engine.docker("stop", "-t", "5", name)
        assert silent(world.around.outside, "tcp", HOST, 9500)
        assert engine.docker("port", name).stdout == ""
        with service(engine, "-p", "9500:80") as other:
            assert ask(world.around.outside, "tcp", HOST, 9500) == f"{other} {OUTSIDE}"
        with idler(engine):  # likely to get the address that was given back
            engine.docker("start", name)
            until(lambda: not silent(world.around.outside, "tcp", HOST, 9500), "the service to answer")
            assert ask(world.around.outside, "tcp", HOST, 9500) == f"{name} {OUTSIDE}"


def test_ports_follow_the_networks(engine: Engine, world: World) -> None:
    """A living container that moves to another network keeps its ports; without any, they are silent."""
    with (
        network(engine, "--ipv6") as first,
        network(engine) as second,
        service(engine, "--network", first, "-p", "9600:80") as name,
    ):
        pid = pid_of(engine, name)
        assert ask(world.around.outside, "tcp", HOST6, 9600) == f"{name} {OUTSIDE6}"
        engine.docker("network", "connect", second, name)
        engine.docker("network", "disconnect", first, name)
        assert ask(world.around.outside, "tcp", HOST, 9600) == f"{name} {OUTSIDE}"
        engine.docker("network", "disconnect", second, name)
        assert silent(world.around.outside, "tcp", HOST, 9600)
        engine.docker("network", "connect", first, name)
        assert ask(world.around.outside, "tcp", HOST, 9600) == f"{name} {OUTSIDE}"
        assert pid_of(engine, name) == pid


def test_an_internal_network_publishes_nothing(engine: Engine, world: World) -> None:
    """A port of a container on an internal network alone is reached by nobody outside of it."""
    with network(engine, "--internal") as hidden, service(engine, "--network", hidden, "-p", "9700:80"):
        assert silent(world.around.outside, "tcp", HOST, 9700)
        assert silent(world.elsewhere, "tcp", HOST, 9700)


def test_many_clients_at_once(engine: Engine, world: World) -> None:
    """A hundred connections one after another all reach the service, and no port is exhausted by them."""
    answers = {ask(world.around.outside, "tcp", HOST, ALL) for _ in range(100)}
    assert answers == {f"web {OUTSIDE}"}


def test_docker_py_publishes(engine: Engine, world: World) -> None:
    """Numbers, pairs, lists and None of the Python client's ``ports`` mean what they mean with Docker."""
    client = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    wanted = {"80/tcp": 9801, "81/udp": ("127.0.0.1", 9802), "82/tcp": [9803, 9804], "83/tcp": None}
    made = client.containers.run("debian", ["sleep", "1000"], detach=True, ports=wanted)
    try:
        made.reload()
        found = {port: sorted(int(p["HostPort"]) for p in places) for port, places in made.ports.items()}
        (chosen,) = found.pop("83/tcp")
        assert chosen >= 1024
        assert found == {"80/tcp": [9801], "81/udp": [9802], "82/tcp": [9803, 9804]}
        assert made.ports["81/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "9802"}]
    finally:
        made.remove(force=True)
        client.close()


def test_a_restarted_container_keeps_its_port(engine: Engine, world: World) -> None:
    """``docker restart`` leaves a port that the user chose where it was, and it answers again."""
    with service(engine, "-p", "9900:80") as name:
        engine.docker("restart", "-t", "5", name)
        until(lambda: not silent(world.around.outside, "tcp", HOST, 9900), "the service to answer")
        assert ask(world.around.outside, "tcp", HOST, 9900) == f"{name} {OUTSIDE}"


@pytest.mark.parametrize("text", ["99999:80", "80:99999", "abc:80", "9000-8000:80", "80:80/icmp"])
def test_ports_that_cannot_be(engine: Engine, text: str) -> None:
    """The API refuses a published port that makes no sense, with 400 and one line."""
    host, _, port = text.partition(":")
    bindings = {port if "/" in port else f"{port}/tcp": [{"HostPort": host}]}
    body = {"Image": "debian", "HostConfig": {"PortBindings": bindings}}
    status, answer = engine.api("POST", "/containers/create", body)
    assert status == 400, answer
    assert len(answer["message"].splitlines()) == 1


def test_sctp_is_published(engine: Engine) -> None:
    """A port of sctp is listed as one; whether it carries anything is up to the kernel."""
    with started(engine, "-p", "9950:80/sctp", "debian", "sleep", "1000") as name:
        assert ports_of(engine, name) == {"80/sctp": ["0.0.0.0:9950"]}
