"""Updating: what can be changed of a container without making a new one.

Limits and restart policy, as in Docker; and beyond it labels, published ports,
mounts and networks, of a container that runs without a restart. One request is
carried out whole or not at all: what was done is undone in reverse when a
later part is refused. The record is written last.

Order: networks to join come first, since ports lead to them; then limits,
mounts and ports under the container's lock; networks to leave come last, since
giving an address up cannot be undone for certain.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Protocol

from msgspec.structs import replace

from corten.engine.containers.limits import Kernel, difference, warnings
from corten.engine.containers.live_mounts import LiveMounts, Mounting
from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.revision import revised, unchanged
from corten.engine.containers.update_request import Bindings, UpdateRequest
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint
from corten.errors import Conflict, CortenError, Forbidden

SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")
WEIGHT = ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight")


class Attachments(Protocol):
    """What updating needs of networks; see ``engine.networks.live``."""

    async def publish(self, container: Container, bindings: Bindings, /) -> Container:
        """Publish *bindings* instead of what was so far and store the record; the caller holds the lock."""
        ...

    async def connect(self, reference: str, container: Container, settings: EndpointSettings, /) -> Container:
        """Attach to one more network and store that; takes the lock itself."""
        ...

    async def disconnect(self, reference: str, container: Container, /) -> Container:
        """Detach from a network and store that; takes the lock itself."""
        ...


class Updating:
    """The verb; one object for all containers."""

    def __init__(self, parts: Parts, mounting: Mounting, attachments: Attachments) -> None:
        self._parts, self._attachments, self._mounting = parts, attachments, mounting
        self._mounts = LiveMounts(parts, mounting)

    async def update(self, ref: str, request: UpdateRequest) -> list[str]:
        """Change a container, running or not; returns warnings.

        Raises:
            NotFound: no such container, network, image, mount or published port.
            InvalidInput: a value that cannot be, or that the kernel refuses.
            Conflict: it contradicts what is set already; a port is in use.
            Forbidden: a network that it cannot join, or is not on.
            Unsupported, Unavailable: this machine or a volume cannot do it.
        """
        container = self._parts.records.find(ref)
        revised(container, request, self._parts.host)
        if request.changes_mounts:
            self._mounts.check(container, request)
        leaving = [_attached(container, network) for network in request.network_remove or ()]
        joining = request.network_add or {}
        early = [e for e in leaving if e.network in joining or e.network_id in joining]
        async with AsyncExitStack() as undo:
            for endpoint in early:
                await self._leave(container.id, endpoint, undo)
            for network, settings in joining.items():
                await self._join(container.id, network, settings or EndpointSettings(), undo)
            await self._change(container.id, request, undo)
            for endpoint in leaving:
                if endpoint not in early:
                    await self._leave(container.id, endpoint, undo)
            undo.pop_all()
        self._parts.tell("update", self._parts.records.get(container.id))
        return self._warnings(request)

    async def _join(
        self, identifier: str, network: str, settings: EndpointSettings, undo: AsyncExitStack
    ) -> None:
        await self._attachments.connect(network, self._parts.records.get(identifier), settings)
        undo.push_async_callback(self._no_longer, identifier, network)

    async def _no_longer(self, identifier: str, network: str) -> None:
        with suppress(CortenError):
            await self._attachments.disconnect(network, self._parts.records.get(identifier))

    async def _leave(self, identifier: str, endpoint: Endpoint, undo: AsyncExitStack) -> None:
        network = endpoint.network_id or endpoint.network
        await self._attachments.disconnect(network, self._parts.records.get(identifier))
        undo.push_async_callback(self._again, identifier, network, endpoint.wishes or EndpointSettings())

    async def _again(self, identifier: str, network: str, settings: EndpointSettings) -> None:
        with suppress(CortenError):
            await self._attachments.connect(network, self._parts.records.get(identifier), settings)

    async def _change(self, identifier: str, request: UpdateRequest, undo: AsyncExitStack) -> None:
        """Carry out all but networks."""
        parts = self._parts
        async with parts.lock(identifier):
            now = parts.records.get(identifier)
            async with self._mounts.changed(now, request) as mounted:
                then = revised(mounted, request, parts.host)
                await self._switch(now, then)
            undo.push_async_callback(self._back, now)

    def _warnings(self, request: UpdateRequest) -> list[str]:
        groups = self._parts.groups
        return warnings(request.resources, Kernel(swap=groups.offers(*SWAP), weight=groups.offers(*WEIGHT)))

    async def _back(self, former: Container) -> None:
        """Give a container back what a later failure must not have changed."""
        async with self._parts.lock(former.id):
            now = self._parts.records.get(former.id)
            then = replace(now, config=former.config, host_config=former.host_config, mounts=former.mounts)
            with suppress(CortenError):
                await self._switch(now, then)

    async def _switch(self, now: Container, then: Container) -> None:
        """Make the container, whose lock is held, and its record what *then* says; or leave both."""
        async with AsyncExitStack() as undo:
            if is_up(now):
                undo.push_async_callback(self._mounting.release, now)
                await self._limit(now, then)
                undo.push_async_callback(self._limit, then, now)
                await self._mounts.switch(now, then)
                undo.push_async_callback(self._mounts.switch, then, now)
            if unchanged(now.host_config, then.host_config):
                self._parts.records.put(then)
            else:
                await self._attachments.publish(then, then.host_config.port_bindings or {})
            undo.pop_all()
        if is_up(now):
            await self._mounting.release(then)

    async def _limit(self, now: Container, then: Container) -> None:
        """Write the limits that differ; after a refusal those of *now* are in force."""
        parts = self._parts
        limits = difference(now.host_config, then.host_config, parts.host)
        if not limits:
            return
        path = parts.cgroup_path(now)
        try:
            await asyncio.to_thread(parts.groups.apply, path, limits)
        except (CortenError, OSError) as failure:
            former = difference(then.host_config, now.host_config, parts.host)
            with suppress(CortenError, OSError):
                await asyncio.to_thread(parts.groups.apply, path, former)
            if isinstance(failure, CortenError):
                raise
            raise Conflict(f"cannot update container {now.name}: {failure}") from None


def _attached(container: Container, network: str) -> Endpoint:
    """Return the attachment of a container to *network*, a name, an id or the start of one.

    Raises:
        Forbidden: there is none.
    """
    for endpoint in container.endpoints:
        if network and (network == endpoint.network or endpoint.network_id.startswith(network)):
            return endpoint
    raise Forbidden(f"container {container.id} is not connected to network {network}")
