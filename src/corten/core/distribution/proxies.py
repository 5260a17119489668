"""Proxies: which one a request goes through, from the usual variables. Pure.

Source: the conventions of curl(1), "ENVIRONMENT", and of Go's httpproxy,
which Docker follows: NO_PROXY holds hosts (with their subdomains), addresses,
networks and ``*``; what is on this machine never takes a proxy.
"""

import ipaddress
from collections.abc import Mapping

from yarl import URL

from corten.errors import InvalidInput


def choose(url: URL, proxies: Mapping[str, str]) -> URL | None:
    """Return the proxy for *url*, or None to connect directly.

    Raises:
        InvalidInput: the variable's value is no URL of a proxy.
    """
    host = (url.host or "").lower().rstrip(".")
    if _is_local(host) or any(
        _excludes(rule, host, url.port) for rule in _value(proxies, "no_proxy").split(",")
    ):
        return None
    text = _value(proxies, f"{url.scheme}_proxy") or _value(proxies, "all_proxy")
    return _read(text) if text else None


def _value(proxies: Mapping[str, str], name: str) -> str:
    """Return a variable in its lower-case spelling, else in its upper-case one."""
    return (proxies.get(name) or proxies.get(name.upper()) or "").strip()


def _read(text: str) -> URL:
    """Read the address of a proxy; ``http://`` may be left out."""
    try:
        proxy = URL(text if "://" in text else f"http://{text}")
        if proxy.scheme in ("http", "https") and proxy.host:
            return proxy
    except ValueError:
        pass
    raise InvalidInput("the proxy in http_proxy or https_proxy is no URL such as http://proxy.example:3128")


def _is_local(host: str) -> bool:
    """Tell whether *host* is this machine."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return *host* as an address; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _excludes(rule: str, host: str, port: int | None) -> bool:
    """Tell whether one entry of NO_PROXY holds for *host*."""
    rule = rule.strip().lower()
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        rule = name
    rule = rule.strip("[]")
    address = _address(host)
    if address is not None and "/" in rule:
        try:
            return address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    bare = rule.removeprefix("*").lstrip(".")
    return rule == "*" or (bool(bare) and (host == bare or host.endswith(f".{bare}")))
