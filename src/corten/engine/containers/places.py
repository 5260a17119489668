"""Places: where the files of a container lie on the host."""

import os

import msgspec

from corten.core.snapshots.folders import folders
from corten.engine.containers.parts import Parts, files_of, is_up
from corten.engine.records.container import Container

PLACES = (b".dockerenv", b"dev", b"etc/hosts", b"etc/hostname", b"etc/resolv.conf", b"proc", b"sys")
"""What every container gets from the engine; that the image lacked the place is no change of the user's."""


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Paths on the host, empty for what is not there; *graph* are those of the root, by Docker's names.

    *logs* is the folder that holds the container's log.
    """

    hosts: str = ""
    hostname: str = ""
    resolv_conf: str = ""
    logs: str = ""
    graph: dict[str, str] = {}


def places(parts: Parts, container: Container) -> Places:
    """Look where the files of *container* are; NotFound once it is removed."""
    files = files_of(parts, container.id)
    keeps = container.host_config.log_config.type != "none"
    graph = folders(parts.snapshots.mounts(container.id)[0])
    if is_up(container):  # nowhere else is the whole root mounted
        graph["MergedDir"] = f"/proc/{container.state.pid}/root"
    return Places(
        hosts=_there(files.hosts),
        hostname=_there(files.hostname),
        resolv_conf=_there(files.resolv_conf),
        logs=parts.logs(container.id) if keeps else "",
        graph=graph,
    )


def _there(path: str) -> str:
    return path if os.path.exists(path) else ""
