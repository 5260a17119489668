"""Reserving ports of the host, with sockets at the loopback address."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from corten.core.networks.ports.ports import Ports, Reserved, Wish, ephemeral, shown
from corten.errors import Conflict, InvalidInput, Unsupported

LOCAL = "127.0.0.1"


@pytest.fixture
def ports() -> Iterator[Ports]:
    """An empty table, closed at the end."""
    made = Ports()
    yield made
    made.close()


@pytest.fixture
def free() -> int:
    """A TCP port at the loopback address that nobody has."""
    with socket.socket() as made:
        made.bind((LOCAL, 0))
        return int(made.getsockname()[1])


def wish(first: int = 0, last: int = 0, protocol: str = "tcp", port: int = 80, host_ip: str = LOCAL) -> Wish:
    """A wish at the loopback address."""
    return Wish(protocol=protocol, container_port=port, host_ip=host_ip, first=first, last=last)


def bindable(port: int, kind: socket.SocketKind = socket.SOCK_STREAM, host_ip: str = LOCAL) -> bool:
    """Tell whether a program could take the port now."""
    with socket.socket(socket.AF_INET, kind) as made:
        try:
            made.bind((host_ip, port))
        except OSError:
            return False
    return True


def listen(port: int) -> None:
    """Do what a server does to have *port*."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOCAL, port))
        made.listen()


def test_reserved_port_is_kept_from_programs(ports: Ports, free: int) -> None:
    """While a container has it no program can bind it; after the release it can."""
    (got,) = ports.reserve("1", "web", [wish(free)], ipv6=False)
    assert got == Reserved(protocol="tcp", container_port=80, host_ip=LOCAL, host_port=free)
    assert not bindable(free)
    assert not bindable(free, host_ip="0.0.0.0")
    assert ports.held("1") == (got,)
    ports.release("1")
    ports.release("1")
    assert bindable(free)
    assert ports.held("1") == ()


def test_program_cannot_listen_even_when_it_allows_reuse(ports: Ports, free: int) -> None:
    """SO_REUSEADDR, as most servers set it, does not get them the port."""
    ports.reserve("1", "web", [wish(free)], ipv6=False)
    with pytest.raises(OSError, match="in use"):
        listen(free)


def test_nobody_answers_at_a_reserved_port(ports: Ports, free: int) -> None:
    """Without the firewall's rules a client is refused, not left waiting."""
    ports.reserve("1", "web", [wish(free)], ipv6=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOCAL, free), 1)


@pytest.mark.parametrize("host_ip", ["", "0.0.0.0", LOCAL])
def test_conflict_names_the_container(ports: Ports, free: int, host_ip: str) -> None:
    """Whoever has the port is named, also when one of the two has all addresses."""
    ports.reserve("1", "web", [wish(free)], ipv6=False)
    with pytest.raises(
        Conflict, match="port is already allocated by container web: choose another"
    ) as caught:
        ports.reserve("2", "db", [wish(free, host_ip=host_ip)], ipv6=False)
    assert str(caught.value).startswith(f"Bind for {host_ip or '0.0.0.0'}:{free} failed: ")
    assert ports.held("2") == ()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, LOCAL), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")],
)
def test_conflict_names_the_program(
    ports: Ports, kind: socket.SocketKind, family: socket.AddressFamily, address: str
) -> None:
    """A program that has the port, also through a socket of both families, is named with its number."""
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with socket.socket(family, kind) as made:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((address, 0))
        if protocol == "tcp":
            made.listen()
        port = made.getsockname()[1]
        own = rf"port is already in use by .+ \(process {os.getpid()}\): choose another port of the host, or stop"
        with pytest.raises(Conflict, match=own):
            ports.reserve("1", "web", [wish(port, protocol=protocol)], ipv6=False)


def test_port_that_a_program_holds_unseen(ports: Ports) -> None:
    """A TCP socket that is bound and does not listen is in no list of the kernel: the owner is not named."""
    with socket.socket() as made:
        made.bind((LOCAL, 0))
        with pytest.raises(Conflict, match="port is already allocated: choose another"):
            ports.reserve("1", "web", [wish(made.getsockname()[1])], ipv6=False)


def test_connections_that_ended_are_not_in_the_way(ports: Ports) -> None:
    """A port with connections in TIME_WAIT can be had at once, and is then kept from others."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        server.bind((LOCAL, 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection((LOCAL, port)) as client:
            server.accept()[0].close()  # ends first, so this side waits
            assert client.recv(1) == b""
    assert not bindable(port)
    ports.reserve("1", "web", [wish(port)], ipv6=False)
    with pytest.raises(OSError, match="in use"):
        listen(port)


def test_all_or_nothing(ports: Ports, free: int) -> None:
    """When one wish fails, none is granted, and what the owner had before stays."""
    ports.reserve("other", "db", [wish(free)], ipv6=False)
    (before,) = ports.reserve("1", "web", [wish(port=1)], ipv6=False)
    with pytest.raises(Conflict):
        ports.reserve("1", "web", [wish(port=2), wish(free)], ipv6=False)
    assert ports.held("1") == (before,)
    assert not bindable(before.host_port)


def test_replacing_keeps_what_is_wished_again(ports: Ports, free: int) -> None:
    """Ports that stay are never free in between, chosen ones are kept; those left out are given back."""
    chosen, fixed = ports.reserve("1", "web", [wish(port=1), wish(free, port=2)], ipv6=False)
    again, more = ports.reserve("1", "web", [wish(port=1), wish(port=3)], ipv6=False)
    assert again == chosen
    assert more.host_port != chosen.host_port
    assert bindable(fixed.host_port)
    assert ports.reserve("1", "web", [], ipv6=False) == ()
    assert bindable(chosen.host_port)


def test_range_gives_the_first_free_one(ports: Ports, free: int) -> None:
    """A range is tried in order; when all are taken it is refused as a whole."""
    first = min(free, 65435)
    one, two = (
        ports.reserve(owner, owner, [wish(first, first + 100)], ipv6=False)[0].host_port
        for owner in ("1", "2")
    )
    assert first <= one < two <= first + 100
    rest = [wish(port) for port in range(one, two + 1) if bindable(port)]
    ports.reserve("3", "c", rest, ipv6=False)
    with pytest.raises(Conflict, match=rf"^Bind for {LOCAL}:{one}-{two} failed: all ports are allocated"):
        ports.reserve("4", "d", [wish(one, two)], ipv6=False)


def test_chosen_port_is_the_same_for_both_families(ports: Ports) -> None:
    """Without an address a port is had for IPv4 and IPv6, under one number of the host's own range."""
    got = ports.reserve("1", "web", [wish(host_ip=""), wish(host_ip="", protocol="udp")], ipv6=True)
    assert [item.host_ip for item in got] == ["0.0.0.0", "::", "0.0.0.0", "::"]
    assert got[0].host_port == got[1].host_port
    assert ephemeral()[0] <= got[0].host_port <= ephemeral()[1]
    assert len(ports.reserve("2", "db", [wish(host_ip="")], ipv6=False)) == 1


def test_chosen_ports_differ(ports: Ports) -> None:
    """Many owners at once get a port each."""
    got: list[int] = []

    def take(owner: int) -> None:
        got.extend(item.host_port for item in ports.reserve(str(owner), "web", [wish(), wish()], ipv6=False))

    threads = [threading.Thread(target=take, args=(owner,)) for owner in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 16


def test_same_port_twice_in_one_wish(ports: Ports, free: int) -> None:
    """Two wishes that are in each other's way are refused as such."""
    with pytest.raises(Conflict, match="port is wished twice"):
        ports.reserve("1", "web", [wish(free), wish(free, host_ip="")], ipv6=False)
    assert bindable(free)


def test_same_number_of_another_protocol_or_address(ports: Ports, free: int) -> None:
    """TCP and UDP, and different addresses, do not meet."""
    ports.reserve("1", "web", [wish(free)], ipv6=False)
    ports.reserve("2", "db", [wish(free, protocol="udp"), wish(free, host_ip="127.0.0.2")], ipv6=False)
    assert len(ports.held("2")) == 2


@pytest.mark.parametrize(
    ("wished", "kind", "words"),
    [
        (wish(1234, host_ip="192.0.2.1"), InvalidInput, "this host has no address 192.0.2.1"),
        (wish(1234, host_ip="example"), InvalidInput, "invalid IP address: example"),
        (wish(1234, protocol="icmp"), Unsupported, "use tcp, udp or sctp"),
    ],
)
def test_impossible_wishes(ports: Ports, wished: Wish, kind: type[Exception], words: str) -> None:
    """Each is refused with one line that names what is wrong."""
    with pytest.raises(kind, match=words):
        ports.reserve("1", "web", [wished], ipv6=False)


def test_sctp_is_kept_even_without_sockets_of_it(ports: Ports, free: int) -> None:
    """Where the kernel has no SCTP the table alone keeps containers apart."""
    ports.reserve("1", "web", [wish(free, protocol="sctp")], ipv6=False)
    with pytest.raises(Conflict, match="allocated by container web"):
        ports.reserve("2", "db", [wish(free, protocol="sctp")], ipv6=False)


def test_adopted_ports_are_kept_again(ports: Ports, free: int) -> None:
    """After a restart the same ports are held; one that a program took is told of, and stays the container's."""
    reserved = (
        Reserved(protocol="tcp", container_port=80, host_ip=LOCAL, host_port=free),
        Reserved(protocol="udp", container_port=53, host_ip=LOCAL, host_port=free),
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((LOCAL, free))
        (line,) = ports.adopt("1", "web", reserved)
    assert line.startswith(f"container web: Bind for {LOCAL}:{free} failed: port is already in use by ")
    assert not bindable(free)
    assert ports.held("1") == reserved
    with pytest.raises(Conflict, match="container web"):
        ports.reserve("2", "db", [wish(free, protocol="udp")], ipv6=False)


def test_shown() -> None:
    """IPv6 addresses are in brackets."""
    assert shown("::1", 80) == "[::1]:80"
    assert shown(LOCAL, 80) == "127.0.0.1:80"
