"""A small internet for the tests of networks: two neighbours of the engine's host, services in containers, callers.

All hosts are network namespaces made here. ``outside`` is an ordinary neighbour
behind one cable; ``intruder``, behind another, leads everything through the
engine's host, the subnets of containers and its loopback addresses among them.
A service is a container that greets whoever asks, with its own name and the
address that it sees; a caller is a socket made in the namespace in question.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

from corten.linux.netlink import Netlink, add_address, create_veth, set_link
from tests.e2e.conftest import until
from tests.e2e.tools import said, state, unique
from tests.kernel.isolated import inside, new_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.e2e.conftest import Engine

HOST, HOST2, OUTSIDE = "203.0.113.1", "203.0.113.3", "203.0.113.2"
HOST6, OUTSIDE6 = "2001:db8:1::1", "2001:db8:1::2"
NEAR, INTRUDER = "198.51.100.1", "198.51.100.2"  # the host as the intruder sees it, and the intruder
NEAR6, INTRUDER6 = "2001:db8:2::1", "2001:db8:2::2"
PATIENCE = 10.0  # seconds until an answer that has to come
SILENCE = 0.3  # seconds without an answer that count as none, where the rules drop and say nothing
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

# Answers "NAME ADDRESS-OF-THE-CALLER" by tcp and udp, IPv4 and IPv6, at each port given. perl-base alone, IPv6 off or on.
SERVICE = r"""
use Socket qw(:DEFAULT IPPROTO_IPV6 IPV6_V6ONLY inet_ntop IN6ADDR_ANY pack_sockaddr_in6 unpack_sockaddr_in6);
$| = 1;
$SIG{TERM} = sub { exit };
my ($name, @ports) = @ARGV;
sub seen {
    my ($port, $address) = unpack_sockaddr_in6(shift);
    my $text = inet_ntop(AF_INET6, $address);
    $text =~ s/^::ffff:(?=.*\.)//;
    return "$name $text\n";
}
my %kinds;
for my $port (@ports) {
    for my $kind (SOCK_STREAM, SOCK_DGRAM) {
        socket(my $made, AF_INET6, $kind, 0) or die "socket: $!";
        setsockopt($made, SOL_SOCKET, SO_REUSEADDR, 1);
        setsockopt($made, IPPROTO_IPV6, IPV6_V6ONLY, 0) or die "both families: $!";
        bind($made, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die "bind: $!";
        $kind == SOCK_STREAM and (listen($made, 16) or die "listen: $!");
        $kinds{fileno $made} = [$made, $kind];
    }
}
print "ready\n";
while (1) {
    my $set = "";
    vec($set, $_, 1) = 1 for keys %kinds;
    select($set, undef, undef, undef) > 0 or next;
    for my $number (grep { vec($set, $_, 1) } keys %kinds) {
        my ($from, $kind) = @{$kinds{$number}};
        if ($kind == SOCK_STREAM) {
            my $caller = accept(my $client, $from) or next;
            syswrite $client, seen($caller);
            close $client;
        } else {
            my $caller = recv($from, my $said, 100, 0);
            defined $caller and send($from, seen($caller), 0, $caller);
        }
    }
}
"""


@dataclass
class Neighbours:
    """The hosts around the engine's, by descriptors of their namespaces."""

    outside: int
    intruder: int


@contextmanager
def neighbours(engine: Engine) -> Iterator[Neighbours]:
    """Give the engine's host two cables, with a neighbour at the other end of each."""
    made = Neighbours(new_namespace(), new_namespace())
    try:
        inside(engine.netns, lambda: _plug("wan0", (HOST, HOST2, HOST6), made.outside))
        inside(made.outside, lambda: _plug("eth0", (OUTSIDE, OUTSIDE6)))
        inside(engine.netns, lambda: _plug("lan0", (NEAR, NEAR6), made.intruder))
        inside(made.intruder, lambda: _plug("eth0", (INTRUDER, INTRUDER6)))
        _lead_all(made.intruder)
        yield made
    finally:
        os.close(made.outside)
        os.close(made.intruder)


def _plug(name: str, addresses: tuple[str, ...], beyond: int = -1) -> None:
    """Bring a link up with addresses, having made it first when the namespace of its other end is given."""
    with Netlink() as netlink:
        if beyond >= 0:
            netlink.execute(create_veth(name, "eth0", beyond))
        link = netlink.link(name)
        assert link is not None
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")  # else a second of silence
        given = (ip_interface(f"{text}/{64 if ':' in text else 24}") for text in addresses)
        netlink.execute(*(add_address(link.index, one) for one in given), set_link(name, up=True))


def _lead_all(namespace: int) -> None:
    """Have the intruder send everything to the host, even what is for loopback addresses."""
    at(namespace, "ip", "route", "add", "default", "via", NEAR)
    at(namespace, "ip", "-6", "route", "add", "default", "via", NEAR6)
    inside(namespace, lambda: Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1"))
    for local in ("127.0.0.1", "127.0.0.0/8"):
        at(namespace, "ip", "route", "del", "local", local, "dev", "lo", "table", "local")
    at(namespace, "ip", "route", "add", "127.0.0.0/8", "via", NEAR, "src", INTRUDER)


def at(namespace: int, *argv: str) -> str:
    """Run a program of this machine inside *namespace*; return what it said."""
    entering = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "--")
    done = subprocess.run([*entering, *argv], check=True, capture_output=True, text=True)
    return done.stdout


# callers


def ask(namespace: int, protocol: str, target: str, port: int, patience: float = PATIENCE) -> str:
    """Have somebody in *namespace* ask a service; returns its answer.

    Raises:
        OSError: none came.
    """

    def call() -> str:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, KINDS[protocol]) as made:
            made.settimeout(patience)
            made.connect((target, port))
            if protocol == "udp":
                made.send(b"who?")
            return made.recv(200).decode().strip()

    return inside(namespace, call)


def silent(namespace: int, protocol: str, target: str, port: int) -> bool:
    """Tell whether a service gives no answer to *namespace*; an empty one is none."""
    with suppress(OSError):
        return not ask(namespace, protocol, target, port, SILENCE)
    return True


@contextmanager
def greeter(namespace: int) -> Iterator[int]:
    """Have a server of tcp greet callers of both families in *namespace*, as ``neighbour``; yields its port."""

    def listen() -> socket.socket:
        return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)

    def greet() -> None:
        with suppress(OSError):
            while True:
                connection, seen = server.accept()
                with connection, suppress(OSError):
                    connection.sendall(f"neighbour {seen[0].removeprefix('::ffff:')}\n".encode())

    with inside(namespace, listen) as server:
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits
            thread.join()


# containers


@contextmanager
def started(engine: Engine, *words: str, name: str = "") -> Iterator[str]:
    """Lend a container made by ``docker run -d WORDS``; yields its name."""
    name = name or unique()
    engine.docker("run", "-d", "--name", name, *words)
    try:
        yield name
    finally:
        engine.docker("rm", "-f", "-v", name)


@contextmanager
def service(engine: Engine, *flags: str, ports: tuple[int, ...] = (80,), name: str = "") -> Iterator[str]:
    """Lend a container that greets callers at *ports*, made with *flags*; yields its name once it listens."""
    name = name or unique()
    program = ("perl", "-e", SERVICE, name, *map(str, ports))
    with started(engine, *flags, "debian", *program, name=name):
        ready(engine, name)
        yield name


def ready(engine: Engine, name: str) -> None:
    """Wait until a service listens."""
    until(lambda: "ready\n" in said(engine, name), f"{name} to listen")


@contextmanager
def idler(engine: Engine, *flags: str, name: str = "") -> Iterator[str]:
    """Lend a container that does nothing, made with *flags*; yields its name."""
    with started(engine, *flags, "debian", "sleep", "1000", name=name) as made:
        yield made


@contextmanager
def network(engine: Engine, *flags: str, name: str = "") -> Iterator[str]:
    """Lend a network made by ``docker network create FLAGS``; yields its name."""
    name = name or unique("n")
    engine.docker("network", "create", *flags, name)
    try:
        yield name
    finally:
        engine.docker("network", "rm", name)


@contextmanager
def namespace_of(engine: Engine, name: str) -> Iterator[int]:
    """Lend the network namespace of a running container, by its descriptor."""
    descriptor = os.open(f"/proc/{pid_of(engine, name)}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def pid_of(engine: Engine, name: str) -> int:
    """Return the process id of a running container."""
    return int(state(engine, name, "{{.State.Pid}}"))


def place(engine: Engine, name: str, on: str) -> dict[str, Any]:
    """Return what inspect says of a container's place on the network *on*."""
    found: dict[str, Any] = json.loads(state(engine, name, "{{json .NetworkSettings.Networks}}"))[on]
    return found


def address(engine: Engine, name: str, on: str, version: int = 4) -> str:
    """Return the address of a container on the network *on*."""
    return str(place(engine, name, on)["IPAddress" if version == 4 else "GlobalIPv6Address"])


def looked_up(engine: Engine, network: str) -> dict[str, Any]:
    """Return what ``docker network inspect`` says of a network."""
    (found,) = json.loads(engine.docker("network", "inspect", network).stdout)
    return dict(found)


def refused(engine: Engine, status: int, *words: str) -> str:
    """Have the docker client refused, by one line of the daemon; returns that.

    Args:
        engine: The daemon's.
        status: The exit code of the client.
        words: What follows ``docker``.
    """
    done = engine.docker(*words, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    lines = [line for line in str(done.stderr).splitlines() if "Error response from daemon: " in line]
    assert len(lines) == 1, done.stderr
    return lines[0].partition("Error response from daemon: ")[2]


# the kernel's view


def links_in(namespace: int) -> set[str]:
    """Return the names of the links in *namespace*."""
    return {one["ifname"] for one in json.loads(at(namespace, "ip", "-json", "link", "show"))}


def identifier(engine: Engine, name: str) -> str:
    """Return the whole id of a container."""
    return state(engine, name, "{{.Id}}")


def networks_of(engine: Engine, name: str) -> set[str]:
    """Return the networks of a container by inspect."""
    return set(json.loads(state(engine, name, "{{json .NetworkSettings.Networks}}")))


def facts_of(namespace: int, link: str) -> tuple[str, set[str], int]:
    """Return MAC, addresses with prefix (not fe80::) and MTU of a link as the kernel has them."""
    (found,) = json.loads(at(namespace, "ip", "-json", "address", "show", link))
    listed = {f"{one['local']}/{one['prefixlen']}" for one in found["addr_info"] if one["scope"] != "link"}
    return str(found["address"]), listed, int(found["mtu"])


def kernel_objects(engine: Engine) -> dict[str, list[str]]:
    """Return all links, rules of routing, routes and elements of the firewall on the engine's host, but containers' links.

    Routes of anycast are left out: the kernel has them once it forwards IPv6.
    """
    links = json.loads(engine.inside("ip", "-json", "link", "show"))
    found = {"links": sorted(one["ifname"] for one in links if not one["ifname"].startswith("ct"))}
    for family in ("-4", "-6"):
        found[f"rules {family}"] = engine.inside("ip", family, "rule", "show").splitlines()
        routes = engine.inside("ip", family, "route", "show", "table", "all").splitlines()
        found[f"routes {family}"] = sorted(
            line for line in routes if " dev ct" not in line and not line.startswith("anycast")
        )
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


def settled(engine: Engine) -> None:
    """Wait until no look at the kernel differs from the one before."""
    seen: list[dict[str, list[str]]] = [{}]

    def same() -> bool:
        seen.append(kernel_objects(engine))
        return seen[-1] == seen[-2]

    until(same, "the kernel's objects to settle")
