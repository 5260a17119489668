"""Published ports: who reaches a service, by which address, and whom it sees; flushed rules, a dead daemon, the docker client's words.

One service, ``web``, is on the network ``front``, which has both families, with
its port 80 published three times for each protocol: on all addresses, on the
loopback address, and on one address of the host.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    PATIENCE,
    Neighbours,
    address,
    ask,
    idler,
    namespace_of,
    neighbours,
    network,
    pid_of,
    place,
    ready,
    service,
    silent,
    started,
)
from tests.e2e.tools import state
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


ECHO = r"""
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 80, Listen => 1, ReuseAddr => 1) or die "listen: $!";
$| = 1;
print "ready\n";
my $client = $server->accept;
syswrite $client, $_ while sysread $client, $_, 100;
"""


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


def test_an_end_that_no_daemon_saw(engine: Engine, world: World) -> None:
    """What ended while the daemon was dead has its ports closed and free, and no element left, once there is a new one."""
    with service(engine, "-p", "9050:80", "-p", "127.0.0.1:9050:80/udp") as name:
        pid = pid_of(engine, name)
        engine.kill_daemon(signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        engine.start()
        until(lambda: state(engine, name) == "exited", "the end to be known")
        until(lambda: "9050" not in engine.inside("nft", "list", "ruleset"), "the elements to be gone")
        assert silent(world.around.outside, "tcp", HOST, 9050)
        with service(engine, "-p", "9050:80") as other:
            assert ask(world.around.outside, "tcp", HOST, 9050) == f"{other} {OUTSIDE}"


def test_connections_outlive_the_rules_and_the_daemon(engine: Engine, world: World) -> None:
    """An open connection through a published port goes on while rules are flushed and the daemon is replaced."""
    with (
        started(engine, "-p", "9060:80", "debian", "perl", "-e", ECHO) as name,
        inside(world.around.outside, lambda: patient_connection(name, engine, 9060)) as connection,
    ):

        def echoed(text: bytes) -> bytes:
            connection.sendall(text)
            return connection.recv(len(text), socket.MSG_WAITALL)

        assert echoed(b"first") == b"first"
        engine.inside("nft", "flush", "ruleset")
        until(lambda: "9060" in engine.inside("nft", "list", "ruleset"), "the rules to come back")
        assert echoed(b"second") == b"second"
        engine.kill_daemon(signal.SIGKILL)
        assert echoed(b"third") == b"third"
        engine.start()
        assert echoed(b"fourth") == b"fourth"


def patient_connection(name: str, engine: Engine, port: int) -> socket.socket:
    """Connect to a container that prints ``ready``, from where this is called."""
    ready(engine, name)
    return socket.create_connection((HOST, port), PATIENCE)


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


def test_an_internal_network_publishes_nothing(engine: Engine, world: World) -> None:
    """A port of a container on an internal network alone is reached by nobody outside of it."""
    with network(engine, "--internal") as hidden, service(engine, "--network", hidden, "-p", "9700:80"):
        assert silent(world.around.outside, "tcp", HOST, 9700)
        assert silent(world.elsewhere, "tcp", HOST, 9700)


def test_a_routed_network(engine: Engine, world: World) -> None:
    """With ``gateway_mode_ipv4=routed`` ports are opened, not translated: at the container's own address, and no other."""
    flags = ("-o", "com.docker.network.bridge.gateway_mode_ipv4=routed")
    with (
        network(engine, *flags) as own,
        service(engine, "--network", own, "-p", "80", ports=(80, 81)) as name,
    ):
        target = address(engine, name, own)
        assert ask(world.around.intruder, "tcp", target, 80) == f"{name} {INTRUDER}"
        assert silent(world.around.intruder, "udp", target, 80)
        assert silent(world.around.intruder, "tcp", target, 81)
        engine.inside("nft", "flush", "ruleset")
        until(lambda: not silent(world.around.intruder, "tcp", target, 80), "the opening to come back")


def test_many_connections(world: World) -> None:
    """A hundred connections one after another all reach the service."""
    answers = {ask(world.around.outside, "tcp", HOST, ALL) for _ in range(100)}
    assert answers == {f"web {OUTSIDE}"}
