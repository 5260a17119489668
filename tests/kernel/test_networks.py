"""Bridge networks and sandboxes against the real kernel, in namespaces made here."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from corten.core.networks.bridge import BridgeNetwork, choosing
from corten.core.networks.pool import SandboxPool
from corten.core.networks.sandbox import Sandbox
from corten.errors import Conflict, Unavailable
from corten.linux.netlink import (
    Netlink,
    add_address,
    add_route,
    create_bridge,
    create_veth,
    delete_link,
    set_link,
)
from corten.linux.nftables import Nftables
from tests.descriptors import open_descriptors
from tests.kernel.isolated import DEADLINE, NEEDS, eventually, inside, isolated, new_namespace

pytestmark = NEEDS

SUBNET = IPv4Network("10.77.0.0/24")
HOST_OUTSIDE, OUTSIDE = IPv4Interface("203.0.113.1/24"), IPv4Interface("203.0.113.2/24")


@contextmanager
def engine(size: int = 0, subnet: IPv4Network | None = SUBNET) -> Iterator[tuple[BridgeNetwork, SandboxPool]]:
    """A network that is up, and a pool on it."""
    network = BridgeNetwork("bridge", subnet)
    network.ensure()
    with SandboxPool(network, size) as pool:
        yield network, pool


@contextmanager
def taken(pool: SandboxPool, address: str | None = None, mac: str | None = None) -> Iterator[Sandbox]:
    """A sandbox that is released at the end."""
    sandbox = pool.take(address=address, mac=mac)
    try:
        yield sandbox
    finally:
        sandbox.release()


@contextmanager
def outside() -> Iterator[int]:
    """A namespace behind a router's leg of this one: 203.0.113.2, with the way to the subnet through .1."""
    namespace = new_namespace()
    try:
        with Netlink() as netlink:
            netlink.execute(create_veth("wan0", "eth0", namespace))
            netlink.execute(add_address(index_of(netlink, "wan0"), HOST_OUTSIDE), set_link("wan0", up=True))

        def settle() -> None:
            with Netlink() as netlink:
                netlink.execute(
                    add_address(index_of(netlink, "eth0"), OUTSIDE),
                    set_link("eth0", up=True),
                    add_route(HOST_OUTSIDE.ip, SUBNET),
                )

        inside(namespace, settle)
        yield namespace
    finally:
        os.close(namespace)


def index_of(netlink: Netlink, name: str) -> int:
    """The index of a link that exists."""
    link = netlink.link(name)
    assert link is not None
    return link.index


def address(sandbox: Sandbox) -> str:
    """The address of the only endpoint."""
    return sandbox.endpoints[0].address


def read_inside(sandbox: Sandbox, name: str) -> str:
    """The value of a sysctl below /proc/sys/net inside."""

    def read() -> str:
        with open(f"/proc/sys/net/{name}") as file:
            return file.read().strip()

    return inside(sandbox.fileno(), read)


def listen(kind: socket.SocketKind = socket.SOCK_STREAM, port: int = 0) -> Callable[[], socket.socket]:
    """A function that binds a socket where it is called."""

    def bind() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(DEADLINE)
        made.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            made.listen()
        return made

    return bind


def greet(server_namespace: int, client_namespace: int, target: str) -> str:
    """Connect from one namespace to *target* in the other, say hello; return the address the server saw."""
    with inside(server_namespace, listen()) as server:
        port = server.getsockname()[1]
        with inside(client_namespace, lambda: socket.create_connection((target, port), DEADLINE)) as client:
            client.sendall(b"hello")
            connection, (seen, _port) = server.accept()
            with connection:
                connection.settimeout(DEADLINE)
                assert connection.recv(5, socket.MSG_WAITALL) == b"hello"
    return str(seen)


def ping(target: str) -> bool:
    """Send one ICMP echo as an ordinary user may, and wait for its answer; see icmp(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as made:
        made.settimeout(DEADLINE)
        made.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + b"corten", (target, 0))
        answer = made.recv(100)
        return answer[0] == 0 and answer.endswith(b"corten")


def state() -> dict[str, list[str]]:
    """All of the network state of this namespace that a network may change, in a fixed order."""
    with Netlink() as netlink, Nftables() as nft, open("/proc/sys/net/ipv4/ip_forward") as forward:
        links = netlink.links()
        return {
            "links": sorted(f"{link.name} {link.alias} {link.mac} {link.mtu} {link.up}" for link in links),
            "routes": sorted(f"{route.destination} {route.gateway}" for route in netlink.routes()),
            "addresses": sorted(str(entry.interface) for entry in netlink.addresses()),
            "rules": [nft.run("list ruleset")],
            "forward": [forward.read()],
        }


def gone(host_link: str) -> bool:
    """Wait until the link has left this namespace."""
    with Netlink() as netlink:
        return eventually(lambda: netlink.link(host_link) is None)


@isolated
def test_sandboxes_reach_each_other_and_the_gateway() -> None:
    """Two sandboxes ping and connect to each other by their own addresses, and ping the gateway."""
    with engine() as (network, pool), taken(pool) as one, taken(pool) as two:
        assert greet(two.fileno(), one.fileno(), address(two)) == address(one)
        assert inside(one.fileno(), lambda: ping(address(two)))
        assert inside(two.fileno(), lambda: ping(str(network.gateway)))


@isolated
def test_outside_sees_the_hosts_address() -> None:
    """A connection that leaves the bridge has the host's address as its source."""
    with engine() as (_, pool), outside() as beyond, taken(pool) as sandbox:
        assert greet(beyond, sandbox.fileno(), str(OUTSIDE.ip)) == str(HOST_OUTSIDE.ip)


@isolated
def test_outside_reaches_nothing_that_was_not_asked_for() -> None:
    """A neighbour that routes the subnet through this host is dropped; answers to a sandbox pass."""
    with ExitStack() as stack:
        _, pool = stack.enter_context(engine())
        beyond = stack.enter_context(outside())
        sandbox = stack.enter_context(taken(pool))
        inner = stack.enter_context(inside(sandbox.fileno(), listen(socket.SOCK_DGRAM)))
        outer = stack.enter_context(inside(beyond, listen(socket.SOCK_DGRAM)))
        intruder = stack.enter_context(inside(beyond, listen(socket.SOCK_DGRAM)))

        intruder.sendto(b"intruder", (address(sandbox), inner.getsockname()[1]))
        inner.sendto(b"question", (str(OUTSIDE.ip), outer.getsockname()[1]))
        question, source = outer.recvfrom(100)
        outer.sendto(b"answer", source)
        assert question == b"question"
        assert inner.recv(100) == b"answer"  # one way, in order: the intruder's would have come first


@isolated
def test_inside_of_a_sandbox() -> None:
    """Docker's sysctls, loopback up, eth0 as recorded, default route through the gateway, no IPv6 on eth0."""

    def look() -> tuple[dict[str, tuple[str, bool, int]], list[str], list[str]]:
        with Netlink() as netlink:
            return (
                {link.name: (link.mac, link.up, link.mtu) for link in netlink.links()},
                [str(entry.interface) for entry in netlink.addresses()],
                [f"{route.destination} {route.gateway}" for route in netlink.routes()],
            )

    with engine() as (_, pool), taken(pool) as sandbox:
        (endpoint,) = sandbox.endpoints
        links, addresses, routes = inside(sandbox.fileno(), look)
        assert links["eth0"] == (endpoint.mac, True, 1500)
        assert links["lo"][1]
        assert addresses == ["127.0.0.1/8", "10.77.0.2/24"]
        assert f"0.0.0.0/0 {endpoint.gateway}" in routes
        assert read_inside(sandbox, "ipv4/ping_group_range").split() == ["0", "2147483647"]
        assert read_inside(sandbox, "ipv4/ip_unprivileged_port_start") == "0"
        assert read_inside(sandbox, "ipv6/conf/eth0/disable_ipv6") == "1"
        assert not os.get_inheritable(sandbox.fileno())
        with open("/proc/thread-self/net/if_inet6") as file:
            assert file.read().split()[5::6] == ["lo"]  # outside neither bridge nor veth has an IPv6 address


@isolated
def test_sandbox_without_a_network() -> None:
    """A pool without a network gives namespaces with loopback alone, up and private."""
    with SandboxPool(None, 2) as pool, taken(pool) as one, taken(pool) as two:

        def names() -> list[str]:
            with Netlink() as netlink:
                return [link.name for link in netlink.links() if link.up]

        assert inside(one.fileno(), names) == ["lo"]
        assert inside(one.fileno(), lambda: ping("127.0.0.1"))
        assert os.fstat(one.fileno()).st_ino != os.fstat(two.fileno()).st_ino
        assert one.endpoints == ()


@isolated
def test_wishes_are_granted() -> None:
    """A wished MAC and address are what the inside has; an address in use is refused and leaves nothing."""
    with engine() as (_, pool), taken(pool, "10.77.0.9", "02:00:00:00:00:09") as sandbox:
        assert greet(sandbox.fileno(), sandbox.fileno(), "10.77.0.9") == "10.77.0.9"
        before = state()
        with pytest.raises(Conflict):
            pool.take(address="10.77.0.9")
        assert state() == before


@isolated
def test_released_sandbox_leaves_nothing() -> None:
    """The link outside goes by itself, the address is free again, also when it was pooled."""
    with engine(size=3) as (network, pool):
        sandbox = pool.take()
        name = sandbox.endpoints[0].host_link
        sandbox.release()
        sandbox.release()
        assert gone(name)
        with taken(pool, sandbox.endpoints[0].address):
            pass
    with Netlink() as netlink:
        assert eventually(lambda: {link.name for link in netlink.links()} == {"lo", network.bridge})


@isolated
def test_namespace_outlives_the_sandbox_while_someone_is_inside() -> None:
    """Dropping our descriptor does not cut off who holds the namespace."""
    with engine() as (network, pool):
        sandbox = pool.take()
        held = os.dup(sandbox.fileno())
        sandbox.close()
        try:
            assert inside(held, lambda: ping(str(network.gateway)))
        finally:
            os.close(held)
        sandbox.release()
        assert gone(sandbox.endpoints[0].host_link)


@isolated
def test_pool_thread_holds_no_namespace() -> None:
    """The thread that made a sandbox has gone home: the only holder is the descriptor handed out."""
    with engine() as (_, pool):
        sandbox = pool.take()
        sandbox.release()
        assert gone(sandbox.endpoints[0].host_link)


@isolated
def test_full_subnet_is_one_clear_line() -> None:
    """With every address taken the next one is refused, and a release makes room."""
    with engine(subnet=IPv4Network("10.77.0.0/30")) as (_, pool):
        with taken(pool), pytest.raises(Unavailable, match="no free address"):
            pool.take()
        with taken(pool) as again:
            assert address(again) == "10.77.0.2"


@isolated
def test_ensure_twice_is_ensure_once() -> None:
    """Links, addresses, routes, rules and forwarding are the same after a second run, also by a new object."""
    with engine() as (network, _):
        once = state()
        network.ensure()
        assert state() == once
    again = BridgeNetwork("bridge")
    again.ensure()
    assert state() == once
    assert again.subnet == SUBNET


@isolated
def test_ensure_repairs_what_others_removed() -> None:
    """After rules were flushed, forwarding cut and the bridge deleted, everything is back, endpoints included."""
    with engine() as (network, pool), taken(pool) as one, taken(pool) as two:
        once = state()
        with Netlink() as netlink, Nftables() as nft:
            nft.run("flush ruleset")
            netlink.execute(delete_link(network.bridge))
        with open("/proc/sys/net/ipv4/ip_forward", "w") as forward:
            forward.write("0")
        network.ensure()
        assert state() == once
        assert greet(two.fileno(), one.fileno(), address(two)) == address(one)


@isolated
def test_ensure_corrects_the_address() -> None:
    """Foreign IPv4 addresses on the bridge are replaced by the gateway."""
    network = BridgeNetwork("bridge", SUBNET)
    network.ensure()
    once = state()
    with Netlink() as netlink:
        index = index_of(netlink, network.bridge)
        for text in ("10.5.0.1/24", "10.5.0.2/24", "10.77.0.1/16"):
            netlink.execute(add_address(index, IPv4Interface(text)))
    network.ensure()
    assert state() == once


@isolated
def test_remove_takes_everything_away() -> None:
    """Bridge and table are gone, the rest is as before but for forwarding; it can be repeated."""
    before = state()
    network = BridgeNetwork("bridge", SUBNET)
    network.ensure()
    network.remove()
    network.remove()
    assert {**state(), "forward": []} == {**before, "forward": []}


@isolated
def test_foreign_link_is_never_touched() -> None:
    """A bridge that is not ours stands in the way, says so, and is left as it is."""
    with Netlink() as netlink:
        netlink.execute(create_bridge("corten0", "02:00:00:00:00:01"))
    before = state()
    network = BridgeNetwork("bridge", SUBNET)
    for verb in (network.ensure, network.remove):
        with pytest.raises(Conflict, match="choose another bridge name"):
            verb()
    assert state() == before


@isolated
def test_bridge_of_a_crashed_start_is_adopted() -> None:
    """A bridge that was made but not yet marked is known by its MAC."""
    network = BridgeNetwork("bridge", SUBNET)
    with Netlink() as netlink:
        netlink.execute(create_bridge("corten0", network._mac))
    network.ensure()
    once = state()
    network.remove()
    network.ensure()
    assert state() == once


@isolated
def test_engines_side_by_side_choose_different_subnets() -> None:
    """Networks that come up at the same moment never share addresses; removing one leaves the others."""
    networks = [
        BridgeNetwork("bridge", bridge=f"ct{n}", table=f"corten{n}", tag=f"corten{n}") for n in range(4)
    ]
    together = threading.Barrier(4)

    def start(network: BridgeNetwork) -> None:
        together.wait(DEADLINE)
        network.ensure()

    threads = [threading.Thread(target=start, args=(network,)) for network in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len({network.subnet for network in networks}) == 4
    networks[0].remove()
    with Netlink() as netlink, Nftables() as nft:
        assert {link.name for link in netlink.links()} == {"lo", "ct1", "ct2", "ct3"}
        assert len(nft.run("list tables").splitlines()) == 3


@isolated
def test_held_lock_delays_the_choice_but_does_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the lock of the namespace for ever cannot keep a network from coming up."""
    monkeypatch.setattr("corten.core.networks.bridge.PATIENCE", 0.02)
    with choosing():
        network = BridgeNetwork("bridge")
        network.ensure()
    assert network.subnet == IPv4Network("172.17.0.0/16")


@isolated
def test_networks_of_the_host_are_avoided() -> None:
    """A default pool that overlaps with an address or a route of this host is passed over."""
    with Netlink() as netlink:
        netlink.execute(create_bridge("lan0"), set_link("lan0", up=True))
        index = index_of(netlink, "lan0")
        netlink.execute(
            add_address(index, IPv4Interface("172.17.5.1/24")),
            add_route(IPv4Address("172.17.5.2"), IPv4Network("172.18.0.0/16")),
            add_route(IPv4Address("172.17.5.2")),
        )
    network = BridgeNetwork("bridge")
    network.ensure()
    assert network.subnet == IPv4Network("172.19.0.0/16")


@isolated
def test_reconcile_deletes_what_nobody_claims() -> None:
    """Marked links without an owner go; links in use, in stock, claimed by records, or foreign stay."""
    with ExitStack() as stack:
        namespace = new_namespace()
        stack.callback(os.close, namespace)
        netlink = stack.enter_context(Netlink())
        for name, alias in (
            ("ctstray", "corten endpoint bridge"),
            ("ctkept", "corten endpoint bridge"),
            ("other", "x"),
        ):
            netlink.execute(create_veth(name, f"p{name}", namespace))
            netlink.execute(set_link(name, alias=alias))
        network, pool = stack.enter_context(engine())
        sandbox = stack.enter_context(taken(pool))
        assert network.reconcile({"ctkept"}) == ["ctstray"]
        names = {link.name for link in netlink.links()}
        assert names == {"lo", "corten0", "ctkept", "other", sandbox.endpoints[0].host_link}
        assert network.reconcile({"ctkept"}) == []


@isolated
def test_restart_keeps_running_endpoints() -> None:
    """A new engine that adopts an endpoint keeps its link and address until it is released."""
    with engine() as (_, pool):
        sandbox = pool.take()
    held = os.dup(sandbox.fileno())
    sandbox.close()
    (endpoint,) = sandbox.endpoints
    again = BridgeNetwork("bridge")
    again.ensure()
    again.adopt(endpoint)
    try:
        assert again.reconcile(set()) == []
        with SandboxPool(again, 0) as pool:
            with pytest.raises(Conflict):
                pool.take(address=endpoint.address)
            with taken(pool) as other:
                assert greet(held, other.fileno(), endpoint.address) == address(other)
            again.release(endpoint)
            os.close(held)
            held = -1
            assert gone(endpoint.host_link)
            with taken(pool, endpoint.address) as next_owner:
                assert address(next_owner) == endpoint.address
    finally:
        if held >= 0:
            os.close(held)


@isolated
def test_failure_in_the_kernel_leaves_nothing() -> None:
    """When the bridge is gone a take fails with the kernel's word; no link, address or descriptor is left."""
    with engine() as (network, pool):
        with Netlink() as netlink:
            netlink.execute(delete_link(network.bridge))
        before, descriptors = state(), open_descriptors()
        with pytest.raises(OSError, match="create veth") as caught:
            pool.take(address="10.77.0.5")
        assert caught.value.errno in (errno.ENODEV, errno.EINVAL)
        assert state() == before
        assert open_descriptors() == descriptors
        network.ensure()
        with taken(pool, "10.77.0.5") as sandbox:
            assert address(sandbox) == "10.77.0.5"
