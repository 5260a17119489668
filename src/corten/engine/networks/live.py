"""Live: attachments, ports and names of a container, changed while it lives.

The process stays what it is; only its namespace, the firewall and the name
server change. A container that does not run has its record changed, which the
next start follows.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack

from msgspec.structs import replace

from corten.core.networks.dns.sockets import Resolver
from corten.engine.networks import wishes
from corten.engine.networks.attachments import Attachments
from corten.engine.networks.endpoints import fact, free_number, namespace_of, plugged
from corten.engine.records.config import EndpointSettings, PortBinding
from corten.engine.records.container import Container, Endpoint, Published
from corten.engine.records.network import PREDEFINED, Network
from corten.errors import Conflict, Forbidden

UP = ("running", "paused")
HOST_ONLY = "container cannot be disconnected from host network or connected to host network"
SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
NONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"

Bindings = dict[str, tuple[PortBinding, ...] | None]


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
        network = self._networks.find(reference)
        async with self._lock(container.id):
            container = self._containers.get(container.id)
            _check_connect(network, container, settings)
            endpoint = wishes.endpoint(network, settings)
            if container.state.status in UP:
                with self._all.using(network.id):
                    container, resolver = await asyncio.to_thread(self._connect, container, endpoint)
                self._all.naming.change(container, resolver)
                self._all.tell("connect", network, container.id)
                return container
            container = replace(container, endpoints=(*_without(container, "none"), endpoint))
            self._containers.put(container)
            return container

    def _connect(self, container: Container, endpoint: Endpoint) -> tuple[Container, Resolver | None]:
        """Plug a running container into one more network: all of it, or nothing.

        Returns:
            The record as stored, and where its questions come from if none did before.
        """
        others = _without(container, "none")
        sandboxes = self._all.fabric.sandboxes
        former = wishes.gateway_of(others, self._networks.find)
        gateway = wishes.gateway_of((*others, endpoint), self._networks.find)
        with ExitStack() as always, ExitStack() as undo:
            descriptor = _open(container)
            always.callback(os.close, descriptor)
            plug = self._all.plug(endpoint, free_number(others), default=False)
            made = sandboxes.connect(descriptor, plug)
            undo.callback(sandboxes.disconnect, descriptor, plug.network, made)
            if gateway is endpoint:
                undo.callback(sandboxes.set_default, descriptor, plugged(former) if former else None)
                sandboxes.set_default(descriptor, made)
            resolver = None
            if endpoint.network not in PREDEFINED and not any(e.names for e in others):
                resolver = sandboxes.resolver(descriptor)
            container = self._changed(container, (*others, fact(container, endpoint, made)))
            undo.pop_all()
        return container, resolver

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
        network = self._networks.find(reference)
        async with self._lock(container.id):
            container = self._containers.get(container.id)
            if network.name == "host":
                raise Forbidden(HOST_ONLY)
            gone = next((e for e in container.endpoints if e.network_id == network.id), None)
            if gone is None:
                raise Forbidden(f"container {container.id} is not connected to network {network.name}")
            if container.state.status in UP and gone.endpoint_id:
                container = await asyncio.to_thread(self._disconnect, container, gone, force)
                self._all.naming.withdraw(gone)
                self._all.naming.change(container, None)
                self._all.tell("disconnect", network, container.id)
                return container
            container = replace(container, endpoints=_others(container, gone))
            self._containers.put(container)
            return container

    def _disconnect(self, container: Container, gone: Endpoint, force: bool) -> Container:
        left = _others(container, gone)
        driver = self._all.fabric.driver(gone.network_id)
        try:
            descriptor = _open(container)
        except Conflict:
            if not force:
                raise
            driver.release(plugged(gone))
        else:
            try:
                self._all.fabric.sandboxes.disconnect(descriptor, driver, plugged(gone))
                self._lead_out(container, gone, left, descriptor)
            finally:
                os.close(descriptor)
        return self._changed(container, left)

    def _lead_out(
        self, container: Container, gone: Endpoint, left: tuple[Endpoint, ...], descriptor: int
    ) -> None:
        """Have the default routes lead through what is left, where they led through *gone*."""
        if wishes.gateway_of(container.endpoints, self._networks.find) is gone:
            gateway = wishes.gateway_of(left, self._networks.find)
            self._all.fabric.sandboxes.set_default(descriptor, plugged(gateway) if gateway else None)

    def _changed(self, container: Container, endpoints: tuple[Endpoint, ...]) -> Container:
        """Record new attachments of a running container, and have its ports lead to the right one."""
        container = replace(container, endpoints=endpoints)
        if container.published:
            self._all.publishing.follow(container, endpoints)
        self._containers.put(container)
        self._all.naming.write_texts(container, endpoints)
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
        """Return the record of a renamed container with its new names, which are answered from now on."""
        endpoints = tuple(
            replace(e, names=wishes.names(container.id, container.name, container.config.hostname, e))
            if e.names
            else e
            for e in container.endpoints
        )
        self._all.naming.announce(container, endpoints, None)
        return replace(container, endpoints=endpoints)


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
