"""Attachments: containers on networks, for the time of a run.

A running container has a network namespace with a link for each network, the
ports that lead to it, and names that others ask for. All of it belongs to one
run: ``join`` gives it before the process starts, ``leave`` takes it back after
the end, and ``adopt`` takes it up after the daemon was replaced. What changes
while a container lives is in ``live``.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.sandboxes.sandbox import Sandbox
from corten.core.networks.values import Attachment
from corten.engine.networks import wishes
from corten.engine.networks.endpoints import asked, bare, fact, namespace_of, plugged
from corten.engine.networks.fabric import Fabric
from corten.engine.networks.naming import Naming
from corten.engine.networks.publishing import Publishing
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint, Published
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.network import PREDEFINED, Network
from corten.engine.records.networks import NetworkRepository
from corten.errors import Conflict, CortenError, InvalidInput, NotFound

PREFIX = "com.docker.network.container_iface_prefix"

Tell = Callable[[str, Network, str], None]
"""Publishes an event: action, network, id of the container."""


@dataclass
class Joined:
    """What a container has of networks for one run; ``keeps`` holds the networks until the run is recorded."""

    endpoints: tuple[Endpoint, ...] = ()
    published: tuple[Published, ...] = ()
    sandbox: Sandbox | None = None
    shared: int | None = None
    keeps: ExitStack = field(default_factory=ExitStack)

    @property
    def descriptor(self) -> int | None:
        """The namespace to start the process in; None to stay in the host's."""
        return self.sandbox.fileno() if self.sandbox is not None else self.shared

    def close(self) -> None:
        """Drop the descriptors, once the process holds the namespace; idempotent."""
        self.keeps.close()
        if self.sandbox is not None:
            self.sandbox.close()
        if self.shared is not None:
            os.close(self.shared)
            self.shared = None


class Attachments:
    """What ties containers to networks; one per engine."""

    def __init__(
        self,
        fabric: Fabric,
        publishing: Publishing,
        naming: Naming,
        networks: NetworkRepository,
        containers: ContainerRepository,
        tell: Tell,
    ) -> None:
        self.fabric, self.publishing, self.naming, self.tell = fabric, publishing, naming, tell
        self.networks, self.containers = networks, containers
        self._held: dict[str, Sandbox] = {}
        self._using: Counter[str] = Counter()

    @contextmanager
    def using(self, *network_ids: str) -> Iterator[None]:
        """Keep networks from being removed while a container is on its way there."""
        self._using.update(network_ids)
        try:
            yield
        finally:
            self._using.subtract(network_ids)

    def is_used(self, network_id: str) -> bool:
        """Tell whether a container is on its way to a network."""
        return self._using[network_id] > 0

    def plan(self, container: Container, given: "dict[str, EndpointSettings | None]") -> tuple[Endpoint, ...]:
        """Return the attachments of a new container, and refuse what cannot be.

        Raises:
            InvalidInput, NotFound: see ``wishes``.
        """
        config, host_config = container.config, container.host_config
        wishes.ports(config, host_config)
        mode = wishes.mode_of(config, host_config)
        other = wishes.shared_with(mode)
        if other:
            self.containers.find(other)
        return wishes.endpoints(mode, config, host_config, given, self.networks.find)

    def join(self, container: Container, undo: ExitStack) -> Joined:
        """Give a container about to start all that it has of networks; *undo* takes it back.

        Blocks for 0.1 ms with a sandbox from stock, about 1 ms else.

        Raises:
            NotFound: a network is gone.
            Conflict: an address or a port is taken.
            Unavailable: no address or port is free.
            InvalidInput: a wish that cannot be.
        """
        mode = wishes.mode_of(container.config, container.host_config)
        if wishes.shared_with(mode):
            joined = Joined(shared=self._shared(container, wishes.shared_with(mode)))
            undo.callback(joined.close)
            return joined
        attached = tuple(self._present(endpoint) for endpoint in container.endpoints)
        keeps = ExitStack()
        keeps.enter_context(self.using(*(endpoint.network_id for endpoint in attached)))
        undo.callback(keeps.close)
        joined = Joined(attached) if mode == "host" else self._plug(container, attached, undo)
        joined.keeps = keeps
        self.naming.write_texts(container, joined.endpoints)
        return joined

    def _plug(self, container: Container, attached: tuple[Endpoint, ...], undo: ExitStack) -> Joined:
        """Make a namespace on all its networks, publish its ports and announce its names."""
        resolver = any(endpoint.network not in PREDEFINED for endpoint in attached)
        sandbox = self.fabric.sandboxes.take(self._plugs(attached), names=resolver)
        undo.callback(sandbox.release)
        made = {endpoint.network_id: endpoint for endpoint in sandbox.endpoints}
        endpoints = tuple(
            fact(container, e, made[e.network_id]) if e.network_id in made else e for e in attached
        )
        published: tuple[Published, ...] = ()
        if container.host_config.port_bindings or container.host_config.publish_all_ports:
            undo.callback(self.publishing.unpublish, container.id)
            published = self.publishing.publish(container, endpoints)
        undo.callback(self.naming.forget, container.id, endpoints)
        self.naming.announce(container, endpoints, sandbox.resolver)
        return Joined(endpoints, published, sandbox)

    def _shared(self, container: Container, other: str) -> int:
        """Open the namespace of the container *other*."""
        owner = self.containers.find(other)
        if owner.id == container.id:
            raise InvalidInput("a container cannot join its own network namespace: name another one")
        if owner.state.status not in ("running", "paused"):
            raise Conflict(
                f"cannot join network namespace of a non running container: {owner.name}: start it first"
            )
        return namespace_of(owner)

    def _present(self, endpoint: Endpoint) -> Endpoint:
        """Return the attachment with the id that its network has now: one of the same name may have come since."""
        try:
            network = self.networks.find(endpoint.network_id or endpoint.network)
        except NotFound:
            network = self.networks.find(endpoint.network)
        return Endpoint(network.name, network.id, wishes=endpoint.wishes)

    def _plugs(self, attached: Sequence[Endpoint]) -> list[Attachment]:
        gateway = wishes.gateway_of(attached, self.networks.find)
        return [
            self.plug(endpoint, number, default=endpoint is gateway)
            for number, endpoint in enumerate(attached)
            if endpoint.network != "none"
        ]

    def plug(self, endpoint: Endpoint, number: int, *, default: bool) -> Attachment:
        """Return what the kernel side is to do for an attachment, whose interface inside has *number*.

        Raises:
            NotFound: its network is gone, or not up.
        """
        prefix = self.networks.find(endpoint.network_id).options.get(PREFIX) or "eth"
        return Attachment(
            network=self.fabric.driver(endpoint.network_id),
            wishes=asked(endpoint.wishes, f"{prefix}{number}"),
            default=default,
        )

    def hold(self, container: Container, joined: Joined) -> None:
        """Keep what a started container has until ``leave``; the namespace is its process's own from now on."""
        if joined.sandbox is not None:
            self._held[container.id] = joined.sandbox
        joined.close()
        for endpoint in joined.endpoints:
            self.fabric.warm(endpoint.network_id)
            self.tell("connect", self.networks.find(endpoint.network_id), container.id)

    def leave(self, container: Container) -> Container:
        """Take back what an ended container had; returns its record without the facts of the run; idempotent."""
        with ExitStack() as rest:  # each step is taken, also when one before it fails; the last one first
            for endpoint in reversed(container.endpoints):
                rest.callback(self._give_back, container, endpoint)
            sandbox = self._held.pop(container.id, None)
            if sandbox is not None:
                rest.callback(sandbox.release)
            rest.callback(self.naming.forget, container.id, container.endpoints)
            if container.published:
                rest.callback(self.publishing.unpublish, container.id)
        return without_facts(container)

    def _give_back(self, container: Container, endpoint: Endpoint) -> None:
        with suppress(NotFound):
            network = self.networks.find(endpoint.network_id)
            if endpoint.endpoint_id:
                self.fabric.driver(network.id).release(plugged(endpoint))
            self.tell("disconnect", network, container.id)

    def adopt(self, container: Container) -> list[str]:
        """Count what a running container has as taken, before sandboxes are stocked; returns what failed, in lines.

        The kernel's networks need not be up yet: they then bring back what lost its bridge meanwhile.
        """
        failures = []
        for endpoint in container.endpoints:
            try:
                if endpoint.endpoint_id:
                    self.fabric.driver(endpoint.network_id).adopt(plugged(endpoint))
            except CortenError as failure:
                failures.append(f"container {container.name}: {failure}")
        return failures + self.publishing.adopt(container)

    def settle(self, container: Container) -> Container:
        """Take away an attachment whose connect or disconnect a daemon did not live to finish; see ``live``.

        Before addresses are adopted. Blocks for some 20 ms if there is one.

        Returns:
            The record as stored; the same one when nothing was under way.
        """
        half = [e for e in container.endpoints if not e.endpoint_id and e.network not in ("host", "none")]
        if not half:
            return container
        left = tuple(e for e in container.endpoints if e not in half)
        with suppress(OSError):
            descriptor = namespace_of(container)
            try:
                self._take_out(container, half, left, descriptor)
            finally:
                os.close(descriptor)
        container = replace(container, endpoints=left)
        self.naming.write_texts(container, left)
        self.containers.put(container)
        return container

    def _take_out(
        self, container: Container, half: Sequence[Endpoint], left: Sequence[Endpoint], descriptor: int
    ) -> None:
        for endpoint in half:
            with suppress(NotFound):
                driver = self.fabric.driver(endpoint.network_id)
                self.fabric.sandboxes.disconnect(descriptor, driver, plugged(endpoint))
        former = wishes.gateway_of(container.endpoints, self.networks.find)
        gateway = wishes.gateway_of(left, self.networks.find)
        if former in half:
            self.fabric.sandboxes.set_default(descriptor, plugged(gateway) if gateway else None)

    async def resume(self, container: Container) -> None:
        """Answer the questions of a container found running again; its lock is held by the caller."""
        if not any(endpoint.names for endpoint in container.endpoints):
            return
        with suppress(OSError):
            resolver = await asyncio.to_thread(self._resolver, container)
            self.naming.announce(container, container.endpoints, resolver)

    def _resolver(self, container: Container) -> Resolver:
        descriptor = namespace_of(container)
        try:
            return self.fabric.sandboxes.resolver(descriptor)
        finally:
            os.close(descriptor)


def without_facts(container: Container) -> Container:
    """Return the record of a container without what belongs to a run."""
    return replace(container, endpoints=bare(container.endpoints), published=())
