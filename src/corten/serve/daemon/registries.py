"""What the administrator says about registries: a file, a folder of certificates, and flags, as one value.

``registries.toml``::

    limit-rate = "10M"                      # bytes per second of all downloads
    max-concurrent-downloads = 3
    max-concurrent-uploads = 5
    insecure-registries = ["10.0.0.0/8"]    # no checked certificate, plain HTTP allowed
    registry-mirrors = ["mirror.lan:5000"]  # of docker.io

    [registry."registry.lan:5000"]
    mirrors = ["https://cache.lan/path"]
    insecure = false
    ca = "/etc/ssl/lan.crt"
    certificate = "/etc/corten/client.cert"
    key = "/etc/corten/client.key"

Beside the file, ``certs.d/HOST[:PORT]/`` may hold ``*.crt`` (authorities) and
``NAME.cert`` with ``NAME.key`` (the client's certificate), as Docker has it.
"""

import os
import tomllib
from collections.abc import Mapping
from glob import escape, glob
from typing import Any

import msgspec

from corten.__about__ import VERSION
from corten.core.distribution.settings import HostSettings, RegistrySettings
from corten.errors import InvalidInput
from corten.oci.reference import DEFAULT_DOMAIN
from corten.serve.daemon.settings import Settings, rate

_CERTIFICATES = "certs.d"


class _Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """One ``[registry."HOST"]`` of the file."""

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The whole file."""

    limit_rate: str | int = 0
    max_concurrent_downloads: int = RegistrySettings().downloads
    max_concurrent_uploads: int = RegistrySettings().uploads
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    registry: dict[str, _Host] = {}


def read(settings: Settings, proxies: Mapping[str, str]) -> RegistrySettings:
    """Return what file, certificates and flags say together; flags win or come first.

    Raises:
        InvalidInput: the file is not as described.
        OSError: it cannot be read.
    """
    file = _read_file(settings.registries)
    certificates = os.path.join(os.path.dirname(settings.registries), _CERTIFICATES)
    hosts = {name.lower(): _host(said) for name, said in file.registry.items()}
    for name in _folders(certificates):
        hosts[name.lower()] = _with_certificates(hosts.get(name.lower(), HostSettings()), certificates, name)
    mirrors = (*settings.mirrors, *file.registry_mirrors)
    if mirrors:
        hub = hosts.get(DEFAULT_DOMAIN, HostSettings())
        hosts[DEFAULT_DOMAIN] = msgspec.structs.replace(hub, mirrors=(*mirrors, *hub.mirrors))
    return RegistrySettings(
        hosts=hosts,
        insecure=(*settings.insecure, *file.insecure_registries),
        limit_rate=_rate(file, settings),
        downloads=max(file.max_concurrent_downloads, 1),
        uploads=max(file.max_concurrent_uploads, 1),
        proxies=proxies,
        user_agent=f"corten/{VERSION}",
    )


def _read_file(path: str) -> _File:
    try:
        with open(path, "rb") as stream:
            document: dict[str, Any] = tomllib.load(stream)
        return msgspec.convert(document, _File)
    except FileNotFoundError:
        return _File()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path}: {error}: correct the file") from None


def _rate(file: _File, settings: Settings) -> int:
    if settings.limit_rate is not None:
        return settings.limit_rate
    try:
        return rate(str(file.limit_rate))
    except ValueError as error:
        raise InvalidInput(f"{settings.registries}: limit-rate: {error}") from None


def _host(said: _Host) -> HostSettings:
    return HostSettings(
        mirrors=said.mirrors,
        insecure=said.insecure,
        ca_files=(said.ca,) if said.ca else (),
        certificate=said.certificate,
        key=said.key,
    )


def _folders(certificates: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(certificates) if entry.is_dir())
    except FileNotFoundError:
        return []


def _with_certificates(said: HostSettings, certificates: str, name: str) -> HostSettings:
    """Add what the folder of one host holds; of several client certificates the first counts.

    Raises:
        InvalidInput: a certificate without its key.
    """
    folder = escape(os.path.join(certificates, name))
    said = msgspec.structs.replace(said, ca_files=(*said.ca_files, *sorted(glob(f"{folder}/*.crt"))))
    for certificate in sorted(glob(f"{folder}/*.cert")):
        key = f"{certificate.removesuffix('.cert')}.key"
        if not os.path.exists(key):
            raise InvalidInput(f"missing key {key} for client certificate {certificate}: put it there")
        return said if said.certificate else msgspec.structs.replace(said, certificate=certificate, key=key)
    return said
