"""What networks are made of, as values fit for a record: no I/O."""

from typing import Protocol

import msgspec

from corten.linux.netlink import Request


class Subnet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One range of addresses of a network, IPv4 or IPv6, in CIDR form.

    ``gateway`` is the host's own address; ``ip_range`` the part from which
    addresses are given without a wish; ``reserved`` are never given
    (``--aux-address``), by the names that the user has for them.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    reserved: dict[str, str] = {}


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a network shall be.

    ``id`` has 64 hex digits; ``driver`` is bridge, macvlan or ipvlan;
    ``subnets`` are complete (see ``ipam.complete``); ``options`` are Docker's
    driver options (``com.docker.network.bridge.name``, ``parent``...);
    ``internal`` networks have no way out.
    """

    id: str
    name: str
    driver: str = "bridge"
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    options: dict[str, str] = {}


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint asks for; an empty text leaves the choice to the network.

    ``interface`` is the name of the link inside; ``link_local`` are further
    addresses (``--link-local-ip``).
    """

    mac: str = ""
    address: str = ""
    address6: str = ""
    interface: str = "eth0"
    link_local: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The attachment of one network namespace to one network, as text fit for a record.

    ``host_link`` is the link outside, empty where the driver has none there
    (macvlan); ``interface`` the one inside; ``address`` has ``prefix`` bits of
    network. What a network does not have (IPv6, a gateway) is empty, or 0.
    """

    network: str
    network_id: str
    endpoint_id: str
    host_link: str
    interface: str
    mac: str
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    address6: str = ""
    prefix6: int = 0
    gateway6: str = ""


class Links(Protocol):
    """What plugging needs of a ``Netlink``."""

    def execute(self, *requests: Request) -> None:
        """See ``Netlink.execute``."""
        ...


class Network(Protocol):
    """Something that gives endpoints to network namespaces. Safe to share between threads.

    Made without touching the kernel; ``ensure`` before anything is plugged.
    """

    @property
    def spec(self) -> NetworkSpec:
        """What it shall be."""
        ...

    @property
    def link(self) -> str:
        """Name of its link on the host: the bridge, or the parent of macvlan; empty for none."""
        ...

    def ensure(self) -> None:
        """Make kernel and wishes agree; idempotent, also repairs what others removed.

        Raises:
            Conflict: a link of that name exists and is not ours.
            KernelError: the kernel refused.
        """
        ...

    def remove(self) -> None:
        """Take away what ``ensure`` made; idempotent."""
        ...

    def plug(self, links: Links, namespace: int, wishes: Wishes) -> Endpoint:
        """Put a new link into *namespace*, down and without its addresses yet; all of it or nothing.

        Args:
            links: A socket in the network namespace of the host.
            namespace: Descriptor of the network namespace to plug.
            wishes: What the user asked for.

        Raises:
            InvalidInput: a wish that cannot be.
            Conflict: an address is taken.
            Unavailable: no address is free.
            KernelError: the kernel refused.
        """
        ...

    def release(self, endpoint: Endpoint) -> None:
        """Give the addresses back; idempotent. The links go with the namespace, not here."""
        ...

    def adopt(self, endpoint: Endpoint) -> None:
        """Count *endpoint*, of a container found running, as one of ours again; idempotent."""
        ...

    def reconcile(self, claimed: set[str]) -> list[str]:
        """Delete links of ours on the host that no endpoint in use or in *claimed* (host_link) has; return them."""
        ...


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One network to plug a namespace into; ``default`` says that the default routes lead through it."""

    network: Network
    wishes: Wishes = Wishes()
    default: bool = True
