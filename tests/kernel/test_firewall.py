"""The firewall against the real kernel: what is kept apart, and that the rules stay."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from msgspec.structs import replace

from corten.core.networks.firewall.firewall import Firewall
from corten.core.networks.firewall.state import Opening, Side
from corten.errors import InvalidInput
from corten.linux.netlink import Netlink, add_route, delete_address, set_port
from corten.linux.nftables import Nftables
from corten.linux.nftables_events import Change, NftablesEvents
from corten.linux.syscalls import KernelError
from tests.descriptors import open_descriptors
from tests.kernel.isolated import NEEDS, eventually, inside, isolated
from tests.kernel.neighbourhood import (
    HOST,
    NEIGHBOUR,
    NEIGHBOUR6,
    Host,
    address,
    bridge,
    exchange,
    host,
    opening,
    reached,
    service,
    side,
    sysctl,
    this_namespace,
)

pytestmark = [*NEEDS, pytest.mark.slow]

TABLE = "corten_test"
PORT = 8080
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])
VERSIONS = pytest.mark.parametrize("version", [4, 6])
BRIDGED = pytest.mark.parametrize("filter_bridged", [True, False])


@contextmanager
def firewall(*sides: Side, openings: tuple[Opening, ...] = (), watch: bool = False) -> Iterator[Firewall]:
    """A firewall in force."""
    made = Firewall(TABLE)
    try:
        made.restore(sides, {"web": openings})
        if watch:
            made.watch()
        yield made
    finally:
        made.close()
        made.remove()
        made.close()


def nft(text: str) -> str:
    """What nft prints."""
    with Nftables() as nftables:
        return nftables.run(text)


def by_stranger(text: str) -> None:
    """Have another program change the rules of this namespace."""
    program = "import sys; from corten.linux.nftables import Nftables; Nftables().run(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, text], check=True)


def listed() -> str:
    """The table as the kernel has it; empty without one."""
    try:
        return nft(f"list table inet {TABLE}")
    except KernelError:
        return ""


@isolated
@PROTOCOLS
@VERSIONS
def test_networks_are_kept_apart(protocol: str, version: int) -> None:
    """A container reaches its own network and the outside, not the next network; nobody outside reaches it."""
    with (
        host(1, 2) as around,
        firewall(side(1), side(2)),
        service(around.containers[1, 2], protocol, version, PORT) as server,
        service(around.outside, protocol, version, PORT) as beyond,
    ):
        target = address(1, 2, version)
        neighbour = NEIGHBOUR if version == 4 else NEIGHBOUR6
        assert exchange(server, around.containers[1, 3], protocol, target, PORT) == address(1, 3, version)
        assert exchange(server, None, protocol, target, PORT) == address(1, 1, version)
        hosts = ("203.0.113.1", "203.0.113.3", "2001:db8:1::1", "2001:db8:1::3")
        assert exchange(beyond, around.containers[1, 2], protocol, neighbour, PORT) in hosts
        assert not reached(server, around.containers[2, 2], protocol, target, PORT)
        assert not reached(server, around.outside, protocol, target, PORT)


@isolated
@PROTOCOLS
@VERSIONS
@BRIDGED
def test_nothing_enters_or_leaves_an_internal_network(
    protocol: str, version: int, filter_bridged: bool
) -> None:
    """Its containers reach each other, not the outside, nor published ports; its own published ports do not exist."""
    host_ip = "0.0.0.0" if version == 4 else "::"
    own = HOST if version == 4 else "2001:db8:1::1"
    with (
        host(1, 2, filter_bridged=filter_bridged) as around,
        firewall(
            side(1, internal=True),
            side(2),
            openings=(opening(protocol, host_ip, 81), opening(protocol, host_ip, 82, 2)),
        ),
        service(around.containers[1, 2], protocol, version) as hidden,
        service(around.containers[2, 2], protocol, version) as server,
        service(around.outside, protocol, version, PORT) as beyond,
    ):
        inner = around.containers[1, 3]
        assert exchange(hidden, inner, protocol, address(1, 2, version), 7777) == address(1, 3, version)
        assert exchange(server, around.outside, protocol, own, 82) in (NEIGHBOUR, NEIGHBOUR6)
        assert not reached(beyond, inner, protocol, NEIGHBOUR if version == 4 else NEIGHBOUR6, PORT)
        assert not reached(server, inner, protocol, own, 82)
        assert not reached(server, inner, protocol, address(2, 2, version), 7777)
        for client in (around.outside, None, around.containers[2, 2]):
            assert not reached(hidden, client, protocol, own, 81)
        for client in (around.outside, around.containers[2, 2]):
            assert not reached(hidden, client, protocol, address(1, 2, version), 7777)


@isolated
@PROTOCOLS
@VERSIONS
def test_without_icc_only_published_ports_are_reached(protocol: str, version: int) -> None:
    """Containers of one network see nothing of each other but what is published."""
    host_ip, own = ("0.0.0.0", HOST) if version == 4 else ("::", "2001:db8:1::1")
    with (
        host(1) as around,
        firewall(side(1, icc=False), openings=(opening(protocol, host_ip, PORT),)),
        service(around.containers[1, 2], protocol, version) as server,
    ):
        client = around.containers[1, 3]
        assert not reached(server, client, protocol, address(1, 2, version), 7777)
        assert exchange(server, client, protocol, own, PORT) == address(1, 1, version)
        assert exchange(server, None, protocol, address(1, 2, version), 7777) == address(1, 1, version)


@isolated
@PROTOCOLS
@VERSIONS
def test_routed_network_is_known_by_its_own_addresses(protocol: str, version: int) -> None:
    """Opened ports are reached directly, others are not; what leaves keeps its address; no port of the host is used."""
    host_ip, own = ("0.0.0.0", HOST) if version == 4 else ("::", "2001:db8:1::1")
    neighbour = NEIGHBOUR if version == 4 else NEIGHBOUR6
    with (
        host(1) as around,
        firewall(side(1, routed=True), openings=(opening(protocol, host_ip, PORT),)),
        service(around.containers[1, 2], protocol, version) as server,
        service(around.containers[1, 2], protocol, version, 7778) as closed,
        service(around.outside, protocol, version, PORT) as beyond,
    ):
        target = address(1, 2, version)
        assert exchange(server, around.outside, protocol, target, 7777) == neighbour
        assert exchange(beyond, around.containers[1, 2], protocol, neighbour, PORT) == target
        assert not reached(closed, around.outside, protocol, target, 7778)
        assert not reached(server, around.outside, protocol, own, PORT)


@isolated
@PROTOCOLS
def test_network_without_masquerade(protocol: str) -> None:
    """What leaves keeps its own address."""
    with (
        host(1) as around,
        firewall(side(1, masquerade=False)),
        service(around.outside, protocol, 4, PORT) as beyond,
    ):
        assert exchange(beyond, around.containers[1, 2], protocol, NEIGHBOUR, PORT) == address(1, 2)


def send_to_loopback(namespace: int, through: str) -> None:
    """Have *namespace* send packets for 127.0.0.1 to its neighbour *through*."""

    def settle() -> None:
        sysctl("net/ipv4/conf/eth0/route_localnet", "1")
        sysctl("net/ipv4/conf/all/rp_filter", "0")
        with Netlink() as netlink:
            lo = netlink.link("lo")
            assert lo is not None
            netlink.execute(delete_address(lo.index, IPv4Interface("127.0.0.1/8")))
            netlink.execute(add_route(IPv4Address(through), IPv4Network("127.0.0.1/32")))

    inside(namespace, settle)


@isolated
@PROTOCOLS
def test_loopback_of_the_host_is_out_of_reach(protocol: str) -> None:
    """CVE-2020-8558: even with route_localnet, forged packets reach neither services nor ports published at 127.0.0.1."""
    with host(1, rp_filter=0) as around, this_namespace() as current:
        sysctl("net/ipv4/conf/all/route_localnet", "1")
        send_to_loopback(around.outside, HOST)
        send_to_loopback(around.containers[1, 3], address(1, 1))
        with (
            firewall(side(1), openings=(opening(protocol, "127.0.0.1", PORT),)) as made,
            service(around.containers[1, 2], protocol) as server,
            service(current, protocol, 4, 9999) as own,
        ):
            for client in (around.outside, around.containers[1, 3]):
                assert not reached(server, client, protocol, "127.0.0.1", PORT)
                assert not reached(own, client, protocol, "127.0.0.1", 9999)
            assert exchange(server, None, protocol, "127.0.0.1", PORT) == address(1, 1)
            made.remove()
            assert reached(own, around.outside, protocol, "127.0.0.1", 9999), "the test can tell"


@isolated
def test_loopback_traffic_of_the_host_is_left_alone() -> None:
    """A service of the host at 127.0.0.1 answers clients, also one whose own port is a published number."""
    with (
        host(1) as around,
        this_namespace() as current,
        firewall(side(1), openings=(opening("udp", "0.0.0.0", PORT),)),
        service(around.containers[1, 2], "udp") as server,
        service(current, "udp", 4, 9999) as own,
        service(current, "udp", 4, PORT) as asking,
    ):
        asking.sendto(b"question", ("127.0.0.1", 9999))
        question, seen = own.recvfrom(100)
        assert (question, seen) == (b"question", ("127.0.0.1", PORT))
        own.sendto(b"answer", seen)
        assert asking.recv(100) == b"answer"
        assert exchange(server, None, "udp", "127.0.0.1", PORT) == address(1, 1)


@isolated
@pytest.mark.parametrize(
    "text",
    [
        "flush ruleset",
        f"delete table inet {TABLE}",
        f"delete element inet {TABLE} every4 {{ tcp . {PORT} }}",
        f"flush chain inet {TABLE} forward",
        f"add element inet {TABLE} every4 {{ tcp . 22 : 10.77.1.2 . 22 }}",
        f"insert rule inet {TABLE} forward accept",
        f"flush ruleset; add table inet {TABLE}",
    ],
)
def test_what_others_change_comes_back(text: str) -> None:
    """After another program's change the table is as it was, without being asked."""
    with host(1) as around, firewall(side(1), openings=(opening("tcp", "0.0.0.0", PORT),), watch=True):
        before = listed()
        by_stranger(text)
        assert eventually(lambda: listed() == before)
        with service(around.containers[1, 2], "tcp") as server:
            assert exchange(server, around.outside, "tcp", HOST, PORT) == NEIGHBOUR
            assert not reached(server, around.outside, "tcp", address(1, 2), 7777)


@isolated
@PROTOCOLS
@VERSIONS
def test_flushed_rules_close_instead_of_opening(protocol: str, version: int) -> None:
    """With nobody to bring the rules back, outsiders and other networks reach no container."""
    loopback, own = ("127.0.0.1", HOST) if version == 4 else ("::1", "2001:db8:1::1")
    with (
        host(1, 2) as around,
        firewall(side(1), side(2), openings=(opening(protocol, loopback, PORT),)),
        service(around.containers[1, 2], protocol, version) as server,
    ):
        by_stranger("flush ruleset")
        for client in (around.outside, around.containers[2, 2]):
            assert not reached(server, client, protocol, address(1, 2, version), 7777)
            assert not reached(server, client, protocol, own, PORT)


@isolated
def test_repairs_and_own_changes_cause_no_repairs() -> None:
    """After one flush there is one repair; our own changes and tables of others cause none."""
    with firewall(side(1), watch=True) as made, NftablesEvents() as events:
        for port in range(1, 20):
            made.publish("web", [opening("tcp", "0.0.0.0", port)])
        by_stranger("add table inet somebody_else")
        by_stranger("flush ruleset")
        assert eventually(lambda: f"{TABLE}" in listed())
        by_stranger("add table inet last")
        changes: list[Change] = []

        def all_told() -> bool:
            changes.extend(events.read())
            return any("last" in (change.tables or ()) for change in changes)

        assert eventually(all_told)
        made.close()  # the watcher has done what it had to
        changes += events.read()
    ours = [change for change in changes if change.tables and TABLE in change.tables]
    assert len(ours) == 19 + 1 + 1  # publications, the flush, the repair


@isolated
def test_change_after_a_flush_brings_everything_back() -> None:
    """Without a watcher the next change finds the table gone and makes all of it."""
    with firewall(side(1), openings=(opening("tcp", "0.0.0.0", PORT),)) as made:
        before = listed()
        by_stranger("flush ruleset")
        made.publish("other", [opening("udp", "0.0.0.0", 53)])
        made.publish("other", [])
        assert listed() == before


@isolated
def test_check_repairs_once() -> None:
    """The check says whether it had to do something."""
    with firewall(side(1), side(2), openings=(opening("udp", "::", 53),)) as made:
        assert not made.check()
        by_stranger("flush ruleset")
        assert made.check()
        assert not made.check()


@isolated
def test_listing_equals_memory_for_every_kind_of_element() -> None:
    """No element is printed by nft in a way that would look like somebody's change."""
    sides = [
        Side(bridge="0abc", subnets=("10.0.0.0/24", "10.0.1.0/24", "fd00::/64"), icc=False),
        Side(bridge="ct.a_b-c", subnets=("10.0.2.4/30", "192.0.2.7/32", "fd00:0:0:1::/80"), internal=True),
        Side(bridge="routed", subnets=("10.1.0.0/16", "fd00:2::/64"), routed=True),
    ]
    openings = [
        opening(protocol, host_ip, port)
        for protocol in ("tcp", "udp", "sctp")
        for host_ip in ("0.0.0.0", "127.0.0.1", "127.0.0.2", "203.0.113.1", "::", "::1", "2001:db8:1::1")
        for port in (1, 80, 65535)
    ]
    extra = Opening(protocol="tcp", host_ip="::", host_port=9, address="fd00:2::5", port=80, bridge="routed")
    with firewall() as made:
        made.restore(sides, {"all": openings, "routed": [extra]})
        assert not made.check()


@isolated
def test_changes_one_by_one_are_the_same_as_all_at_once() -> None:
    """Sides and openings added, replaced and dropped leave what a fresh table would have."""
    with firewall() as made:
        made.set_side(side(1))
        made.publish("a", [opening("tcp", "0.0.0.0", 80), opening("tcp", "127.0.0.1", 81)])
        made.publish("b", [opening("udp", "::", 80)])
        made.set_side(side(1, internal=True))
        made.set_side(side(2))
        made.set_side(side(1, icc=False))
        made.drop_side(bridge(2))
        made.publish("a", [opening("tcp", "0.0.0.0", 80, 1, 3)])
        made.publish("b", [])
        stepwise = listed()
        assert not made.check()
        made.restore([side(1, icc=False)], {"a": [opening("tcp", "0.0.0.0", 80, 1, 3)]})
        assert listed() == stepwise


@isolated
def test_what_is_refused_changes_nothing() -> None:
    """A port that another owner has, or text that is no address, leaves kernel and memory as they were."""
    with firewall(side(1), openings=(opening("tcp", "0.0.0.0", PORT),)) as made:
        before = listed()
        with pytest.raises(KernelError):
            made.publish("other", [opening("tcp", "0.0.0.0", PORT, 1, 3)])
        with pytest.raises(InvalidInput):
            made.publish("other", [replace(opening("tcp", "::", 1), address="x; flush ruleset")])
        with pytest.raises(InvalidInput):
            made.set_side(Side(bridge='a" }', subnets=()))
        assert listed() == before
        assert not made.check()


@isolated
def test_removed_table_stays_removed() -> None:
    """After remove the watcher is content without a table; the rest of the rules is untouched."""
    nft("add table inet somebody_else")
    with firewall(side(1), watch=True) as made:
        made.remove()
        made.remove()
        by_stranger(f"add table inet {TABLE}")
        assert not made.check()
        by_stranger(f"delete table inet {TABLE}")
    assert nft("list tables").split() == ["table", "inet", "somebody_else"]


@isolated
def test_closed_firewall_gives_everything_back() -> None:
    """Thread and descriptors are gone; the rules stay."""
    before, threads = open_descriptors(), threading.active_count()
    made = Firewall(TABLE)
    made.restore([side(1)], {})
    made.watch()
    made.watch()
    made.close()
    made.close()
    assert listed()
    assert open_descriptors() == before
    assert threading.active_count() == threads
    made.remove()
    made.close()


@isolated
@BRIDGED
def test_isolated_ports_and_published_ports(filter_bridged: bool) -> None:
    """Bridge ports that are isolated in the kernel keep published ports reachable where frames are not filtered."""
    with (
        host(1, filter_bridged=filter_bridged) as around,
        firewall(side(1, icc=False), openings=(opening("tcp", "0.0.0.0", PORT),)),
        service(around.containers[1, 2], "tcp") as server,
    ):
        isolate(around)
        client = around.containers[1, 3]
        assert not reached(server, client, "tcp", address(1, 2), 7777)
        assert reached(server, client, "tcp", HOST, PORT) is not filter_bridged


def isolate(around: Host) -> None:
    """Mark the ports of all bridges as isolated from each other."""
    with Netlink() as netlink:
        for network, number in around.containers:
            netlink.execute(set_port(f"c{network}x{number}", isolated=True))
