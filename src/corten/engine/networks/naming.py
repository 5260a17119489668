"""Naming: by which names containers find each other, and the files that say where to ask."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from corten.core.networks.dns.server import DnsServer
from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.dns.view import View
from corten.engine.networks import texts, wishes
from corten.engine.networks.views import view_of
from corten.engine.records.container import Container, Endpoint
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.network import PREDEFINED
from corten.engine.records.networks import NetworkRepository
from corten.errors import NotFound


class Naming:
    """Names of containers; one per engine. ``folder`` gives a container's state directory."""

    def __init__(
        self,
        dns: DnsServer,
        networks: NetworkRepository,
        containers: ContainerRepository,
        folder: Callable[[str], str],
    ) -> None:
        self._dns, self._networks, self._containers, self._folder = dns, networks, containers, folder

    def announce(
        self, container: Container, endpoints: Sequence[Endpoint], resolver: Resolver | None
    ) -> None:
        """Have a container found by its names, and its own questions answered where it has a *resolver*."""
        for endpoint in endpoints:
            if endpoint.names:
                addresses = [address for address in (endpoint.address, endpoint.address6) if address]
                self._dns.zone.set(
                    endpoint.network_id,
                    endpoint.endpoint_id,
                    endpoint.names,
                    addresses,
                    network=endpoint.network,
                )
        if resolver is not None:
            self._dns.attach(container.id, resolver, self._view(container, endpoints))

    def change(self, container: Container, resolver: Resolver | None) -> None:
        """Announce changed attachments of a running container; *resolver* is new, None for the one it has."""
        self.announce(container, container.endpoints, resolver)
        if resolver is None and any(endpoint.names for endpoint in container.endpoints):
            self._dns.update(container.id, self._view(container, container.endpoints))

    def withdraw(self, endpoint: Endpoint) -> None:
        """Have nobody found by an endpoint any more; idempotent."""
        self._dns.zone.drop(endpoint.endpoint_id)

    def forget(self, container_id: str, endpoints: Sequence[Endpoint]) -> None:
        """Withdraw a container, and answer its questions no more; idempotent."""
        self._dns.detach(container_id)
        for endpoint in endpoints:
            if endpoint.names:
                self.withdraw(endpoint)

    def write_texts(self, container: Container, endpoints: Sequence[Endpoint]) -> None:
        """Write hosts, hostname and resolv.conf anew: addresses change from start to start."""
        texts.write(
            self._folder(container.id),
            container,
            endpoints,
            gateway=self._host_gateway(),
            resolver=any(endpoint.network not in PREDEFINED for endpoint in endpoints),
            links=self._legacy_links(endpoints),
        )

    def _view(self, container: Container, endpoints: Sequence[Endpoint]) -> View:
        external = wishes.gateway_of(endpoints, self._networks.find) is not None
        return view_of(container.host_config, endpoints, texts.host_resolv_conf(), external=external)

    def _host_gateway(self) -> str:
        with suppress(NotFound):
            for subnet in self._networks.find("bridge").subnets:
                if ":" not in subnet.gateway:
                    return subnet.gateway
        return ""

    def _legacy_links(self, endpoints: Sequence[Endpoint]) -> dict[str, list[str]]:
        """Return what ``--link`` means on the default bridge, which has no name server: entries of /etc/hosts."""
        found: dict[str, list[str]] = {}
        for alias, name in wishes.links(e for e in endpoints if e.network == "bridge").items():
            target = self._containers.find(name)
            for endpoint in target.endpoints:
                if endpoint.network == "bridge" and endpoint.address:
                    words = dict.fromkeys((alias, target.config.hostname, target.name))
                    found[endpoint.address] = list(words)
        return found
