"""Network: what is recorded of a network."""

import msgspec

PREDEFINED = ("bridge", "host", "none")


class IpamSubnet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One range of addresses, in CIDR form, as ``inspect`` shows it; ``reserved`` are the auxiliary addresses."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    reserved: dict[str, str] = {}


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded network. Change it by ``msgspec.structs.replace`` and ``put``.

    ``subnets`` are those in use, chosen by the engine where the user named
    none; ``created`` is RFC 3339 with nanoseconds. ``config_only`` networks
    lend their settings to those that name them in ``config_from``.
    """

    id: str
    name: str
    created: str
    driver: str = "bridge"
    scope: str = "local"
    ipv4: bool = True
    ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = {}
    subnets: tuple[IpamSubnet, ...] = ()
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    options: dict[str, str] = {}
    labels: dict[str, str] = {}

    @property
    def predefined(self) -> bool:
        """Tell whether it is one of those that every engine has."""
        return self.name in PREDEFINED
