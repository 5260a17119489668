"""Containers on the bridge, without a network, and in the engine's own: who reaches whom, and what is left afterwards.

The engine lives in a network namespace of its own, with a leg to a second one,
the outside, that knows no way to the containers. Servers that stand for a
neighbour are sockets of this process, made inside the namespace in question.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

import pytest

from corten.linux.netlink import Netlink, add_address, create_veth, set_link
from corten.serve.daemon.networks import STOCK
from tests.e2e.conftest import Engine, until
from tests.e2e.tools import state, unique
from tests.kernel.isolated import inside, new_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

pytestmark = [pytest.mark.root, pytest.mark.slow]

HERE, OUTSIDE = IPv4Interface("203.0.113.1/24"), IPv4Interface("203.0.113.2/24")
SMALL = IPv4Interface("10.99.0.1/28")  # the gateway of a network that has 13 addresses for containers
ROOM = 13
SERVE = """
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die "listen: $!";
$| = 1;
print "ready\\n";
while (my $client = $server->accept) { print $client "hello ", $client->peerhost, "\\n"; close $client }
"""
CALL = 'exec 3<>"/dev/tcp/$1/$2" && cat <&3'


@pytest.fixture(scope="module")
def outside(engine: Engine) -> Iterator[int]:
    """A network namespace at the other end of a cable that is plugged into the engine's host."""
    namespace = new_namespace()
    try:
        inside(engine.netns, lambda: _plug("wan0", HERE, namespace))
        inside(namespace, lambda: _plug("eth0", OUTSIDE))
        yield namespace
    finally:
        os.close(namespace)


def _plug(name: str, address: IPv4Interface, peer: int = -1) -> None:
    """Bring a link up with an address, having made it first when the namespace of its other end is given."""
    with Netlink() as netlink:
        if peer >= 0:
            netlink.execute(create_veth(name, "eth0", peer))
        link = netlink.link(name)
        assert link is not None
        netlink.execute(add_address(link.index, address), set_link(name, up=True))


@contextmanager
def greeter(namespace: int) -> Iterator[tuple[socket.socket, int]]:
    """Lend a socket that listens inside *namespace*, and its port."""
    server = inside(namespace, lambda: socket.create_server(("0.0.0.0", 0)))
    with server:
        server.settimeout(10)
        yield server, server.getsockname()[1]


@contextmanager
def started(engine: Engine, image: str, *command: str, network: str = "bridge") -> Iterator[str]:
    """Lend a running container."""
    name = unique()
    engine.docker("run", "-d", "--name", name, "--network", network, image, *command)
    try:
        yield name
    finally:
        engine.docker("rm", "-f", name)


def plugged(engine: Engine, name: str, network: str = "bridge") -> dict[str, Any]:
    """Return what inspect says of a container's place on a network."""
    status, answer = engine.api("GET", f"/containers/{name}/json")
    assert status == 200, answer
    found: dict[str, Any] = answer["NetworkSettings"]["Networks"][network]
    return found


def run(engine: Engine, *words: str, network: str = "bridge") -> str:
    """Return what a container prints that runs to its end."""
    return str(engine.docker("run", "--rm", "--network", network, *words).stdout)


def call(engine: Engine, server: socket.socket, address: object, port: int) -> str:
    """Have a container connect to *server*; returns the address that the server sees it come from."""
    with started(engine, "debian", "bash", "-c", CALL, "-", str(address), str(port)) as name:
        connection, (source, _) = server.accept()
        with connection:
            connection.sendall(b"welcome\n")
        assert engine.docker("wait", name).stdout == "0\n"
        assert engine.docker("logs", name).stdout == "welcome\n"
    return str(source)


def test_two_containers_talk(engine: Engine) -> None:
    """A container reaches another's TCP server over the bridge, and is seen there by its own address."""
    with started(engine, "debian", "perl", "-e", SERVE) as server:
        until(lambda: engine.docker("logs", server).stdout == "ready\n", "the server to listen")
        address = plugged(engine, server)["IPAddress"]
        script = f"{CALL}; read own name < <(grep $HOSTNAME /etc/hosts); echo $own"
        answer, own = run(engine, "debian", "bash", "-c", script, "-", address, "80").splitlines()
        assert answer == f"hello {own}"
        assert own != address


def test_a_container_reaches_the_gateway(engine: Engine) -> None:
    """The host answers on the gateway's address, and sees the container's own."""
    with greeter(engine.netns) as (server, port), started(engine, "debian", "sleep", "60") as waiting:
        place = plugged(engine, waiting)
        source = call(engine, server, place["Gateway"], port)
        subnet = IPv4Interface(f"{place['IPAddress']}/{place['IPPrefixLen']}").network
        assert IPv4Address(source) in subnet
        assert IPv4Address(place["Gateway"]) == subnet.network_address + 1


def test_outside_sees_the_host(engine: Engine, outside: int) -> None:
    """What leaves the bridge carries the host's address: the outside could not answer otherwise."""
    with greeter(outside) as (server, port):
        assert call(engine, server, OUTSIDE.ip, port) == str(HERE.ip)


def test_outside_does_not_get_in(engine: Engine, outside: int) -> None:
    """A neighbour that routes the containers' subnet to this host reaches no port of theirs."""
    with started(engine, "debian", "perl", "-e", SERVE) as name:
        until(lambda: engine.docker("logs", name).stdout == "ready\n", "the server to listen")
        place = plugged(engine, name)

        def intrude() -> None:
            with socket.socket() as caller:
                caller.settimeout(0.3)
                caller.connect((place["IPAddress"], 80))

        way = (f"{place['IPAddress']}/32", "via", str(HERE.ip))
        beyond = f"/proc/{os.getpid()}/fd/{outside}"
        in_namespace(beyond, "ip", "route", "add", *way)
        try:
            with pytest.raises(TimeoutError):
                inside(outside, intrude)
        finally:
            in_namespace(beyond, "ip", "route", "del", *way)


def in_namespace(path: str, *argv: str) -> str:
    """Run a program of the host in the network namespace at *path*; return what it said."""
    done = subprocess.run(
        ["nsenter", f"--net={path}", "--", *argv], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_what_inspect_says_is_so(engine: Engine) -> None:
    """Address, prefix, gateway and MAC of inspect are those of eth0; there is lo and eth0 alone."""
    script = "cat /sys/class/net/eth0/address; ls /sys/class/net; cat /proc/net/route; sleep 60"
    with started(engine, "debian", "sh", "-c", script) as name:
        until(lambda: "eth0\t" in engine.docker("logs", name).stdout, "the facts")
        mac, *rest = engine.docker("logs", name).stdout.splitlines()
        place = plugged(engine, name)
        assert mac == place["MacAddress"]
        assert rest[:2] == ["eth0", "lo"]
        gateway = next(line.split()[2] for line in rest[3:] if line.split()[1] == "00000000")
        assert IPv4Address(bytes.fromhex(gateway)[::-1]) == IPv4Address(place["Gateway"])
        pid = state(engine, name, "{{.State.Pid}}")
        listed = in_namespace(f"/proc/{pid}/ns/net", "ip", "-json", "address", "show", "eth0")
        shown = json.loads(listed)
        (address,) = (entry for entry in shown[0]["addr_info"] if entry["family"] == "inet")
        assert (address["local"], address["prefixlen"]) == (place["IPAddress"], place["IPPrefixLen"])


def test_without_a_network_there_is_loopback_alone(engine: Engine) -> None:
    """``--network none`` has lo, which is up, no route, and no way to the gateway."""
    with greeter(engine.netns) as (_, port), started(engine, "debian", "sleep", "60") as other:
        gateway = plugged(engine, other)["Gateway"]
        script = f"ls /sys/class/net; sed 1d /proc/net/route; cat /proc/net/if_inet6; ({CALL}) 2>&1"
        name = unique()
        done = engine.docker(
            *("run", "--rm", "--name", name, "--network", "none", "debian"),
            *("bash", "-c", script, "-", gateway, str(port)),
            check=False,
        )
        assert done.returncode != 0
        assert done.stdout.splitlines()[0] == "lo"
        assert "eth0" not in done.stdout
        assert "Network is unreachable" in done.stdout
        assert run(engine, "debian", "perl", "-e", LOOP, network="none") == "around\n"


LOOP = """
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1) or die "listen: $!";
my $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $server->sockport) or die "connect: $!";
print { $server->accept } "around\\n";
print scalar <$client>;
"""


def test_the_hosts_network_is_the_engines(engine: Engine, outside: int) -> None:
    """``--network host`` is the namespace that the engine lives in, with the host's name."""
    script = "readlink /proc/self/ns/net; hostname; ls /sys/class/net"
    namespace, name, *links = run(engine, "debian", "bash", "-c", script, network="host").splitlines()
    assert namespace == f"net:[{os.fstat(engine.netns).st_ino}]"
    assert name == socket.gethostname()
    assert {"lo", "wan0", engine.settings.bridge} <= set(links)


def test_links_go_with_their_containers(engine: Engine) -> None:
    """A container that ended, was removed or could not start leaves no link behind."""
    idle = 1 + STOCK  # the bridge, and those in stock
    until(lambda: stock(engine) == idle, "the links of earlier containers to be gone")
    with started(engine, "debian", "sleep", "60"), started(engine, "debian", "sleep", "60"):
        until(lambda: stock(engine) == idle + 2, "the stock to be filled up")
    run(engine, "debian", "true")
    assert engine.docker("run", "--rm", "debian", "nosuchprogram", check=False).returncode == 127
    until(lambda: stock(engine) == idle, "the links to be gone")


def stock(engine: Engine) -> int:
    """Return how many links the engine has on its bridge, as soon as two looks agree."""
    seen = [-1, -2]

    def settled() -> bool:
        seen[:] = [seen[1], len(engine.links())]
        return seen[0] == seen[1]

    until(settled, "the links to settle")
    return seen[1]


def test_addresses_are_given_back(small_tar: Path) -> None:
    """Where there is room for thirteen, forty containers run one after another, and one too many is told so."""
    engine = Engine()
    try:
        engine.start()
        engine.import_tree(small_tar, "small")
        engine.docker("network", "create", "--subnet", str(SMALL.network), "small")
        seen = set()
        for _ in range(3 * ROOM):
            name = begin(engine, "cat")
            seen.add(plugged(engine, name, "small")["IPAddress"])
            assert engine.api("DELETE", f"/containers/{name}", force="1")[0] == 204
        assert all(IPv4Address(address) in SMALL.network for address in seen)
        names = [begin(engine, "cat") for _ in range(ROOM)]
        assert len({plugged(engine, name, "small")["IPAddress"] for name in names}) == ROOM
        status, answer = engine.api("POST", f"/containers/{create(engine, 'cat')}/start")
        assert status >= 400
        assert "address" in answer["message"]
        assert engine.api("DELETE", f"/containers/{names[0]}", force="1")[0] == 204
        begin(engine, "cat")
    finally:
        engine.close()


def create(engine: Engine, *command: str) -> str:
    """Create a container on the small network that waits on its stdin; return its id."""
    body = {"Image": "small", "Cmd": command, "OpenStdin": True, "HostConfig": {"NetworkMode": "small"}}
    status, answer = engine.api("POST", "/containers/create", body)
    assert status == 201, answer
    return str(answer["Id"])


def begin(engine: Engine, *command: str) -> str:
    """Create and start a container on the small network; return its id."""
    identifier = create(engine, *command)
    status, answer = engine.api("POST", f"/containers/{identifier}/start")
    assert status == 204, answer
    return identifier


def test_a_restarted_daemon_knows_the_addresses(engine: Engine) -> None:
    """After a restart a running container keeps its address and is reached, and no other gets the same."""
    with started(engine, "debian", "perl", "-e", SERVE) as server:
        until(lambda: engine.docker("logs", server).stdout == "ready\n", "the server to listen")
        before = plugged(engine, server)
        engine.restart_daemon()
        assert plugged(engine, server) == before
        answer = run(engine, "debian", "bash", "-c", CALL, "-", before["IPAddress"], "80")
        assert answer.startswith("hello ")
        assert answer != f"hello {before['IPAddress']}\n"
