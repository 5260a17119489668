"""What this door needs of an engine's networks: shapes only, as in ``interface``."""

from collections.abc import Sequence
from typing import Protocol

from corten.engine.networks.requests import NetworkRequest
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container
from corten.engine.records.network import Network
from corten.serve.api.interface_values import Filters


class Reach(Protocol):
    """One way to one port of a container; *host_ip* is empty and *host_port* 0 where none of the host's leads there."""

    @property
    def container(self) -> str:
        """The name of the container."""
        ...

    @property
    def network(self) -> str:
        """The name of the network that the way leads through."""
        ...

    @property
    def protocol(self) -> str:
        """``tcp``, ``udp`` or ``sctp``."""
        ...

    @property
    def container_port(self) -> int:
        """The port inside."""
        ...

    @property
    def host_ip(self) -> str:
        """The address of the host."""
        ...

    @property
    def host_port(self) -> int:
        """The port of the host."""
        ...

    @property
    def who(self) -> str:
        """Who can take this way: ``everyone``, ``this host``, ``containers on NETWORK``, ``nobody``."""
        ...


class Networks(Protocol):
    """The verbs on networks."""

    async def create(self, request: NetworkRequest, /) -> tuple[Network, Sequence[str]]:
        """Make a network; returns it with warnings for the user."""
        ...

    def get(self, ref: str, /) -> Network:
        """Return the record; NotFound where there is none."""
        ...

    def list(self) -> Sequence[Network]:
        """Return all records."""
        ...

    def members(self, network: Network, /) -> Sequence[Container]:
        """Return the running containers that are attached."""
        ...

    async def remove(self, ref: str, /) -> object:
        """Remove a network; Forbidden while it is in use."""
        ...

    async def prune(self, filters: Filters, /) -> Sequence[str]:
        """Remove those that nothing uses; returns their names."""
        ...

    async def connect(self, ref: str, container: str, settings: EndpointSettings, /) -> object:
        """Attach a container."""
        ...

    async def disconnect(self, ref: str, container: str, force: bool, /) -> object:
        """Take a container off."""
        ...


class Reaches(Protocol):
    """Who can reach what."""

    def reach(self, ref: str | None, /) -> Sequence[Reach]:
        """Return the ways to the ports of running containers, on one network or on all."""
        ...


class AllNetworks(Networks, Reaches, Protocol):
    """The verbs on networks, and what can be seen of them."""
