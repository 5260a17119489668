"""Flows of UDP that were tracked before a change of published ports, and would ignore it.

A client that sent to the port before it was published, or to a container that
is gone, would otherwise be answered by nobody as long as it goes on sending.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from corten.core.networks.firewall.state import Opening
from corten.linux.conntrack import Flow, flows, forget


def forget_flows(gone: Iterable[Opening], new: Iterable[Opening]) -> int:
    """Have those flows forgotten that openings *gone* or *new* are about; return their number.

    Only those that asked an address of this host, or were answered by a
    container that had the port. Works in the namespace of the calling thread.

    Raises:
        KernelError: the kernel refused.
        OSError: no socket can be had.
    """
    forgotten = 0
    for opening in {*gone, *new}:
        if opening.protocol != "udp":
            continue
        family = socket.AF_INET6 if ":" in opening.host_ip else socket.AF_INET
        for flow in flows(family, socket.IPPROTO_UDP, opening.host_port):
            if _concerns(opening, flow):
                forget(flow)
                forgotten += 1
    return forgotten


def _concerns(opening: Opening, flow: Flow) -> bool:
    host, target = ip_address(opening.host_ip), ip_address(opening.address)
    if not host.is_unspecified and flow.asked != host:
        return False
    return flow.answering == target or (flow.answering == flow.asked and _is_local(flow.asked))


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether *address* is one of this host's: only to those can a socket be bound."""
    with socket.socket(
        socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM
    ) as made:
        try:
            made.bind((str(address), 0))
        except OSError:
            return False
    return True
