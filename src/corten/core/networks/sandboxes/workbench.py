"""Workbench: what one thread needs to make network namespaces and to change them, and how it is done."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.drivers import wishes
from corten.core.networks.drivers.carrier import notice
from corten.core.networks.sandboxes.namespaces import KernelNamespaces, Namespaces
from corten.core.networks.sandboxes.sandbox import Sandbox
from corten.core.networks.values import Attachment, Endpoint, Links, Network
from corten.linux.netlink import Netlink, delete_link
from corten.linux.syscalls import KernelError


class Workbench:
    """Tools of one thread.

    Args:
        namespaces: Of that thread.
        links: A socket in the network namespace of the host.
        open_resolver: Opens the sockets for names in the namespace that the thread is in.
    """

    def __init__(self, namespaces: Namespaces, links: Links, open_resolver: Callable[[], Resolver]) -> None:
        self._namespaces, self._links, self._open_resolver = namespaces, links, open_resolver

    def make(
        self, attachments: Sequence[Attachment], *, names: bool = False, bare: Sandbox | None = None
    ) -> Sandbox:
        """Make a namespace and plug it into networks; all of it, or nothing.

        Args:
            attachments: In the order of the endpoints; none leaves the loopback link alone in there.
            names: Whether questions for names shall arrive at a resolver.
            bare: A sandbox without endpoints to do it with, used up also by a failure.

        Raises:
            InvalidInput, Conflict, Unavailable, KernelError: as ``Network.plug``.
            OSError: as ``Namespaces``.
        """
        with ExitStack() as undo:
            if bare:
                undo.callback(bare.release)
            entry = self._namespaces.entered(bare.fileno()) if bare else self._namespaces.fresh()
            with entry as descriptor, ExitStack() as made:
                if not bare:
                    made.callback(self._namespaces.close, descriptor)
                    self._namespaces.prepare()
                plugged = [(each.network, self._plug(made, descriptor, each)) for each in attachments]
                resolver = self._open_resolver() if names else None
                made.pop_all()  # every step worked: keep them
            undo.pop_all()
        return Sandbox(descriptor, plugged, resolver)

    def _plug(self, undo: ExitStack, namespace: int, attachment: Attachment) -> Endpoint:
        """Plug the namespace that the thread is in; *undo* forgets it, since the link goes with the namespace."""
        network = attachment.network
        further = wishes.link_local(attachment.wishes)
        endpoint = network.plug(self._links, namespace, attachment.wishes)
        undo.callback(network.release, endpoint)
        self._namespaces.bring_up(endpoint, further, default=attachment.default)
        self._join(network, endpoint)
        return endpoint

    def _join(self, network: Network, endpoint: Endpoint) -> None:
        """Have the bridge pass on packets now, and send its own if this is its first port; then say who is there.

        What the end said when it came up got lost if the bridge was not ready.
        """
        if endpoint.host_link:
            self._links.execute(notice(endpoint.host_link), notice(network.link))
        self._namespaces.announce(endpoint)

    def connect(self, namespace: int, attachment: Attachment) -> Endpoint:
        """Plug a living namespace into one more network; all of it, or nothing.

        Raises:
            InvalidInput, Conflict, Unavailable, KernelError: as ``Network.plug``.
            OSError: as ``Namespaces``.
        """
        network = attachment.network
        further = wishes.link_local(attachment.wishes)
        with self._namespaces.entered(namespace), ExitStack() as undo:
            endpoint = network.plug(self._links, namespace, attachment.wishes)
            undo.callback(network.release, endpoint)
            undo.callback(self._unplug, endpoint)
            self._namespaces.bring_up(endpoint, further, default=attachment.default)
            self._join(network, endpoint)
            undo.pop_all()
        return endpoint

    def disconnect(self, namespace: int, network: Network, endpoint: Endpoint) -> None:
        """Take the link out of a living namespace and give the addresses back; idempotent. Some 20 ms.

        Raises:
            KernelError: the kernel refused; the addresses stay taken.
        """
        with self._namespaces.entered(namespace):
            self._unplug(endpoint)
        network.release(endpoint)

    def _unplug(self, endpoint: Endpoint) -> None:
        """Delete the link: from outside where it has an end there, whatever the inside did to its own."""
        if not endpoint.host_link:
            self._namespaces.unplug(endpoint)
            return
        try:
            self._links.execute(delete_link(endpoint.host_link))
        except KernelError as error:
            if error.errno != errno.ENODEV:  # it is gone already
                raise

    def lead_out(self, namespace: int, endpoint: Endpoint | None) -> None:
        """Have the default routes of a living namespace lead through *endpoint*, and have no others.

        Raises:
            OSError: as ``Namespaces``.
        """
        with self._namespaces.entered(namespace):
            self._namespaces.lead_out(endpoint)

    def add_resolver(self, sandbox: Sandbox) -> Sandbox:
        """Open the sockets for names in a sandbox that has none yet, which is released if that fails.

        Raises:
            OSError: as ``open_resolver``.
        """
        with ExitStack() as undo:
            undo.callback(sandbox.release)
            sandbox.resolver = self.resolver(sandbox.fileno())
            undo.pop_all()
        return sandbox

    def resolver(self, namespace: int) -> Resolver:
        """Open the sockets for names in a living namespace.

        Raises:
            OSError: as ``open_resolver``.
        """
        with self._namespaces.entered(namespace):
            return self._open_resolver()


@contextmanager
def kernel_workbench(open_resolver: Callable[[], Resolver]) -> Iterator[Workbench]:
    """Open what one thread needs to work on namespaces, from the network namespace of the caller."""
    namespaces = KernelNamespaces()
    try:
        with Netlink() as links:
            yield Workbench(namespaces, links, open_resolver)
    finally:
        namespaces.stop()
