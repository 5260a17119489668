"""Settings of the network namespace that the calling thread is in, below /proc/sys/net.

Switching forwarding on touches every link: IPv4 then forwards on those that
are there and those to come, so links that shall stay closed are closed again;
IPv6 then takes no more routers' announcements where the host itself got its
address from one, unless told to (``accept_ra`` 2) before.

Source: Documentation/networking/ip-sysctl.rst.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

_FOLDER = "/proc/sys/net"
_EVERY_LINK = ("all", "default", "lo")  # below conf/, but no link that others announce routes to


def read_sysctl(name: str) -> str:
    """Return the value of *name*, as ``ipv4/ip_forward``.

    Raises:
        OSError: ENOENT when the kernel lacks it.
    """
    with open(f"{_FOLDER}/{name}", "rb") as file:
        return file.read().decode().strip()


def write_sysctl(name: str, value: str) -> None:
    """Set *name*, as ``ipv4/ip_forward``.

    Raises:
        OSError: ENOENT when the kernel lacks it, EROFS, EINVAL.
    """
    descriptor = os.open(f"{_FOLDER}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def settle_sysctl(name: str, value: str) -> None:
    """Set *name* where it differs, since /proc/sys may be read-only and right; as ``write_sysctl`` else."""
    if read_sysctl(name) != value:
        write_sysctl(name, value)


def is_marked(link: str) -> bool:
    """Tell whether *link* has a mark; see ``mark``. False when there is no such link."""
    try:
        return read_sysctl(f"ipv4/conf/{link}/tag") != "0"
    except FileNotFoundError:
        return False


def mark(link: str, marked: bool) -> None:
    """Give *link* a mark or take it away: a number without a meaning for the kernel, kept for such use; idempotent."""
    settle_sysctl(f"ipv4/conf/{link}/tag", str(int(marked)))


def forward_ipv4(closed: Callable[[], Iterable[str]]) -> None:
    """Have this host route IPv4, but nothing that comes in on the *closed* links; idempotent.

    Args:
        closed: Asked only if it did not route before.

    Raises:
        OSError: /proc/sys is read-only.
    """
    if read_sysctl("ipv4/ip_forward") == "1":
        return
    stay = closed()
    write_sysctl("ipv4/ip_forward", "1")
    for link in stay:
        with suppress(FileNotFoundError):  # it has gone
            write_sysctl(f"ipv4/conf/{link}/forwarding", "0")


def forward_ipv6() -> None:
    """Have this host route IPv6, and still learn its own routes as before; idempotent.

    Raises:
        OSError: ENOENT on a kernel without IPv6; /proc/sys is read-only.
    """
    if read_sysctl("ipv6/conf/all/forwarding") == "1":
        return
    for link in os.listdir(f"{_FOLDER}/ipv6/conf"):
        if link not in _EVERY_LINK:
            with suppress(FileNotFoundError):  # it has gone
                if read_sysctl(f"ipv6/conf/{link}/accept_ra") == "1":
                    write_sysctl(f"ipv6/conf/{link}/accept_ra", "2")
    write_sysctl("ipv6/conf/all/forwarding", "1")


def refuse_ipv6(link: str) -> None:
    """Have *link* take no part in IPv6; idempotent, content on a kernel without it."""
    with suppress(FileNotFoundError):
        settle_sysctl(f"ipv6/conf/{link}/disable_ipv6", "1")


def filters_bridged(*, ipv6: bool) -> bool:
    """Tell whether the firewall sees the packets that one bridge port sends to another (br_netfilter).

    Args:
        ipv6: Ask for IPv6, else for IPv4.
    """
    try:
        return read_sysctl(f"bridge/bridge-nf-call-ip{'6' if ipv6 else ''}tables") == "1"
    except FileNotFoundError:  # the module is not there
        return False
