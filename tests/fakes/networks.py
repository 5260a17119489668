"""Networks in memory: records and attachments, without a kernel."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from corten.engine.networks.requests import NetworkRequest
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint
from corten.engine.records.network import IpamSubnet, Network
from corten.errors import Conflict, Forbidden, NotFound

CREATED = "2026-01-01T00:00:00.123456789Z"
BRIDGE_ID, HOST_ID, NONE_ID = "b" * 64, "c" * 64, "d" * 64
UP = ("running", "paused")

PREDEFINED = (
    Network(
        id=BRIDGE_ID,
        name="bridge",
        created=CREATED,
        subnets=(IpamSubnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),),
        options={"com.docker.network.bridge.name": "docker0"},
    ),
    Network(id=HOST_ID, name="host", created=CREATED, driver="host"),
    Network(id=NONE_ID, name="none", created=CREATED, driver="null"),
)


@dataclass(frozen=True)
class Way:
    """One way to one port."""

    container: str
    network: str
    protocol: str
    container_port: int
    host_ip: str
    host_port: int
    who: str


class FakeNetworks:
    """The networks that every engine has, and those made here; *containers* gives and takes records."""

    def __init__(
        self,
        containers: Callable[[], Sequence[Container]],
        find: Callable[[str], Container],
        put: Callable[[Container], None],
    ) -> None:
        self._containers, self._find, self._put = containers, find, put
        self._records = {network.id: network for network in PREDEFINED}
        self.calls: list[tuple[Any, ...]] = []  # what was asked for, where the fake does not act on it
        self.warnings: list[str] = []

    async def create(self, request: NetworkRequest) -> tuple[Network, Sequence[str]]:
        """Record a network as asked, with a subnet of its own where none was."""
        if any(network.name == request.name for network in self._records.values()):
            raise Conflict(f"network with name {request.name} already exists")
        if request.driver not in ("", "bridge", "macvlan"):
            raise NotFound("network driver", request.driver)
        self.calls.append(("create", request))
        number = len(self._records)
        chosen = IpamSubnet(subnet=f"10.{number}.0.0/24", gateway=f"10.{number}.0.1")
        network = Network(
            id=hashlib.sha256(request.name.encode()).hexdigest(),
            name=request.name,
            created=CREATED,
            driver=request.driver or "bridge",
            ipv4=request.enable_ipv4 is not False,
            ipv6=bool(request.enable_ipv6),
            ipam_driver=request.ipam.driver or "default",
            ipam_options=request.ipam.options,
            subnets=request.ipam.config or (chosen,),
            internal=request.internal,
            attachable=request.attachable,
            config_only=request.config_only,
            config_from=request.config_from,
            options=request.options,
            labels=request.labels,
        )
        self._records[network.id] = network
        return network, self.warnings

    def get(self, ref: str) -> Network:
        """Return a record by id, name or prefix."""
        for network in self._records.values():
            if ref in (network.id, network.name) or network.id.startswith(ref):
                return network
        raise NotFound("network", ref)

    def list(self) -> Sequence[Network]:
        """Return all records."""
        return [*self._records.values()]

    def members(self, network: Network) -> Sequence[Container]:
        """Return the running containers on a network."""
        return [
            container
            for container in self._containers()
            if container.state.status in UP and any(e.network_id == network.id for e in container.endpoints)
        ]

    async def remove(self, ref: str) -> str:
        """Forget a network that nothing is on."""
        network = self.get(ref)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if self.members(network):
            raise Forbidden(f"error while removing network: network {network.name} has active endpoints")
        del self._records[network.id]
        return network.id

    async def prune(self, filters: dict[str, Any]) -> Sequence[str]:
        """Forget all that nothing is on."""
        self.calls.append(("prune", filters))
        gone = [n for n in self._records.values() if not n.predefined and not self.members(n)]
        for network in gone:
            del self._records[network.id]
        return [network.name for network in gone]

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        """Add an attachment to a record."""
        network, record = self.get(ref), self._find(container)
        if any(endpoint.network_id == network.id for endpoint in record.endpoints):
            raise Forbidden(f"endpoint with name {record.name} already exists in network {network.name}")
        made = Endpoint(
            network.name, network.id, "f" * 64, address="10.3.0.2", prefix=24, mac="02:42:0a:03:00:02"
        )
        self._put(replace(record, endpoints=(*record.endpoints, replace(made, wishes=settings))))

    async def disconnect(self, ref: str, container: str, force: bool) -> None:
        """Take an attachment away."""
        self.calls.append(("disconnect", ref, container, force))
        network, record = self.get(ref), self._find(container)
        rest = tuple(endpoint for endpoint in record.endpoints if endpoint.network_id != network.id)
        if rest == record.endpoints:
            raise Forbidden(f"container {container} is not connected to network {ref}")
        self._put(replace(record, endpoints=rest))

    def reach(self, ref: str | None) -> Sequence[Way]:
        """Return the published ports of running containers."""
        wanted = None if ref is None else self.get(ref)
        members = [c for c in self._containers() if wanted is None or c in self.members(wanted)]
        return [
            Way(
                c.name,
                c.endpoints[0].network,
                p.protocol,
                p.container_port,
                p.host_ip,
                p.host_port,
                "everyone",
            )
            for c in members
            for p in c.published
        ]
