"""Live: attachments, ports and names of a container, changed while it lives.

The process stays what it is; only its namespace, the firewall and the name
server change. A container that does not run has its record changed, which the
next start follows.

While the namespace of a living container is being changed, its record has the
attachment in question without an id. So a daemon that finds one like that
knows that its predecessor died on the way: it takes the attachment away
(``Attachments.settle``), which undoes a connect and completes a disconnect.
Whatever is put on record starts from the record as it is then, never from one
read before something slow.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack

from msgspec.structs import replace

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.values import Attachment
from corten.core.networks.values import Endpoint as Plugged
from corten.engine.networks import wishes
from corten.engine.networks.attachments import Attachments
from corten.engine.networks.endpoints import fact, free_number, namespace_of, plugged
from corten.engine.records.config import EndpointSettings, PortBinding
from corten.engine.records.container import Container, Endpoint, Published
from corten.engine.records.network import PREDEFINED, Network
from corten.engine.threads import finished
from corten.errors import Conflict, Forbidden

UP = ("running", "paused")
HOST_ONLY = "container cannot be disconnected from host network or connected to host network"
SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
NONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"

Bindings = dict[str, tuple[PortBinding, ...] | None]

log = logging.getLogger("corten.networks")


class Live:
    """Changes of living containers; ``lock`` orders the moves of one container."""

    def __init__(self, attachments: Attachments, lock: Callable[[str], asyncio.Lock]) -> None:
        self._all, self._lock = attachments, lock
        self._networks, self._containers = attachments.networks, attachments.containers

    async def connect(self, reference: str, container: Container, settings: EndpointSettings) -> Container:
        """Attach a container to one more network; one that does not run gets it at its next start.

        Returns:
            The record as stored.

        Raises:
            NotFound: no such network.
            Forbidden: it is on that network already, or either cannot have more than one.
            InvalidInput, Conflict, Unavailable: the wishes cannot be met.
        """
        async with self._lock(container.id):
            network = self._networks.find(reference)
            container = self._containers.get(container.id)
            _check_connect(network, container, settings)
            endpoint = wishes.endpoint(network, settings)
            if container.state.status not in UP:
                return self._record(container.id, (*_without(container, "none"), endpoint))
            with self._all.using(network.id):
                container = await self._join(container, endpoint)
            self._all.tell("connect", network, container.id)
            return container

    async def _join(self, container: Container, endpoint: Endpoint) -> Container:
        """Attach a running container to one more network: all of it, or nothing; returns the record as stored."""
        former, others = container.endpoints, _without(container, "none")
        plug = self._all.plug(endpoint, free_number(others), default=False)
        with ExitStack() as always:
            descriptor = _open(container)
            always.callback(os.close, descriptor)
            self._record(container.id, (*others, replace(endpoint, interface=plug.wishes.interface)))
            undo = ExitStack()  # of what is done in the thread
            try:
                made, resolver = await finished(
                    lambda: self._plug(container, endpoint, plug, descriptor, undo)
                )
                changed = self._changed(container.id, (*others, fact(container, endpoint, made)))
            except BaseException:
                await finished(undo.close)
                self._record(container.id, former)
                raise
        self._all.naming.change(changed, resolver)
        return changed

    def _plug(
        self, container: Container, endpoint: Endpoint, plug: Attachment, descriptor: int, undo: ExitStack
    ) -> tuple[Plugged, Resolver | None]:
        """Change the namespace; *undo* is told how to change it back.

        Returns:
            What the kernel has, and where the container's questions come from if none did before.
        """
        others = _without(container, "none")
        sandboxes = self._all.fabric.sandboxes
        former = wishes.gateway_of(others, self._networks.find)
        made = sandboxes.connect(descriptor, plug)
        undo.callback(sandboxes.disconnect, descriptor, plug.network, made)
        if wishes.gateway_of((*others, endpoint), self._networks.find) is endpoint:
            undo.callback(sandboxes.set_default, descriptor, plugged(former) if former else None)
            sandboxes.set_default(descriptor, made)
        if endpoint.network in PREDEFINED or any(e.names for e in others):
            return made, None
        resolver = sandboxes.resolver(descriptor)
        undo.callback(resolver.close)
        return made, resolver

    async def disconnect(self, reference: str, container: Container, *, force: bool = False) -> Container:
        """Detach a container from a network.

        Args:
            reference: The network.
            container: Its record.
            force: Forget the attachment even if its namespace cannot be reached.

        Returns:
            The record as stored.

        Raises:
            NotFound: no such network.
            Forbidden: it is not on that network, or that is the host's.
        """
        async with self._lock(container.id):
            network = self._networks.find(reference)
            container = self._containers.get(container.id)
            if network.name == "host":
                raise Forbidden(HOST_ONLY)
            gone = next((e for e in container.endpoints if e.network_id == network.id), None)
            if gone is None:
                raise Forbidden(f"container {container.id} is not connected to network {network.name}")
            if container.state.status in UP and gone.endpoint_id:
                container = await self._part(container, gone, force)
                self._all.tell("disconnect", network, container.id)
                return container
            return self._record(container.id, _others(container, gone))

    async def _part(self, container: Container, gone: Endpoint, force: bool) -> Container:
        """Detach a running container; returns the record as stored."""
        former, left = container.endpoints, _others(container, gone)
        self._record(
            container.id, tuple(replace(e, endpoint_id="") if e is gone else e for e in container.endpoints)
        )
        try:
            await finished(lambda: self._unplug(container, gone, force))
        except BaseException:
            self._record(container.id, former)
            raise
        container = self._changed(container.id, left)
        self._all.naming.withdraw(gone)
        self._all.naming.change(container, None)
        return container

    def _unplug(self, container: Container, gone: Endpoint, force: bool) -> None:
        driver = self._all.fabric.driver(gone.network_id)
        try:
            descriptor = _open(container)
        except Conflict:
            if not force:
                raise
            driver.release(plugged(gone))
            return
        try:
            self._all.fabric.sandboxes.disconnect(descriptor, driver, plugged(gone))
            self._lead_out(container, gone, descriptor)
        finally:
            os.close(descriptor)

    def _lead_out(self, container: Container, gone: Endpoint, descriptor: int) -> None:
        """Have the default routes lead through what is left, where they led through *gone*."""
        if wishes.gateway_of(container.endpoints, self._networks.find) is not gone:
            return
        gateway = wishes.gateway_of(_others(container, gone), self._networks.find)
        try:
            self._all.fabric.sandboxes.set_default(descriptor, plugged(gateway) if gateway else None)
        except OSError as failure:  # the link is deleted: there is no way back
            log.warning("container %s has no way out: %s", container.name, failure)

    def _record(self, identifier: str, endpoints: tuple[Endpoint, ...]) -> Container:
        """Put other attachments on record; returns that."""
        container = replace(self._containers.get(identifier), endpoints=endpoints)
        self._containers.put(container)
        return container

    def _changed(self, identifier: str, endpoints: tuple[Endpoint, ...]) -> Container:
        """Have ports and texts follow new attachments of a running container, and record these."""
        former = self._containers.get(identifier)
        container = replace(former, endpoints=endpoints)
        with ExitStack() as undo:
            if container.published:
                undo.callback(self._all.publishing.follow, former, former.endpoints)
                self._all.publishing.follow(container, endpoints)
            undo.callback(self._all.naming.write_texts, former, former.endpoints)
            self._all.naming.write_texts(container, endpoints)
            self._containers.put(container)
            undo.pop_all()
        return container

    async def publish(self, container: Container, bindings: Bindings) -> Container:
        """Publish other ports of a container than so far; its lock is held by the caller.

        Returns:
            The record as stored, with *bindings* in its configuration.

        Raises:
            InvalidInput: a port that makes no sense.
            Conflict: a port is in use; what was published before still is.
        """
        former = self._containers.get(container.id)
        container = replace(container, host_config=replace(container.host_config, port_bindings=bindings))
        wishes.ports(container.config, container.host_config)
        published: tuple[Published, ...] = ()
        if container.state.status in UP:
            published = self._all.publishing.republish(former, container)
        container = replace(container, published=published)
        self._containers.put(container)
        return container

    def renamed(self, container: Container) -> Container:
        """Return the record of a renamed container with its new names; ``announce`` it when it is stored."""
        endpoints = tuple(
            replace(e, names=wishes.names(container.id, container.name, container.config.hostname, e))
            if e.names
            else e
            for e in container.endpoints
        )
        return replace(container, endpoints=endpoints)

    def announce(self, container: Container) -> None:
        """Have a renamed container found by its new names, which are stored, and named in refusals of its ports."""
        self._all.naming.announce(container, container.endpoints, None)
        if container.published:
            self._all.publishing.adopt(container)


def _check_connect(network: Network, container: Container, settings: EndpointSettings) -> None:
    """Refuse an attachment that cannot be, in Docker's words."""
    wishes.check_settings(network, settings)
    mode = wishes.mode_of(container.config, container.host_config)
    if mode == "host" or network.name == "host":
        raise Forbidden(HOST_ONLY)
    if wishes.shared_with(mode):
        raise Forbidden(SHARED)
    if network.name == "none":
        raise Forbidden(NONE)
    if any(endpoint.network_id == network.id for endpoint in container.endpoints):
        raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")


def _without(container: Container, network: str) -> tuple[Endpoint, ...]:
    return tuple(endpoint for endpoint in container.endpoints if endpoint.network != network)


def _others(container: Container, gone: Endpoint) -> tuple[Endpoint, ...]:
    return tuple(endpoint for endpoint in container.endpoints if endpoint is not gone)


def _open(container: Container) -> int:
    try:
        return namespace_of(container)
    except OSError:
        raise Conflict(f"container {container.name} is not running any more: start it again") from None
