"""Ports of this host that containers have: who has which, and sockets that keep others away.

The firewall translates before a packet can reach a socket, so a program that
listened at a published port would never hear of it, and nobody would know why.
"""

import errno
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from ipaddress import ip_address

import msgspec

from corten.core.networks.ports.binding import bind
from corten.core.networks.ports.owners import holder
from corten.errors import Conflict, InvalidInput, Unavailable, Unsupported

PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
PROTOCOLS = ("tcp", "udp", "sctp")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A container's port to publish: *first* to *last* may be taken, the first free one is.

    ``host_ip`` is one address of the host, or empty for all of them.
    ``first`` 0 leaves the choice of the port to the engine.
    """

    protocol: str
    container_port: int
    host_ip: str = ""
    first: int = 0
    last: int = 0


class Reserved(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A port that a container has: *host_port* at *host_ip*, which is never empty."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int


_Place = tuple[str, str, int]  # protocol, address, port
_Sockets = dict[_Place, socket.socket | None]


class Ports:
    """Ports by owner. Safe to share between threads; one per network namespace.

    Closed by the owner with ``close``, or by the end of the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, _Sockets] = {}  # by owner
        self._owners: dict[tuple[str, int], dict[str, str]] = {}  # protocol, port -> address -> owner
        self._reserved: dict[str, tuple[Reserved, ...]] = {}  # by owner
        self._names: dict[str, str] = {}  # of owners, for people
        self._next = 0  # ephemeral port to try first, as high above the range's begin

    def reserve(self, owner: str, name: str, wishes: Sequence[Wish], *, ipv6: bool) -> tuple[Reserved, ...]:
        """Let *owner* have exactly what *wishes* say, in place of what it had: all of it, or no change.

        What it had and wishes again it keeps, also a port that the engine had chosen.

        Args:
            owner: Whom ``release`` is told.
            name: The container's name, for the refusal of somebody else's wish.
            wishes: In the order in which ports are chosen.
            ipv6: Whether all addresses include those of IPv6.

        Raises:
            Conflict: a port is taken; the text says by whom.
            InvalidInput: an address that is none, or none of this host.
            Unavailable: the engine has no port left to choose.
            Unsupported: this host has no IPv6, or a protocol is unknown.
        """
        with self._lock, ExitStack() as undo:
            held: _Sockets = {}
            undo.callback(self._close_new, owner, held)
            reserved: list[Reserved] = []
            for wish in wishes:
                reserved += self._grant(owner, wish, ipv6, held)
            undo.pop_all()
            self._replace(owner, name, held, reserved)
        return tuple(reserved)

    def adopt(self, owner: str, name: str, reserved: Iterable[Reserved]) -> list[str]:
        """Count *reserved* as the ports of *owner* again, after a restart of the engine.

        Returns:
            A line for each port that somebody else took meanwhile. It stays
            the owner's: packets are translated before they reach a socket.
        """
        kept, lines = tuple(reserved), []
        with self._lock:
            held: _Sockets = {}
            for item in kept:
                place = (item.protocol, item.host_ip, item.host_port)
                try:
                    held[place] = self._socket(owner, place)
                except OSError as error:
                    held[place] = None
                    lines.append(f"container {name}: {self._refusal(owner, place, error)}")
            self._replace(owner, name, held, kept)
        return lines

    def release(self, owner: str) -> None:
        """Give back what *owner* has; idempotent."""
        with self._lock:
            self._replace(owner, "", {}, ())

    def held(self, owner: str) -> tuple[Reserved, ...]:
        """Return what *owner* has."""
        with self._lock:
            return self._reserved.get(owner, ())

    def close(self) -> None:
        """Give everything back; idempotent."""
        with self._lock:
            for owner in list(self._held):
                self._replace(owner, "", {}, ())

    def _grant(self, owner: str, wish: Wish, ipv6: bool, held: _Sockets) -> list[Reserved]:
        """Reserve one port at every address of *wish*, adding its sockets to *held*."""
        addresses = _addresses(wish, ipv6)
        for port in self._candidates(owner, wish, addresses):
            places = [(wish.protocol, address, port) for address in addresses]
            failed = self._take(owner, places, held)
            if failed is None:
                return [
                    Reserved(
                        protocol=wish.protocol,
                        container_port=wish.container_port,
                        host_ip=address,
                        host_port=port,
                    )
                    for address in addresses
                ]
            place, error = failed
            if error.errno != errno.EADDRINUSE or wish.first == max(wish.first, wish.last) > 0:
                raise self._refusal(owner, place, error, held)
        raise _exhausted(wish, addresses)

    def _candidates(self, owner: str, wish: Wish, addresses: Sequence[str]) -> Iterator[int]:
        if wish.first:
            yield from range(wish.first, max(wish.first, wish.last) + 1)
            return
        yield from sorted(_chosen_before(self._reserved.get(owner, ()), wish, addresses))
        first, last = ephemeral()
        count, begin = last - first + 1, self._next
        for step in range(count):
            offset = (begin + step) % count
            self._next = offset + 1  # ports are not given again soon: clients may remember them
            yield first + offset

    def _take(self, owner: str, places: list[_Place], held: _Sockets) -> tuple[_Place, OSError] | None:
        """Bind *places*, all or none, adding them to *held*; return the place that failed, and why."""
        made: _Sockets = {}
        for place in places:
            try:
                if any(_meet(place, other) for other in held):
                    raise OSError(errno.EADDRINUSE, "wished twice")
                made[place] = self._socket(owner, place)
            except OSError as error:
                self._close_new(owner, made)
                return place, error
        held.update(made)
        return None

    def _socket(self, owner: str, place: _Place) -> socket.socket | None:
        """Return the socket that *owner* has at *place* already, or a new one."""
        if place in self._held.get(owner, ()):
            return self._held[owner][place]
        if self._other(owner, place):
            raise OSError(errno.EADDRINUSE, "of another container")
        return bind(*place)

    def _other(self, owner: str, place: _Place) -> str:
        """Return the owner other than *owner* whose port is in the way of *place*; empty for none."""
        protocol, _, port = place
        for address, other in self._owners.get((protocol, port), {}).items():
            if other != owner and _meet(place, (protocol, address, port)):
                return other
        return ""

    def _close_new(self, owner: str, held: _Sockets) -> None:
        """Close those of *held* that *owner* did not have before."""
        before = self._held.get(owner, {})
        for place, made in held.items():
            if made is not None and place not in before:
                made.close()

    def _replace(self, owner: str, name: str, held: _Sockets, reserved: Iterable[Reserved]) -> None:
        for place, made in self._held.pop(owner, {}).items():
            self._forget(owner, place)
            if made is not None and place not in held:
                made.close()
        self._reserved.pop(owner, None)
        self._names.pop(owner, None)
        if held:
            self._held[owner], self._reserved[owner], self._names[owner] = held, tuple(reserved), name
        for protocol, address, port in held:
            self._owners.setdefault((protocol, port), {})[address] = owner

    def _forget(self, owner: str, place: _Place) -> None:
        protocol, address, port = place
        taken = self._owners.get((protocol, port), {})
        if taken.get(address) == owner:
            del taken[address]
        if not taken:
            self._owners.pop((protocol, port), None)

    def _refusal(
        self, owner: str, place: _Place, error: OSError, held: Iterable[_Place] = ()
    ) -> Conflict | InvalidInput | Unsupported | OSError:
        protocol, address, port = place
        bind_for = f"Bind for {shown(address, port)} failed"
        if error.errno == errno.EADDRNOTAVAIL:
            return InvalidInput(f"{bind_for}: this host has no address {address}: publish on one that it has")
        if error.errno == errno.EAFNOSUPPORT:
            return Unsupported(f"{bind_for}: this host has no IPv6: publish on an IPv4 address")
        if error.errno != errno.EADDRINUSE:
            return error
        advice = "choose another port of the host"
        if any(_meet(place, other) for other in held):
            return Conflict(f"{bind_for}: port is wished twice: {advice} for one of them")
        if other := self._other(owner, place):
            return Conflict(
                f"{bind_for}: port is already allocated by container {self._names[other]}: {advice}"
            )
        if program := holder(protocol, address, port):
            return Conflict(
                f"{bind_for}: port is already in use by {program}: {advice}, or stop that program"
            )
        return Conflict(f"{bind_for}: port is already allocated: {advice}")


def ephemeral() -> tuple[int, int]:
    """Return the first and last port that the host chooses from; see ip(7), "ip_local_port_range"."""
    with open(PORT_RANGE) as file:
        first, last = file.read().split()
    return int(first), int(last)


def shown(address: str, port: int | str) -> str:
    """Return ``127.0.0.1:80`` or ``[::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _addresses(wish: Wish, ipv6: bool) -> list[str]:
    if wish.protocol not in PROTOCOLS:
        raise Unsupported(f"unknown protocol {wish.protocol}: use tcp, udp or sctp")
    if not wish.host_ip:
        return ["0.0.0.0", "::"] if ipv6 else ["0.0.0.0"]
    try:
        return [str(ip_address(wish.host_ip))]
    except ValueError:
        raise InvalidInput(f"invalid IP address: {wish.host_ip}") from None


def _meet(one: _Place, other: _Place) -> bool:
    """Tell whether one of two places takes packets of the other."""
    if one[0] != other[0] or one[2] != other[2]:
        return False
    first, second = ip_address(one[1]), ip_address(other[1])
    same = first == second or first.is_unspecified or second.is_unspecified
    return first.version == second.version and same


def _chosen_before(reserved: Iterable[Reserved], wish: Wish, addresses: Sequence[str]) -> set[int]:
    """Return the ports that an owner has for the same container port at one of *addresses*."""
    return {
        item.host_port
        for item in reserved
        if (item.protocol, item.container_port) == (wish.protocol, wish.container_port)
        and item.host_ip in addresses
    }


def _exhausted(wish: Wish, addresses: Sequence[str]) -> Conflict | Unavailable:
    if wish.first:
        places = shown(addresses[0], f"{wish.first}-{wish.last}")
        return Conflict(f"Bind for {places} failed: all ports are allocated: choose another range")
    first, last = ephemeral()
    return Unavailable(
        f"all ports from {first} to {last} are allocated: publish a port of your choice, or stop a container"
    )
