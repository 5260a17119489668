"""What a container may ask of the engine's name server. Pure."""

from collections.abc import Sequence

from corten.core.networks import files
from corten.core.networks.dns.view import View
from corten.engine.networks import wishes
from corten.engine.records.config import HostConfig
from corten.engine.records.container import Endpoint


def view_of(
    host_config: HostConfig, endpoints: Sequence[Endpoint], host_text: str, *, external: bool
) -> View:
    """Return the view of a container.

    Args:
        host_config: The container's.
        endpoints: Its attachments.
        host_text: The host's resolv.conf.
        external: Whether it may reach anything outside; without, nothing outside is ever asked.
    """
    ipv6 = any(endpoint.address6 for endpoint in endpoints)
    servers = files.outer_servers(host_text, host_config.dns or (), ipv6=ipv6)
    return View(
        networks=tuple(endpoint.network_id for endpoint in endpoints if endpoint.names),
        links=wishes.links(endpoint for endpoint in endpoints if endpoint.names),
        servers=servers if external else (),
        external=external,
    )
