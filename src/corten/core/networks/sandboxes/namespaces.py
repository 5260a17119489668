"""Network namespaces: made, entered, and set up from inside, on behalf of one thread.

Only a thread can enter a namespace, and everything that thread does then
happens inside, so namespaces are worked on by threads that do nothing else
(see sandboxes.py) and return to where they came from after each one.

Source: network_namespaces(7), setns(2), Documentation/networking/ip-sysctl.rst.
"""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import Protocol

from corten.core.networks.drivers.carrier import notice
from corten.core.networks.drivers.sysctls import write_sysctl
from corten.core.networks.values import Endpoint
from corten.linux.namespaces import CLONE_NEWNET, setns, unshare
from corten.linux.netlink import (
    IpInterface,
    IpNetwork,
    Netlink,
    Request,
    Route,
    add_address,
    add_link_route,
    delete_link,
    delete_link_route,
    delete_route,
    replace_route,
    set_link,
)
from corten.linux.syscalls import KernelError

# As Docker has it: anyone may ping, anyone may listen on ports below 1024, a new
# link has no IPv6. And one that comes up announces its addresses, which corrects
# neighbours that remember an earlier owner. What is set here, for links to come,
# need not be set for each.
SYSCTLS = {
    "ipv4/ping_group_range": "0 2147483647",
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/conf/default/arp_notify": "1",
}
IPV6_SYSCTLS = {"ipv6/conf/default/disable_ipv6": "1"}
# The addresses are ours: no asking whether somebody has them, no believing who says to be a router.
_IPV6_ON = {"accept_ra": "0", "accept_dad": "0", "ndisc_notify": "1", "disable_ipv6": "0"}
_EVERYWHERE: dict[int, IpNetwork] = {
    socket.AF_INET: IPv4Network("0.0.0.0/0"),
    socket.AF_INET6: IPv6Network("::/0"),
}


class Namespaces(Protocol):
    """Makes network namespaces and works inside them, on behalf of one thread."""

    def fresh(self) -> AbstractContextManager[int]:
        """Be inside a new namespace until the ``with`` ends.

        Yields:
            Its descriptor, close-on-exec, which the caller closes.

        Raises:
            KernelError: EPERM without CAP_SYS_ADMIN, ENOSPC at a limit.
        """
        ...

    def entered(self, descriptor: int) -> AbstractContextManager[int]:
        """Be inside the namespace of *descriptor*, which is yielded, until the ``with`` ends."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor that ``fresh`` gave."""
        ...

    def prepare(self) -> None:
        """Inside: set Docker's sysctls and bring the loopback link up.

        Raises:
            OSError: a sysctl cannot be written, or the kernel refused.
        """
        ...

    def bring_up(self, endpoint: Endpoint, further: Sequence[IpInterface], *, default: bool) -> None:
        """Inside: give the plugged end its addresses and *further* ones, bring it up, lead out through it.

        Args:
            endpoint: The end.
            further: Addresses that nobody else counts.
            default: Whether the default routes lead through it, in place of others.

        Raises:
            OSError: a sysctl cannot be written, or the kernel refused.
        """
        ...

    def announce(self, endpoint: Endpoint) -> None:
        """Inside, once its packets pass: tell everybody on the network whose its addresses are now.

        Raises:
            KernelError: the end is gone.
        """
        ...

    def lead_out(self, endpoint: Endpoint | None) -> None:
        """Inside: have the default routes lead through *endpoint*, and have no others.

        Raises:
            OSError: the end is gone, or the kernel refused.
        """
        ...

    def unplug(self, endpoint: Endpoint) -> None:
        """Inside: delete the end; content if it is gone.

        Raises:
            KernelError: the kernel refused.
        """
        ...


class KernelNamespaces:
    """The real ``Namespaces``; made, used and ended (``stop``) in one thread."""

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def fresh(self) -> Iterator[int]:
        """See ``Namespaces.fresh``."""
        unshare(CLONE_NEWNET)
        try:
            yield os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            setns(self._home, CLONE_NEWNET)

    @contextmanager
    def entered(self, descriptor: int) -> Iterator[int]:
        """See ``Namespaces.entered``."""
        setns(descriptor, CLONE_NEWNET)
        try:
            yield descriptor
        finally:
            setns(self._home, CLONE_NEWNET)

    def close(self, descriptor: int) -> None:
        """See ``Namespaces.close``."""
        os.close(descriptor)

    def prepare(self) -> None:
        """See ``Namespaces.prepare``."""
        for name, value in SYSCTLS.items():
            write_sysctl(name, value)
        with suppress(FileNotFoundError):  # a kernel without IPv6
            for name, value in IPV6_SYSCTLS.items():
                write_sysctl(name, value)
        with Netlink() as inside:
            inside.execute(set_link("lo", up=True))

    def bring_up(self, endpoint: Endpoint, further: Sequence[IpInterface], *, default: bool) -> None:
        """See ``Namespaces.bring_up``."""
        if endpoint.address6 or any(address.version == 6 for address in further):
            for name, value in _IPV6_ON.items():
                write_sysctl(f"ipv6/conf/{endpoint.interface}/{name}", value)
        index = socket.if_nametoindex(endpoint.interface)
        with Netlink() as inside:
            inside.execute(
                *(add_address(index, address) for address in [*addresses(endpoint), *further]),
                set_link(index, up=True),
                *(ways_out(index, endpoint).values() if default else ()),
            )

    def announce(self, endpoint: Endpoint) -> None:
        """See ``Namespaces.announce``; setting the MAC address anew makes the kernel do it."""
        with Netlink() as inside:
            inside.execute(notice(endpoint.interface))
            if endpoint.mac:
                inside.execute(set_link(endpoint.interface, mac=endpoint.mac))

    def lead_out(self, endpoint: Endpoint | None) -> None:
        """See ``Namespaces.lead_out``; what leads out by another metric goes with the gateway alone."""
        wanted = ways_out(socket.if_nametoindex(endpoint.interface), endpoint) if endpoint else {}
        with Netlink() as inside:
            for family in _EVERYWHERE:
                if family in wanted:
                    inside.execute(wanted[family])
                    continue
                for route in inside.routes(family):
                    if route.destination.prefixlen == 0:
                        _tolerate(errno.ESRCH, inside, _deletion(route))

    def unplug(self, endpoint: Endpoint) -> None:
        """See ``Namespaces.unplug``; known by its MAC address, since the inside may have renamed it."""
        with Netlink() as inside:
            for link in inside.links():
                if link.mac == endpoint.mac if endpoint.mac else link.name == endpoint.interface:
                    _tolerate(errno.ENODEV, inside, delete_link(link.index))

    def stop(self) -> None:
        """Close the descriptor of the way home."""
        os.close(self._home)


def addresses(endpoint: Endpoint) -> list[IpInterface]:
    """Return the addresses of an endpoint with the bits of their networks."""
    pairs = ((endpoint.address, endpoint.prefix), (endpoint.address6, endpoint.prefix6))
    return [ip_interface(f"{address}/{prefix}") for address, prefix in pairs if address]


def ways_out(index: int, endpoint: Endpoint) -> dict[int, Request]:
    """Return what makes the default routes lead through *endpoint*, whose link has *index*, by family.

    A gateway that is no address (``0.0.0.0``, ``::``) says that everything is
    on the link itself.
    """
    requests = {}
    for family, text in ((socket.AF_INET, endpoint.gateway), (socket.AF_INET6, endpoint.gateway6)):
        if text:
            gateway = ip_address(text)
            requests[int(family)] = (
                add_link_route(_EVERYWHERE[family], index)
                if gateway.is_unspecified
                else replace_route(gateway, index=index)
            )
    return requests


def _deletion(route: Route) -> Request:
    if route.gateway:
        return delete_route(route.gateway, route.destination, index=route.index)
    return delete_link_route(route.destination, route.index)


def _tolerate(number: int, netlink: Netlink, request: Request) -> None:
    """Carry out *request*, content if it fails with that errno."""
    try:
        netlink.execute(request)
    except KernelError as error:
        if error.errno != number:
            raise
