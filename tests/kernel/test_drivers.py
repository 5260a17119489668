"""Networks of every driver against the real kernel, in namespaces made here."""

import os
import socket
import threading
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import pytest
from msgspec.structs import replace

from corten.core.networks.drivers import drivers
from corten.core.networks.drivers.bridge import BridgeNetwork
from corten.core.networks.drivers.strays import remove_networks
from corten.core.networks.sandboxes.sandboxes import Sandboxes
from corten.core.networks.values import Subnet
from corten.errors import Conflict, InvalidInput, Unsupported
from corten.linux.netlink import (
    Netlink,
    add_address,
    add_route,
    create_bridge,
    create_veth,
    delete_link,
    set_link,
)
from tests.kernel.hosts import (
    BRIDGE,
    OUTSIDE,
    OUTSIDE6,
    SUBNET,
    SUBNET6,
    TAG,
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
    read_sysctl,
    spec,
    state,
    taken,
    ways_out,
    write_sysctl,
)
from tests.kernel.isolated import DEADLINE, NEEDS, eventually, inside, isolated, new_namespace

pytestmark = NEEDS

NOBODY = 0.3  # seconds to wait for an answer that must not come


@isolated
def test_sandboxes_reach_each_other_and_the_gateway() -> None:
    """Two sandboxes ping and connect to each other by their own addresses, and ping the gateway."""
    with engine() as (made, pool), taken(pool, on(made)) as one, taken(pool, on(made)) as two:
        assert greet(two.fileno(), one.fileno(), address(two)) == address(one)
        assert inside(one.fileno(), lambda: ping(address(two)))
        assert inside(two.fileno(), lambda: ping("10.77.0.1"))


@isolated
def test_both_families() -> None:
    """On a network of both, sandboxes reach each other, the gateway and the world by either, at once."""
    with ExitStack() as stack:
        made, pool = stack.enter_context(engine(wanted=spec("both", SUBNET, SUBNET6)))
        beyond = stack.enter_context(outside())
        one, two = (stack.enter_context(taken(pool, on(made))) for _ in range(2))
        (endpoint,), (other,) = one.endpoints, two.endpoints
        assert greet(two.fileno(), one.fileno(), other.address6) == endpoint.address6
        assert greet(two.fileno(), one.fileno(), other.address) == endpoint.address
        assert inside(one.fileno(), lambda: ping("fd77::1"))
        assert ways_out(one.fileno()) == ["10.77.0.1", "fd77::1"]

        def lead_back() -> None:
            with Netlink() as netlink:
                netlink.execute(
                    add_route(IPv6Interface("2001:db8::1/64").ip), add_route(IPv4Address("203.0.113.1"))
                )

        inside(beyond, lead_back)
        assert greet(beyond, one.fileno(), OUTSIDE6) == endpoint.address6
        assert greet(beyond, one.fileno(), OUTSIDE) == endpoint.address  # masquerading is not done here


@isolated
def test_ipv6_alone() -> None:
    """A network may have IPv6 only."""
    with (
        engine(wanted=spec("six", SUBNET6)) as (made, pool),
        taken(pool, on(made)) as one,
        taken(pool, on(made)) as two,
    ):
        assert one.endpoints[0].address == ""
        assert greet(two.fileno(), one.fileno(), two.endpoints[0].address6) == one.endpoints[0].address6


@isolated
def test_host_keeps_learning_its_own_ipv6_routes() -> None:
    """Forwarding IPv6 would end belief in the routers of the host's own network; bridges never believe any."""
    with Netlink() as netlink:
        netlink.execute(create_bridge("lan0"), create_bridge("lan1"))
    write_sysctl("ipv6/conf/lan1/accept_ra", "0")
    network()
    assert read_sysctl("ipv6/conf/all/forwarding") == "0"
    network(spec("both", SUBNET6), "br6")
    assert read_sysctl("ipv6/conf/all/forwarding") == "1"
    assert [read_sysctl(f"ipv6/conf/{name}/accept_ra") for name in ("lan0", "lan1", "br6", BRIDGE)] == [
        "2",
        "0",
        "0",
        "0",
    ]


@isolated
def test_several_subnets() -> None:
    """Each has its gateway on the bridge, and endpoints may be in any; they reach each other."""
    wanted = spec("many", SUBNET, "10.78.0.0/24")
    with (
        engine(wanted=wanted) as (made, pool),
        taken(pool, on(made)) as one,
        taken(pool, on(made, address="10.78.0.9")) as two,
    ):
        assert ways_out(two.fileno()) == ["10.78.0.1"]
        assert greet(two.fileno(), one.fileno(), "10.78.0.9") == "10.77.0.2"


@isolated
def test_gateway_and_range_are_as_wished() -> None:
    """The bridge has the gateway asked for, and endpoints get addresses of the range."""
    wanted = replace(
        spec(), subnets=(Subnet(subnet=SUBNET, gateway="10.77.0.254", ip_range="10.77.0.128/25"),)
    )
    with engine(wanted=wanted) as (made, pool), taken(pool, on(made)) as one:
        assert address(one) == "10.77.0.128"
        assert ways_out(one.fileno()) == ["10.77.0.254"]
        assert inside(one.fileno(), lambda: ping("10.77.0.254"))


@pytest.mark.slow
@isolated
def test_internal_network_routes_nothing() -> None:
    """Whatever is forged inside, the host passes nothing on from an internal bridge, also by later networks."""
    with ExitStack() as stack:
        made, pool = stack.enter_context(engine(wanted=spec("inner", SUBNET, SUBNET6, internal=True)))
        network(spec("other", "10.78.0.0/24", "fd78::/64"), "br1")
        beyond = stack.enter_context(outside())
        one, two = (stack.enter_context(taken(pool, on(made))) for _ in range(2))
        outer = stack.enter_context(inside(beyond, listen(socket.SOCK_DGRAM)))
        assert ways_out(one.fileno()) == []
        assert greet(two.fileno(), one.fileno(), address(two)) == address(one)
        assert greet(two.fileno(), one.fileno(), two.endpoints[0].address6) == one.endpoints[0].address6
        assert inside(one.fileno(), lambda: ping("10.77.0.1"))

        def escape() -> None:
            with Netlink() as netlink:
                netlink.execute(add_route(IPv4Address("10.77.0.1")))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"leak", (OUTSIDE, outer.getsockname()[1]))

        inside(one.fileno(), escape)
        outer.settimeout(NOBODY)
        with pytest.raises(TimeoutError):
            outer.recv(100)
        assert not inside(one.fileno(), lambda: ping("fd77::1", NOBODY))  # the host has no IPv6 there at all
        assert read_sysctl(f"ipv6/conf/{BRIDGE}/disable_ipv6") == "1"


@isolated
def test_forwarding_comes_back_without_opening_internal_networks() -> None:
    """Who switched forwarding off makes the next network switch it on for all, but not for internal ones."""
    network(spec("inner", SUBNET, internal=True))
    network(spec("other", "10.78.0.0/24"), "br1")
    assert read_sysctl(f"ipv4/conf/{BRIDGE}/forwarding") == "0"
    write_sysctl("ipv4/ip_forward", "0")
    network(spec("third", "10.79.0.0/24"), "br2")
    assert [read_sysctl(f"ipv4/conf/{name}/forwarding") for name in (BRIDGE, "br1", "br2")] == ["0", "1", "1"]


@pytest.mark.slow
@isolated
def test_containers_that_may_not_talk() -> None:
    """With enable_icc=false sandboxes reach the gateway but not each other, also after the bridge was remade.

    Where the firewall sees what is bridged it is left to it, also when that changes.
    """
    filters = "bridge/bridge-nf-call-iptables"
    with ExitStack() as stack:
        write_sysctl(filters, "0")
        made, pool = stack.enter_context(engine(wanted=spec(bridge__enable_icc="false")))
        one, two = (stack.enter_context(taken(pool, on(made))) for _ in range(2))
        for _ in range(2):
            assert inside(one.fileno(), lambda: ping("10.77.0.1"))
            assert not inside(one.fileno(), lambda: ping(address(two), NOBODY))
            with Netlink() as netlink:
                netlink.execute(delete_link(BRIDGE))
            made.ensure()
        write_sysctl(filters, "1")
        made.ensure()
        assert inside(one.fileno(), lambda: ping(address(two)))
        write_sysctl(filters, "0")
        made.ensure()
        assert not inside(one.fileno(), lambda: ping(address(two), NOBODY))


@isolated
def test_ensure_twice_is_ensure_once() -> None:
    """Links, addresses, routes and settings are the same after a second run, also by a new object."""
    wanted = spec("both", SUBNET, SUBNET6)
    with engine(wanted=wanted) as (made, _):
        once = state()
        made.ensure()
        assert state() == once
    network(wanted)
    assert state() == once


@isolated
def test_ensure_repairs_what_others_removed() -> None:
    """After forwarding was cut and the bridge deleted everything is back, endpoints included, also for a new object."""
    wanted = spec("both", SUBNET, SUBNET6)
    with engine(wanted=wanted) as (made, pool), taken(pool, on(made)) as one, taken(pool, on(made)) as two:
        once = state()
        for again in (made, drivers.make(wanted, tag=TAG, bridge=BRIDGE)):
            with Netlink() as netlink:
                netlink.execute(delete_link(BRIDGE))
            write_sysctl("ipv4/ip_forward", "0")
            write_sysctl("ipv6/conf/all/forwarding", "0")
            again.ensure()
            assert state() == once
            assert greet(two.fileno(), one.fileno(), address(two)) == address(one)


@isolated
def test_ensure_brings_one_endpoint_back() -> None:
    """A host end that somebody took off the bridge is put back."""
    with engine() as (made, pool), taken(pool, on(made)) as one, Netlink() as netlink:
        netlink.execute(set_link(one.endpoints[0].host_link, master=0, up=False))
        made.ensure()
        assert inside(one.fileno(), lambda: ping("10.77.0.1"))


@isolated
def test_ensure_corrects_addresses() -> None:
    """Foreign addresses on the bridge are replaced by the gateways."""
    made = network(spec("both", SUBNET, SUBNET6))
    once = state()
    with Netlink() as netlink:
        index = index_of(netlink, BRIDGE)
        for text in ("10.5.0.1/24", "10.5.0.2/24", "10.77.0.1/16"):
            netlink.execute(add_address(index, IPv4Interface(text)))
        netlink.execute(add_address(index, IPv6Interface("fd99::1/64")))
    made.ensure()
    assert state() == once


@isolated
def test_settings_of_the_bridge() -> None:
    """The host's loopback is out of reach, no IPv6 where there is none, a MAC that stays, a name to know it by."""
    write_sysctl("ipv4/conf/default/route_localnet", "1")
    network()
    assert read_sysctl(f"ipv4/conf/{BRIDGE}/route_localnet") == "0"
    assert read_sysctl(f"ipv6/conf/{BRIDGE}/disable_ipv6") == "1"
    with Netlink() as netlink:
        first = netlink.link(BRIDGE)
        assert first is not None
        assert first.alias == f"{TAG} network {spec().id[:12]}"
        netlink.execute(delete_link(BRIDGE))
        network()
        again = netlink.link(BRIDGE)
        assert again is not None
        assert again.mac == first.mac


@isolated
def test_size_of_packets() -> None:
    """As wished, else 1500 bytes, or fewer where the way out of the host takes fewer."""
    with engine() as (made, pool), taken(pool, on(made)) as one:
        assert links_inside(one.fileno())["eth0"][2] == 1500
    with engine(wanted=spec(driver__mtu="1280")) as (made, pool), taken(pool, on(made)) as one:
        assert links_inside(one.fileno())["eth0"][2] == 1280
    with Netlink() as netlink:
        netlink.execute(create_bridge("lan0", mtu=1400), set_link("lan0", up=True))
        netlink.execute(add_address(index_of(netlink, "lan0"), IPv4Interface("192.0.2.2/24")))
        netlink.execute(add_route(IPv4Address("192.0.2.1")))
        with engine() as (made, pool), taken(pool, on(made)) as one:
            assert links_inside(one.fileno())["eth0"][2] == 1400
            bridge = netlink.link(BRIDGE)
            assert bridge is not None
            assert bridge.mtu == 1400


@isolated
def test_remove_takes_everything_away() -> None:
    """The bridge is gone, the rest is as before but for forwarding; it can be repeated."""
    before = state()
    made = network(spec("both", SUBNET, SUBNET6))
    made.remove()
    made.remove()
    after = state()
    assert {key: after[key] for key in ("links", "routes", "addresses")} == {
        key: before[key] for key in ("links", "routes", "addresses")
    }


@isolated
def test_foreign_link_is_never_touched() -> None:
    """A bridge that is not ours stands in the way, says so, and is left as it is."""
    with Netlink() as netlink:
        netlink.execute(create_bridge(BRIDGE, "02:00:00:00:00:01"))
    before = state()
    made = drivers.make(spec(), tag=TAG, bridge=BRIDGE)
    for verb in (made.ensure, made.remove):
        with pytest.raises(Conflict, match="choose another bridge name"):
            verb()
    assert state() == before


@isolated
def test_bridge_of_a_crashed_start_is_adopted() -> None:
    """A bridge that was made but not yet marked is known by its MAC."""
    made = drivers.make(spec(), tag=TAG, bridge=BRIDGE)
    assert isinstance(made, BridgeNetwork)
    with Netlink() as netlink:
        netlink.execute(create_bridge(BRIDGE, made._mac))
    made.ensure()
    once = state()
    made.remove()
    made.ensure()
    assert state() == once


@isolated
def test_networks_side_by_side() -> None:
    """Networks that come up at the same moment are all there; removing one leaves the others."""
    made = [
        drivers.make(spec(f"n{n}", f"10.77.{n}.0/24"), tag=f"corten{n}", bridge=f"ct{n}") for n in range(4)
    ]
    together = threading.Barrier(4)

    def start(number: int) -> None:
        together.wait(DEADLINE)
        made[number].ensure()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    made[0].remove()
    with Netlink() as netlink:
        assert {link.name for link in netlink.links()} == {"lo", "ct1", "ct2", "ct3"}


@isolated
def test_reconcile_deletes_what_nobody_claims() -> None:
    """Marked links without an owner go; links in use, in stock, claimed by records, or foreign stay."""
    alias, other = f"{TAG} endpoint {spec().id[:12]}", f"{TAG} endpoint {'9' * 12}"
    with ExitStack() as stack:
        namespace = new_namespace()
        stack.callback(os.close, namespace)
        netlink = stack.enter_context(Netlink())
        for name, marked in (
            ("ct00000000000a", alias),
            ("ct00000000000b", alias),
            ("ct00000000000c", other),
            ("ct00000000000d", "x"),
        ):
            netlink.execute(create_veth(name, f"p{name[2:]}", namespace))
            netlink.execute(set_link(name, alias=marked))
        made, pool = stack.enter_context(engine())
        sandbox = stack.enter_context(taken(pool, on(made)))
        assert made.reconcile({"ct00000000000b"}) == ["ct00000000000a"]
        names = {link.name for link in netlink.links()}
        assert names == {
            "lo",
            BRIDGE,
            "ct00000000000b",
            "ct00000000000c",
            "ct00000000000d",
            sandbox.endpoints[0].host_link,
        }
        assert made.reconcile({"ct00000000000b"}) == []


@isolated
def test_networks_of_no_record_are_removed() -> None:
    """Bridges of ours that nobody knows any more go, those of other engines stay."""
    network(spec("known", SUBNET), "br0")
    network(spec("stray", "10.78.0.0/24"), "br1")
    drivers.make(spec("theirs", "10.79.0.0/24"), tag="corten-other", bridge="br2").ensure()
    assert remove_networks(TAG, {spec("known").id[:12]}) == ["br1"]
    with Netlink() as netlink:
        assert {link.name for link in netlink.links()} == {"lo", "br0", "br2"}


@isolated
def test_restart_keeps_running_endpoints() -> None:
    """A new engine that adopts an endpoint keeps its link and address until it is released."""
    with ExitStack() as stack:
        made, pool = stack.enter_context(engine())
        sandbox = pool.take([on(made)])
        process = stack.enter_context(ExitStack())
        namespace = process.enter_context(held(sandbox))
        sandbox.close()
        (endpoint,) = sandbox.endpoints
        again = network()
        again.adopt(endpoint)
        assert again.reconcile(set()) == []
        fresh = stack.enter_context(Sandboxes())
        with pytest.raises(Conflict):
            fresh.take([on(again, address=endpoint.address)])
        with taken(fresh, on(again)) as other:
            assert greet(namespace, other.fileno(), endpoint.address) == address(other)
        again.release(endpoint)
        process.close()
        assert gone(endpoint.host_link)
        with taken(fresh, on(again, address=endpoint.address)) as next_owner:
            assert address(next_owner) == endpoint.address


@isolated
def test_macvlan_stands_in_the_network_of_its_parent() -> None:
    """Containers reach who is on the parent's network, and each other, by addresses and MACs of their own."""
    wanted = spec("lan", "203.0.113.0/24", "2001:db8::/64", driver="macvlan", parent="wan0")
    with ExitStack() as stack:
        beyond = stack.enter_context(outside())
        before = state()["links"]
        made, pool = stack.enter_context(engine(wanted=wanted))
        one = stack.enter_context(
            taken(pool, on(made, address="203.0.113.51", address6="2001:db8::51", mac="02:00:00:00:00:51"))
        )
        two = stack.enter_context(
            taken(pool, on(made, address="203.0.113.52", address6="2001:db8::52", interface="lan7"))
        )
        assert links_inside(one.fileno())["eth0"][0] == "02:00:00:00:00:51"
        assert greet(beyond, one.fileno(), OUTSIDE) == "203.0.113.51"
        assert greet(beyond, two.fileno(), OUTSIDE6) == two.endpoints[0].address6
        assert greet(two.fileno(), one.fileno(), "203.0.113.52") == "203.0.113.51"
        assert ways_out(two.fileno()) == ["203.0.113.1", "2001:db8::1"]
        made.remove()
        assert state()["links"] == before  # nothing of ours is on the host


@pytest.mark.slow
@isolated
def test_macvlan_that_keeps_containers_apart() -> None:
    """In private mode containers reach the network, not each other."""
    wanted = spec("lan", "203.0.113.0/24", driver="macvlan", parent="wan0", macvlan_mode="private")
    with ExitStack() as stack:
        beyond = stack.enter_context(outside())
        made, pool = stack.enter_context(engine(wanted=wanted))
        one = stack.enter_context(taken(pool, on(made, address="203.0.113.51")))
        stack.enter_context(taken(pool, on(made, address="203.0.113.52")))
        assert greet(beyond, one.fileno(), OUTSIDE) == "203.0.113.51"
        assert not inside(one.fileno(), lambda: ping("203.0.113.52", NOBODY))


@isolated
def test_macvlan_without_a_parent() -> None:
    """Containers reach each other and nobody else; the link of our own comes back when deleted and goes at the end."""
    wanted = spec("lan", SUBNET, SUBNET6, driver="macvlan")
    with ExitStack() as stack:
        made, pool = stack.enter_context(engine(wanted=wanted))
        one, two = (stack.enter_context(taken(pool, on(made))) for _ in range(2))
        assert ways_out(one.fileno()) == []
        assert greet(two.fileno(), one.fileno(), address(two)) == address(one)
        assert greet(two.fileno(), one.fileno(), two.endpoints[0].address6) == one.endpoints[0].address6
        once = state()
        made.ensure()
        drivers.make(wanted, tag=TAG).ensure()
        assert state() == once
        made.remove()
        made.remove()
        with Netlink() as netlink:
            assert {link.name for link in netlink.links()} == {"lo"}


@isolated
def test_macvlan_of_a_foreign_link_of_our_name() -> None:
    """A link that is named as our parent would be is left alone."""
    made = drivers.make(spec("lan", driver="macvlan"), tag=TAG)
    with Netlink() as netlink:
        netlink.execute(create_bridge(made.link))
        netlink.execute(set_link(made.link, up=True, alias="theirs"))
    with pytest.raises(Conflict, match="ip link delete"):
        made.ensure()
    made.remove()
    with Netlink() as netlink:
        assert netlink.link(made.link)


@isolated
def test_parent_that_does_not_exist() -> None:
    """A missing parent is one clear line, also below a VLAN."""
    for parent in ("nowhere0", "nowhere0.10"):
        with pytest.raises(InvalidInput, match="parent nowhere0 does not exist"):
            drivers.make(spec("lan", driver="macvlan", parent=parent), tag=TAG).ensure()


@isolated
def test_vlan_parent_is_made_or_refused_in_one_line() -> None:
    """LINK.NUMBER is made where it is missing and goes with the network; a kernel without VLANs says so."""
    with outside():
        before = state()["links"]
        made = drivers.make(spec("lan", "192.0.2.0/24", driver="macvlan", parent="wan0.10"), tag=TAG)
        try:
            made.ensure()
        except Unsupported as failure:
            assert "no VLAN links" in str(failure)  # noqa: PT017 - either is right, by the kernel's means
        else:
            with Netlink() as netlink:
                assert netlink.link("wan0.10")
            made.ensure()
            made.remove()
        assert state()["links"] == before
        with pytest.raises((InvalidInput, Unsupported)):
            drivers.make(spec("lan", driver="macvlan", parent="wan0.4095"), tag=TAG).ensure()


@isolated
def test_ipvlan_works_or_is_refused_in_one_line() -> None:
    """Containers share the parent's MAC address, where the kernel has ipvlan; else the network is refused."""
    with ExitStack() as stack:
        beyond = stack.enter_context(outside())
        before = state()["links"]
        made = drivers.make(spec("lan", "203.0.113.0/24", driver="ipvlan", parent="wan0"), tag=TAG)
        try:
            made.ensure()
        except Unsupported as failure:
            assert "this kernel has no ipvlan links" in str(failure)  # noqa: PT017 - either is right
            assert state()["links"] == before
            return
        pool = stack.enter_context(Sandboxes())
        one = stack.enter_context(taken(pool, on(made, address="203.0.113.51")))
        assert greet(beyond, one.fileno(), OUTSIDE) == "203.0.113.51"


@isolated
def test_leaving_sandboxes_leave_nothing() -> None:
    """After all sandboxes of all drivers are released only the networks are there."""
    with outside(), Sandboxes() as pool:
        plain, lan = network(), network(spec("lan", "203.0.113.0/24", driver="macvlan", parent="wan0"))
        before = state()
        sandbox = pool.take([on(plain), on(lan, interface="eth1", default=False)])
        assert addresses_inside(sandbox.fileno()) == {"10.77.0.2/24", "203.0.113.2/24"}
        sandbox.release()
        assert eventually(lambda: state() == before)
