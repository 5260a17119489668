"""``--subnet`` and its companions of ``network create``, as the API wants them: one entry per subnet."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any


def subnets(
    given: list[str], ranges: list[str], gateways: list[str], auxiliary: dict[str, str]
) -> list[dict[str, Any]]:
    """Put every range, gateway and auxiliary address to the subnet that it lies in.

    Raises:
        Failure: something is no address, or has no subnet of its own; with Docker's words.
    """
    if len(given) < len(ranges) or len(given) < len(gateways):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    found = {_network(text, "subnet"): {"Subnet": text} for text in given}
    if len(found) < len(given) or any(a != b and a.overlaps(b) for a in found for b in found):
        raise Failure("multiple overlapping subnet configuration is not supported")
    for text in ranges:
        home = _home(found, str(_network(text, "ip-range").network_address), f"range {text}")
        _put(home, "IPRange", text, "ranges")
    for text in gateways:
        _put(_home(found, text, f"gateway {text}"), "Gateway", text, "gateways")
    for name, text in auxiliary.items():
        home = _home(found, text, f"aux-address {text}")
        home.setdefault("AuxiliaryAddresses", {})[name] = text
    return list(found.values())


def _network(text: str, what: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise Failure(
            f"invalid {what} {text}: write an address and a length, such as 172.30.0.0/16"
        ) from None


def _home(found: dict[Any, dict[str, Any]], text: str, what: str) -> dict[str, Any]:
    """The entry of the subnet that the address *text* lies in."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Failure(f"invalid IP address: {text}: write one such as 172.30.0.1") from None
    for network, entry in found.items():
        if address in network:
            return entry
    raise Failure(f"no matching subnet for {what}")


def _put(entry: dict[str, Any], key: str, text: str, what: str) -> None:
    if key in entry:
        raise Failure(
            f"cannot configure multiple {what} ({text}, {entry[key]}) on the same subnet ({entry['Subnet']})"
        )
    entry[key] = text
