"""Network: what a sandbox is plugged into; Endpoint: one such attachment."""

from typing import Protocol

import msgspec

from corten.linux.netlink import Request


class Endpoint(msgspec.Struct, frozen=True):
    """The attachment of one network namespace to one network, as text fit for a record.

    ``host_link`` is the end of the veth pair outside, ``interface`` the one
    inside; ``address`` has ``prefix`` bits of network.
    """

    network: str
    network_id: str
    endpoint_id: str
    host_link: str
    interface: str
    address: str
    prefix: int
    gateway: str
    mac: str


class Links(Protocol):
    """What plugging needs of a ``Netlink``."""

    def execute(self, *requests: Request) -> None:
        """See ``Netlink.execute``."""
        ...


class Network(Protocol):
    """Something that gives endpoints to network namespaces. Safe to share between threads."""

    def plug(
        self, links: Links, namespace: int, *, mac: str | None = None, address: str | None = None
    ) -> Endpoint:
        """Put one end of a new link into *namespace*, down and without its address yet.

        All of it or nothing. The endpoint goes when the namespace goes.

        Args:
            links: A socket in the network namespace of the host.
            namespace: Descriptor of the network namespace to plug.
            mac: Wish, else random and locally administered.
            address: Wish, else the next free one.

        Raises:
            InvalidInput: a wish that cannot be.
            Conflict: *address* is taken.
            Unavailable: no address is free.
            KernelError: the kernel refused.
        """
        ...

    def release(self, endpoint: Endpoint) -> None:
        """Give the address back; idempotent. The links go with the namespace, not here."""
        ...

    def adopt(self, endpoint: Endpoint) -> None:
        """Count *endpoint*, of a container found running, as one of ours again; idempotent."""
        ...
