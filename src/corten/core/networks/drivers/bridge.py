"""BridgeNetwork: a bridge with the host's addresses, and veth pairs from it into namespaces.

Desired state, never patches: ``ensure`` compares what the kernel has with
what should be and changes the difference. Whatever belongs to us carries an
alias made of *tag*, and nothing without it is ever touched: several engines,
and other programs, share the host.

Who may pass is decided elsewhere (the firewall's table, and routes that hold
without it); here stands only what a link itself can refuse. The bridge of an
internal network forwards nothing of IPv4. For IPv6 the kernel asks no single
link whether it forwards, so that bridge has no IPv6 at all: containers still
talk to each other across it, but neither through the host nor to it.

Source: bridge(8), Documentation/networking/ip-sysctl.rst.
"""

import errno
import re
import secrets
import socket
import threading
from contextlib import ExitStack
from ipaddress import IPv6Interface

from corten.core.networks.drivers import options, sysctls, wishes
from corten.core.networks.drivers.addresses import Addresses, endpoint
from corten.core.networks.drivers.carrier import notice
from corten.core.networks.values import Endpoint, Links, NetworkSpec, Wishes
from corten.errors import Conflict, InvalidInput, Unsupported
from corten.linux.netlink import (
    Link,
    Netlink,
    Request,
    add_address,
    create_bridge,
    create_veth,
    delete_address,
    delete_link,
    set_link,
    set_port,
)
from corten.linux.syscalls import KernelError

USUAL_MTU = 1500  # bytes, of Ethernet
LINK_LOCAL_GATEWAY = IPv6Interface("fe80::1/64")  # as routers have one, RFC 4291 section 2.8
_HOST_LINK = re.compile(r"ct[0-9a-f]{12}")  # every link from a bridge into a namespace is named so
_DEFAULT_ROUTE = re.compile(
    rb"^(\S+)\t0{8}\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t0{8}\t", re.MULTILINE
)  # proc(5)


class BridgeNetwork:
    """A ``Network`` around one Linux bridge. Safe to share between threads.

    Args:
        spec: What it shall be.
        tag: Begins the alias of every link of ours; one per engine and host.
        bridge: Name of the bridge link, 15 characters at most; an option of *spec* comes first.

    Raises:
        InvalidInput: a name the kernel would not take, a subnet without room, a bad option.
    """

    def __init__(self, spec: NetworkSpec, *, tag: str, bridge: str) -> None:
        name = spec.options.get(options.NAME) or bridge
        if not wishes.LINK_NAME.fullmatch(name):
            raise InvalidInput(f"bridge name {name!r}: use 1 to 15 letters, digits, '_', '.', '-'")
        self._spec, self._bridge, self._tag = spec, name, tag
        self._addresses = Addresses(spec.name, spec.subnets)
        self._ipv6 = self._addresses.has(6)
        self._isolated = True  # as ensure() found it right, where not self._icc
        self._icc = options.boolean(spec.options, options.ICC, default=True)
        self._mtu = options.mtu(spec.options) or USUAL_MTU
        self._bridge_alias = f"{tag} network {spec.id[:12]}"
        self._endpoint_alias = f"{tag} endpoint {spec.id[:12]}"
        # The same whenever the bridge is made, so that the containers' neighbour tables stay true.
        self._mac = bytes([0x02, *bytes.fromhex(spec.id[:10])]).hex(":")
        self._changing = threading.Lock()  # one ensure or remove at a time
        self._lock = threading.Lock()  # over _live, never held while the kernel is asked
        self._index = 0  # of the bridge; 0 while there is none
        self._live: dict[str, str] = {}  # endpoint plugged or adopted, not released -> its host end

    @property
    def spec(self) -> NetworkSpec:
        """See ``Network.spec``."""
        return self._spec

    @property
    def link(self) -> str:
        """See ``Network.link``."""
        return self._bridge

    def ensure(self) -> None:
        """Make kernel and wishes agree; idempotent, also repairs what others removed.

        Bridge (made or adopted), its settings and only addresses, forwarding
        on, endpoints back on the bridge. Works in the network namespace of
        the calling thread.

        Raises:
            Conflict: a link of that name exists and is not ours.
            Unsupported: it wants IPv6, which the kernel lacks.
            KernelError: the kernel refused.
        """
        with self._changing, Netlink() as netlink:
            if not self._spec.options.get(options.MTU):
                self._mtu = default_mtu(netlink)
            found = self._own_link(netlink)
            link = self._ensure_link(netlink, found)
            self._index = link.index
            self._ensure_settings(netlink)
            netlink.execute(set_link(link.index, up=True))
            self._ensure_addresses(netlink, fresh=found is None)
            self._isolated = self._is_isolated()
            self._replug(netlink, everyone=found is None)

    def remove(self) -> None:
        """Take the bridge away; idempotent.

        Endpoints lose their way out but stay, as do forwarding and the
        addresses taken.

        Raises:
            Conflict: a link of that name exists and is not ours.
        """
        with self._changing, Netlink() as netlink:
            if self._own_link(netlink):
                _tolerate_gone(netlink, delete_link(self._bridge))
            self._index = 0

    def _own_link(self, netlink: Netlink) -> Link | None:
        """Return our bridge, known by its alias, or by its MAC where a crash came before the alias."""
        link = netlink.link(self._bridge)
        if link and (link.kind != "bridge" or (link.alias != self._bridge_alias and link.mac != self._mac)):
            raise Conflict(
                f"link {self._bridge} exists and is not the bridge of this network: "
                f"choose another bridge name, or delete it with 'ip link delete {self._bridge}'"
            )
        return link

    def _ensure_link(self, netlink: Netlink, found: Link | None) -> Link:
        if found is None:
            netlink.execute(create_bridge(self._bridge, self._mac, self._mtu))
            found = self._own_link(netlink)
        if found is None:
            raise KernelError(errno.ENODEV, f"find bridge {self._bridge} just made")
        netlink.execute(
            set_link(found.index, mac=self._mac, mtu=self._mtu, alias=self._bridge_alias, link_local=False)
        )
        return found

    def _ensure_settings(self, netlink: Netlink) -> None:
        """Set what the bridge itself lets pass, before it is up.

        Containers may send packets to 127.0.0.1, which must not reach the
        host's own services (CVE-2020-8558), and announcements of routers, which
        the host must never believe (CVE-2020-13401). A reverse path filter
        has to ask with the mark of the packet: without it, the guard's routes
        say that nobody outside reaches a container, and it drops what comes out.
        """
        folder, internal = f"conf/{self._bridge}", self._spec.internal
        ipv6 = self._ipv6 and not internal
        if not internal:
            sysctls.forward_ipv4(lambda: self._closed(netlink))
        sysctls.settle_sysctl(f"ipv4/{folder}/forwarding", "0" if internal else "1")
        sysctls.settle_sysctl(f"ipv4/{folder}/route_localnet", "0")
        sysctls.settle_sysctl(f"ipv4/{folder}/src_valid_mark", "1")
        sysctls.mark(self._bridge, internal)
        try:
            sysctls.settle_sysctl(f"ipv6/{folder}/accept_ra", "0")
            sysctls.settle_sysctl(f"ipv6/{folder}/disable_ipv6", "0" if ipv6 else "1")
            if ipv6:
                sysctls.forward_ipv6()
        except FileNotFoundError:
            if self._ipv6:
                raise Unsupported(
                    f"network {self._spec.name} has an IPv6 subnet, but IPv6 is switched off in this kernel: "
                    f"boot without ipv6.disable=1, or make the network without IPv6"
                ) from None

    def _closed(self, netlink: Netlink) -> list[str]:
        """Return the bridges of our internal networks, which have a mark."""
        return [
            link.name
            for link in netlink.links()
            if link.alias.startswith(f"{self._tag} network ") and sysctls.is_marked(link.name)
        ]

    def _ensure_addresses(self, netlink: Netlink, *, fresh: bool) -> None:
        """Make the gateways the only addresses of the bridge; a *fresh* one has none."""
        wanted, families = self._addresses.gateways(4), [socket.AF_INET]
        if self._ipv6 and not self._spec.internal:
            wanted += [*self._addresses.gateways(6), LINK_LOCAL_GATEWAY]
            families.append(socket.AF_INET6)
        present = [
            entry.interface
            for family in (() if fresh else families)
            for entry in netlink.addresses(family)
            if entry.index == self._index
        ]
        for interface in present:
            if interface not in wanted:
                _tolerate_gone(netlink, delete_address(self._index, interface))
        # all of them: one that was second to a deleted one went with it
        netlink.execute(*(add_address(self._index, interface) for interface in wanted))

    def _replug(self, netlink: Netlink, *, everyone: bool) -> None:
        """Bring host ends back that lost the bridge; *everyone*'s, or those that are known."""
        with self._lock:
            names = list(self._live.values())
        if everyone:
            links: list[Link | None] = [*netlink.links()] if _host_links() else []
        else:
            links = [netlink.link(name) for name in names]
        for link in links:
            if link and link.alias == self._endpoint_alias:
                if link.master != self._index:
                    _tolerate_gone(netlink, set_link(link.index, master=self._index))
                    _tolerate_gone(netlink, set_link(link.index, up=True))
                _tolerate_gone(netlink, self._port(link.index), notice(link.name))
        netlink.execute(notice(self._bridge))

    def _port(self, link: str | int) -> Request:
        """Ask for what a port of the bridge is to be.

        With br_netfilter, what a container sends to its own published port
        is translated within the bridge, and has to leave by where it came in.
        """
        return set_port(link, hairpin=True, isolated=None if self._icc else self._isolated)

    def _is_isolated(self) -> bool:
        """Tell whether ports are to be kept from each other, where containers may not talk.

        The firewall does that too, and lets published ports pass, where it
        sees what is bridged. But there a published port is translated before
        the bridge forwards the packet, which an isolated port then refuses.
        """
        versions = [version for version in (4, 6) if self._addresses.has(version)]
        return not all(sysctls.filters_bridged(ipv6=version == 6) for version in versions)

    def plug(self, links: Links, namespace: int, wishes_: Wishes) -> Endpoint:
        """See ``Network.plug``."""
        wishes.check(wishes_)
        mac = wishes.mac_of(wishes_)
        if not self._index:
            raise RuntimeError(f"network {self._spec.name} has no bridge before ensure() and after remove()")
        endpoint_id, host_link = secrets.token_hex(32), f"ct{secrets.token_hex(6)}"
        with ExitStack() as undo:
            given = self._addresses.take(endpoint_id, wishes_)
            undo.callback(self._forget, endpoint_id)
            with self._lock:
                self._live[endpoint_id] = host_link
            self._create(links, host_link, namespace, wishes_.interface, mac, undo)
            undo.pop_all()  # every step worked: keep them
        if self._spec.internal:
            given = given[0].leading_out(""), given[1].leading_out("")
        return endpoint(self._spec, wishes_, endpoint_id, host_link, mac, given)

    def _create(
        self, links: Links, host_link: str, namespace: int, interface: str, mac: str, undo: ExitStack
    ) -> None:
        links.execute(
            create_veth(host_link, interface, namespace, peer_mac=mac, mtu=self._mtu, master=self._index)
        )
        undo.callback(_tolerate_gone, links, delete_link(host_link))  # deletes both ends
        # not in one batch: had the name been taken, this would change a link of others
        links.execute(
            set_link(host_link, alias=self._endpoint_alias, link_local=False),
            self._port(host_link),
            set_link(host_link, up=True),
        )

    def release(self, endpoint: Endpoint) -> None:
        """See ``Network.release``."""
        self._forget(endpoint.endpoint_id)

    def _forget(self, endpoint_id: str) -> None:
        with self._lock:
            self._live.pop(endpoint_id, None)
        self._addresses.give_back(endpoint_id)

    def adopt(self, endpoint: Endpoint) -> None:
        """See ``Network.adopt``; before sandboxes are stocked, or its address may be given twice."""
        with self._lock:
            self._live[endpoint.endpoint_id] = endpoint.host_link
        self._addresses.adopt(endpoint.endpoint_id, endpoint.address, endpoint.address6)

    def reconcile(self, claimed: set[str]) -> list[str]:
        """See ``Network.reconcile``."""
        # names first: whatever is made after this line cannot be taken for a stray
        found = _host_links()
        with self._lock:
            unclaimed = sorted(found - claimed - set(self._live.values()))
        with Netlink() as netlink:
            links = map(netlink.link, unclaimed)
            strays = [link.name for link in links if link and link.alias == self._endpoint_alias]
            for name in strays:
                _tolerate_gone(netlink, delete_link(name))
        return strays


def _host_links() -> set[str]:
    """Return the names of links that may be host ends, of whatever network and engine; quick."""
    return {name for _, name in socket.if_nameindex() if _HOST_LINK.fullmatch(name)}


def default_mtu(netlink: Netlink) -> int:
    """Return the largest packet in bytes that passes unbroken on the way out, 1500 at most."""
    # read as text: with hundreds of networks the routes would be a long list for one that is sought
    with open("/proc/thread-self/net/route", "rb") as file:
        found = _DEFAULT_ROUTE.search(file.read())
    link = netlink.link(found[1].decode()) if found else None
    return min(USUAL_MTU, link.mtu) if link else USUAL_MTU


def _tolerate_gone(links: Links, *requests: Request) -> None:
    """Carry out *requests*, content if their link or address went by itself.

    Links of ending containers do, and addresses that were second to a deleted one.
    """
    try:
        links.execute(*requests)
    except KernelError as error:
        if error.errno not in (errno.ENODEV, errno.EADDRNOTAVAIL):
            raise
