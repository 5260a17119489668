"""Connection tracking: find and forget flows, so that new translations apply to them.

A translation is chosen for the first packet of a flow and kept as long as the
flow lives. UDP has no end: a client that goes on sending keeps the flow, and
with it the translation to a container that is gone, or the lack of one.

Source: linux/netfilter/nfnetlink_conntrack.h; ctnetlink_dump_table in the
kernel, whose filter (Linux 5.8) keeps long tables out of here.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from corten.linux.netlink_messages import attribute, attributes, messages
from corten.linux.syscalls import KernelError

NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK = 12, 1
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 0, 1, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x01, 0x04, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID, CTA_ZONE, CTA_FILTER = 1, 2, 12, 18, 25
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 3
CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2
_FILTER_PROTO, _FILTER_DST_PORT = 1 << 3, 1 << 5
NLA_F_NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ADDRESSES = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}  # CTA_IP_V4_SRC, CTA_IP_V4_DST; of IPv6


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked flow: whom the client asked, and who answers, which differs when it is translated."""

    family: int
    asked: IPv4Address | IPv6Address
    answering: IPv4Address | IPv6Address
    key: bytes  # attributes that name it to the kernel


def flows(family: socket.AddressFamily, protocol: int, port: int) -> list[Flow]:
    """Return the flows of *protocol* whose client asked for *port*, in the namespace of this thread.

    Raises:
        KernelError: the kernel refused.
        OSError: the socket cannot be opened.
    """
    proto = attribute(CTA_PROTO_NUM, bytes([protocol]))
    proto += attribute(CTA_PROTO_DST_PORT, port.to_bytes(2, "big"))
    flags = struct.pack("=I", _FILTER_PROTO | _FILTER_DST_PORT)
    body = _nested(CTA_TUPLE_ORIG, _nested(CTA_TUPLE_PROTO, proto))
    body += _nested(
        CTA_FILTER,
        attribute(CTA_FILTER_ORIG_FLAGS, flags) + attribute(CTA_FILTER_REPLY_FLAGS, bytes(4)),
    )
    found: list[Flow] = []
    with _open() as made:
        made.send(_message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, body))
        while True:
            for kind, _flags, _sequence, answer in messages(made.recv(1 << 16)):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise _failure(answer, "list flows")
                found.append(_flow(family, attributes(answer[4:])))


def forget(flow: Flow) -> None:
    """Have the kernel forget *flow*; its next packet begins a new one. Content when it has ended.

    Raises:
        KernelError: the kernel refused.
        OSError: the socket cannot be opened.
    """
    with _open() as made:
        made.send(_message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, flow.family, flow.key))
        for kind, _flags, _sequence, answer in messages(made.recv(1 << 16)):
            if kind == NLMSG_ERROR:
                failure = _failure(answer, "forget a flow")
                if failure.errno not in (0, errno.ENOENT):
                    raise failure


def _open() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, value)


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    payload = bytes([family, 0, 0, 0]) + body
    kind |= NFNL_SUBSYS_CTNETLINK << 8
    return _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, 1, 0) + payload


def _failure(body: bytes, action: str) -> KernelError:
    (code,) = struct.unpack_from("=i", body)
    return KernelError(-code, action)


def _flow(family: int, found: dict[int, bytes]) -> Flow:
    source, destination = _ADDRESSES[socket.AddressFamily(family)]
    original = attributes(attributes(found[CTA_TUPLE_ORIG])[CTA_TUPLE_IP])
    reply = attributes(attributes(found[CTA_TUPLE_REPLY])[CTA_TUPLE_IP])
    key = _nested(CTA_TUPLE_ORIG, found[CTA_TUPLE_ORIG])
    key += b"".join(attribute(kind, found[kind]) for kind in (CTA_ID, CTA_ZONE) if kind in found)
    return Flow(family, ip_address(original[destination]), ip_address(reply[source]), key)
