"""Which addresses and subnets are free: values and sets, no I/O."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from corten.errors import Conflict, InvalidInput, Unavailable

# Docker's default address pools: a network, and the prefix of the subnets cut from it.
DEFAULT_POOLS = (
    (IPv4Network("172.17.0.0/16"), 16),
    (IPv4Network("172.18.0.0/16"), 16),
    (IPv4Network("172.19.0.0/16"), 16),
    (IPv4Network("172.20.0.0/14"), 16),
    (IPv4Network("172.24.0.0/14"), 16),
    (IPv4Network("172.28.0.0/14"), 16),
    (IPv4Network("192.168.0.0/16"), 20),
)
_LONGEST_PREFIX = 30  # network, gateway, one container, broadcast
_SHORTEST_TAKEN = 8


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the first subnet of Docker's default pools that overlaps with none of *taken*.

    Networks shorter than /8 in *taken* are ignored: the default route, or the
    halves of it that tunnels install, lead everywhere and occupy nothing.

    Raises:
        Unavailable: every subnet overlaps.
    """
    blocked = [network for network in taken if network.prefixlen >= _SHORTEST_TAKEN]
    for pool, prefix in DEFAULT_POOLS:
        for subnet in pool.subnets(new_prefix=prefix):
            if not any(subnet.overlaps(network) for network in blocked):
                return subnet
    raise Unavailable(
        "every default address pool overlaps with a network of this host: choose a subnet for the bridge"
    )


class Pool:
    """The addresses of one subnet. The first host address is the gateway's.

    Not safe to share between threads; the owner locks.

    Raises:
        InvalidInput: *subnet* is longer than /30, so has no room for a container.
    """

    def __init__(self, subnet: IPv4Network) -> None:
        if subnet.prefixlen > _LONGEST_PREFIX:
            raise InvalidInput(f"subnet {subnet} has no room for containers: choose /30 or shorter")
        self.subnet = subnet
        self.gateway = subnet.network_address + 1
        self._first = int(self.gateway) + 1
        self._last = int(subnet.broadcast_address) - 1
        self._next = self._first
        self._taken: set[int] = set()

    def take(self, address: IPv4Address | None = None) -> IPv4Address:
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
        self._taken.add(int(address))
        return address

    def _take_next(self) -> IPv4Address:
        if len(self._taken) > self._last - self._first:
            raise Unavailable(
                f"no free address in {self.subnet}: remove containers or choose a larger subnet"
            )
        while self._next in self._taken:
            self._next = self._after(self._next)
        found = self._next
        self._taken.add(found)
        self._next = self._after(found)
        return IPv4Address(found)

    def _after(self, number: int) -> int:
        return number + 1 if number < self._last else self._first

    def holds(self, address: IPv4Address) -> bool:
        """Tell whether *address* is one that a container of this subnet can have."""
        return self._first <= int(address) <= self._last

    def release(self, address: IPv4Address) -> None:
        """Give *address* back; idempotent."""
        self._taken.discard(int(address))

    def reserve(self, address: IPv4Address) -> None:
        """Mark *address* as taken by a container found running; idempotent, ignores other subnets."""
        if self.holds(address):
            self._taken.add(int(address))
