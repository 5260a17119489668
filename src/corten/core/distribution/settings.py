"""What an administrator says about registries: frozen values, read by the daemon, never by this part.

A host is written ``name[:port]`` as in a reference; ``docker.io`` stands for
Docker's registry, whatever name its server has.
"""

import ipaddress
from collections.abc import Mapping

import msgspec

DOCKER_SERVERS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_LOOPBACK = ("localhost", "127.0.0.0/8", "::1/128")


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One registry.

    Attributes:
        mirrors: Asked first when pulling, in this order: ``host[:port]`` or a
            URL with a path before ``/v2/``. They never see a credential.
        insecure: Certificates are not checked, and plain HTTP is used where HTTPS does not answer.
        ca_files: PEM files of authorities that are trusted beside those of the system.
        certificate: PEM file of the client's certificate, with *key* its private key.
    """

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    ca_files: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait and how often to try again; times in seconds.

    Attributes:
        attempts: Tries without progress, then the failure is told.
        pause: Before the second try; it doubles with each further one.
        longest: The most to wait between two tries, also when a registry asks for more.
        connect: For a connection to be made.
        silence: Without a byte on a connection.
    """

    attempts: int = 6
    pause: float = 0.5
    longest: float = 30.0
    connect: float = 30.0
    silence: float = 60.0


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that the registry client is told.

    Attributes:
        hosts: What is particular to a registry, by ``host[:port]``.
        insecure: More insecure registries: ``host[:port]``, or networks as ``10.0.0.0/8``.
        limit_rate: Bytes per second of all downloads together; 0 is no limit.
        downloads: Blobs fetched at the same time.
        uploads: Blobs sent at the same time.
        chunk: Bytes of one request of an upload; 0 sends a blob in one request where that works.
        proxies: ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` in lower or upper case.
        patience: Times and numbers of tries.
        user_agent: What we call ourselves.
    """

    hosts: Mapping[str, HostSettings] = {}
    insecure: tuple[str, ...] = ()
    limit_rate: int = 0
    downloads: int = 3
    uploads: int = 5
    chunk: int = 0
    proxies: Mapping[str, str] = {}
    patience: Patience = Patience()
    user_agent: str = "corten"

    def host(self, name: str) -> HostSettings:
        """Return what is said about ``host[:port]`` *name*, defaults if nothing.

        The port of HTTPS may be left out; Docker's servers share what is said about ``docker.io``.
        """
        name = name.lower().removesuffix(":443")
        domain = "docker.io" if name in DOCKER_SERVERS else name
        found = self.hosts.get(name) or self.hosts.get(f"{name}:443") or self.hosts.get(domain)
        return found or HostSettings()

    def is_insecure(self, name: str) -> bool:
        """Tell whether ``host[:port]`` *name* may be spoken to without a checked certificate.

        Loopback addresses always may, as in Docker: nobody listens in between.
        """
        name = name.lower()
        if self.host(name).insecure:
            return True
        return any(_covers(rule.lower(), name) for rule in (*_LOOPBACK, *self.insecure))


def split(name: str) -> tuple[str, int | None]:
    """Return host and port of ``host[:port]``; brackets of IPv6 addresses are taken off."""
    host, colon, port = name.rpartition(":")
    if colon and port.isdigit() and (not host.startswith("[") or host.endswith("]")):
        return host.strip("[]"), int(port)
    return name.strip("[]"), None


def _covers(rule: str, name: str) -> bool:
    """Tell whether *rule*, a host with or without port or a network, holds for *name*."""
    host, _ = split(name)
    if rule in (name, host):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False
