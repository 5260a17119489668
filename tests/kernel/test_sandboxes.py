"""Sandboxes against the real kernel: what is inside, what is left, and how living ones change."""

import errno
import os
import socket
from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.sandboxes.sandboxes import Sandboxes
from corten.errors import Conflict, InvalidInput, Unavailable
from corten.linux.netlink import Netlink, Request, delete_link, set_link
from tests.descriptors import open_descriptors
from tests.kernel.hosts import (
    BRIDGE,
    SUBNET,
    SUBNET6,
    address,
    addresses_inside,
    engine,
    gone,
    greet,
    held,
    index_of,
    links_inside,
    listen,
    network,
    on,
    outside,
    ping,
    read_inside,
    spec,
    state,
    taken,
    ways_out,
)
from tests.kernel.isolated import NEEDS, eventually, inside, isolated

pytestmark = NEEDS

BOTH = spec("both", SUBNET, SUBNET6)
SECOND = spec("second", "10.78.0.0/24", "fd78::/64")


@isolated
def test_inside_of_a_sandbox() -> None:
    """Docker's sysctls, loopback up, eth0 as recorded, default route through the gateway, no IPv6 on eth0."""
    with engine() as (made, pool), taken(pool, on(made)) as sandbox:
        (endpoint,) = sandbox.endpoints
        links = links_inside(sandbox.fileno())
        assert links["eth0"] == (endpoint.mac, True, 1500)
        assert links["lo"][1]
        assert addresses_inside(sandbox.fileno()) == {"10.77.0.2/24"}
        assert ways_out(sandbox.fileno()) == [endpoint.gateway]
        assert read_inside(sandbox, "ipv4/ping_group_range").split() == ["0", "2147483647"]
        assert read_inside(sandbox, "ipv4/ip_unprivileged_port_start") == "0"
        assert read_inside(sandbox, "ipv6/conf/eth0/disable_ipv6") == "1"
        assert read_inside(sandbox, "ipv6/conf/lo/disable_ipv6") == "0"
        assert inside(sandbox.fileno(), lambda: ping("::1"))
        assert not os.get_inheritable(sandbox.fileno())
        with open("/proc/thread-self/net/if_inet6") as file:
            assert file.read().split()[5::6] == ["lo"]  # outside neither bridge nor veth has an IPv6 address


@isolated
def test_inside_with_ipv6() -> None:
    """Addresses of both families, usable at once; announcements of routers are not believed."""
    with engine(wanted=BOTH) as (made, pool), taken(pool, on(made)) as sandbox:
        assert addresses_inside(sandbox.fileno()) == {"10.77.0.2/24", "fd77::2/64"}
        assert read_inside(sandbox, "ipv6/conf/eth0/accept_ra") == "0"
        assert inside(sandbox.fileno(), lambda: ping("fd77::1", 0.5))


@isolated
def test_sandbox_without_a_network() -> None:
    """Without attachments there is loopback alone, up and private, from stock as well as made."""
    with Sandboxes() as pool, taken(pool) as one, taken(pool) as two:
        assert list(links_inside(one.fileno())) == ["lo"]
        assert inside(one.fileno(), lambda: ping("127.0.0.1"))
        assert os.fstat(one.fileno()).st_ino != os.fstat(two.fileno()).st_ino
        assert one.endpoints == ()


@isolated
@pytest.mark.parametrize("size", [0, 3])
def test_several_networks(size: int) -> None:
    """Each has its interface, the one asked for leads out; the same of a bare namespace from stock."""
    with ExitStack() as stack:
        first, pool = stack.enter_context(engine(wanted=BOTH))
        second = network(SECOND, "br1")
        pool.stock(None, size)
        if size:
            assert eventually(lambda: len(pool._stocks[""].ready) == size)
        sandbox = stack.enter_context(
            taken(pool, on(first, default=False), on(second, interface="net7"), names=True)
        )
        assert [e.interface for e in sandbox.endpoints] == ["eth0", "net7"]
        assert set(links_inside(sandbox.fileno())) == {"lo", "eth0", "net7"}
        assert ways_out(sandbox.fileno()) == ["10.78.0.1", "fd78::1"]
        assert inside(sandbox.fileno(), lambda: ping("10.77.0.1") and ping("10.78.0.1"))
        assert sandbox.resolver


@isolated
def test_wishes_are_granted() -> None:
    """Wished addresses, MAC and name are what the inside has; an address in use is refused and leaves nothing."""
    with engine(wanted=BOTH) as (made, pool):
        wish = on(made, address="10.77.0.9", address6="fd77::9", mac="02:00:00:00:00:09", interface="lan0")
        wish = replace(wish, wishes=replace(wish.wishes, link_local=("169.254.7.7", "fe80::7")))
        with taken(pool, wish) as sandbox:
            assert links_inside(sandbox.fileno())["lan0"][0] == "02:00:00:00:00:09"
            assert addresses_inside(sandbox.fileno()) == {"10.77.0.9/24", "fd77::9/64", "169.254.7.7/16"}
            assert greet(sandbox.fileno(), sandbox.fileno(), "fd77::9") == "fd77::9"
            before = state()
            for again in (on(made, address="10.77.0.9"), on(made, address6="fd77::9")):
                with pytest.raises(Conflict):
                    pool.take([again])
            assert state() == before


@isolated
def test_further_ipv6_address_on_a_network_without() -> None:
    """A link-local address of IPv6 that was asked for is there although the network has no IPv6."""
    with engine() as (made, pool):
        wish = on(made)
        with taken(pool, replace(wish, wishes=replace(wish.wishes, link_local=("fe80::7",)))) as sandbox:
            assert read_inside(sandbox, "ipv6/conf/eth0/disable_ipv6") == "0"


@isolated
def test_released_sandbox_leaves_nothing() -> None:
    """The link outside goes by itself, the address is free again, also when it was in stock."""
    with engine(size=3) as (made, pool):
        sandbox = pool.take([on(made)])
        name = sandbox.endpoints[0].host_link
        sandbox.release()
        sandbox.release()
        assert gone(name)
        with taken(pool, on(made, address=sandbox.endpoints[0].address)):
            pass
    with Netlink() as netlink:
        assert eventually(lambda: {link.name for link in netlink.links()} == {"lo", BRIDGE})


@isolated
def test_namespace_outlives_the_sandbox_while_someone_is_inside() -> None:
    """Dropping our descriptor does not cut off who holds the namespace."""
    with engine() as (made, pool):
        sandbox = pool.take([on(made)])
        with held(sandbox) as namespace:
            sandbox.close()
            assert inside(namespace, lambda: ping("10.77.0.1"))
        sandbox.release()
        assert gone(sandbox.endpoints[0].host_link)


@isolated
def test_thread_holds_no_namespace() -> None:
    """The thread that made or changed a sandbox has gone home: what remains are descriptors handed out."""
    with engine() as (made, pool):
        second = network(SECOND, "br1")
        sandbox = pool.take([on(made)], names=True)
        other = pool.connect(sandbox.fileno(), on(second, interface="eth1"))
        sandbox.release()
        second.release(other)
        assert gone(sandbox.endpoints[0].host_link)
        assert gone(other.host_link)


@isolated
def test_full_subnet_is_one_clear_line() -> None:
    """With every address taken the next one is refused, and a release makes room."""
    with engine(wanted=spec("small", "10.77.0.0/30")) as (made, pool):
        with taken(pool, on(made)), pytest.raises(Unavailable, match="no free address"):
            pool.take([on(made)])
        with taken(pool, on(made)) as again:
            assert address(again) == "10.77.0.2"


@isolated
def test_address_of_a_former_owner_is_announced() -> None:
    """Who knew the former owner of an address reaches the next one at once, though both may still exist."""
    with ExitStack() as stack:
        made, pool = stack.enter_context(engine(wanted=BOTH))
        one = stack.enter_context(taken(pool, on(made)))
        for _ in range(3):
            owner = pool.take([on(made, address="10.77.0.9", address6="fd77::9")])
            stack.enter_context(held(owner))
            assert greet(owner.fileno(), one.fileno(), "10.77.0.9") == address(one)
            assert greet(owner.fileno(), one.fileno(), "fd77::9") == one.endpoints[0].address6
            owner.release()


@isolated
def test_wished_address_of_a_stocked_sandbox() -> None:
    """Handed out from stock; for a MAC the stocked one goes before the address is used again."""
    with engine(size=2) as (made, pool), taken(pool, on(made)) as one:
        ready = pool._stocks[made.spec.id].ready
        for mac in ("", "02:00:00:00:00:04"):
            assert eventually(lambda: len(ready) == 2)
            wished = address(ready[1])
            with taken(pool, on(made, address=wished, mac=mac)) as two:
                assert greet(two.fileno(), one.fileno(), wished) == address(one)


@isolated
def test_living_sandbox_is_connected_and_disconnected() -> None:
    """A second network comes and goes while the first one stays; nothing is left of it."""
    with ExitStack() as stack:
        first, pool = stack.enter_context(engine(wanted=BOTH))
        second = network(SECOND, "br1")
        one = stack.enter_context(taken(pool, on(first)))
        other = stack.enter_context(taken(pool, on(second)))
        before, within = state(), addresses_inside(one.fileno())
        endpoint = pool.connect(one.fileno(), on(second, interface="eth1", default=False))
        assert addresses_inside(one.fileno()) == within | {"10.78.0.3/24", "fd78::3/64"}
        assert ways_out(one.fileno()) == ["10.77.0.1", "fd77::1"]
        assert greet(other.fileno(), one.fileno(), address(other)) == endpoint.address
        pool.disconnect(one.fileno(), second, endpoint)
        assert (state(), addresses_inside(one.fileno())) == (before, within)
        pool.disconnect(one.fileno(), second, endpoint)
        again = pool.connect(one.fileno(), on(second, interface="eth1", address="10.78.0.3"))
        assert ways_out(one.fileno()) == ["10.78.0.1", "fd78::1"]
        pool.disconnect(one.fileno(), second, again)
        assert ways_out(one.fileno()) == []


@isolated
def test_default_routes_follow() -> None:
    """They lead through the endpoint named, or nowhere; a family without a gateway has none."""
    with ExitStack() as stack:
        first, pool = stack.enter_context(engine(wanted=BOTH))
        second = network(spec("second", "10.78.0.0/24"), "br1")
        one = stack.enter_context(taken(pool, on(first), on(second, interface="eth1", default=False)))
        for endpoint, expected in (
            (one.endpoints[1], ["10.78.0.1"]),
            (one.endpoints[0], ["10.77.0.1", "fd77::1"]),
            (None, []),
            (replace(one.endpoints[0], gateway="0.0.0.0", gateway6="::"), ["link", "link"]),
            (one.endpoints[1], ["10.78.0.1"]),
        ):
            pool.set_default(one.fileno(), endpoint)
            assert ways_out(one.fileno()) == expected
        with pytest.raises(OSError, match="no interface with this name"):
            pool.set_default(one.fileno(), replace(one.endpoints[1], interface="eth9"))


@isolated
def test_failed_connect_leaves_nothing() -> None:
    """A name taken inside, an address taken, a bridge gone: no link, address or descriptor is left."""
    with ExitStack() as stack:
        first, pool = stack.enter_context(engine())
        second = network(SECOND, "br1")
        one = stack.enter_context(taken(pool, on(first)))
        before, descriptors = state(), open_descriptors()
        with pytest.raises(OSError, match="create veth") as caught:
            pool.connect(one.fileno(), on(second))
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(InvalidInput):
            pool.connect(one.fileno(), on(second, interface="eth1", address="10.77.0.9"))
        assert (state(), open_descriptors()) == (before, descriptors)
        assert pool.connect(one.fileno(), on(second, interface="eth1", address="10.78.0.2"))
        with Netlink() as netlink:
            netlink.execute(delete_link("br1"))
        with pytest.raises(OSError, match="create veth"):
            pool.connect(one.fileno(), on(second, interface="eth2", address="10.78.0.9"))
        assert set(links_inside(one.fileno())) == {"lo", "eth0", "eth1"}


@isolated
def test_failure_inside_of_a_living_namespace_is_undone() -> None:
    """When the inside takes the link away under our hands the rest goes too."""

    def refuse(_link: int, **_: bool) -> Request:
        return set_link("nothing0", up=True)

    with engine() as (made, pool), taken(pool) as one:
        before = state()
        wish = on(made, address="10.77.0.9")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("corten.core.networks.sandboxes.namespaces.set_link", refuse)
            with pytest.raises(OSError, match="nothing0"):
                pool.connect(one.fileno(), wish)
        assert state() == before
        assert list(links_inside(one.fileno())) == ["lo"]
        pool.connect(one.fileno(), wish)


@isolated
def test_disconnect_finds_the_link_whatever_the_inside_called_it() -> None:
    """Renaming links inside does not keep them, neither a veth nor a macvlan."""
    with ExitStack() as stack:
        stack.enter_context(outside())
        first, pool = stack.enter_context(engine())
        lan = network(spec("lan", "203.0.113.0/24", driver="macvlan", parent="wan0"))
        one = stack.enter_context(taken(pool))
        plugged = [
            (made, pool.connect(one.fileno(), on(made, interface=f"e{n}")))
            for n, made in enumerate((first, lan))
        ]

        def rename() -> None:
            with Netlink() as netlink:
                for name in ("e0", "e1"):
                    index = index_of(netlink, name)
                    netlink.execute(set_link(index, up=False), set_link(index, name=f"my{name}"))

        inside(one.fileno(), rename)
        for made, endpoint in plugged:
            pool.disconnect(one.fileno(), made, endpoint)
        assert list(links_inside(one.fileno())) == ["lo"]


@isolated
def test_resolver_is_inside() -> None:
    """Its sockets are in the sandbox, again in a living one; questions arrive there and releasing closes it."""

    def ask(sandbox_namespace: int, resolver: Resolver) -> None:
        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"question", ("127.0.0.11", 53))

        inside(sandbox_namespace, send)
        resolver.udp.settimeout(10)
        assert resolver.udp.recv(100) == b"question"

    with engine() as (made, pool):
        sandbox = pool.take([on(made)], names=True)
        assert sandbox.resolver
        ask(sandbox.fileno(), sandbox.resolver)
        sandbox.resolver.close()
        again = pool.resolver(sandbox.fileno())
        ask(sandbox.fileno(), again)
        again.close()
        sandbox.release()
        assert sandbox.resolver.fileno() == -1
        assert gone(sandbox.endpoints[0].host_link)


@isolated
def test_failure_in_the_kernel_leaves_nothing() -> None:
    """When the bridge is gone a take fails with the kernel's word; no link, address or descriptor is left."""
    with engine() as (made, pool):
        with Netlink() as netlink:
            netlink.execute(delete_link(BRIDGE))
        before, descriptors = state(), open_descriptors()
        with pytest.raises(OSError, match="create veth") as caught:
            pool.take([on(made, address="10.77.0.5")])
        assert caught.value.errno in (errno.ENODEV, errno.EINVAL)
        assert (state(), open_descriptors()) == (before, descriptors)
        made.ensure()
        with taken(pool, on(made, address="10.77.0.5")) as sandbox:
            assert address(sandbox) == "10.77.0.5"


@isolated
def test_failed_resolver_leaves_nothing() -> None:
    """When the sockets for names cannot be opened, the sandbox goes with its links and addresses."""

    def refuse() -> Resolver:
        raise OSError(errno.EMFILE, "open a socket for names")

    made = network()
    with Sandboxes(refuse) as pool:
        descriptors = open_descriptors()
        with pytest.raises(OSError, match="for names"):
            pool.take([on(made, address="10.77.0.5")], names=True)
        assert open_descriptors() == descriptors
        with taken(pool, on(made, address="10.77.0.5")):
            pass
    with Netlink() as netlink:
        assert eventually(lambda: {link.name for link in netlink.links()} == {"lo", BRIDGE})


@isolated
def test_first_packet_of_a_new_sandbox_arrives() -> None:
    """The port of the bridge is open when the sandbox is handed out, so nobody waits a second to repeat himself."""
    with engine() as (made, pool), taken(pool, on(made)) as one, inside(one.fileno(), listen()) as server:
        for _ in range(30):
            with taken(pool, on(made)) as two, inside(two.fileno(), socket.socket) as client:
                client.settimeout(0.9)
                client.connect((address(one), server.getsockname()[1]))
                server.accept()[0].close()
