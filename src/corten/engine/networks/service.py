"""Networks: the verbs on networks."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network

from msgspec.structs import replace

from corten.core.networks import ipam
from corten.core.networks.choosing import choosing
from corten.core.networks.occupied import occupied
from corten.core.networks.values import Subnet
from corten.engine.networks import orders
from corten.engine.networks.attachments import Attachments
from corten.engine.networks.live import UP, Live
from corten.engine.networks.reach import Reach, reach_of
from corten.engine.networks.requests import NetworkRequest
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container
from corten.engine.records.network import IpamSubnet, Network
from corten.errors import Conflict, Forbidden, NotFound


class Networks:
    """The verbs; one object for all networks.

    Args:
        attachments: Containers on networks.
        live: Their changes while they live.
        tag: Of this engine; its private IPv6 addresses derive from it.
        now: Gives the time as RFC 3339.
    """

    def __init__(self, attachments: Attachments, live: Live, tag: str, now: Callable[[], str]) -> None:
        self._attachments, self._live, self._tag, self._now = attachments, live, tag, now
        self._fabric, self._records = attachments.fabric, attachments.networks
        self._containers, self._tell = attachments.containers, attachments.tell
        self._changing = asyncio.Lock()  # one choice of subnets at a time

    def establish(self, link: str) -> None:
        """Record the networks that every engine has, where they are not yet; *link* is the default bridge's."""
        known = {network.name for network in self._records.all()}
        if "bridge" not in known:
            with choosing():
                bridge = orders.default_bridge(secrets.token_hex(32), self._now(), link)
                self._records.put(self._addressed(bridge))
        for name, driver in (("host", "host"), ("none", "null")):
            if name not in known:
                identifier = secrets.token_hex(32)
                self._records.put(Network(id=identifier, name=name, created=self._now(), driver=driver))

    def get(self, reference: str) -> Network:
        """Return the record; NotFound where there is none."""
        return self._records.find(reference)

    def list(self) -> Sequence[Network]:
        """Return all records."""
        return self._records.all()

    def members(self, network: Network) -> Sequence[Container]:
        """Return the running containers on *network*."""
        return [
            container
            for container in self._containers.all()
            if container.state.status in UP
            and any(endpoint.network_id == network.id for endpoint in container.endpoints)
        ]

    def reach(self, reference: str | None) -> Sequence[Reach]:
        """Return who can reach what: ports of running containers, on one network or all."""
        wanted = None if reference is None else self._records.find(reference).id
        networks = {network.id: network for network in self._records.all()}
        return [
            row
            for container in self._containers.all()
            if container.state.status in UP
            for row in reach_of(container, networks)
            if wanted is None or row.network_id == wanted
        ]

    async def create(self, request: NetworkRequest) -> tuple[Network, Sequence[str]]:
        """Make a network; returns it with warnings.

        Everything is up before the record is written: from then on it exists.

        Raises:
            InvalidInput: a name, subnet or option that cannot be.
            Conflict: the name is taken, or its link is somebody else's.
            Forbidden: a subnet overlaps with another network, or a second one of a kind.
            NotFound: no such driver, or no such network to take the settings from.
            Unsupported: the kernel lacks what it needs.
        """
        lender = self._records.find(request.config_from) if request.config_from else None
        network = orders.record(request, lender, secrets.token_hex(32), self._now())
        async with self._changing:
            if any(known.name == network.name for known in self._records.all()):
                raise Conflict(f"network with name {network.name} already exists: choose another name")
            network, warnings = await asyncio.to_thread(self._make, network)
        self._tell("create", network, "")
        return network, warnings

    def _make(self, network: Network) -> tuple[Network, Sequence[str]]:
        """Choose addresses, bring the network up, and record it. Blocks."""
        with choosing():
            warnings: Sequence[str] = ()
            if not network.config_only and network.ipam_driver != "null":
                if network.driver == "bridge":  # others are meant to be on a network that the host knows
                    warnings = ipam.overlaps([_core(s) for s in network.subnets], occupied())
                network = self._addressed(network)
            self._fabric.add(network)
        try:
            self._records.put(network)
        except BaseException:
            self._fabric.remove(network.id)
            raise
        return network, warnings

    def _addressed(self, network: Network) -> Network:
        """Fill in what the user left open of the addresses."""
        ours = [ip_network(s.subnet) for n in self._records.all() if not n.config_only for s in n.subnets]
        made = ipam.complete(
            [_core(s) for s in network.subnets],
            ipv4=network.ipv4,
            ipv6=network.ipv6,
            taken=ours,
            occupied=occupied(),
            seed=self._tag,
        )
        subnets = tuple(
            IpamSubnet(subnet=s.subnet, gateway=s.gateway, ip_range=s.ip_range, reserved=s.reserved)
            for s in made
        )
        return replace(network, subnets=subnets)

    async def remove(self, reference: str) -> str:
        """Remove a network that no running container is on; returns its id.

        Raises:
            NotFound: there is none.
            Forbidden: it is predefined, containers are on it, or networks take their settings from it.
        """
        network = self._records.find(reference)
        self._check_unused(network)
        self._records.delete(network.id)
        await asyncio.to_thread(self._fabric.remove, network.id)
        self._tell("destroy", network, "")
        return network.id

    def _check_unused(self, network: Network) -> None:
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        members = self.members(network)
        if members:
            named = ", ".join(f'name:"{c.name}" id:"{c.id[:12]}"' for c in members)
            raise Forbidden(
                f"error while removing network: network {network.name} has active endpoints ({named}): "
                "disconnect or stop them first"
            )
        if self._attachments.is_used(network.id):
            raise Forbidden(f"a container is joining network {network.name}: try again")
        if network.config_only and any(n.config_from == network.name for n in self._records.all()):
            raise Forbidden(
                f"configuration network {network.name} is in use: remove the networks made from it first"
            )

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Remove the networks that no container refers to, whether it runs or not; returns their names.

        Raises:
            InvalidInput: an unknown filter, or a malformed one.
        """
        used = {e.network_id for c in self._containers.all() for e in c.endpoints}
        removed = []
        for network in orders.chosen(self._records.all(), filters):
            if network.id not in used and not network.predefined:
                with suppress(Forbidden, NotFound):  # taken into use, or removed, since we looked
                    await self.remove(network.id)
                    removed.append(network.name)
        return removed

    async def connect(self, reference: str, container: str, settings: EndpointSettings) -> None:
        """Attach a container to a network; see ``Live.connect``."""
        await self._live.connect(reference, self._containers.find(container), settings)

    async def disconnect(self, reference: str, container: str, force: bool) -> None:
        """Detach a container from a network; see ``Live.disconnect``.

        With *force* a container that is gone is no error.
        """
        network = self._records.find(reference)
        try:
            found = self._containers.find(container)
        except NotFound:
            if force:
                return
            raise
        await self._live.disconnect(network.id, found, force=force)


def _core(wanted: IpamSubnet) -> Subnet:
    return Subnet(
        subnet=wanted.subnet, gateway=wanted.gateway, ip_range=wanted.ip_range, reserved=wanted.reserved
    )
