"""What a user asks of networks, in the words of Docker's requests.

The decoders take Docker's own member names and read a body the way Docker
does: null means absent, unknown members are ignored (``CheckDuplicate`` of old
clients among them), and a member of the wrong type is refused by its name.
Source: Docker Engine API 1.51, NetworkCreate, NetworkConnect, NetworkDisconnect.
"""

from typing import Any, TypeVar

import msgspec

from corten.engine.records.config import EndpointSettings
from corten.engine.records.network import IpamSubnet
from corten.errors import InvalidInput

_IRREGULAR = {
    "enable_ipv4": "EnableIPv4",
    "enable_ipv6": "EnableIPv6",
    "ip_range": "IPRange",
    "ipam": "IPAM",
}
# Objects whose keys are the user's: a null below them is an empty text, as Docker reads it.
_MAPS = frozenset({"AuxiliaryAddresses", "DriverOpts", "Labels", "Options"})

_Value = TypeVar("_Value")


def _wire_name(attribute: str) -> str:
    """Return Docker's name of a member: ``config_only`` is ``ConfigOnly``."""
    return _IRREGULAR.get(attribute) or "".join(part.capitalize() for part in attribute.split("_"))


class Ipam(msgspec.Struct, frozen=True, kw_only=True):
    """Who manages the addresses of a network, and from which ranges; an empty *driver* is ``default``.

    Empty texts in *config* leave the choice to the engine.
    """

    driver: str = ""
    options: dict[str, str] = {}
    config: tuple[IpamSubnet, ...] = ()


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A network to make.

    An empty *driver* is ``bridge``; for ``enable_ipv4`` and ``enable_ipv6``
    None means not given, so that the engine's default (or the network
    *config_from*, empty for none) decides.
    """

    name: str
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    ipam: Ipam = Ipam()
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class _IpamConfigBody(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """One range of addresses as sent."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


class _IpamBody(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """Address management as sent."""

    driver: str = ""
    options: dict[str, str] = {}
    config: tuple[_IpamConfigBody, ...] = ()


class _ReferenceBody(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """A network that lends its settings, by name."""

    network: str = ""


class _NetworkBody(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """The body of a create request as sent."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    ipam: _IpamBody = _IpamBody()
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: _ReferenceBody = _ReferenceBody()
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """A container, by name or id, to attach to a network, and its wishes."""

    container: str = ""
    endpoint_config: EndpointSettings = EndpointSettings()


class DisconnectRequest(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """A container, by name or id, to take off a network."""

    container: str = ""
    force: bool = False


def decode_network_create(body: bytes) -> NetworkRequest:
    """Read the body of ``POST /networks/create``.

    Raises:
        InvalidInput: not JSON, a member has the wrong type, or there is no name.
    """
    sent = _decode(body, _NetworkBody)
    if not sent.name.strip():
        raise InvalidInput("invalid network name: it is empty: give a Name")
    same = {name: getattr(sent, name) for name in sent.__struct_fields__}
    same |= {"ipam": _ipam(sent.ipam), "config_from": sent.config_from.network}
    return NetworkRequest(**same)


def _ipam(sent: _IpamBody) -> Ipam:
    config = tuple(
        IpamSubnet(
            subnet=one.subnet, ip_range=one.ip_range, gateway=one.gateway, reserved=one.auxiliary_addresses
        )
        for one in sent.config
    )
    return Ipam(driver=sent.driver, options=sent.options, config=config)


def decode_connect(body: bytes) -> ConnectRequest:
    """Read the body of ``POST /networks/{id}/connect``.

    Raises:
        InvalidInput: not JSON, a member has the wrong type, or no container is named.
    """
    return _with_container(_decode(body, ConnectRequest))


def decode_disconnect(body: bytes) -> DisconnectRequest:
    """Read the body of ``POST /networks/{id}/disconnect``.

    Raises:
        InvalidInput: not JSON, a member has the wrong type, or no container is named.
    """
    return _with_container(_decode(body, DisconnectRequest))


_Named = TypeVar("_Named", ConnectRequest, DisconnectRequest)


def _with_container(request: _Named) -> _Named:
    if not request.container:
        raise InvalidInput("no container name or ID supplied: give a Container")
    return request


def _decode(body: bytes, kind: type[_Value]) -> _Value:
    """Return *body* as *kind*; the InvalidInput names the member at fault."""
    try:
        members = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"invalid JSON: {error}") from error
    if not isinstance(members, dict):
        raise InvalidInput("invalid request body: send a JSON object")
    try:
        return msgspec.convert(_without_nulls(members), kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"invalid request body: {error}") from error


def _without_nulls(value: Any, in_map: bool = False) -> Any:
    """Drop the members that are null; in a map of the user's keys they are empty texts."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    if not isinstance(value, dict):
        return value
    if in_map:
        return {key: "" if item is None else item for key, item in value.items()}
    return {key: _without_nulls(item, key in _MAPS) for key, item in value.items() if item is not None}
