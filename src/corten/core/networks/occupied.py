"""What this host's network already uses, so that networks of ours keep away from it."""

import errno
import socket

from corten.linux.netlink import IpNetwork, Netlink
from corten.linux.routes import RTN_BLACKHOLE, RTN_PROHIBIT, RTN_UNICAST, RTN_UNREACHABLE
from corten.linux.syscalls import KernelError

# Refused networks belong to somebody too: another engine, or a prefix routed to this host.
_KINDS = frozenset({RTN_UNICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT})


def occupied() -> list[IpNetwork]:
    """Return the networks that this host has addresses in or routes to, both families, in order.

    All routing tables count, since tunnels have tables of their own. Default
    routes, loopback and link-local networks are left out. Works in the
    network namespace of the calling thread.

    Raises:
        KernelError: the kernel refused.
    """
    found: set[IpNetwork] = set()
    with Netlink() as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                found |= _of_family(netlink, family)
            except KernelError as failure:
                if failure.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # a kernel without IPv6
                    raise
    return sorted((network for network in found if _counts(network)), key=_order)


def _of_family(netlink: Netlink, family: int) -> set[IpNetwork]:
    found = {entry.interface.network for entry in netlink.addresses(family)}
    routes = netlink.routes(family, table=0, kind=0)
    return found | {route.destination for route in routes if route.kind in _KINDS}


def _counts(network: IpNetwork) -> bool:
    special = network.is_loopback or network.is_multicast or (network.version == 6 and network.is_link_local)
    return network.prefixlen > 0 and not special


def _order(network: IpNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
