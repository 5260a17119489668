"""Who has a port of this host: found in /proc, for the text of a refusal.

Source: proc(5), "/proc/net/tcp", "/proc/pid/fd".
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

TIME_WAIT = "06"  # a connection that ended lately: nobody's


def holder(protocol: str, host_ip: str, port: int) -> str:
    """Return words for the program that keeps *port* of *host_ip* from being bound, empty for nobody.

    Such as ``nginx (process 812)``. Looks at the network namespace of the
    calling thread; a process that cannot be seen is ``another program``.
    """
    wanted = ip_address(host_ip)
    inodes = {
        inode
        for family in ("", "6")
        for address, number, state, inode in _sockets(f"{protocol}{family}")
        if number == port and state != TIME_WAIT and _meet(wanted, address)
    }
    if not inodes:
        return ""
    return next(_programs({f"socket:[{inode}]" for inode in inodes}), "another program")


def _meet(one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> bool:
    """Tell whether sockets at both addresses may be in each other's way."""
    if one.is_unspecified or other.is_unspecified:
        return one.version == other.version or (other.version == 6 and other.is_unspecified)
    mapped = other.ipv4_mapped if isinstance(other, IPv6Address) else None
    return one in (other, mapped)


def _sockets(table: str) -> Iterator[tuple[IPv4Address | IPv6Address, int, str, str]]:
    """Yield address, port, state and inode of the sockets in a table such as ``tcp6``."""
    with suppress(FileNotFoundError), open(f"/proc/thread-self/net/{table}") as file:
        next(file, "")
        for line in file:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            yield _decoded(address), int(port, 16), fields[3], fields[9]


def _decoded(text: str) -> IPv4Address | IPv6Address:
    """Decode an address printed as numbers of 32 bits in the order of this machine."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return ip_address(raw)


def _programs(sockets: set[str]) -> Iterator[str]:
    """Yield words for each process that has one of *sockets* open."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # gone meanwhile, or not ours to see
            if any(target in sockets for target in _descriptors(pid)):
                with open(f"/proc/{pid}/comm") as file:
                    yield f"{file.read().strip()} (process {pid})"


def _descriptors(pid: str) -> Iterator[str]:
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                yield os.readlink(entry.path)
