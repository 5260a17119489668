"""A host, its neighbour and containers, all of them network namespaces: the world of the firewall's tests.

The host is the namespace of the calling thread. The neighbour ``outside`` is
behind a veth of it and has routes to the containers through it, as an
attacker would. Addresses: host 203.0.113.1 and 203.0.113.3, neighbour .2;
network N has 10.77.N.0/24 and fd77:N::/64, its container C ends in C.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)

from corten.core.networks.firewall.state import Opening, Side
from corten.core.networks.guard import Guard
from corten.linux.netlink import (
    Netlink,
    add_address,
    add_route,
    create_bridge,
    create_veth,
    set_link,
    set_port,
)
from tests.kernel.isolated import DEADLINE, inside, new_namespace

HOST, HOST2, NEIGHBOUR = "203.0.113.1", "203.0.113.3", "203.0.113.2"
HOST6, HOST6_2, NEIGHBOUR6 = "2001:db8:1::1", "2001:db8:1::3", "2001:db8:1::2"
INNER = 7777  # port of the services in the containers
SILENCE = 0.1  # seconds without an answer that count as none, where the rules drop and say nothing
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass
class Host:
    """What there is besides the host itself."""

    outside: int
    containers: dict[tuple[int, int], int] = field(
        default_factory=dict
    )  # (network, last number) -> namespace


def bridge(network: int) -> str:
    """The name of the network's bridge."""
    return f"br{network}"


def address(network: int, number: int, version: int = 4) -> str:
    """The address of container *number*; 1 is the gateway."""
    return f"10.77.{network}.{number}" if version == 4 else f"fd77:{network}::{number}"


def side(network: int, **changes: object) -> Side:
    """The network as the firewall sees it."""
    subnets = (f"10.77.{network}.0/24", f"fd77:{network}::/64")
    return Side(bridge=bridge(network), subnets=subnets, **changes)  # type: ignore[arg-type]


def opening(
    protocol: str, host_ip: str, host_port: int, network: int = 1, number: int = 2, port: int = INNER
) -> Opening:
    """A published port of one container."""
    version = 6 if ":" in host_ip else 4
    return Opening(
        protocol=protocol,
        host_ip=host_ip,
        host_port=host_port,
        address=address(network, number, version),
        port=port,
        bridge=bridge(network),
    )


@contextmanager
def host(
    *networks: int, hairpin: bool = True, filter_bridged: bool = True, rp_filter: int = 1
) -> Iterator[Host]:
    """Give a host with two containers in each of *networks*, and the routing rules that guard them.

    Args:
        networks: Numbers.
        hairpin: Whether ports of bridges may send back what came from them.
        filter_bridged: Whether frames within a bridge go through the rules (br_netfilter).
        rp_filter: The reverse path filter of the host: 1 is the strictest.
    """
    sysctl("net/ipv4/ip_forward", "1")
    sysctl("net/ipv6/conf/all/forwarding", "1")
    sysctl("net/ipv6/conf/default/accept_dad", "0")
    sysctl("net/ipv4/conf/all/rp_filter", str(rp_filter))
    sysctl("net/ipv4/conf/all/src_valid_mark", "1")
    for name in ("iptables", "ip6tables"):
        if os.path.exists(f"/proc/sys/net/bridge/bridge-nf-call-{name}"):
            sysctl(f"net/bridge/bridge-nf-call-{name}", str(int(filter_bridged)))
    Guard("test").ensure(ip_network(subnet) for network in networks for subnet in side(network).subnets)
    with ExitStack() as stack:
        made = Host(outside=_outside(networks))
        stack.callback(os.close, made.outside)
        for network in networks:
            with Netlink() as netlink:
                netlink.execute(create_bridge(bridge(network), f"02:00:00:00:00:0{network}"))
                _addresses(netlink, bridge(network), address(network, 1), address(network, 1, 6))
            for number in (2, 3):
                namespace = _container(network, number, hairpin)
                stack.callback(os.close, namespace)
                made.containers[network, number] = namespace
        yield made


def sysctl(name: str, value: str) -> None:
    """Set what is below /proc/sys in the namespace of this thread."""
    with open(f"/proc/sys/{name}", "w") as file:
        file.write(value)


@contextmanager
def this_namespace() -> Iterator[int]:
    """The descriptor of the host's own namespace."""
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _addresses(netlink: Netlink, name: str, four: str, six: str) -> None:
    link = netlink.link(name)
    assert link is not None
    netlink.execute(
        add_address(link.index, IPv4Interface(f"{four}/24")),
        add_address(link.index, IPv6Interface(f"{six}/64")),
        set_link(name, up=True),
    )


def _outside(networks: tuple[int, ...]) -> int:
    namespace = new_namespace()
    with Netlink() as netlink:
        netlink.execute(create_veth("wan0", "eth0", namespace))
        _addresses(netlink, "wan0", HOST, HOST6)
        _addresses(netlink, "wan0", HOST2, HOST6_2)

    def settle() -> None:
        sysctl("net/ipv6/conf/eth0/accept_dad", "0")
        with Netlink() as netlink:
            _addresses(netlink, "eth0", NEIGHBOUR, NEIGHBOUR6)
            for network in networks:
                netlink.execute(
                    add_route(IPv4Address(HOST), IPv4Network(f"10.77.{network}.0/24")),
                    add_route(IPv6Address(HOST6), IPv6Network(f"fd77:{network}::/64")),
                )

    inside(namespace, settle)
    return namespace


def _container(network: int, number: int, hairpin: bool) -> int:
    namespace = new_namespace()
    name = f"c{network}x{number}"
    with Netlink() as netlink:
        link = netlink.link(bridge(network))
        assert link is not None
        netlink.execute(create_veth(name, "eth0", namespace, master=link.index), set_link(name, up=True))
        netlink.execute(set_port(name, hairpin=hairpin))

    def settle() -> None:
        sysctl("net/ipv6/conf/eth0/accept_dad", "0")
        with Netlink() as netlink:
            _addresses(netlink, "eth0", address(network, number), address(network, number, 6))
            netlink.execute(
                add_route(IPv4Address(address(network, 1))), add_route(IPv6Address(address(network, 1, 6)))
            )

    inside(namespace, settle)
    return namespace


def _family(target: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in target else socket.AF_INET


@contextmanager
def service(namespace: int, protocol: str, version: int = 4, port: int = INNER) -> Iterator[socket.socket]:
    """A socket at all addresses inside *namespace*, which nobody answers yet."""

    def bind() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, KINDS[protocol])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(DEADLINE)
        made.bind(("::" if version == 6 else "0.0.0.0", port))
        if protocol == "tcp":
            made.listen()
        return made

    with inside(namespace, bind) as made:
        yield made


def _at(client: int | None, body: Callable[[], socket.socket]) -> socket.socket:
    """Run *body* in the namespace *client*, or on the host itself."""
    return body() if client is None else inside(client, body)


def _connected(protocol: str, target: str, port: int, patience: float) -> socket.socket:
    made = socket.socket(_family(target), KINDS[protocol])
    made.settimeout(patience)
    try:
        made.connect((target, port))
    except BaseException:
        made.close()
        raise
    return made


def exchange(server: socket.socket, client: int | None, protocol: str, target: str, port: int) -> str:
    """Ask *target* from namespace *client* (None: the host), answer, and return who the service saw.

    Raises:
        OSError: no answer came.
    """
    with _at(client, lambda: _connected(protocol, target, port, DEADLINE)) as asking:
        asking.sendall(b"question")
        if protocol == "tcp":
            answering, seen = server.accept()
            with answering:
                answering.settimeout(DEADLINE)
                assert answering.recv(100) == b"question"
                answering.sendall(b"answer")
                assert asking.recv(100) == b"answer"
        else:
            question, seen = server.recvfrom(100)
            assert question == b"question"
            server.sendto(b"answer", seen)
            assert asking.recv(100) == b"answer"
    return str(seen[0])


def reached(server: socket.socket, client: int | None, protocol: str, target: str, port: int) -> bool:
    """Tell whether what *client* (None: the host) sends to *target* arrives at *server*."""
    try:
        with _at(client, lambda: _connected(protocol, target, port, SILENCE)) as asking:
            asking.send(b"knock")
            return _heard(server)
    except OSError:
        return False


def _heard(server: socket.socket) -> bool:
    server.settimeout(SILENCE)
    try:
        if server.type == socket.SOCK_STREAM:
            server.accept()[0].close()
        else:
            server.recvfrom(100)
    except OSError:
        return False
    else:
        return True
    finally:
        server.settimeout(DEADLINE)
