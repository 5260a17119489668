"""changes: what a container has changed of its image, for ``diff``."""

import asyncio

from corten.core.layers.changes import Change
from corten.core.layers.changes import changes as compare
from corten.core.snapshots.browse import tree
from corten.core.snapshots.folders import folders, holds_changes
from corten.engine.containers.parts import Parts
from corten.engine.containers.places import PLACES


async def changes(parts: Parts, ref: str) -> list[Change]:
    """Return the paths that the container *ref* has changed, added or deleted since it was made.

    Raises:
        NotFound: no such container.
        LimitExceeded: its folders are nested too deep.
    """
    container = parts.records.find(ref)
    return await asyncio.to_thread(_changes, parts, container.id)


def _changes(parts: Parts, identifier: str) -> list[Change]:
    snapshots = parts.snapshots
    mount, parent = snapshots.mounts(identifier)[0], snapshots.info(identifier).parent
    upper, overlay = folders(mount)["UpperDir"], holds_changes(mount)
    if parent is None:
        return compare(upper, None, overlay, PLACES)
    with tree(snapshots.mounts(parent)[0]) as lower:
        return compare(upper, lower, overlay, PLACES)
