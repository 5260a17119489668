"""Sandbox: a network namespace of its own, with its endpoints.

A namespace lives as long as a descriptor, a process, a thread or a socket
holds it; when it goes, the kernel deletes its links, and with an end inside
goes the end outside. That makes dropping the descriptor the whole of the
tear-down (0.15 ms, where deleting a veth takes 16 to 19).

Source: network_namespaces(7), veth(4).
"""

import os
from collections.abc import Sequence

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.values import Endpoint, Network


class Sandbox:
    """A network namespace, owned by its descriptor.

    Whoever takes it calls ``release`` once the container is done. A process
    that was put inside keeps the namespace alive beyond that.

    Args:
        descriptor: Of the namespace; closed here.
        plugged: The endpoints, each with its network.
        resolver: Where questions for names arrive; None where there are no names.
    """

    def __init__(
        self,
        descriptor: int,
        plugged: Sequence[tuple[Network, Endpoint]] = (),
        resolver: Resolver | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._plugged = tuple(plugged)
        self.resolver = resolver

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those it was made with, in the order asked for."""
        return tuple(endpoint for _, endpoint in self._plugged)

    def fileno(self) -> int:
        """Return the descriptor of the namespace, for setns(2); -1 when closed."""
        return self._descriptor

    def close(self) -> None:
        """Drop the descriptor but keep addresses and names: the container goes on without us; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def release(self) -> None:
        """Drop the descriptor, close the resolver and give the addresses back; idempotent.

        The kernel deletes the links in the background as soon as no process
        is inside any more.
        """
        self.close()
        if self.resolver:
            self.resolver.close()
        for network, endpoint in self._plugged:
            network.release(endpoint)
