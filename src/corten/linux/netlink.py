"""rtnetlink: links, addresses, routes and rules by messages on one socket.

A request is a value made by a pure function (``create_bridge``,
``add_address``...; links.py, routes.py, rules.py); a ``Netlink`` sends any
number of them in one system call and collects one answer each. One batch of a
few hundred bytes replaces five programs: starting those costs some 50 ms, the
batch well under one.

Source: netlink(7), rtnetlink(7).
"""

import errno
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from corten.linux.links import (
    RTM_NEWLINK,
    Link,
    create_bridge,
    create_ipvlan,
    create_macvlan,
    create_veth,
    create_vlan,
    delete_link,
    find_link,
    list_links,
    mac_bytes,
    parse_link,
    set_link,
    set_port,
)
from corten.linux.netlink_messages import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    IpAddress,
    IpInterface,
    IpNetwork,
    Request,
    messages,
    parse_end,
    parse_failure,
)
from corten.linux.routes import (
    RT_TABLE_MAIN,
    RTN_UNICAST,
    Address,
    Route,
    add_address,
    add_link_route,
    add_route,
    blackhole_route,
    delete_address,
    delete_blackhole_route,
    delete_link_route,
    delete_route,
    list_addresses,
    list_routes,
    parse_address,
    parse_route,
    replace_route,
)
from corten.linux.rules import Rule, add_rule, delete_rule, list_rules, parse_rule
from corten.linux.syscalls import KernelError

__all__ = [
    "Address",
    "IpAddress",
    "IpInterface",
    "IpNetwork",
    "Link",
    "Netlink",
    "Request",
    "Route",
    "Rule",
    "add_address",
    "add_link_route",
    "add_route",
    "add_rule",
    "blackhole_route",
    "create_bridge",
    "create_ipvlan",
    "create_macvlan",
    "create_veth",
    "create_vlan",
    "delete_address",
    "delete_blackhole_route",
    "delete_link",
    "delete_link_route",
    "delete_route",
    "delete_rule",
    "mac_bytes",
    "replace_route",
    "set_link",
    "set_port",
]

SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_DUMP_ATTEMPTS = 10
_BATCH = 64  # requests whose answers surely fit into the socket's buffer


class Netlink:
    """A NETLINK_ROUTE socket, bound for life to the network namespace it is opened in.

    That is the namespace of the calling thread; the object may be used when
    the thread has gone elsewhere. One thread at a time. Closed by the owner,
    by ``with`` or ``close``.

    Raises:
        OSError: the socket cannot be opened (EMFILE...).
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)  # the kernel chooses, not we
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()

    def execute(self, *requests: Request) -> None:
        """Carry out *requests* in order, up to 64 with one system call.

        The kernel goes on after a failed one, so a batch may only hold
        requests that do no harm when an earlier one failed.

        Raises:
            KernelError: of the first request that failed; errno is kept.
        """
        failures: list[KernelError] = []
        for start in range(0, len(requests), _BATCH):
            failures += self._execute(requests[start : start + _BATCH])
        if failures:
            raise failures[0]

    def _execute(self, requests: Sequence[Request]) -> list[KernelError]:
        """Carry out *requests* with one system call; return the failures in order."""
        first = self._send([(request, NLM_F_ACK) for request in requests])
        failures: dict[int, KernelError] = {}
        waiting = set(range(len(requests)))
        while waiting:
            for kind, flags, sequence, body in self._receive():
                position = sequence - first
                if kind != NLMSG_ERROR or position not in waiting:
                    continue
                waiting.discard(position)
                failure = parse_failure(flags, body, requests[position].action)
                if failure:
                    failures[position] = failure
        return [failures[position] for position in sorted(failures)]

    def link(self, name: str) -> Link | None:
        """Return the link called *name*, or None."""
        request = find_link(name)
        first = self._send([(request, 0)])
        while True:
            for kind, flags, sequence, answer in self._receive():
                if sequence != first:
                    continue
                if kind == RTM_NEWLINK:
                    return parse_link(answer)
                failure = parse_failure(flags, answer, request.action)
                if failure and failure.errno != errno.ENODEV:
                    raise failure
                return None

    def links(self) -> list[Link]:
        """Return every link of the namespace."""
        return [parse_link(body) for body in self._dump(list_links())]

    def addresses(self, family: int = socket.AF_INET) -> list[Address]:
        """Return every address of *family* (AF_INET or AF_INET6) of the namespace."""
        return [parse_address(body) for body in self._dump(list_addresses(family)) if body[0] == family]

    def routes(
        self, family: int = socket.AF_INET, *, table: int = RT_TABLE_MAIN, kind: int = RTN_UNICAST
    ) -> list[Route]:
        """Return the routes of *family* of one table; a zero means every *table*, every *kind*.

        A table that does not exist has no routes.
        """
        try:
            bodies = self._dump(list_routes(family, table, kind))
        except KernelError as failure:
            if failure.errno != errno.ENOENT:
                raise
            return []
        found = [parse_route(body) for body in bodies if body[0] == family]
        return [route for route in found if table in (0, route.table) and kind in (0, route.kind)]

    def rules(self, family: int = socket.AF_INET) -> list[Rule]:
        """Return the rules of policy routing of *family*, in the order in which they are asked.

        Raises:
            KernelError: EAFNOSUPPORT when the kernel has not that family.
        """
        return [parse_rule(body) for body in self._dump(list_rules(family)) if body[0] == family]

    def _dump(self, request: Request) -> list[bytes]:
        """Return the payloads of a consistent listing; one that changed meanwhile is begun again."""
        for _ in range(_DUMP_ATTEMPTS):
            found, consistent = self._dump_once(request)
            if consistent:
                return found
        raise KernelError(errno.EINTR, f"{request.action} (it keeps changing)")

    def _dump_once(self, request: Request) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        first, consistent = self._send([(request, 0)]), True
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != first:
                    continue
                consistent = consistent and not flags & NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    if failure := parse_end(flags, body, request.action):
                        raise failure
                    return found, consistent
                if kind == NLMSG_ERROR:
                    raise parse_failure(flags, body, request.action) or ValueError("unexpected answer")
                found.append(body)

    def _send(self, requests: list[tuple[Request, int]]) -> int:
        """Send *requests*, each with extra flags; return the sequence number of the first."""
        first, frames = self._sequence + 1, []
        for request, extra in requests:
            self._sequence += 1
            flags = NLM_F_REQUEST | request.flags | extra
            padded = request.body + bytes(-len(request.body) % 4)
            frames.append(HEADER.pack(HEADER.size + len(padded), request.kind, flags, self._sequence, 0))
            frames.append(padded)
        self._socket.sendto(b"".join(frames), (0, 0))
        return first

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return messages(self._socket.recv(1 << 16))
