"""Which addresses and subnets are free: values and sets, no I/O.

Subnets are searched as intervals of whole numbers and addresses counted, not
listed, so that a subnet of 2^64 addresses, and the 500th network, cost no
more than the first.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import msgspec

from corten.core.networks.values import Subnet
from corten.errors import Conflict, Forbidden, InvalidInput, Unavailable
from corten.linux.netlink import IpAddress, IpNetwork

# A network, and the prefix of the subnets cut from it: Docker's default address
# pools, then smaller pieces of what private networks seldom use.
DEFAULT_POOLS = (
    (IPv4Network("172.17.0.0/16"), 16),
    (IPv4Network("172.18.0.0/16"), 16),
    (IPv4Network("172.19.0.0/16"), 16),
    (IPv4Network("172.20.0.0/14"), 16),
    (IPv4Network("172.24.0.0/14"), 16),
    (IPv4Network("172.28.0.0/14"), 16),
    (IPv4Network("192.168.0.0/16"), 20),
    (IPv4Network("10.192.0.0/10"), 24),
    (IPv4Network("100.64.0.0/10"), 24),
)
_NEVER = tuple(
    ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "::/8", "fe80::/10", "ff00::/8")
)
_LEAST_BITS = 2  # for hosts: network, gateway, one container, broadcast
_SHORTEST_TAKEN = 8
_CIDR = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}", re.ASCII)
_ULA_BITS, _ULA_SUBNET = 48, 64


class Pool:
    """The addresses of one subnet.

    Not safe to share between threads; the owner locks.

    Args:
        subnet: IPv4 or IPv6, of any size that has room.
        gateway: The host's own address; None takes the first that is not reserved.
        ip_range: The part of *subnet* from which addresses are given without a wish; None is all of it.
        reserved: Addresses never given.

    Raises:
        InvalidInput: *subnet* has no room for a container, or is of a kind that
            no network can have (loopback, multicast...); an argument outside of it.
    """

    def __init__(
        self,
        subnet: IpNetwork,
        *,
        gateway: IpAddress | None = None,
        ip_range: IpNetwork | None = None,
        reserved: Iterable[IpAddress] = (),
    ) -> None:
        _check_subnet(subnet)
        self.subnet = subnet
        self._lowest = int(subnet.network_address) + 1
        # IPv6 has no broadcast
        self._highest = int(subnet.broadcast_address) - (1 if subnet.version == 4 else 0)
        kept = {self._inside(address, "auxiliary address") for address in reserved}
        self.gateway = self._gateway(gateway, kept)
        self._blocked = kept | {int(self.gateway)}
        self._first, self._last = self._range(ip_range)
        self._taken: set[int] = set()
        self._free = self._last - self._first + 1 - sum(map(self._ranges, self._blocked))
        if self._free < 1:
            raise InvalidInput(
                f"{ip_range or subnet} has no room for containers: reserve less or choose a larger one"
            )
        self._next = self._first

    def _inside(self, address: IpAddress, what: str) -> int:
        if address.version != self.subnet.version:
            raise InvalidInput(
                f"invalid {what} {address}: parent subnet is an IPv{self.subnet.version} block"
            )
        if address not in self.subnet:
            raise InvalidInput(
                f"invalid {what} {address}: parent subnet {self.subnet} doesn't contain this address"
            )
        return int(address)

    def _gateway(self, wish: IpAddress | None, reserved: set[int]) -> IpAddress:
        if wish is None:
            number = self._lowest
            while number in reserved:
                number += 1
        else:
            number = self._inside(wish, "gateway")
        if not self._lowest <= number <= self._highest:
            raise InvalidInput(
                f"invalid gateway {self._made(number)}: it is not an address of a host in {self.subnet}"
            )
        if number in reserved:
            raise InvalidInput(
                f"invalid auxiliary address {self._made(number)}: it is the gateway of {self.subnet}"
            )
        return self._made(number)

    def _range(self, wish: IpNetwork | None) -> tuple[int, int]:
        if wish is None:
            return self._lowest, self._highest
        if wish.version != self.subnet.version:
            raise InvalidInput(f"invalid ip-range {wish}: parent subnet is an IPv{self.subnet.version} block")
        if wish.network_address not in self.subnet or wish.prefixlen < self.subnet.prefixlen:
            raise InvalidInput(f"invalid ip-range {wish}: parent subnet {self.subnet} doesn't contain it")
        first, last = int(wish.network_address), int(wish.broadcast_address)
        return max(first, self._lowest), min(last, self._highest)

    def _made(self, number: int) -> IpAddress:
        return IPv4Address(number) if self.subnet.version == 4 else IPv6Address(number)

    def _ranges(self, number: int) -> bool:
        """Tell whether an address is one of those given without a wish."""
        return self._first <= number <= self._last

    def take(self, address: IpAddress | None = None) -> IpAddress:
        """Take *address*, or the next free one after the one given last.

        Going on from the last one, and round at the end, keeps an address
        that was just freed from meaning another container at once.

        Raises:
            Unavailable: none is free.
            InvalidInput: *address* is not for containers of this subnet.
            Conflict: *address* is taken.
        """
        if address is None:
            return self._take_next()
        if not self.holds(address):
            raise InvalidInput(f"address {address} is not a container address of {self.subnet}")
        if int(address) in self._taken:
            raise Conflict(f"address {address} is already in use: choose another, or remove its container")
        self._add(int(address))
        return address

    def _take_next(self) -> IpAddress:
        if not self._free:
            raise Unavailable(
                f"no free address in {self.subnet}: remove containers or choose a larger subnet"
            )
        while self._next in self._taken or self._next in self._blocked:
            self._next = self._after(self._next)
        found = self._next
        self._add(found)
        self._next = self._after(found)
        return self._made(found)

    def _add(self, number: int) -> None:
        self._taken.add(number)
        self._free -= self._ranges(number)

    def _after(self, number: int) -> int:
        return number + 1 if number < self._last else self._first

    def holds(self, address: IpAddress) -> bool:
        """Tell whether *address* is one that a container of this subnet can have."""
        number = int(address)
        possible = address.version == self.subnet.version and self._lowest <= number <= self._highest
        return possible and number not in self._blocked

    def release(self, address: IpAddress) -> None:
        """Give *address* back; idempotent."""
        number = int(address)
        if address.version == self.subnet.version and number in self._taken:
            self._taken.remove(number)
            self._free += self._ranges(number)

    def reserve(self, address: IpAddress) -> None:
        """Mark *address* as taken by a container found running; idempotent, ignores other subnets."""
        if self.holds(address) and int(address) not in self._taken:
            self._add(int(address))


def _check_subnet(subnet: IpNetwork) -> None:
    for special in _NEVER:
        if subnet.overlaps(special):
            raise InvalidInput(
                f"invalid subnet {subnet}: {special} has a meaning of its own, choose a private network"
            )
    if subnet.prefixlen < _SHORTEST_TAKEN:
        raise InvalidInput(f"invalid subnet {subnet}: choose /{_SHORTEST_TAKEN} or longer")
    if subnet.max_prefixlen - subnet.prefixlen < _LEAST_BITS:
        longest = subnet.max_prefixlen - _LEAST_BITS
        raise InvalidInput(f"subnet {subnet} has no room for containers: choose /{longest} or shorter")


def complete(
    wanted: Sequence[Subnet],
    *,
    ipv4: bool,
    ipv6: bool,
    taken: Iterable[IpNetwork],
    seed: str,
    occupied: Iterable[IpNetwork] = (),
) -> tuple[Subnet, ...]:
    """Fill in what the user left open of the subnets of a network.

    A family that is on and has no subnet gets a free one: IPv4 from
    ``DEFAULT_POOLS``, IPv6 a /64 of the unique local prefix that *seed* stands
    for. Every subnet gets a gateway, its first free address. Subnets of a
    family that is off are left out, as Docker does.

    Args:
        wanted: What the user named, in CIDR form; entries without anything are ignored.
        ipv4: Whether the network has IPv4.
        ipv6: Whether the network has IPv6.
        taken: Subnets of other networks of ours: none may overlap.
        seed: The engine's tag; the same one gives the same IPv6 prefix.
        occupied: What the host has routes to: a choice of ours avoids it, the
            user's may overlap (see ``overlaps``).

    Raises:
        InvalidInput: a text that is no subnet or address, an address outside of its
            subnet, two subnets that overlap, a subnet without room.
        Forbidden: a subnet overlaps with one of *taken*.
        Unavailable: no subnet is free.

    Source: RFC 4193, section 3.2, for the IPv6 prefix.
    """
    ours = list(taken)
    blocked = [*ours, *occupied]
    asked = [_parsed(subnet) for subnet in wanted if subnet != Subnet(subnet="")]
    asked = [(network, subnet) for network, subnet in asked if (ipv4 if network.version == 4 else ipv6)]
    _check_overlaps([network for network, _ in asked], ours)
    versions = {network.version for network, _ in asked}
    found = [subnet for _, subnet in asked]
    if ipv4 and 4 not in versions:
        found.insert(0, _plain(choose_subnet(blocked)))
    if ipv6 and 6 not in versions:
        found.append(_plain(choose_local_subnet(seed, blocked)))
    return tuple(found)


def overlaps(subnets: Iterable[Subnet], occupied: Iterable[IpNetwork]) -> list[str]:
    """Return one line for each of *subnets* that overlaps with what the host has routes to.

    What is no subnet is passed over; ``complete`` refuses it.
    """
    known, lines = _sizable(occupied), []
    for text in (subnet.subnet for subnet in subnets if _CIDR.fullmatch(subnet.subnet)):
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue
        met = [str(other) for other in known if network.overlaps(other)]
        if met:
            lines.append(
                f"subnet {text} overlaps with {', '.join(met)}, which this host has a route to: "
                "what is there cannot be reached from the network, nor from the host"
            )
    return lines


def choose_subnet(taken: Iterable[IpNetwork]) -> IPv4Network:
    """Return the first subnet of ``DEFAULT_POOLS`` that overlaps with none of *taken*.

    Networks shorter than /8 in *taken* are ignored: the default route, or the
    halves of it that tunnels install, lead everywhere and occupy nothing.

    Raises:
        Unavailable: every subnet overlaps.
    """
    blocked = _intervals(taken, 4)
    for pool, prefix in DEFAULT_POOLS:
        start = _first_free(pool, prefix, blocked)
        if start is not None:
            return IPv4Network((start, prefix))
    raise Unavailable(
        "all predefined address pools have been fully subnetted, "
        "or overlap with networks of this host: remove networks, or choose a subnet"
    )


def choose_local_subnet(seed: str, taken: Iterable[IpNetwork]) -> IPv6Network:
    """Return the first /64 of the unique local prefix of *seed* that overlaps with none of *taken*.

    Raises:
        Unavailable: every subnet overlaps.

    Source: RFC 4193, section 3.2.
    """
    identifier = hashlib.sha256(seed.encode()).digest()[:5]
    pool = IPv6Network((b"\xfd" + identifier + bytes(10), _ULA_BITS))
    start = _first_free(pool, _ULA_SUBNET, _intervals(taken, 6))
    if start is None:
        raise Unavailable(f"every subnet of {pool} is in use: remove networks, or choose a subnet")
    return IPv6Network((start, _ULA_SUBNET))


def _sizable(networks: Iterable[IpNetwork]) -> list[IpNetwork]:
    return [network for network in networks if network.prefixlen >= _SHORTEST_TAKEN]


def _intervals(networks: Iterable[IpNetwork], version: int) -> list[tuple[int, int]]:
    """Return first and last address of those networks that occupy something, in order."""
    return sorted(
        (int(network.network_address), int(network.broadcast_address))
        for network in _sizable(networks)
        if network.version == version
    )


def _first_free(pool: IpNetwork, prefix: int, blocked: list[tuple[int, int]]) -> int | None:
    """Return where the first piece of *pool* of that *prefix* begins that meets none of *blocked*, in order."""
    size = 1 << (pool.max_prefixlen - prefix)
    start = int(pool.network_address)
    for first, last in blocked:
        if first >= start + size:
            break
        if last >= start:
            start = (last // size + 1) * size
    return start if start < int(pool.broadcast_address) else None


def _check_overlaps(networks: list[IpNetwork], ours: Sequence[IpNetwork]) -> None:
    for position, network in enumerate(networks):
        for other in networks[:position]:
            if network.overlaps(other):
                raise InvalidInput(f"subnets {other} and {network} overlap: choose one of them")
        for other in ours:
            if network.overlaps(other):
                raise Forbidden(
                    f"invalid pool request: Pool overlaps with other one on this address space: {network} meets "
                    f"{other}, which is in use: choose another subnet, or remove the network that has it"
                )


def _plain(network: IpNetwork) -> Subnet:
    return Subnet(subnet=str(network), gateway=str(Pool(network).gateway))


def _parsed(wanted: Subnet) -> tuple[IpNetwork, Subnet]:
    """Check one subnet of a user; return its network, and it with normal texts and a gateway."""
    network = _network(wanted.subnet, "subnet")
    ip_range = _network(wanted.ip_range, "ip-range") if wanted.ip_range else None
    gateway = _address(wanted.gateway, "gateway") if wanted.gateway else None
    reserved = {
        name: _address(text, f"auxiliary address {_shown(name)}") for name, text in wanted.reserved.items()
    }
    pool = Pool(network, gateway=gateway, ip_range=ip_range, reserved=reserved.values())
    normal = msgspec.structs.replace(
        wanted,
        subnet=str(network),
        gateway=str(pool.gateway),
        ip_range=str(ip_range or ""),
        reserved={name: str(address) for name, address in reserved.items()},
    )
    return network, normal


def _shown(text: str) -> str:
    """Return a user's text for a message of one line."""
    return repr(text)[1:-1]


def _network(text: str, what: str) -> IpNetwork:
    if not _CIDR.fullmatch(text):
        raise InvalidInput(
            f'invalid {what} "{_shown(text)}": invalid CIDR block notation, write it like 10.1.0.0/24'
        )
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(
            f'invalid {what} "{_shown(text)}": invalid CIDR block notation, write it like 10.1.0.0/24'
        ) from None
    if network.network_address != ip_address(text.partition("/")[0]):
        raise InvalidInput(f"invalid {what} {text}: it should be {network}")
    return network


def _address(text: str, what: str) -> IpAddress:
    try:
        if "%" in text:
            raise ValueError(text)
        return ip_address(text)
    except ValueError:
        raise InvalidInput(f'invalid {what} "{_shown(text)}": invalid address') from None
