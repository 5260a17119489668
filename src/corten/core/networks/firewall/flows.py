"""Flows of UDP that were tracked before a change of published ports, and would ignore it.

A client that sent to the port before it was published, or to a container that
is gone, would otherwise be answered by nobody as long as it goes on sending.
"""

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from corten.core.networks.firewall.state import Opening
from corten.linux.conntrack import Flow, flows, forget


class Forgetter:
    """A thread that has such flows forgotten; begun at the first change of UDP ports.

    The kernel walks its whole table for each port, some milliseconds, which
    nobody should wait for. Safe to share between threads. Closed by ``close``.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: set[Opening] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def concern(self, openings: Iterable[Opening]) -> None:
        """Have flows that *openings*, gone or new, are about forgotten soon; never waits.

        The thread works in the network namespace of the first one to call.
        """
        concerned = {opening for opening in openings if opening.protocol == "udp"}
        if not concerned:
            return
        with self._changed:
            self._pending |= concerned
            self._changed.notify()
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread after what it has to do; idempotent."""
        with self._changed:
            thread, self._thread, self._closed = self._thread, None, True
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                openings, self._pending = self._pending, set()
                if not openings:
                    return
            for opening in openings:
                with suppress(OSError):  # the rules hold; what is missing is an effect on flows that exist
                    forget_flows(opening)


def forget_flows(opening: Opening) -> int:
    """Have the flows forgotten that *opening*, gone or new, is about; return their number.

    Only those that asked an address of this host, or were answered by the
    container that had the port. Works in the namespace of the calling thread.

    Raises:
        KernelError: the kernel refused.
        OSError: no socket can be had.
    """
    family = socket.AF_INET6 if ":" in opening.host_ip else socket.AF_INET
    concerned = [
        flow for flow in flows(family, socket.IPPROTO_UDP, opening.host_port) if _concerns(opening, flow)
    ]
    for flow in concerned:
        forget(flow)
    return len(concerned)


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
