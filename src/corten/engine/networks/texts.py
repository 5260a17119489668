"""The files that a container reads about names: hosts, hostname and resolv.conf, written by the engine.

They lie in the container's folder and are bound into it, so writing them anew,
in place, changes what a running container sees.
"""

import os
from collections.abc import Mapping, Sequence

from corten.core.networks import files
from corten.engine.records.container import Container, Endpoint

HOSTS, HOSTNAME, RESOLV_CONF = "hosts", "hostname", "resolv.conf"


def write(
    folder: str,
    container: Container,
    endpoints: Sequence[Endpoint],
    *,
    gateway: str,
    resolver: bool,
    links: Mapping[str, Sequence[str]],
) -> None:
    """Write all three for a container.

    Args:
        folder: The container's state directory.
        container: Its record.
        endpoints: With the addresses of this run.
        gateway: What ``host-gateway`` stands for.
        resolver: Whether names are asked of the engine's own name server.
        links: Address -> names of containers linked to on the default bridge.
    """
    config, wishes = container.config, container.host_config
    addresses = [a for e in endpoints for a in (e.address, e.address6) if a]
    hosts = files.hosts(
        config.hostname,
        addresses,
        wishes.extra_hosts or (),
        domain=config.domainname,
        host_gateway=gateway,
        links=links,
    )
    _write(f"{folder}/{HOSTS}", hosts)
    _write(f"{folder}/{HOSTNAME}", files.hostname(config.hostname))
    _write(f"{folder}/{RESOLV_CONF}", _resolv_conf(container, endpoints, resolver))


def _resolv_conf(container: Container, endpoints: Sequence[Endpoint], resolver: bool) -> str:
    wishes, host = container.host_config, host_resolv_conf()
    if wishes.network_mode == "host" and not (wishes.dns or wishes.dns_search or wishes.dns_options):
        return host
    given = (wishes.dns or (), wishes.dns_search or (), wishes.dns_options or ())
    ipv6 = any(e.address6 for e in endpoints)
    if resolver:
        return files.resolver_conf(host, *given, ipv6=ipv6)
    return files.resolv_conf(host, *given, ipv6=ipv6)


def host_resolv_conf() -> str:
    """Return the host's resolver configuration, the real one behind a local stub."""
    text = _read("/etc/resolv.conf")
    if files.is_resolved_stub(text):
        text = _read(files.RESOLVED_CONF) or text
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, content: str) -> None:
    """Replace the content in place: a new file would not be the one that is bound into the container."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)
