"""From records to Docker's JSON: volumes and mounts. Pure functions, one per form.

Source: Docker Engine API 1.51, Volume, MountPoint.
"""

import re
from collections.abc import Mapping
from typing import Any

from corten.engine.records.container import MountPoint
from corten.engine.records.volume import Volume
from corten.serve.api.interface_volumes import Snapshot, Trashed

ANONYMOUS = "com.docker.volume.anonymous"
_FRACTION = re.compile(r"\.\d+")


def _seconds(time: str) -> str:
    """Return an RFC 3339 time without its fraction."""
    return _FRACTION.sub("", time)


def labels(volume: Volume) -> dict[str, str]:
    """Return the labels of a volume, with Docker's own for an anonymous one."""
    return {ANONYMOUS: "", **volume.labels} if volume.anonymous else volume.labels


def volume(
    volume: Volume, status: Mapping[str, Any] | None = None, usage: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return a volume; *usage* is its size in bytes and the number of its containers, where asked for.

    ``Corten`` holds what Docker has no place for, and is there only for a
    volume that has such a thing.
    """
    members: dict[str, Any] = {
        "CreatedAt": _seconds(volume.created),
        "Driver": volume.driver,
        "Labels": labels(volume) or None,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }
    if status:
        members["Status"] = status
    if usage is not None:
        members["UsageData"] = {"Size": usage[0], "RefCount": usage[1]}
    if volume.size:
        members["Corten"] = {"Size": volume.size}
    return members


def snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Return one member of ``GET /corten/volumes/{name}/snapshots``."""
    return {"Name": snapshot.name, "CreatedAt": _seconds(snapshot.created), "Size": snapshot.size}


def trashed(trashed: Trashed) -> dict[str, Any]:
    """Return one member of ``GET /corten/volumes/trash``."""
    return {
        "Id": trashed.id,
        "Name": trashed.name,
        "RemovedAt": _seconds(trashed.removed),
        "ExpiresAt": _seconds(trashed.expires),
        "Size": trashed.size,
    }


def mount(mount: MountPoint) -> dict[str, Any]:
    """Return one member of ``Mounts`` of a container."""
    members: dict[str, Any] = {
        "Type": mount.type,
        "Name": mount.name,
        "Source": mount.source,
        "Destination": mount.destination,
        "Driver": mount.driver,
        "Mode": mount.mode,
        "RW": mount.rw,
        "Propagation": mount.propagation if mount.type == "bind" else "",
    }
    return {name: value for name, value in members.items() if value or name not in ("Name", "Driver")}


def mounts(listed: tuple[MountPoint, ...]) -> list[dict[str, Any]]:
    """Return ``Mounts`` of a container: all but those that Docker does not list either."""
    return [mount(each) for each in listed if each.listed]
