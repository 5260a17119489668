"""The part of the composition root that builds what networks are made of."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from corten.core.networks.dns.server import DnsServer
from corten.core.networks.dns.sockets import open_resolver
from corten.core.networks.firewall.firewall import Firewall
from corten.core.networks.guard import Guard
from corten.core.networks.ports.ports import Ports
from corten.core.networks.sandboxes.sandboxes import Sandboxes
from corten.engine.containers.parts import timestamp
from corten.engine.events import Events
from corten.engine.networks.attachments import Attachments
from corten.engine.networks.fabric import Fabric
from corten.engine.networks.live import Live
from corten.engine.networks.naming import Naming
from corten.engine.networks.publishing import Publishing
from corten.engine.networks.service import Networks
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.network import Network
from corten.engine.records.networks import NetworkRepository
from corten.serve.daemon.settings import Settings

STOCK = 4  # network namespaces of each kind kept ready


@dataclass(frozen=True)
class Built:
    """What the engine needs of networks."""

    fabric: Fabric
    attachments: Attachments
    live: Live
    networks: Networks


def build(
    settings: Settings,
    records: NetworkRepository,
    containers: ContainerRepository,
    events: Events,
    lock: Callable[[str], asyncio.Lock],
    stack: AsyncExitStack,
) -> Built:
    """Build networks on *records*; the kernel is touched at the recovery."""

    def tell(action: str, network: Network, container: str) -> None:
        attributes = {"name": network.name, "type": network.driver}
        events.publish(
            "network", action, network.id, {**attributes, "container": container} if container else attributes
        )

    fabric = Fabric(
        settings.tag,
        settings.bridge,
        Sandboxes(open_resolver),
        Firewall(settings.table),
        Guard(settings.tag),
        STOCK,
    )
    stack.callback(fabric.close)
    ports, dns = Ports(), DnsServer()
    stack.callback(ports.close)
    stack.push_async_callback(dns.close)
    attachments = Attachments(
        fabric,
        Publishing(fabric, ports, records),
        Naming(dns, records, containers, lambda container: f"{settings.root}/containers/{container}"),
        records,
        containers,
        tell,
    )
    live = Live(attachments, lock)
    return Built(fabric, attachments, live, Networks(attachments, live, settings.tag, timestamp))
