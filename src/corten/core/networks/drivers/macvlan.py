"""MacvlanNetwork: links of their own on a link of the host, so that containers stand in its network.

Nothing passes through the host's network stack, hence no firewall, ports or
gateway of ours. With macvlan every container has a MAC address of its own,
with ipvlan all share that of the parent. Without a parent they stand in a
network of nobody else's: the parent then is a bridge without ports, which
every kernel with containers has (dummy links it may not have).

Source: Documentation/networking/ipvlan.rst, linux/if_link.h.
"""

import errno
import re
import secrets
import threading
from contextlib import ExitStack

from corten.core.networks.drivers import options, sysctls, wishes
from corten.core.networks.drivers.addresses import Addresses, Given, endpoint
from corten.core.networks.values import Endpoint, Links, NetworkSpec, Wishes
from corten.errors import Conflict, InvalidInput, Unsupported
from corten.linux.netlink import (
    Link,
    Netlink,
    Request,
    create_bridge,
    create_ipvlan,
    create_macvlan,
    create_vlan,
    delete_link,
    set_link,
)
from corten.linux.syscalls import KernelError

MACVLAN_MODES = ("bridge", "private", "vepa", "passthru")
IPVLAN_MODES = ("l2", "l3", "l3s")
IPVLAN_FLAGS = ("", "bridge", "private", "vepa")
ON_LINK, ON_LINK6 = "0.0.0.0", "::"  # as gateways: everything is on the link itself
_VLAN = re.compile(r"(?P<parent>.+)\.(?P<id>\d{1,4})", re.ASCII)
_VLAN_IDS = range(1, 4095)
_MISSING = (errno.EOPNOTSUPP, errno.ENOTSUP)


class MacvlanNetwork:
    """A ``Network`` of macvlan or ipvlan links on one parent. Safe to share between threads.

    Args:
        spec: What it shall be.
        tag: Begins the alias of every link of ours; one per engine and host.

    Raises:
        InvalidInput: a parent or mode that cannot be, a subnet without room.
    """

    def __init__(self, spec: NetworkSpec, *, tag: str) -> None:
        self._spec = spec
        self._own = not spec.options.get(options.PARENT)
        self._parent = spec.options.get(options.PARENT) or f"dm-{spec.id[:12]}"
        if not wishes.LINK_NAME.fullmatch(self._parent) or self._parent == "lo":
            raise InvalidInput(f"parent {self._parent!r}: name a link of this host other than lo")
        self._mac = spec.driver == "macvlan"
        self._mode = options.choice(
            spec.options,
            *((options.MACVLAN_MODE, MACVLAN_MODES) if self._mac else (options.IPVLAN_MODE, IPVLAN_MODES)),
        )
        flag = options.choice(spec.options, options.IPVLAN_FLAG, IPVLAN_FLAGS)
        self._flag = "" if flag == "bridge" else flag
        self._mtu = options.mtu(spec.options)
        self._alias = f"{tag} network {spec.id[:12]}"
        self._addresses = Addresses(spec.name, spec.subnets)
        self._changing = threading.Lock()  # one ensure or remove at a time
        self._index = 0  # of the parent; 0 while there is none

    @property
    def spec(self) -> NetworkSpec:
        """See ``Network.spec``."""
        return self._spec

    @property
    def link(self) -> str:
        """See ``Network.link``."""
        return self._parent

    def ensure(self) -> None:
        """Find the parent, or make it where it is a VLAN or our own; idempotent.

        Works in the network namespace of the calling thread.

        Raises:
            InvalidInput: the parent does not exist.
            Conflict: a link named like our own parent is not ours.
            Unsupported: the kernel lacks such links.
            KernelError: the kernel refused.
        """
        with self._changing, Netlink() as netlink:
            found = netlink.link(self._parent)
            if found is None:
                found = self._make_parent(netlink)
                self._probe(netlink, found.index)
            elif self._own and found.alias != self._alias and not _is_fresh(found):
                raise Conflict(
                    f"link {self._parent} exists and is not of network {self._spec.name}: "
                    f"delete it with 'ip link delete {self._parent}'"
                )
            elif not self._index:
                self._probe(netlink, found.index)
            if self._own or found.alias == self._alias:
                self._settle(netlink, found.index)
            self._index = found.index

    def _make_parent(self, netlink: Netlink) -> Link:
        vlan = None if self._own else _VLAN.fullmatch(self._parent)
        if self._own:
            self._create(netlink, create_bridge(self._parent), "bridge")
        elif vlan:
            self._create(netlink, self._vlan(netlink, vlan["parent"], int(vlan["id"])), "VLAN")
        made = netlink.link(self._parent) if self._own or vlan else None
        if made is None:
            raise InvalidInput(
                f"parent {self._parent} does not exist: name a link that 'ip link' shows, "
                f"or LINK.NUMBER for a VLAN on one"
            )
        netlink.execute(set_link(made.index, alias=self._alias, link_local=not self._own))
        return made

    def _vlan(self, netlink: Netlink, parent: str, identifier: int) -> Request:
        below = netlink.link(parent)
        if below is None:
            raise InvalidInput(f"parent {parent} does not exist: name a link that 'ip link' shows")
        if identifier not in _VLAN_IDS:
            raise InvalidInput(f"parent {self._parent}: VLANs have numbers from 1 to 4094")
        return create_vlan(self._parent, below.index, identifier)

    def _settle(self, netlink: Netlink, index: int) -> None:
        """Bring a parent of ours up; one that is only ours has no part in IP."""
        netlink.execute(set_link(index, alias=self._alias, link_local=not self._own))
        if self._own:
            sysctls.settle_sysctl(f"ipv4/conf/{self._parent}/forwarding", "0")
            sysctls.refuse_ipv6(self._parent)
        netlink.execute(set_link(index, up=True))

    def _probe(self, netlink: Netlink, index: int) -> None:
        """Find out whether the kernel can do ipvlan on the parent, which is the rarer one, by doing it."""
        if not self._mac:
            name = f"ip{secrets.token_hex(6)}"
            self._create(netlink, create_ipvlan(name, index, self._mode, self._flag), "ipvlan")
            netlink.execute(delete_link(name))

    def _create(self, links: Links, request: Request, kind: str) -> None:
        try:
            links.execute(request)
        except KernelError as error:
            if error.errno in _MISSING:
                raise Unsupported(
                    f"network {self._spec.name}: this kernel has no {kind} links: "
                    f"load the module, or choose another driver or parent"
                ) from None
            if error.errno == errno.EBUSY:
                raise Conflict(
                    f"network {self._spec.name}: parent {self._parent} is used otherwise: choose another one"
                ) from None
            raise

    def remove(self) -> None:
        """Take away the parent if we made it; idempotent."""
        with self._changing, Netlink() as netlink:
            found = netlink.link(self._parent)
            if found and found.alias == self._alias:
                _delete(netlink, self._parent)
            self._index = 0

    def plug(self, links: Links, namespace: int, wishes_: Wishes) -> Endpoint:
        """See ``Network.plug``."""
        wishes.check(wishes_)
        if wishes_.mac and not self._mac:
            raise InvalidInput(
                f"network {self._spec.name}: ipvlan links have the MAC address of their parent: ask for none"
            )
        mac = wishes.mac_of(wishes_) if self._mac else ""
        if not self._index:
            raise RuntimeError(f"network {self._spec.name} has no parent before ensure() and after remove()")
        endpoint_id = secrets.token_hex(32)
        with ExitStack() as undo:
            ipv4, ipv6 = self._addresses.take(endpoint_id, wishes_)
            undo.callback(self._addresses.give_back, endpoint_id)
            self._create(links, self._link(namespace, wishes_.interface, mac), self._spec.driver)
            undo.pop_all()
        given = self._led_out(ipv4, ON_LINK), self._led_out(ipv6, ON_LINK6)
        return endpoint(self._spec, wishes_, endpoint_id, "", mac, given)

    def _link(self, namespace: int, name: str, mac: str) -> Request:
        if self._mac:
            return create_macvlan(name, self._index, self._mode, mac=mac, namespace=namespace, mtu=self._mtu)
        return create_ipvlan(name, self._index, self._mode, self._flag, namespace=namespace, mtu=self._mtu)

    def _led_out(self, given: Given, on_link: str) -> Given:
        """Return an address with its way out: none of an internal network, the link itself where the parent routes."""
        if self._own or self._spec.internal:
            return given.leading_out("")
        return given.leading_out(on_link) if self._mode in ("l3", "l3s") else given

    def release(self, endpoint: Endpoint) -> None:
        """See ``Network.release``."""
        self._addresses.give_back(endpoint.endpoint_id)

    def adopt(self, endpoint: Endpoint) -> None:
        """See ``Network.adopt``; before sandboxes are stocked, or its address may be given twice."""
        self._addresses.adopt(endpoint.endpoint_id, endpoint.address, endpoint.address6)

    def reconcile(self, claimed: set[str]) -> list[str]:
        """See ``Network.reconcile``: nothing, since all links are inside and go with their namespace."""
        del claimed
        return []


def _is_fresh(link: Link) -> bool:
    """Tell whether a link is one that a crash left before it had its alias."""
    return link.kind == "bridge" and not link.alias and not link.up


def _delete(links: Links, name: str) -> None:
    try:
        links.execute(delete_link(name))
    except KernelError as error:
        if error.errno != errno.ENODEV:  # it went by itself
            raise
