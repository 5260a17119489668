"""One reserved port: a socket that is bound and never used.

Nothing arrives there while the firewall translates; without its rules a TCP
client is refused, since nobody listens.

Source: ip(7), tcp(7), ipv6(7), socket(7).
"""

import errno
import socket
from ipaddress import ip_address

from corten.core.networks.ports.owners import holder

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_NOT_IN_KERNEL = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)


def bind(protocol: str, host_ip: str, port: int) -> socket.socket | None:
    """Bind a socket that keeps others from *port*; the caller closes it.

    None for sctp where the kernel has no sockets of it: then no program can
    have the port either.

    Raises:
        OSError: EADDRINUSE when somebody has it, EADDRNOTAVAIL when the host
            has no such address, EAFNOSUPPORT without IPv6.
    """
    try:
        made = _socket(protocol, host_ip)
    except OSError as error:
        if protocol == "sctp" and error.errno in _NOT_IN_KERNEL:
            return None
        raise
    try:
        _bind(made, protocol, host_ip, port)
    except BaseException:
        made.close()
        raise
    return made


def _socket(protocol: str, host_ip: str) -> socket.socket:
    version = ip_address(host_ip).version
    made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, *_KINDS[protocol])
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is: nobody reads
    return made


def _bind(made: socket.socket, protocol: str, host_ip: str, port: int) -> None:
    try:
        made.bind((host_ip, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or protocol != "tcp" or holder(protocol, host_ip, port):
            raise
        # Only connections that ended lately are in the way. Allowed for the moment of
        # binding alone: two sockets that both allow it could share the port.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host_ip, port))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
