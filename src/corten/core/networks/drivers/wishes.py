"""What users ask of an endpoint, checked before anything is made."""

import random
import re
from ipaddress import ip_address, ip_interface

from corten.core.networks.values import Wishes
from corten.errors import InvalidInput
from corten.linux.netlink import IpInterface, mac_bytes

LINK_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,14}", re.ASCII)
_LINK_LOCAL_BITS = {4: 16, 6: 64}


def random_mac() -> str:
    """Return a random MAC address: locally administered, for one station."""
    first = (random.getrandbits(8) & 0xFC) | 0x02
    return bytes([first, *random.randbytes(5)]).hex(":")


def mac_of(wishes: Wishes) -> str:
    """Return the MAC address asked for in the usual form, a random one if none is.

    Raises:
        InvalidInput: it is not the address of one station.
    """
    if not wishes.mac:
        return random_mac()
    try:
        raw = mac_bytes(wishes.mac.replace("-", ":").lower())
    except ValueError:
        raise InvalidInput(
            f'invalid MAC address: "{wishes.mac}" is not of the form 02:42:ac:11:00:02'
        ) from None
    if raw[0] & 1 or not any(raw):
        raise InvalidInput(f'invalid MAC address: "{wishes.mac}" is not the address of one station')
    return raw.hex(":")


def check(wishes: Wishes) -> None:
    """Refuse a name inside that no link can have, and addresses that are not link-local.

    Raises:
        InvalidInput: with what can be.
    """
    if not LINK_NAME.fullmatch(wishes.interface) or wishes.interface == "lo":
        raise InvalidInput(
            f"interface name {wishes.interface!r}: use 1 to 15 letters, digits, '_', '.', '-', other than 'lo'"
        )
    link_local(wishes)


def link_local(wishes: Wishes) -> list[IpInterface]:
    """Return the further addresses asked for, with the bits of their networks.

    Raises:
        InvalidInput: one is not link-local.
    """
    return [_link_local(text) for text in wishes.link_local]


def _link_local(text: str) -> IpInterface:
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInput(f'invalid link-local IP address: "{text}"') from None
    if not address.is_link_local or "%" in text:
        raise InvalidInput(f"invalid link-local IP address: {text} is not of 169.254.0.0/16 or fe80::/10")
    return ip_interface(f"{address}/{_LINK_LOCAL_BITS[address.version]}")
