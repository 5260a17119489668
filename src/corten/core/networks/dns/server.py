"""DnsServer: the name server of all containers on user networks, in the daemon's loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from corten.core.networks.dns.forward import Forwarder
from corten.core.networks.dns.service import Service
from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.dns.view import View
from corten.core.networks.dns.zone import Zone


class DnsServer:
    """Answers in every network namespace that is attached, from ``zone``, which its owner keeps.

    All methods are called in the thread of the running loop.
    """

    def __init__(self, forwarder: Forwarder | None = None) -> None:
        self.zone = Zone()
        self._forwarder = forwarder or Forwarder()
        self._services: dict[str, Service] = {}
        self._ending: set[asyncio.Task[None]] = set()
        # it enters network namespaces, which the thread of the loop never does
        self._visitor = ThreadPoolExecutor(1, thread_name_prefix="dns-visitor")

    def attach(self, owner: str, resolver: Resolver, view: View) -> None:
        """Answer at *resolver*, whose sockets are ours from now on, as *view* allows.

        Args:
            owner: The container; what it had before is detached.
            resolver: Sockets in its network namespace; closing it from now on has no effect.
            view: What it sees.
        """
        self.detach(owner)
        service = Service(resolver.taken(), view, self.zone, self._forwarder, self._visitor)
        self._services[owner] = service
        service.begin()

    def update(self, owner: str, view: View) -> None:
        """Change what a container sees, for the questions to come; nothing for who is not attached."""
        if owner in self._services:
            self._services[owner].view = view

    def detach(self, owner: str) -> None:
        """Close a container's sockets, which lets its network namespace go; idempotent."""
        service = self._services.pop(owner, None)
        if service is None:
            return
        for task in service.end():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Detach all; idempotent."""
        for owner in list(self._services):
            self.detach(owner)
        if self._ending:
            await asyncio.wait(self._ending)
        await asyncio.to_thread(self._visitor.shutdown, cancel_futures=True)
