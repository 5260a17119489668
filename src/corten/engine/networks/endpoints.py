"""Between what is recorded of an endpoint and what the kernel side says of it."""

import os
from collections.abc import Iterable

from msgspec.structs import replace

from corten.core.networks.values import Endpoint as Plugged
from corten.core.networks.values import Wishes
from corten.engine.networks import wishes
from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint
from corten.engine.records.network import PREDEFINED


def asked(settings: EndpointSettings | None, interface: str) -> Wishes:
    """Return what an endpoint asks of its network."""
    if settings is None:
        return Wishes(interface=interface)
    addresses = settings.ipam_config
    return Wishes(
        mac=settings.mac_address,
        address=addresses.ipv4_address if addresses else "",
        address6=addresses.ipv6_address if addresses else "",
        link_local=tuple(addresses.link_local_ips or ()) if addresses else (),
        interface=interface,
    )


def plugged(endpoint: Endpoint) -> Plugged:
    """Return the kernel side of a recorded endpoint."""
    return Plugged(
        network=endpoint.network,
        network_id=endpoint.network_id,
        endpoint_id=endpoint.endpoint_id,
        host_link=endpoint.host_link,
        interface=endpoint.interface,
        mac=endpoint.mac,
        address=endpoint.address,
        prefix=endpoint.prefix,
        gateway=endpoint.gateway,
        address6=endpoint.address6,
        prefix6=endpoint.prefix6,
        gateway6=endpoint.gateway6,
    )


def fact(container: Container, endpoint: Endpoint, made: Plugged) -> Endpoint:
    """Return the record of *endpoint* with what the kernel side made of it."""
    names: tuple[str, ...] = ()
    if endpoint.network not in PREDEFINED:
        names = wishes.names(container.id, container.name, container.config.hostname, endpoint)
    return replace(
        endpoint,
        endpoint_id=made.endpoint_id,
        address=made.address,
        prefix=made.prefix,
        gateway=made.gateway,
        mac=made.mac,
        host_link=made.host_link,
        interface=made.interface,
        address6=made.address6,
        prefix6=made.prefix6,
        gateway6=made.gateway6,
        names=names,
    )


def bare(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the attachments of a container that does not run: wishes without facts."""
    return tuple(Endpoint(e.network, e.network_id, wishes=e.wishes) for e in endpoints)


def free_number(endpoints: Iterable[Endpoint]) -> int:
    """Return the first number that no interface inside has: 1 where there is ``eth0``."""
    taken = {e.interface.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") for e in endpoints}
    number = 0
    while str(number) in taken:
        number += 1
    return number


def namespace_of(container: Container) -> int:
    """Open the network namespace of a running container; the caller closes it.

    Raises:
        OSError: its process is gone.
    """
    return os.open(f"/proc/{container.state.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
