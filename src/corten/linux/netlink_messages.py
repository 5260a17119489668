"""Netlink messages as bytes: what every kind of request and answer has in common. No socket.

A message is a header, a fixed structure of its kind, then attributes (length,
type, value padded to four bytes), which may nest. Everything is in host byte
order, addresses apart.

Source: netlink(7), linux/netlink.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from corten.linux.syscalls import KernelError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x01, 0x04, 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, kind, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type

IpAddress = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface
IpNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send: its kind, extra flags, payload, and words for an error."""

    kind: int
    flags: int
    body: bytes
    action: str


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Decode attributes into values by type; of a repeated type the last one counts.

    Raises:
        ValueError: an attribute passes the end of *data*.
    """
    found, offset = {}, 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            raise ValueError(f"netlink attribute of {length} bytes at {offset} of {len(data)}")
        found[kind & NLA_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def nest(kind: int, *parts: bytes) -> bytes:
    """Encode an attribute made of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """Encode an attribute that is text, ended by a zero byte."""
    return attribute(kind, value.encode() + b"\0")


def word(kind: int, value: int) -> bytes:
    """Encode an attribute of four bytes."""
    return attribute(kind, struct.pack("=I", value))


def short(kind: int, value: int) -> bytes:
    """Encode an attribute of two bytes."""
    return attribute(kind, struct.pack("=H", value))


def decode_text(value: bytes) -> str:
    """Return the text of an attribute."""
    return value.rstrip(b"\0").decode(errors="replace")


def decode_word(value: bytes | None, default: int = 0) -> int:
    """Return the number in an attribute of four bytes, *default* where it is missing."""
    return int(struct.unpack("=I", value)[0]) if value else default


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split received bytes into (kind, flags, sequence, payload).

    Raises:
        ValueError: a message passes the end of *data*.
    """
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise ValueError(f"netlink message of {length} bytes at {offset} of {len(data)}")
        yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def parse_failure(flags: int, body: bytes, action: str) -> KernelError | None:
    """Decode the payload of an NLMSG_ERROR message; None is an acknowledgement.

    The kernel's own words (extended acknowledgement) follow *action* in brackets.
    """
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return None
    hint = ""
    if flags & NLM_F_ACK_TLVS:
        (echoed,) = struct.unpack_from("=I", body, 4)
        skip = 4 + (HEADER.size if flags & NLM_F_CAPPED else (echoed + 3) & ~3)
        hint = _hint(body[skip:])
    return KernelError(-code, f"{action} ({hint})" if hint else action)


def parse_end(flags: int, body: bytes, action: str) -> KernelError | None:
    """Decode the payload of the NLMSG_DONE message that ends a listing; None when it is whole.

    A listing that fails on its way says so here, and not in an NLMSG_ERROR.
    """
    code = struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if code >= 0:
        return None
    hint = _hint(body[4:]) if flags & NLM_F_ACK_TLVS else ""
    return KernelError(-code, f"{action} ({hint})" if hint else action)


def _hint(data: bytes) -> str:
    return decode_text(attributes(data).get(NLMSGERR_ATTR_MSG, b""))
