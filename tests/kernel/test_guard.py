"""The guard against the real kernel: a second host, a host with a bridge and a container, all namespaces made here."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from corten.core.networks.guard import MARK, Guard
from corten.core.networks.occupied import occupied
from corten.linux.links import create_bridge, create_veth, set_link
from corten.linux.netlink import IpNetwork, Netlink
from corten.linux.nftables import Nftables
from corten.linux.routes import Route, add_address, add_route
from corten.linux.rules import Rule, add_rule, delete_rule
from tests.kernel.isolated import DEADLINE, NEEDS, inside, isolated, new_namespace

pytestmark = NEEDS

PORT = 7000
FAMILIES = (socket.AF_INET, socket.AF_INET6)
LET_PASS = f"""\
table inet leave {{
    chain marks {{
        type filter hook prerouting priority -90; policy accept;
        iifname "out0" udp dport {PORT} meta mark set meta mark or {MARK}
    }}
}}
"""


@dataclass(frozen=True)
class Plan:
    """Addresses of one family: those between the hosts, and those of the containers."""

    family: int
    host: str
    outside: str
    gateway: str
    container: str
    subnet: str


IPV4 = Plan(socket.AF_INET, "192.0.2.1/24", "192.0.2.2/24", "10.99.0.1/24", "10.99.0.2/24", "10.99.0.0/24")
IPV6 = Plan(socket.AF_INET6, "fd01::1/64", "fd01::2/64", "fd99::1/64", "fd99::2/64", "fd99::/64")


@dataclass
class Hosts:
    """Open UDP sockets: of the container at PORT, the host at PORT, and one to send with in each place."""

    plan: Plan
    container: socket.socket
    host: socket.socket
    outside: socket.socket

    @property
    def container_address(self) -> tuple[str, int]:
        """Where the container listens."""
        return str(ip_interface(self.plan.container).ip), PORT

    def reaches_container(self, sender: socket.socket, word: bytes) -> bool:
        """Tell whether what *sender* sends is what the container hears next; of the host it may say so surely."""
        sender.sendto(word, self.container_address)
        return self.container.recv(100) == word

    def tries_in_vain(self) -> None:
        """Send from outside to the container; return when the host is done with that packet.

        Packets of one link are handled in order, so the one to the host
        itself proves that the earlier one was routed or dropped.
        """
        self.outside.sendto(b"in vain", self.container_address)
        self.outside.sendto(b"passed", (str(ip_interface(self.plan.host).ip), PORT))
        assert self.host.recv(100) == b"passed"


def sysctl(name: str, value: str) -> None:
    """Write below /proc/sys/net of the namespace of the thread."""
    with open(f"/proc/sys/net/{name}", "w") as file:
        file.write(value)


def plugged(link: str, address: str, gateway: str) -> None:
    """Bring *link* up with its address and a default route; in the namespace of the thread."""
    with Netlink() as netlink:
        found = netlink.link(link)
        assert found is not None
        netlink.execute(add_address(found.index, ip_interface(address)), set_link(found.index, up=True))
        netlink.execute(add_route(ip_interface(gateway).ip))


def listening(plan: Plan) -> socket.socket:
    """Open a UDP socket at PORT in the namespace of the thread."""
    made = socket.socket(plan.family, socket.SOCK_DGRAM)
    made.settimeout(DEADLINE)
    made.bind(("", PORT))
    return made


@contextmanager
def hosts(plan: Plan) -> Iterator[Hosts]:
    """Make the namespace of the thread a host with a bridge, beside a container and a second host that routes to it."""
    with ExitStack() as stack:
        outside, container = new_namespace(), new_namespace()
        for where in (outside, container):
            inside(where, lambda: sysctl("ipv6/conf/default/accept_dad", "0"))
        sysctl("ipv6/conf/default/accept_dad", "0")  # no second of waiting for link-local addresses
        stack.callback(os.close, outside)
        stack.callback(os.close, container)
        netlink = stack.enter_context(Netlink())
        netlink.execute(create_bridge("br0", "02:00:00:00:00:01"), create_veth("out0", "eth0", outside))
        for name, address in (("br0", plan.gateway), ("out0", plan.host)):
            link = netlink.link(name)
            assert link is not None
            netlink.execute(add_address(link.index, ip_interface(address)), set_link(name, up=True))
        bridge = netlink.link("br0")
        assert bridge is not None
        netlink.execute(create_veth("ct0", "eth0", container, master=bridge.index), set_link("ct0", up=True))
        sysctl("ipv4/ip_forward", "1")
        sysctl("ipv6/conf/all/forwarding", "1")
        inside(outside, lambda: plugged("eth0", plan.outside, plan.host))
        inside(container, lambda: plugged("eth0", plan.container, plan.gateway))
        yield Hosts(
            plan,
            stack.enter_context(inside(container, lambda: listening(plan))),
            stack.enter_context(listening(plan)),
            stack.enter_context(inside(outside, lambda: listening(plan))),
        )


def state() -> tuple[list[list[Rule]], list[list[Route]]]:
    """Return all rules, and all routes but those that the kernel adds for IPv6 whenever a link has come up."""
    with Netlink() as netlink:
        rules = [netlink.rules(family) for family in FAMILIES]
        routes = [
            sorted(
                (r for r in netlink.routes(family, table=0, kind=0) if not is_of_a_link(r)),
                key=lambda route: (route.table, str(route)),
            )
            for family in FAMILIES
        ]
    return rules, routes


def is_of_a_link(route: Route) -> bool:
    """Tell whether the kernel made a route because an IPv6 link is up: link-local and multicast ones."""
    destination = route.destination
    return destination.version == 6 and (destination.is_link_local or destination.is_multicast)


def same_slot(tag: str) -> str:
    """Return another tag whose rules have the priorities of those of *tag*."""
    wanted = priorities(Guard(tag))
    return next(name for name in map(str, range(10_000)) if priorities(Guard(name)) == wanted)


def priorities(guard: Guard) -> list[int]:
    """Return the priorities of the rules of *guard*."""
    return [rule.priority for rule in guard._rules]


@pytest.mark.parametrize("plan", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@isolated
def test_second_host_needs_the_mark(plan: Plan) -> None:
    """A host that routes the subnet here reaches no container without the mark, and does with it."""
    guard = Guard("test")
    with hosts(plan) as net, Nftables() as nftables:
        assert net.reaches_container(net.outside, b"unguarded")
        guard.ensure([ip_network(plan.subnet)])
        net.tries_in_vain()
        nftables.run(LET_PASS)
        assert net.reaches_container(net.outside, b"marked")
        nftables.run("flush ruleset")
        net.tries_in_vain()
        guard.remove()
        assert net.reaches_container(net.outside, b"unguarded again")


@pytest.mark.parametrize("plan", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@isolated
def test_host_and_container_reach_each_other_and_the_world(plan: Plan) -> None:
    """The host needs no mark, and neither does what leaves a container."""
    with hosts(plan) as net:
        Guard("test").ensure([ip_network(plan.subnet)])
        assert net.reaches_container(net.host, b"from the host")
        for listener, address in ((net.host, plan.gateway), (net.outside, plan.outside)):
            net.container.sendto(b"from inside", (str(ip_interface(address).ip), PORT))
            assert listener.recv(100) == b"from inside"


@pytest.mark.parametrize("strictness", ["1", "2"], ids=["strict", "loose"])
@isolated
def test_reverse_path_filter_sees_the_mark(strictness: str) -> None:
    """A filtering host lets out what is marked on its way in, once the bridge counts marks; and nothing in."""
    with hosts(IPV4) as net, Nftables() as nftables:
        sysctl("ipv4/conf/all/rp_filter", strictness)
        sysctl("ipv4/conf/br0/src_valid_mark", "1")
        Guard("test").ensure([ip_network(IPV4.subnet)])
        nftables.run(LET_PASS.replace("out0", "br0"))
        net.container.sendto(b"from inside", (str(ip_interface(IPV4.outside).ip), PORT))
        assert net.outside.recv(100) == b"from inside"
        net.tries_in_vain()
        assert net.reaches_container(net.host, b"from the host")


@isolated
def test_removal_leaves_nothing() -> None:
    """After ``remove``, repeated or not, rules and routes are as before, of both families."""
    before, guard = state(), Guard("test")
    guard.ensure([ip_network("10.99.0.0/24"), ip_network("fd99::/64")])
    assert state() != before
    guard.remove()
    guard.remove()
    assert state() == before


@isolated
def test_repeating_changes_nothing_and_repairs() -> None:
    """The same subnets again change nothing; what somebody deleted comes back, what somebody added to ours goes."""
    guard = Guard("test")
    subnets = [ip_network("10.99.0.0/24"), ip_network("fd99::/64"), ip_network("10.98.0.0/16")]
    guard.ensure(subnets)
    made = state()
    guard.ensure(subnets)
    assert state() == made
    with Netlink() as netlink:
        for rule in guard._rules:
            netlink.execute(delete_rule(socket.AF_INET, rule))
            guard.ensure(subnets)
            assert state() == made
        netlink.execute(add_rule(socket.AF_INET, Rule(90, 1, guard.table)))
    guard.ensure(subnets)
    assert state() == made


@isolated
def test_guards_exactly_what_is_asked() -> None:
    """A subnet that is no longer asked for is free; a family without subnets has no rules."""
    guard = Guard("test")
    guard.ensure([ip_network("10.98.0.0/16"), ip_network("fd99::/64")])
    guard.ensure([ip_network("10.99.0.0/24")])
    with Netlink() as netlink:
        assert [r.destination for r in netlink.routes(table=guard.table, kind=0)] == [
            ip_network("10.99.0.0/24")
        ]
        assert netlink.routes(socket.AF_INET6, table=guard.table, kind=0) == []
        assert [r for r in netlink.rules(socket.AF_INET6) if r.table == guard.table] == []
        assert len([r for r in netlink.rules() if r.table == guard.table]) == 4


@pytest.mark.parametrize("other", [lambda _: "other", same_slot], ids=["apart", "same priorities"])
@isolated
def test_engines_side_by_side(other: Callable[[str], str]) -> None:
    """Two engines guard their own subnets, even with equal priorities; one that goes leaves the other's alone."""
    first, second = Guard("test"), Guard(other("test"))
    with hosts(IPV4) as net, Nftables() as nftables:
        before = state()
        first.ensure([ip_network("10.97.0.0/24")])
        alone = state()
        second.ensure([ip_network(IPV4.subnet)])
        net.tries_in_vain()
        nftables.run(LET_PASS)
        assert net.reaches_container(net.outside, b"marked")
        nftables.run("flush ruleset")
        first.remove()
        net.tries_in_vain()
        first.ensure([ip_network("10.97.0.0/24")])
        second.remove()
        assert state() == alone
        assert net.reaches_container(net.outside, b"unguarded")
        first.remove()
        assert state() == before


@isolated
def test_occupied_networks() -> None:
    """Addresses, routes and guarded subnets of any table count; default, loopback and link-local ones do not."""
    assert occupied() == []
    guarded: list[IpNetwork] = [ip_network("10.99.0.0/24"), ip_network("fd99::/64")]
    Guard("somebody").ensure(guarded)
    with Netlink() as netlink:
        netlink.execute(create_bridge("br0"), set_link("br0", up=True))
        link = netlink.link("br0")
        assert link is not None
        netlink.execute(
            add_address(link.index, ip_interface("10.1.0.1/24")),
            add_address(link.index, ip_interface("fd01::1/64")),
        )
        netlink.execute(
            add_route(ip_address("10.1.0.2")),
            add_route(ip_address("fd01::2")),
            add_route(ip_address("10.1.0.3"), ip_network("10.2.0.0/16")),
        )
    wanted = ["10.1.0.0/24", "10.2.0.0/16", "10.99.0.0/24", "fd01::/64", "fd99::/64"]
    assert [str(network) for network in occupied()] == wanted
