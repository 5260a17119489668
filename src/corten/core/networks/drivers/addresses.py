"""Addresses: which endpoint of a network has which of them, over all of its subnets."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

from corten.core.networks.ipam import Pool
from corten.core.networks.values import Endpoint, NetworkSpec, Subnet, Wishes
from corten.errors import InvalidInput, Unavailable
from corten.linux.netlink import IpAddress, IpInterface


@dataclass(frozen=True, slots=True)
class Given:
    """An address with the bits of its network and its gateway, as text; empty, or 0, for none."""

    address: str = ""
    prefix: int = 0
    gateway: str = ""

    def leading_out(self, gateway: str) -> "Given":
        """Return the same address with another gateway; none without an address."""
        return replace(self, gateway=gateway if self.address else "")


class Addresses:
    """The pools of a network. Safe to share between threads; never asks the kernel.

    Args:
        network: Its name, for messages.
        subnets: Complete ones.

    Raises:
        InvalidInput: a subnet that cannot be.
    """

    def __init__(self, network: str, subnets: Sequence[Subnet]) -> None:
        self._network = network
        self._pools = [_pool(subnet) for subnet in subnets]
        self._lock = threading.Lock()
        self._held: dict[str, list[tuple[Pool, IpAddress]]] = {}

    def gateways(self, version: int) -> list[IpInterface]:
        """Return the gateways of one version of IP, each with the bits of its network."""
        return [
            ip_interface(f"{pool.gateway}/{pool.subnet.prefixlen}")
            for pool in self._pools
            if pool.subnet.version == version
        ]

    def has(self, version: int) -> bool:
        """Tell whether there is a subnet of that version of IP."""
        return any(pool.subnet.version == version for pool in self._pools)

    def take(self, owner: str, wishes: Wishes) -> tuple[Given, Given]:
        """Give *owner* an address of IPv4 and one of IPv6, as far as there are subnets; all of it or nothing.

        Raises:
            InvalidInput: a wish that cannot be.
            Conflict: an address is taken.
            Unavailable: none is free.
        """
        with self._lock, ExitStack() as undo:
            held: list[tuple[Pool, IpAddress]] = []
            given = []
            for version, wish in ((4, wishes.address), (6, wishes.address6)):
                found = self._take(version, wish)
                if found is None:
                    given.append(Given())
                    continue
                pool, address = found
                undo.callback(pool.release, address)
                held.append(found)
                gateway = "" if pool.gateway is None else str(pool.gateway)
                given.append(Given(str(address), pool.subnet.prefixlen, gateway))
            self._held[owner] = held
            undo.pop_all()
        return given[0], given[1]

    def _take(self, version: int, wish: str) -> tuple[Pool, IpAddress] | None:
        pools = [pool for pool in self._pools if pool.subnet.version == version]
        if wish:
            address = parse_address(wish, version)
            for pool in pools:
                if address in pool.subnet:
                    return pool, pool.take(address)
            raise InvalidInput(
                f"address {address} is in no subnet of network {self._network}: choose one of "
                + (", ".join(str(pool.subnet) for pool in pools) or f"a network that has IPv{version}")
            )
        full: Unavailable | None = None
        for pool in pools:
            try:
                return pool, pool.take()
            except Unavailable as failure:
                full = failure
        if full:
            raise full
        return None

    def give_back(self, owner: str) -> None:
        """Take back what *owner* has; idempotent. An address may have a new owner by then, who keeps it."""
        with self._lock:
            for pool, address in self._held.pop(owner, ()):
                pool.release(address)

    def adopt(self, owner: str, *addresses: str) -> None:
        """Count *addresses*, empty ones aside, as given to *owner*; idempotent, ignores other subnets."""
        with self._lock:
            held = []
            for address in (ip_address(text) for text in addresses if text):
                for pool in self._pools:
                    if address in pool.subnet:
                        pool.reserve(address)
                        held.append((pool, address))
            self._held[owner] = held


def endpoint(
    spec: NetworkSpec, wishes: Wishes, endpoint_id: str, host_link: str, mac: str, given: tuple[Given, Given]
) -> Endpoint:
    """Return what a network says of an endpoint that it made; *given* are its addresses of IPv4 and IPv6."""
    ipv4, ipv6 = given
    return Endpoint(
        network=spec.name,
        network_id=spec.id,
        endpoint_id=endpoint_id,
        host_link=host_link,
        interface=wishes.interface,
        mac=mac,
        address=ipv4.address,
        prefix=ipv4.prefix,
        gateway=ipv4.gateway,
        address6=ipv6.address,
        prefix6=ipv6.prefix,
        gateway6=ipv6.gateway,
    )


def parse_address(text: str, version: int) -> IpAddress:
    """Return the address of IP *version* that *text* says.

    Raises:
        InvalidInput: it says none.
    """
    try:
        if "%" not in text:  # a link, which is not for the user to choose
            return IPv4Address(text) if version == 4 else IPv6Address(text)
    except ValueError:
        pass
    raise InvalidInput(f'invalid IPv{version} address: "{text}"')


def _pool(subnet: Subnet) -> Pool:
    try:
        return Pool(
            ip_network(subnet.subnet),
            gateway=ip_address(subnet.gateway) if subnet.gateway else None,
            ip_range=ip_network(subnet.ip_range) if subnet.ip_range else None,
            reserved=[ip_address(text) for text in subnet.reserved.values()],
        )
    except ValueError as error:
        raise InvalidInput(f"subnet {subnet.subnet}: {error}") from None
