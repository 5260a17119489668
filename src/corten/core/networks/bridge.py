"""BridgeNetwork: a bridge, its subnet, and the rules that let containers out and nobody in.

Desired state, never patches: ``ensure`` compares what the kernel has with
what should be, changes the difference of links and addresses, and replaces
the whole nftables table in one transaction, so that there is no instant at
which half of the rules hold. Whatever belongs to us carries an alias made of
*tag*, and nothing without it is ever touched: several engines, and other
programs, share the host.
"""

import errno
import fcntl
import hashlib
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from corten.core.networks.ipam import Pool, choose_subnet
from corten.core.networks.network import Endpoint, Links
from corten.errors import Conflict, InvalidInput
from corten.linux.netlink import (
    Link,
    Netlink,
    Request,
    add_address,
    create_bridge,
    create_veth,
    delete_address,
    delete_link,
    mac_bytes,
    set_link,
)
from corten.linux.nftables import Nftables
from corten.linux.syscalls import KernelError

INTERFACE = "eth0"
PATIENCE = 5.0  # seconds to wait for another engine that is choosing a subnet
IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_LINK_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,14}", re.ASCII)
_TABLE_NAME = re.compile(r"[A-Za-z][\w.-]{0,63}", re.ASCII)


def ruleset(table: str, bridge: str, subnet: IPv4Network) -> str:
    """Return the transaction that makes *table* exactly what it should be, whatever it was.

    Containers reach everything, by the host's address; from outside only
    answers and published ports (translated destinations) reach them. Without
    the last rule any neighbour that routes the subnet to this host would
    reach every port of every container.
    """
    return f"""\
add table ip {table}
delete table ip {table}
table ip {table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != "{bridge}" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{bridge}" accept
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" ct status dnat accept
        oifname "{bridge}" drop
    }}
}}
"""


def random_mac() -> str:
    """Return a random MAC address: locally administered, for one station."""
    first = (random.getrandbits(8) & 0xFC) | 0x02
    return bytes([first, *random.randbytes(5)]).hex(":")


class BridgeNetwork:
    """A ``Network`` around one Linux bridge. Safe to share between threads.

    Made without touching the kernel; ``ensure`` before anything is plugged.

    Args:
        name: The network's name, as users know it.
        subnet: Its addresses; None takes those of the bridge found, or the
            first of Docker's default pools that this host does not use.
        bridge: Name of the bridge link, 15 characters at most.
        table: Name of the nftables table (family ip), owned whole.
        tag: Begins the alias of every link of ours; one per engine and host.
        mtu: Bytes.

    Raises:
        InvalidInput: a name the kernel or nft would not take, or a subnet without room.
    """

    def __init__(
        self,
        name: str,
        subnet: IPv4Network | None = None,
        *,
        bridge: str = "corten0",
        table: str = "corten",
        tag: str = "corten",
        mtu: int = 1500,
    ) -> None:
        if not _LINK_NAME.fullmatch(bridge):
            raise InvalidInput(f"bridge name {bridge!r}: use 1 to 15 letters, digits, '_', '.', '-'")
        if not _TABLE_NAME.fullmatch(table):
            raise InvalidInput(
                f"table name {table!r}: begin with a letter; use letters, digits, '_', '.', '-'"
            )
        self.name, self.bridge, self.table, self.mtu = name, bridge, table, mtu
        self.network_id = hashlib.sha256(f"{tag} {name}".encode()).hexdigest()
        self._bridge_alias = f"{tag} network {name}"
        self._endpoint_alias = f"{tag} endpoint {name}"
        # The same whenever the bridge is made, so that the containers' neighbour tables stay true.
        self._mac = bytes([0x02, *bytes.fromhex(self.network_id[:10])]).hex(":")
        self._changing = threading.Lock()  # one ensure or remove at a time
        self._lock = threading.Lock()  # over _pool and _live, never held while the kernel is asked
        self._pool = Pool(subnet) if subnet else None
        self._index = 0  # of the bridge; 0 while there is none
        self._live: set[str] = set()  # host ends plugged or adopted, not released

    @property
    def subnet(self) -> IPv4Network:
        """The addresses in use; known from the start or after ``ensure``."""
        return self._addresses.subnet

    @property
    def gateway(self) -> IPv4Address:
        """The host's own address on the bridge."""
        return self._addresses.gateway

    @property
    def _addresses(self) -> Pool:
        if self._pool is None:
            raise RuntimeError(f"network {self.name} has no subnet before ensure()")
        return self._pool

    def ensure(self) -> None:
        """Make kernel and wishes agree; idempotent, also repairs what others removed.

        Bridge (made or adopted), its only IPv4 address, up, forwarding on,
        endpoints back on the bridge, the nftables table. Works in the network
        namespace of the calling thread.

        Raises:
            Conflict: a link of that name exists and is not ours.
            KernelError: the kernel refused.
            Unavailable: no subnet is free, or libnftables is missing.
        """
        with self._changing, Netlink() as netlink:
            self._index = self._ensure_link(netlink).index
            self._ensure_address(netlink)
            with Nftables() as nftables:
                nftables.run(ruleset(self.table, self.bridge, self.subnet))
            _enable_forwarding()  # not before the rules that keep outsiders out
            self._replug(netlink)

    def remove(self) -> None:
        """Take table and bridge away; idempotent.

        Endpoints lose their way out but stay, as do forwarding and the
        addresses taken.

        Raises:
            Conflict: a link of that name exists and is not ours.
        """
        with self._changing, Netlink() as netlink:
            if self._own_link(netlink):
                _delete(netlink, self.bridge)
            self._index = 0
            with Nftables() as nftables:  # last, so that nothing is reachable without the rules
                nftables.run(f"add table ip {self.table}\ndelete table ip {self.table}\n")

    def _own_link(self, netlink: Netlink) -> Link | None:
        """Return our bridge, known by its alias, or by its MAC where a crash came before the alias."""
        link = netlink.link(self.bridge)
        if link and (link.kind != "bridge" or (link.alias != self._bridge_alias and link.mac != self._mac)):
            raise Conflict(
                f"link {self.bridge} exists and is not the bridge of this network: "
                f"choose another bridge name, or delete it with 'ip link delete {self.bridge}'"
            )
        return link

    def _ensure_link(self, netlink: Netlink) -> Link:
        if not self._own_link(netlink):
            netlink.execute(create_bridge(self.bridge, self._mac, self.mtu))
        link = self._own_link(netlink)
        if link is None:
            raise KernelError(errno.ENODEV, f"find bridge {self.bridge} just made")
        alias = self._bridge_alias
        netlink.execute(
            set_link(link.index, mac=self._mac, mtu=self.mtu, alias=alias, link_local=False),
            set_link(link.index, up=True),
        )
        return link

    def _ensure_address(self, netlink: Netlink) -> None:
        """Make the gateway the only IPv4 address of the bridge, choosing a subnet where none is known."""
        present = [entry.interface for entry in netlink.addresses() if entry.index == self._index]
        if self._pool is None and present:
            self._pool = Pool(present[0].network)
        with nullcontext() if self._pool else choosing():
            if self._pool is None:
                self._pool = Pool(_free_subnet(netlink))
            gateway = IPv4Interface((self.gateway, self.subnet.prefixlen))
            for interface in present:
                if interface != gateway:
                    _tolerate_gone(netlink, delete_address(self._index, interface))
            netlink.execute(add_address(self._index, gateway))

    def _replug(self, netlink: Netlink) -> None:
        """Put endpoints back on the bridge that lost it when it was deleted by hand."""
        for link in self._endpoint_links(netlink):
            if link.master != self._index:
                _tolerate_gone(netlink, set_link(link.index, master=self._index, up=True))

    def _endpoint_links(self, netlink: Netlink) -> list[Link]:
        return [link for link in netlink.links() if link.alias == self._endpoint_alias]

    def plug(
        self, links: Links, namespace: int, *, mac: str | None = None, address: str | None = None
    ) -> Endpoint:
        """See ``Network.plug``."""
        mac = _checked_mac(mac) if mac else random_mac()
        host_link = f"ct{secrets.token_hex(6)}"
        if not self._index:
            raise RuntimeError(f"network {self.name} has no bridge before ensure() and after remove()")
        with ExitStack() as undo:
            taken = self._take(host_link, address)
            undo.callback(self._forget, host_link, taken)
            links.execute(
                create_veth(host_link, INTERFACE, namespace, peer_mac=mac, mtu=self.mtu, master=self._index)
            )
            undo.callback(_delete, links, host_link)  # deletes both ends
            # not in one batch: had the name been taken, this would change a link of others
            links.execute(
                set_link(host_link, alias=self._endpoint_alias, link_local=False),
                set_link(host_link, up=True),
            )
            undo.pop_all()  # every step worked: keep them
        return Endpoint(
            network=self.name,
            network_id=self.network_id,
            endpoint_id=secrets.token_hex(32),
            host_link=host_link,
            interface=INTERFACE,
            address=str(taken),
            prefix=self.subnet.prefixlen,
            gateway=str(self.gateway),
            mac=mac,
        )

    def release(self, endpoint: Endpoint) -> None:
        """See ``Network.release``."""
        self._forget(endpoint.host_link, IPv4Address(endpoint.address))

    def adopt(self, endpoint: Endpoint) -> None:
        """See ``Network.adopt``; before a pool is filled, or its address may be given twice."""
        with self._lock:
            self._live.add(endpoint.host_link)
            self._addresses.reserve(IPv4Address(endpoint.address))

    def reconcile(self, claimed: set[str]) -> list[str]:
        """Delete links of ours on the host that no endpoint in use or in *claimed* has.

        Args:
            claimed: ``host_link`` of the endpoints that records know to be running.

        Returns:
            The names deleted.
        """
        with Netlink() as netlink:
            found = {link.name for link in self._endpoint_links(netlink)}
            with self._lock:
                stray = sorted(found - claimed - self._live)
            for name in stray:
                _delete(netlink, name)
        return stray

    def _take(self, host_link: str, address: str | None) -> IPv4Address:
        with self._lock:
            taken = self._addresses.take(_checked_address(address) if address else None)
            self._live.add(host_link)
            return taken

    def _forget(self, host_link: str, address: IPv4Address) -> None:
        """Give back what ``_take`` gave; only once, since the address may have a new owner by then."""
        with self._lock:
            if host_link in self._live:
                self._live.remove(host_link)
                self._addresses.release(address)


def _enable_forwarding() -> None:
    """Let this network namespace route; written only when off, since /proc/sys may be read-only."""
    with open(IP_FORWARD, "rb") as file:
        if file.read().strip() == b"1":
            return
    with open(IP_FORWARD, "wb", buffering=0) as file:
        file.write(b"1")


@contextmanager
def choosing() -> Iterator[None]:
    """Keep other engines of this network namespace from choosing a subnet at the same moment.

    The lock is on the namespace itself, so it needs no agreed place and ends
    with its holder. A container in the host's namespace could hold it for
    ever, so after ``PATIENCE`` the choice is made without.
    """
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + PATIENCE
        while not _locked(descriptor) and time.monotonic() < end:
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_subnet(netlink: Netlink) -> IPv4Network:
    taken = [entry.interface.network for entry in netlink.addresses()]
    return choose_subnet(taken + [route.destination for route in netlink.routes()])


def _delete(links: Links, name: str) -> None:
    _tolerate_gone(links, delete_link(name))


def _tolerate_gone(links: Links, request: Request) -> None:
    """Carry out *request*, content if its link or address went by itself.

    Links of ending containers do, and addresses that were second to a deleted one.
    """
    try:
        links.execute(request)
    except KernelError as error:
        if error.errno not in (errno.ENODEV, errno.EADDRNOTAVAIL):
            raise


def _checked_mac(mac: str) -> str:
    try:
        raw = mac_bytes(mac.replace("-", ":").lower())
    except ValueError:
        raise InvalidInput(f'invalid MAC address: "{mac}" is not of the form 02:42:ac:11:00:02') from None
    if raw[0] & 1 or not any(raw):
        raise InvalidInput(f'invalid MAC address: "{mac}" is not the address of one station')
    return raw.hex(":")


def _checked_address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise InvalidInput(f'invalid IPv4 address: "{text}"') from None
