"""Sandbox: a network namespace of its own, and how one is made.

Only a thread can enter a namespace, and everything that thread does then
happens inside, so namespaces are made by threads that do nothing else (see
pool.py) and return to where they came from after each one. A namespace lives
as long as a descriptor, a process or a thread holds it; when it goes, the
kernel deletes its links, and with an end inside goes the end outside. That
makes dropping the descriptor the whole of the tear-down (0.15 ms, where
deleting a veth takes 16 to 19).

Source: network_namespaces(7), veth(4).
"""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

from corten.core.networks.network import Endpoint, Links, Network
from corten.linux.namespaces import CLONE_NEWNET, setns, unshare
from corten.linux.netlink import Netlink, add_address, add_route, set_link

_SYSCTL = "/proc/sys/net"
# Docker's defaults: anyone may ping, anyone may listen on ports below 1024.
SYSCTLS = {
    "ipv4/ping_group_range": "0 2147483647",
    "ipv4/ip_unprivileged_port_start": "0",
}


class Sandbox:
    """A network namespace, owned by its descriptor, with its endpoints.

    Whoever takes it calls ``release`` once the container is done. A process
    that was put inside keeps the namespace alive beyond that.
    """

    def __init__(self, descriptor: int, network: Network | None, endpoints: tuple[Endpoint, ...]) -> None:
        self._descriptor = descriptor
        self._network = network
        self.endpoints = endpoints

    def fileno(self) -> int:
        """Return the descriptor of the namespace, for setns(2); -1 when closed."""
        return self._descriptor

    def close(self) -> None:
        """Drop the descriptor but keep the addresses: the container goes on without us; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def release(self) -> None:
        """Drop the descriptor and give the addresses back; idempotent.

        The kernel deletes the links in the background as soon as no process
        is inside any more.
        """
        self.close()
        if self._network:
            for endpoint in self.endpoints:
                self._network.release(endpoint)


class Namespaces(Protocol):
    """Makes network namespaces and works inside them, on behalf of one thread."""

    def fresh(self) -> AbstractContextManager[int]:
        """Be inside a new namespace until the ``with`` ends.

        Yields:
            Its descriptor, close-on-exec, which the caller closes.

        Raises:
            KernelError: EPERM without CAP_SYS_ADMIN, ENOSPC at a limit.
        """
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor that ``fresh`` gave."""
        ...

    def prepare(self) -> None:
        """Inside: set Docker's sysctls and bring the loopback link up.

        Raises:
            OSError: a sysctl cannot be written, or the kernel refused.
        """
        ...

    def bring_up(self, endpoint: Endpoint) -> None:
        """Inside: give the plugged end its address, bring it up, add the default route.

        Raises:
            OSError: a sysctl cannot be written, or the kernel refused.
        """
        ...


class KernelNamespaces:
    """The real ``Namespaces``; made, used and ended (``stop``) in one thread."""

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def fresh(self) -> Iterator[int]:
        """See ``Namespaces.fresh``."""
        unshare(CLONE_NEWNET)
        try:
            yield os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            setns(self._home, CLONE_NEWNET)

    def close(self, descriptor: int) -> None:
        """See ``Namespaces.close``."""
        os.close(descriptor)

    def prepare(self) -> None:
        """See ``Namespaces.prepare``."""
        for name, value in SYSCTLS.items():
            write_sysctl(name, value)
        with Netlink() as inside:
            inside.execute(set_link("lo", up=True))

    def bring_up(self, endpoint: Endpoint) -> None:
        """See ``Namespaces.bring_up``.

        IPv6 stays off on the link while networks have none, as Docker does.
        Announcing the address (gratuitous ARP) corrects neighbours that
        remember an earlier owner of it.
        """
        with suppress(FileNotFoundError):  # a kernel without IPv6
            write_sysctl(f"ipv6/conf/{endpoint.interface}/disable_ipv6", "1")
        write_sysctl(f"ipv4/conf/{endpoint.interface}/arp_notify", "1")
        index = socket.if_nametoindex(endpoint.interface)
        with Netlink() as inside:
            inside.execute(
                add_address(index, IPv4Interface(f"{endpoint.address}/{endpoint.prefix}")),
                set_link(index, up=True),
                add_route(IPv4Address(endpoint.gateway)),
            )

    def stop(self) -> None:
        """Close the descriptor of the way home."""
        os.close(self._home)


def write_sysctl(name: str, value: str) -> None:
    """Write below /proc/sys/net, in the network namespace of the calling thread.

    Raises:
        OSError: ENOENT when the kernel lacks it, EROFS, EINVAL.
    """
    descriptor = os.open(f"{_SYSCTL}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def make_sandbox(
    namespaces: Namespaces,
    links: Links,
    network: Network | None,
    *,
    mac: str | None = None,
    address: str | None = None,
) -> Sandbox:
    """Make a namespace and plug it into *network*; all of it, or nothing.

    Args:
        namespaces: Of the calling thread.
        links: A socket in the network namespace of the host.
        network: None leaves the loopback link alone in there.
        mac: Wish for the endpoint.
        address: Wish for the endpoint.

    Raises:
        InvalidInput, Conflict, Unavailable, KernelError: as ``Network.plug``.
        OSError: as ``Namespaces``.
    """
    with namespaces.fresh() as descriptor, ExitStack() as undo:
        undo.callback(namespaces.close, descriptor)
        namespaces.prepare()
        endpoints: tuple[Endpoint, ...] = ()
        if network:
            endpoint = network.plug(links, descriptor, mac=mac, address=address)
            undo.callback(network.release, endpoint)
            namespaces.bring_up(endpoint)
            endpoints = (endpoint,)
        undo.pop_all()  # every step worked: keep them
    return Sandbox(descriptor, network, endpoints)
