"""What the firewall shall let through, as values: no I/O."""

import msgspec


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One bridge network as the firewall sees it.

    ``subnets`` are in CIDR form, IPv4 and IPv6. Nothing enters or leaves an
    ``internal`` one. Without ``icc`` its containers reach each other by
    published ports only. ``masquerade`` gives what leaves the host's address.
    The containers of a ``routed`` one are known outside by their own
    addresses: ports are opened, nothing is translated.
    """

    bridge: str
    subnets: tuple[str, ...]
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    routed: bool = False


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """One published port: *host_port* of *host_ip* leads to *port* of the container's *address*.

    ``protocol`` is tcp, udp or sctp; ``host_ip`` is 0.0.0.0 or :: for all
    addresses of its family, which must be the family of ``address``;
    ``bridge`` is the link of the network that ``address`` belongs to.
    """

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int
    bridge: str
