"""Mounts of a running container -> plan: the steps of the child that changes them. Pure.

The child starts beside the supervisor, looks up and copies what is to appear
where the host's mounts are seen, enters the container's mount namespace, and
only there resolves a path that the container can influence; see ``init.live``.
"""

from collections.abc import Sequence
from typing import Any

from corten.core.runtime.plan import Step
from corten.oci.spec import Mount


def live_plan(add: Sequence[Mount], remove: Sequence[Mount]) -> list[Step]:
    """Return the steps; descriptor 0 handed over is a pidfd of the container, 1 the host's mount namespace.

    Args:
        add: Mounts to make, in order: none lies below a later one.
        remove: Mounts to take away before that, as they were made, in order.
    """
    added, removed = [_plain(mount) for mount in add], [_plain(mount) for mount in remove]
    return [
        ("prepare_mounts", {"index": 1, "add": added, "remove": removed}),
        ("exchange_mounts", {"index": 0}),
        ("leave", {}),
    ]


def _plain(mount: Mount) -> dict[str, Any]:
    return {
        "target": mount.destination,
        "kind": mount.type,
        "source": mount.source,
        "options": list(mount.options),
    }
