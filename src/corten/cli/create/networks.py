"""``--network`` in both its forms, and what other flags say about the first network."""

from __future__ import annotations

from corten.cli.create.fields import split
from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.flags import Values


def network(text: str) -> dict[str, Any]:
    """A name or mode, or ``name=...,alias=...,ip=...``, as a name and the settings of the endpoint.

    Raises:
        ValueError: an unknown field.
    """
    if "=" not in text:
        return {"name": text, "endpoint": {}}
    found: dict[str, Any] = {"name": "", "endpoint": {}}
    for field in split(text):
        key, equals, value = field.partition("=")
        if not equals:
            raise ValueError(f"invalid field {field}")
        _setting(found, key.strip().lower(), value.strip())
    if not found["name"]:
        raise ValueError("network name/id is not specified")
    return found


def _setting(found: dict[str, Any], key: str, value: str) -> None:
    endpoint = found["endpoint"]
    if key == "name":
        found["name"] = value
    elif key == "alias":
        endpoint.setdefault("Aliases", []).append(value)
    elif key == "ip":
        endpoint.setdefault("IPAMConfig", {})["IPv4Address"] = value
    elif key == "ip6":
        endpoint.setdefault("IPAMConfig", {})["IPv6Address"] = value
    elif key == "link-local-ip":
        endpoint.setdefault("IPAMConfig", {}).setdefault("LinkLocalIPs", []).append(value)
    elif key == "mac-address":
        endpoint["MacAddress"] = value
    elif key == "driver-opt":
        name, _, said = value.partition("=")
        endpoint.setdefault("DriverOpts", {})[name] = said
    elif key == "gw-priority":
        endpoint["GwPriority"] = _whole(value)
    else:
        raise ValueError(f"invalid field key {key}")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"invalid gw-priority ({text}): value must be an integer") from None


CONFLICTS = (  # flag, field of the first network, and how Docker calls it
    ("network-alias", "Aliases", "alias"),
    ("link", "Links", "links"),
    ("ip", "IPv4Address", "IPv4 address"),
    ("ip6", "IPv6Address", "IPv6 address"),
    ("mac-address", "MacAddress", "MAC address"),
    ("link-local-ip", "LinkLocalIPs", "link-local IP addresses"),
)


def apply(args: Values, host: dict[str, Any], body: dict[str, Any]) -> None:
    """Write what *args* say about networks into the bodies of the request.

    Raises:
        Failure: the same is said twice, or a network is named twice.
    """
    networks = args.network or [{"name": "default", "endpoint": {}}]
    _check(args, networks)
    first = networks[0]["endpoint"]
    if args.network_alias:
        first["Aliases"] = args.network_alias
    addresses = {"IPv4Address": args.ip, "IPv6Address": args.ip6, "LinkLocalIPs": args.link_local_ip}
    given = {name: value for name, value in addresses.items() if value}
    if given:
        first.setdefault("IPAMConfig", {}).update(given)
    if args.mac_address:
        first["MacAddress"] = args.mac_address
    if args.link:
        first["Links"] = host["Links"] = args.link
    if args.network:
        host["NetworkMode"] = networks[0]["name"]
    if first or len(networks) > 1:
        endpoints = {item["name"]: item["endpoint"] for item in networks}
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}


def _check(args: Values, networks: list[dict[str, Any]]) -> None:
    names = [item["name"] for item in networks]
    for name in names:
        if names.count(name) > 1:
            raise Failure(f'network "{name}" is specified multiple times')
    first = networks[0]["endpoint"]
    said = first | first.get("IPAMConfig", {})
    for flag, field, words in CONFLICTS:
        if said.get(field) and getattr(args, flag.replace("-", "_")):
            raise Failure(f"conflicting options: cannot specify both --{flag} and per-network {words}")
