"""rtnetlink against the real kernel, in namespaces made here."""

import errno
import os
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from corten.linux.namespaces import CLONE_NEWNET, setns
from corten.linux.netlink import (
    Address,
    Netlink,
    Route,
    add_address,
    add_route,
    create_bridge,
    create_veth,
    delete_address,
    delete_link,
    set_link,
)
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
