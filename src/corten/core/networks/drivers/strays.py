"""Links of ours that nothing claims: remains of an engine that was killed, found by their alias."""

import errno
from collections.abc import Callable, Container

from corten.linux.netlink import Link, Netlink, delete_link
from corten.linux.syscalls import KernelError


def remove_networks(tag: str, known: Container[str]) -> list[str]:
    """Delete the links of networks that are not in *known*.

    Args:
        tag: Begins the alias of every link of this engine.
        known: The first 12 hex digits of the ids of networks.

    Returns:
        The names deleted.
    """
    prefix = f"{tag} network "
    return _remove(lambda link: link.alias.startswith(prefix) and link.alias[len(prefix) :] not in known)


def remove_all(tag: str) -> list[str]:
    """Delete every link that carries *tag*; returns their names."""
    return _remove(lambda link: link.alias.startswith((f"{tag} network ", f"{tag} endpoint ")))


def _remove(chosen: Callable[[Link], bool]) -> list[str]:
    with Netlink() as netlink:
        strays = [link.name for link in netlink.links() if chosen(link)]
        for name in strays:
            try:
                netlink.execute(delete_link(name))
            except KernelError as failure:
                if failure.errno != errno.ENODEV:  # the other end of one that just went
                    raise
    return strays
