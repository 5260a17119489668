"""Addresses: where a URL leads, and where nothing may ever lead.

A registry names other places to us: redirects, token services, places to
upload to. Whoever controls it could name the metadata service of the machine's
cloud, which answers every local process with secrets, or accepts orders.
Those services live at link-local addresses and a few fixed ones. Names do not
protect: a name can stand for any address, and an IPv4 address has many
spellings, also inside IPv6. So the decision is made on the address itself, at
the last possible moment: when the socket for a connection is made. What is
written as an address in a URL is refused even earlier. (Behind a proxy the
proxy resolves names; then only written addresses can be checked here.)
"""

import errno
import ipaddress
import socket
from typing import Any, NamedTuple

from yarl import URL

from corten.errors import Forbidden, Unavailable

_MAX_URL = 16 << 10  # characters; signed URLs of object stores have a few thousand
_FORBIDDEN = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local; 169.254.169.254 serves metadata in most clouds
        "fe80::/10",
        "fd00:ec2::254/128",  # metadata in other clouds
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
    )
)
# IPv6 networks whose last 32 bits are an IPv4 address: mapped, translated, compatible, NAT64
_CARRIERS = tuple(
    ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
)

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class Origin(NamedTuple):
    """What a credential is bound to: scheme, host and port in one spelling (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}.get(self.scheme) == self.port
        return host if usual else f"{host}:{self.port}"


class AddressRefused(OSError):
    """A connection to an address that is never contacted."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is a link-local or metadata address")


def origin_of(url: URL) -> Origin:
    """Return the origin of an absolute *url*; equal for all spellings of the same place."""
    return Origin(url.scheme.lower(), (url.host or "").lower().rstrip("."), url.port or 0)


def is_forbidden(text: str) -> bool:
    """Tell whether *text* is an address that is never contacted; False for names."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if any(address in network for network in _FORBIDDEN):
        return True
    inner = _carried(address) if isinstance(address, ipaddress.IPv6Address) else None
    return inner is not None and is_forbidden(str(inner))


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that *address* stands for."""
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def make_socket(info: AddressInfo) -> socket.socket:
    """Make the socket for a connection to the resolved address of *info*.

    Raises:
        AddressRefused: that address is never contacted; no packet was sent.
    """
    family, kind, protocol, _, target = info
    if is_forbidden(str(target[0])):
        raise AddressRefused(str(target[0]))
    return socket.socket(family, kind, protocol)


def follow(base: URL, location: str) -> URL:
    """Return the absolute URL that *location*, as received from *base*, means.

    User names in it are dropped: nobody gives us credentials through a URL.
    Plain HTTP on the very host that was reached by HTTPS is a registry that
    does not know of the proxy before it; HTTPS is kept then.

    Raises:
        Unavailable: it is no URL, or leads from HTTPS to plain HTTP elsewhere.
        Forbidden: it leads to an address that is never contacted.
    """
    url = _read(base, location)
    if is_forbidden(url.host or ""):
        raise Forbidden(
            f"{origin_of(base)} sends us to {url.host}, a link-local or metadata address: refused"
        )
    if base.scheme == "https" and url.scheme == "http":
        if origin_of(url).host != origin_of(base).host:
            raise Unavailable(f"{origin_of(base)} redirects from HTTPS to plain HTTP at {url.host}: refused")
        return base.join(url.relative())
    return url


def _read(base: URL, location: str) -> URL:
    """Resolve *location* without changing how it is quoted: signatures depend on that."""
    if not location or len(location) > _MAX_URL or not location.isprintable() or set(location) & set(" \\"):
        raise Unavailable(f"{origin_of(base)} sent a Location that is no URL")
    try:
        url = base.join(URL(location, encoded=True)).with_user(None).with_fragment(None)
        valid = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    except ValueError:
        valid = False
    if not valid:
        raise Unavailable(f"{origin_of(base)} sent a Location that is no URL")
    return url
