"""Resolver: the sockets of our name server inside one network namespace.

They are bound to a port that nobody asks for, and a detour (rewrite.py) leads
there from 127.0.0.11 port 53. The port is the same in every namespace when it
is free, so that a daemon that starts again finds the detour as it is.

Source: resolv.conf(5), ip(7), ioctl_ns(2), linux/sockios.h (SIOCGSKNS).
"""

import errno
import fcntl
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from corten.core.networks.dns import rewrite
from corten.core.networks.dns.view import ADDRESS
from corten.linux.namespaces import CLONE_NEWNET, setns

# Above the range from which the kernel gives ports, and nobody's habit.
USUAL_PORT = 64053
_PORTS = range(61000, 65536)
_TRIES = 16
_BACKLOG = 64
_SIOCGSKNS = 0x894C


class Resolver:
    """Sockets for UDP and TCP (listening), non-blocking; they keep the namespace alive until ``close``."""

    def __init__(self, udp: socket.socket, tcp: socket.socket) -> None:
        self.udp, self.tcp = udp, tcp
        self._owns = True

    def fileno(self) -> int:
        """Return the descriptor of the UDP socket; -1 when closed."""
        return self.udp.fileno()

    def close(self) -> None:
        """Close both, unless another one has them now; idempotent. The detour stays and leads nowhere."""
        if self._owns:
            self.udp.close()
            self.tcp.close()

    def taken(self) -> "Resolver":
        """Return another one that has the sockets, so that closing this one does nothing any more.

        A loop that watches sockets has to be the one that closes them: the
        number of a descriptor closed behind its back may come again.
        """
        self._owns = False
        return Resolver(self.udp, self.tcp)

    def socket_inside(self, family: int, kind: int) -> socket.socket:
        """Return a new non-blocking socket in the namespace of these, for what is asked from there.

        Only for a thread that may be elsewhere for a moment: it enters that
        namespace and comes back.

        Raises:
            OSError: closed, no descriptors left, or the kernel refused.
        """
        with ExitStack() as undo:
            inside = fcntl.ioctl(self.udp, _SIOCGSKNS)
            undo.callback(os.close, inside)
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, home)
            setns(inside, CLONE_NEWNET)
            undo.callback(setns, home, CLONE_NEWNET)
            return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def open_resolver() -> Resolver:
    """Open the sockets in the network namespace of the calling thread, and lead port 53 there; about 0.05 ms.

    The loopback link has to be up. Called again in the same namespace, by
    the next daemon, the later sockets count.

    Raises:
        KernelError: the detour cannot be made.
        OSError: no port or descriptor is free.
    """
    with ExitStack() as undo:
        udp = undo.enter_context(_bound(socket.SOCK_DGRAM))
        tcp = undo.enter_context(_bound(socket.SOCK_STREAM))
        tcp.listen(_BACKLOG)
        rewrite.ensure(udp.getsockname()[1], tcp.getsockname()[1])
        undo.pop_all()
    return Resolver(udp, tcp)


def _candidates() -> Iterator[int]:
    yield USUAL_PORT
    for _ in range(_TRIES):
        yield random.choice(_PORTS)
    yield 0  # whatever the kernel has


def _bound(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:
            # connections of the last daemon that are not quite over do not matter
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in _candidates():
            try:
                made.bind((ADDRESS, port))
                break
            except OSError as failure:
                if failure.errno != errno.EADDRINUSE or not port:
                    raise
    except BaseException:
        made.close()
        raise
    return made
