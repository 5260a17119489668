"""Whether a path of the host lies where shared or slave propagation means anything.

A bind that is to share what is mounted in it has to come from a shared mount;
from a private one it would be silently alone. Source: mount_namespaces(7);
proc_pid_mountinfo(5).
"""

import os
import re
from collections.abc import Iterable

from corten.engine.containers.mounting.mount import UserMount
from corten.errors import InvalidInput

_TABLE = "/proc/self/mountinfo"
_ESCAPE = re.compile(r"\\([0-7]{3})")  # blanks and backslashes


def check_propagation(mounts: Iterable[UserMount]) -> None:
    """Refuse binds whose source cannot give them the propagation that they ask for.

    Raises:
        InvalidInput: in Docker's words; says which mount of the host to change.
    """
    asked = [mount for mount in mounts if mount.propagation.removeprefix("r") in ("shared", "slave")]
    if not asked:
        return
    with open(_TABLE, encoding="utf-8", errors="surrogateescape") as file:
        table = file.read()
    for mount in asked:
        point, tags = mounted_at(table, os.path.realpath(mount.source))
        wanted = {"shared"} if mount.propagation.endswith("shared") else {"shared", "master"}
        if not wanted & tags:
            kind = "a shared mount" if wanted == {"shared"} else "a shared or slave mount"
            raise InvalidInput(
                f"path {mount.source} is mounted on {point} but it is not {kind}: "
                f"run mount --make-shared {point}, or leave the propagation out"
            )


def mounted_at(table: str, path: str) -> tuple[str, set[str]]:
    """Return the mount point that *path* lies below, and its propagation: ``shared``, ``master``.

    Args:
        table: As mountinfo has it; of two mounts at one place the later counts.
        path: Absolute, without links.
    """
    best, tags = "", set[str]()
    for line in table.splitlines():
        fields = line.split(" ")
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best = point
            tags = {field.partition(":")[0] for field in fields[6 : fields.index("-")]}
    return best, tags
