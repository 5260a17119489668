"""Networks, sandboxes and an outside host, all in namespaces made by the tests."""

import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Interface, IPv6Interface

from corten.core.networks.drivers import drivers
from corten.core.networks.sandboxes.sandbox import Sandbox
from corten.core.networks.sandboxes.sandboxes import Sandboxes
from corten.core.networks.values import Attachment, Network, NetworkSpec, Subnet, Wishes
from corten.linux.netlink import (
    IpInterface,
    Netlink,
    add_address,
    create_bridge,
    create_veth,
    delete_link,
    set_link,
)
from tests.kernel.isolated import DEADLINE, eventually, inside, new_namespace

TAG, BRIDGE = "corten-test", "corten0"
SUBNET, SUBNET6 = "10.77.0.0/24", "fd77::/64"
OUTSIDE, OUTSIDE6 = "203.0.113.2", "2001:db8::2"
_ROUTER: tuple[IpInterface, ...] = (IPv4Interface("203.0.113.1/24"), IPv6Interface("2001:db8::1/64"))
_HOST: tuple[IpInterface, ...] = (IPv4Interface("203.0.113.2/24"), IPv6Interface("2001:db8::2/64"))


def spec(
    name: str = "bridge", *subnets: str, driver: str = "bridge", internal: bool = False, **options: str
) -> NetworkSpec:
    """What a network shall be; *options* without what Docker's names begin with."""
    return NetworkSpec(
        id=name.encode().hex().ljust(64, "0"),
        name=name,
        driver=driver,
        subnets=tuple(Subnet(subnet=subnet) for subnet in subnets or (SUBNET,)),
        internal=internal,
        options={
            key
            if key in ("parent", "macvlan_mode", "ipvlan_mode")
            else f"com.docker.network.{key.replace('__', '.')}": value
            for key, value in options.items()
        },
    )


def network(wanted: NetworkSpec | None = None, bridge: str = BRIDGE) -> Network:
    """A network that is up."""
    made = drivers.make(wanted or spec(), tag=TAG, bridge=bridge)
    made.ensure()
    return made


@contextmanager
def engine(size: int = 0, wanted: NetworkSpec | None = None) -> Iterator[tuple[Network, Sandboxes]]:
    """A network that is up, and sandboxes, *size* of them on it in stock."""
    made = network(wanted)
    with Sandboxes() as sandboxes:
        sandboxes.stock(made, size)
        yield made, sandboxes


def on(made: Network, *, default: bool = True, **wishes: str) -> Attachment:
    """An attachment with wishes."""
    return Attachment(network=made, wishes=Wishes(**wishes), default=default)  # type: ignore[arg-type]


@contextmanager
def taken(sandboxes: Sandboxes, *attachments: Attachment, names: bool = False) -> Iterator[Sandbox]:
    """A sandbox that is released at the end."""
    sandbox = sandboxes.take(attachments, names=names)
    try:
        yield sandbox
    finally:
        sandbox.release()


@contextmanager
def outside() -> Iterator[int]:
    """A namespace behind a router's leg of this one, which leads everything there; both families."""
    namespace = new_namespace()
    try:
        with Netlink() as netlink:
            # The kernel takes its time to notice that a veth has its other end up when both have one number
            netlink.execute(create_bridge("pad0"), delete_link("pad0"))
            netlink.execute(create_veth("wan0", "eth0", namespace))
            _settle(netlink, "wan0", _ROUTER)

        def settle() -> None:
            with Netlink() as netlink:
                _settle(netlink, "eth0", _HOST)

        inside(namespace, settle)
        yield namespace
    finally:
        os.close(namespace)


def _settle(netlink: Netlink, name: str, interfaces: Sequence[IpInterface]) -> None:
    index = index_of(netlink, name)
    write_sysctl(f"ipv6/conf/{name}/accept_dad", "0")  # a second in which nothing would be sent on
    netlink.execute(*(add_address(index, interface) for interface in interfaces), set_link(name, up=True))


def index_of(netlink: Netlink, name: str) -> int:
    """The index of a link that exists."""
    link = netlink.link(name)
    assert link is not None
    return link.index


def address(sandbox: Sandbox) -> str:
    """The address of the first endpoint."""
    return sandbox.endpoints[0].address


def read_sysctl(name: str) -> str:
    """The value of a sysctl below /proc/sys/net here."""
    with open(f"/proc/sys/net/{name}") as file:
        return file.read().strip()


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl below /proc/sys/net here."""
    with open(f"/proc/sys/net/{name}", "w") as file:
        file.write(value)


def read_inside(sandbox: Sandbox, name: str) -> str:
    """The value of a sysctl below /proc/sys/net inside."""
    return inside(sandbox.fileno(), lambda: read_sysctl(name))


def links_inside(namespace: int) -> dict[str, tuple[str, bool, int]]:
    """The links of a namespace: MAC address, up, MTU."""

    def look() -> dict[str, tuple[str, bool, int]]:
        with Netlink() as netlink:
            return {link.name: (link.mac, link.up, link.mtu) for link in netlink.links()}

    return inside(namespace, look)


def addresses_inside(namespace: int) -> set[str]:
    """The addresses of both families in a namespace, but those of the loopback link and fe80:: ones."""

    def look() -> set[str]:
        with Netlink() as netlink:
            found = netlink.addresses() + netlink.addresses(socket.AF_INET6)
            return {
                str(a.interface) for a in found if a.index != 1 and not str(a.interface).startswith("fe80:")
            }

    return inside(namespace, look)


def ways_out(namespace: int) -> list[str]:
    """The gateways of the default routes of both families in a namespace; "link" for none."""

    def look() -> list[str]:
        with Netlink() as netlink:
            routes = netlink.routes() + netlink.routes(socket.AF_INET6)
            return [str(r.gateway or "link") for r in routes if r.destination.prefixlen == 0]

    return inside(namespace, look)


def _family(target: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in target else socket.AF_INET


def listen(
    kind: socket.SocketKind = socket.SOCK_STREAM, family: socket.AddressFamily = socket.AF_INET, port: int = 0
) -> Callable[[], socket.socket]:
    """A function that binds a socket where it is called."""

    def bind() -> socket.socket:
        made = socket.socket(family, kind)
        made.settimeout(DEADLINE)
        made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            made.listen()
        return made

    return bind


def greet(server_namespace: int, client_namespace: int, target: str) -> str:
    """Connect from one namespace to *target* in the other, say hello; return the address the server saw."""
    with inside(server_namespace, listen(family=_family(target))) as server:
        port = server.getsockname()[1]
        with inside(client_namespace, lambda: socket.create_connection((target, port), DEADLINE)) as client:
            client.sendall(b"hello")
            connection, peer = server.accept()
            with connection:
                connection.settimeout(DEADLINE)
                assert connection.recv(5, socket.MSG_WAITALL) == b"hello"
    return str(peer[0])


def ping(target: str, patience: float = DEADLINE) -> bool:
    """Send one ICMP echo as an ordinary user may, and wait for its answer; see icmp(7)."""
    six = _family(target) == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    with socket.socket(_family(target), socket.SOCK_DGRAM, protocol) as made:
        made.settimeout(patience)
        try:
            made.sendto(struct.pack("!BBHHH", 128 if six else 8, 0, 0, 0, 1) + b"corten", (target, 0))
            answer = made.recv(100)
        except (TimeoutError, OSError):
            return False
        return answer[0] == (129 if six else 0) and answer.endswith(b"corten")


def state() -> dict[str, list[str]]:
    """All of the network state of this namespace that a network may change, in a fixed order."""
    with Netlink() as netlink:
        links = netlink.links()
        v6 = socket.AF_INET6
        return {
            "links": sorted(f"{link.name} {link.alias} {link.mac} {link.mtu} {link.up}" for link in links),
            "routes": sorted(f"{r.destination} {r.gateway}" for r in netlink.routes() + netlink.routes(v6)),
            "addresses": sorted(str(a.interface) for a in netlink.addresses() + netlink.addresses(v6)),
            "settings": sorted(
                f"{link.name} {name} {read_sysctl(f'{family}/conf/{link.name}/{name}')}"
                for link in links
                for family, name in (
                    ("ipv4", "forwarding"),
                    ("ipv4", "route_localnet"),
                    ("ipv6", "disable_ipv6"),
                )
            ),
            "forward": [read_sysctl("ipv4/ip_forward"), read_sysctl("ipv6/conf/all/forwarding")],
        }


def gone(host_link: str) -> bool:
    """Wait until the link has left this namespace."""
    with Netlink() as netlink:
        return eventually(lambda: netlink.link(host_link) is None)


@contextmanager
def held(sandbox: Sandbox) -> Iterator[int]:
    """The namespace of a sandbox as a process inside would keep it."""
    with ExitStack() as stack:
        descriptor = os.dup(sandbox.fileno())
        stack.callback(os.close, descriptor)
        yield descriptor
