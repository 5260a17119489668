"""rtnetlink against the real kernel, in namespaces made here."""

import errno
import json
import os
import socket
import subprocess
from contextlib import ExitStack
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)

import pytest

from corten.linux.namespaces import CLONE_NEWNET, setns
from corten.linux.netlink import (
    Address,
    Netlink,
    Request,
    Route,
    Rule,
    add_address,
    add_link_route,
    add_route,
    add_rule,
    blackhole_route,
    create_bridge,
    create_ipvlan,
    create_macvlan,
    create_veth,
    create_vlan,
    delete_address,
    delete_blackhole_route,
    delete_link,
    delete_link_route,
    delete_route,
    delete_rule,
    replace_route,
    set_link,
    set_port,
)
from corten.linux.routes import RTN_BLACKHOLE, list_routes
from corten.linux.rules import FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_TO_TBL
from corten.linux.syscalls import KernelError
from tests.kernel.isolated import NEEDS, inside, isolated, new_namespace, own_namespace

pytestmark = NEEDS


@isolated
def test_bridge_is_made_changed_and_deleted() -> None:
    """A bridge has the MAC and MTU asked for, takes alias and state, and goes."""
    with Netlink() as netlink:
        netlink.execute(
            create_bridge("br0", "02:00:00:00:00:01", 1400), set_link("br0", alias="ours", up=True)
        )
        link = netlink.link("br0")
        assert link is not None
        assert (link.kind, link.mac, link.mtu) == ("bridge", "02:00:00:00:00:01", 1400)
        assert (link.alias, link.up) == ("ours", True)

        netlink.execute(set_link(link.index, name="br1", up=False, alias=""))
        renamed = netlink.link("br1")
        assert renamed is not None
        assert (renamed.index, renamed.up, renamed.alias) == (link.index, False, "")

        netlink.execute(delete_link("br1"))
        assert netlink.link("br1") is None


@isolated
def test_pair_is_born_across_namespaces() -> None:
    """One request makes a pair whose second end is in another namespace; both ends are as asked."""
    with ExitStack() as stack:
        other = new_namespace()
        stack.callback(os.close, other)
        netlink = stack.enter_context(Netlink())
        netlink.execute(create_bridge("br0"))
        bridge = netlink.link("br0")
        assert bridge is not None
        netlink.execute(
            create_veth("ct1", "eth0", other, peer_mac="02:00:00:00:00:05", mtu=1400, master=bridge.index)
        )
        near = netlink.link("ct1")

        def far_links() -> dict[str, tuple[str, int]]:
            with Netlink() as far:
                return {link.name: (link.mac, link.mtu) for link in far.links()}

        assert near is not None
        assert (near.kind, near.master, near.mtu) == ("veth", bridge.index, 1400)
        assert inside(other, far_links)["eth0"] == ("02:00:00:00:00:05", 1400)
        assert netlink.link("eth0") is None

        netlink.execute(delete_link("ct1"))
        assert "eth0" not in inside(other, far_links)


@isolated
def test_addresses_and_routes() -> None:
    """An address is added once however often, brings its network, carries routes, and goes."""
    interface = IPv4Interface("10.1.2.1/24")
    with Netlink() as netlink:
        netlink.execute(create_bridge("br0"), set_link("br0", up=True))
        bridge = netlink.link("br0")
        assert bridge is not None
        gateway = IPv4Address("10.1.2.254")
        far = IPv4Network("10.9.0.0/16")
        netlink.execute(add_address(bridge.index, interface))
        netlink.execute(
            add_address(bridge.index, interface), add_route(gateway), add_route(IPv4Address("10.1.2.9"), far)
        )

        assert Address(bridge.index, interface) in netlink.addresses()
        assert sorted(netlink.routes(), key=lambda route: route.destination) == [
            Route(IPv4Network("0.0.0.0/0"), gateway, bridge.index),
            Route(interface.network, None, bridge.index),
            Route(far, IPv4Address("10.1.2.9"), bridge.index),
        ]

        netlink.execute(delete_address(bridge.index, interface))
        assert [entry.index for entry in netlink.addresses()] == [1]
        assert netlink.routes() == []


@isolated
def test_failures_keep_errno_and_the_kernels_words() -> None:
    """Each failure is a KernelError with the right number, the action, and the kernel's hint where there is one."""
    with Netlink() as netlink:
        netlink.execute(create_bridge("br0"))
        for request, number in (
            (create_bridge("br0"), errno.EEXIST),
            (delete_link("nope"), errno.ENODEV),
            (set_link("nope", up=True), errno.ENODEV),
            (add_route(IPv4Address("10.1.2.3")), errno.ENETUNREACH),
            (delete_address(1, IPv4Interface("10.1.2.3/24")), errno.EADDRNOTAVAIL),
        ):
            with pytest.raises(KernelError) as caught:
                netlink.execute(request)
            assert caught.value.errno == number
            assert str(caught.value).startswith(request.action)
        with pytest.raises(KernelError, match=r"change link br0 \(mtu .*\): Invalid argument"):
            netlink.execute(set_link("br0", mtu=10_000_000))


@isolated
def test_batch_goes_on_and_reports_the_first_failure() -> None:
    """All of a batch is tried, in order; the error is that of the first which failed."""
    with Netlink() as netlink:
        with pytest.raises(KernelError, match="delete link nope1"):
            netlink.execute(delete_link("nope1"), create_bridge("br0"), delete_link("nope2"))
        assert netlink.link("br0") is not None
        netlink.execute()


@isolated
def test_any_number_of_requests() -> None:
    """More answers than a socket can hold are no trouble, and failures in the middle are reported in order."""
    networks = [IPv4Network((0x0A000000 + (number << 8), 24)) for number in range(1000)]
    requests = [blackhole_route(network, 77) for network in networks]
    requests[300:300] = [delete_link("nope1")]
    requests[700:700] = [delete_link("nope2")]
    with Netlink() as netlink:
        with pytest.raises(KernelError, match="delete link nope1"):
            netlink.execute(*requests)
        assert len(netlink.routes(table=77, kind=RTN_BLACKHOLE)) == 1000


@isolated
def test_long_listing_is_whole() -> None:
    """A listing of more than one buffer has every link once."""
    names = [f"br{number}" for number in range(60)]
    with Netlink() as netlink:
        netlink.execute(*(create_bridge(name) for name in names))
        assert sorted(link.name for link in netlink.links()) == sorted(["lo", *names])


@isolated
def test_socket_stays_in_its_namespace() -> None:
    """A socket goes on speaking for the namespace it was opened in when its thread has moved."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with ExitStack() as stack:
        stack.callback(os.close, home)
        netlink = stack.enter_context(Netlink())
        os.close(own_namespace())
        netlink.execute(create_bridge("br0"))
        with Netlink() as elsewhere:
            assert elsewhere.link("br0") is None
        setns(home, CLONE_NEWNET)
        with Netlink() as back:
            assert back.link("br0") is not None


@isolated
def test_bridge_without_link_local_has_no_ipv6_address() -> None:
    """The kernel gives no IPv6 address to a link that was told so."""
    with Netlink() as netlink:
        netlink.execute(create_bridge("br0"), set_link("br0", link_local=False), set_link("br0", up=True))
    with open("/proc/thread-self/net/if_inet6") as file:
        assert "br0" not in file.read()


def bridge(netlink: Netlink, name: str = "br0") -> int:
    """Make a bridge that is up; return its index."""
    netlink.execute(create_bridge(name), set_link(name, link_local=False), set_link(name, up=True))
    link = netlink.link(name)
    assert link is not None
    return link.index


def failure_of(netlink: Netlink, request: Request) -> KernelError | None:
    """Carry out *request*; return the kernel's refusal, if any."""
    try:
        netlink.execute(request)
    except KernelError as failure:
        return failure
    return None


@isolated
def test_addresses_and_routes_of_ipv6() -> None:
    """IPv6 addresses are usable at once, bring their network, carry routes, and go."""
    interface, gateway = IPv6Interface("fd01::1/64"), IPv6Address("fd01::2")
    far = IPv6Network("fd77::/48")
    with Netlink() as netlink:
        index = bridge(netlink)
        netlink.execute(add_address(index, interface))
        netlink.execute(
            add_address(index, interface),
            add_route(gateway),
            add_route(IPv6Address("fe80::9"), far, index=index),
        )
        assert Address(index, interface) in netlink.addresses(socket.AF_INET6)
        assert sorted(netlink.routes(socket.AF_INET6), key=lambda route: route.destination) == [
            Route(IPv6Network("::/0"), gateway, index),
            Route(interface.network, None, index),
            Route(far, IPv6Address("fe80::9"), index),
        ]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
            bound.bind((str(interface.ip), 0))  # refused while an address is tentative
        netlink.execute(
            delete_route(gateway),
            delete_route(IPv6Address("fe80::9"), far, index=index),
            delete_address(index, interface),
        )
        assert netlink.routes(socket.AF_INET6) == []
        assert netlink.routes() == []


@pytest.mark.parametrize(
    ("interface", "gateways"),
    [
        (IPv4Interface("10.1.2.1/24"), (IPv4Address("10.1.2.3"), IPv4Address("10.1.2.4"))),
        (IPv6Interface("fd01::1/64"), (IPv6Address("fd01::3"), IPv6Address("fd01::4"))),
    ],
    ids=["ipv4", "ipv6"],
)
@isolated
def test_default_route_is_replaced(
    interface: IPv4Interface | IPv6Interface, gateways: tuple[IPv4Address | IPv6Address, ...]
) -> None:
    """Replacing makes the route where there is none, changes it where there is one; only the present one can go."""
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    with Netlink() as netlink:
        index = bridge(netlink)
        netlink.execute(add_address(index, interface))
        for gateway in gateways:
            netlink.execute(replace_route(gateway, index=index))
            found = [route for route in netlink.routes(family) if route.gateway]
            assert [(route.gateway, route.index) for route in found] == [(gateway, index)]
        with pytest.raises(KernelError, match="delete route to default") as caught:
            netlink.execute(delete_route(gateways[0]))
        assert caught.value.errno == errno.ESRCH
        netlink.execute(delete_route(gateways[1]))
        assert [route for route in netlink.routes(family) if route.gateway] == []


@pytest.mark.parametrize(
    "network", [ip_network("10.9.0.0/16"), ip_network("fd09::/64")], ids=["ipv4", "ipv6"]
)
@isolated
def test_route_on_a_link(network: IPv4Network | IPv6Network) -> None:
    """A network can be on a link without an address there; repeating it changes nothing."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    with Netlink() as netlink:
        index = bridge(netlink)
        netlink.execute(add_link_route(network, index), add_link_route(network, index))
        assert netlink.routes(family) == [Route(network, None, index)]
        netlink.execute(delete_link_route(network, index))
        assert netlink.routes(family) == []


@pytest.mark.parametrize(
    "network", [ip_network("10.9.0.0/16"), ip_network("fd09::/64")], ids=["ipv4", "ipv6"]
)
@isolated
def test_blackholes_of_a_table(network: IPv4Network | IPv6Network) -> None:
    """A blackhole is in its table alone, once however often it is asked for, and goes; no table is an empty one."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    for table in (77, 0x0C123456):
        with Netlink() as netlink:
            assert netlink.routes(family, table=table, kind=0) == []
            netlink.execute(blackhole_route(network, table), blackhole_route(network, table))
            found = netlink.routes(family, table=table, kind=0)
            assert [(route.destination, route.table, route.kind) for route in found] == [
                (network, table, RTN_BLACKHOLE)
            ]
            assert netlink.routes(family, table=table) == []
            assert netlink.routes(family) == []
            assert found[0] in netlink.routes(family, table=0, kind=RTN_BLACKHOLE)
            netlink.execute(delete_blackhole_route(network, table))
            assert netlink.routes(family, table=table, kind=0) == []


@isolated
def test_next_hops_tell_the_first() -> None:
    """Of a route with several next hops the first one counts."""
    with Netlink() as netlink:
        index = bridge(netlink)
        netlink.execute(add_address(index, IPv4Interface("10.1.2.1/24")))
        hops = ("nexthop", "via", "10.1.2.8", "dev", "br0", "nexthop", "via", "10.1.2.9", "dev", "br0")
        subprocess.run(["ip", "route", "add", "default", *hops], check=True)
        assert netlink.routes()[0] == Route(IPv4Network("0.0.0.0/0"), IPv4Address("10.1.2.8"), index)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@isolated
def test_rules_come_back_and_go(family: int) -> None:
    """Every kind of rule is listed as asked for, is refused twice, and goes."""
    table = 0x0C123456
    rules = [
        Rule(100, FR_ACT_GOTO, table, goto=103, mark=0x0C0DE000, mask=0x0C0DE000, protocol=2),
        Rule(101, FR_ACT_GOTO, table, goto=103, interface="lo"),
        Rule(102, FR_ACT_TO_TBL, table),
        Rule(103, FR_ACT_NOP, table),
    ]
    with Netlink() as netlink:
        before = netlink.rules(family)
        netlink.execute(*(add_rule(family, rule) for rule in rules))
        assert [rule for rule in netlink.rules(family) if rule not in before] == rules
        for rule in rules:
            with pytest.raises(KernelError) as caught:
                netlink.execute(add_rule(family, rule))
            assert caught.value.errno == errno.EEXIST
        netlink.execute(*(delete_rule(family, rule) for rule in rules))
        assert netlink.rules(family) == before
        with pytest.raises(KernelError) as caught:
            netlink.execute(delete_rule(family, rules[0]))
        assert caught.value.errno == errno.ENOENT


@isolated
def test_listing_that_fails_says_so() -> None:
    """A listing that ends with a failure is one, with the kernel's words, and no empty list."""
    with (
        Netlink() as netlink,
        pytest.raises(KernelError, match=r"list routes of table 777 \(.*exist\)") as caught,
    ):
        netlink._dump(list_routes(socket.AF_INET, 777))
    assert caught.value.errno == errno.ENOENT


@isolated
def test_macvlan_is_born_in_another_namespace() -> None:
    """A macvlan is made where it is wanted, with MAC and MTU, on a parent that stays here."""
    with ExitStack() as stack:
        other = new_namespace()
        stack.callback(os.close, other)
        netlink = stack.enter_context(Netlink())
        index = bridge(netlink)
        mac = "02:00:00:00:00:09"
        netlink.execute(create_macvlan("eth0", index, "bridge", mac=mac, namespace=other, mtu=1400))
        netlink.execute(create_macvlan("mv0", index, "private"))

        def far() -> tuple[str, str, int, int]:
            with Netlink() as there:
                link = there.link("eth0")
                assert link is not None
                return link.kind, link.mac, link.mtu, link.parent

        assert inside(other, far) == ("macvlan", mac, 1400, index)
        assert netlink.link("eth0") is None
        near = netlink.link("mv0")
        assert near is not None
        assert (near.kind, near.parent) == ("macvlan", index)


@isolated
def test_children_that_the_kernel_lacks_are_refused_in_words() -> None:
    """A kernel without VLANs or ipvlan says EOPNOTSUPP; one with them makes the link."""
    with Netlink() as netlink:
        index = bridge(netlink)
        for name, request in (
            ("v10", create_vlan("v10", index, 10)),
            ("iv0", create_ipvlan("iv0", index, "l2", "private")),
        ):
            failure = failure_of(netlink, request)
            link = netlink.link(name)
            if failure is None:
                assert link is not None
                assert link.parent == index
            else:
                assert link is None
                assert failure.errno == errno.EOPNOTSUPP
                assert "Unknown device type" in str(failure)


@isolated
def test_ports_of_a_bridge() -> None:
    """A port is isolated and hairpinned as asked, and keeps what was not spoken of; others are refused."""
    with ExitStack() as stack:
        other = new_namespace()
        stack.callback(os.close, other)
        netlink = stack.enter_context(Netlink())
        index = bridge(netlink)
        netlink.execute(create_veth("ct1", "eth0", other, master=index))

        def port() -> tuple[bool, bool]:
            shown = subprocess.run(
                ["bridge", "-json", "-details", "link", "show", "dev", "ct1"], capture_output=True, check=True
            )
            (entry,) = json.loads(shown.stdout)
            return entry["isolated"], entry["hairpin"]

        netlink.execute(set_port("ct1", isolated=True, hairpin=True))
        assert port() == (True, True)
        link = netlink.link("ct1")
        assert link is not None
        netlink.execute(set_port(link.index, isolated=False))
        assert port() == (False, True)
        for name, number in (("nope", errno.ENODEV), ("lo", errno.EOPNOTSUPP)):
            with pytest.raises(KernelError) as caught:
                netlink.execute(set_port(name, isolated=True))
            assert caught.value.errno == number
