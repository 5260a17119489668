"""The size of a volume: a project quota on its folder.

Project numbers are taken from a range of our own; one is free when it has no
limit and nothing counts for it, so that no list of them has to be kept.
"""

import random
import threading

from corten.errors import Unsupported
from corten.linux import quota

_RANGE = range(0x0C0D0000, 0x0C0E0000)
_lock = threading.Lock()  # between finding a free number and taking it


def set_size(folder: int, size: int) -> None:
    """Keep all that will be made in the open, empty *folder* to *size* bytes.

    Raises:
        Unsupported: its file system keeps no project quotas.
    """
    if not quota.is_enforced(folder):
        raise Unsupported(
            "a size needs project quotas, which this file system does not keep: "
            "mount it with the option prjquota (ext4, xfs), or leave the size out"
        )
    with _lock:
        project = _free(folder)
        quota.set_limit(folder, project, size)
    quota.set_project(folder, project)


def size_of(folder: int) -> quota.Quota | None:
    """Return limit and use of the open *folder*; None for one without a limit."""
    project = quota.get_project(folder)
    if project not in _RANGE:
        return None
    return quota.get_quota(folder, project)


def project_of(folder: int) -> int:
    """Return the number by which the open *folder* is limited; 0 for none."""
    project = quota.get_project(folder)
    return project if project in _RANGE else 0


def lift(folder: int, project: int) -> None:
    """Forget the limit of a *project* whose files are gone; *folder* is any of the file system."""
    if project:
        quota.set_limit(folder, project, 0)


def _free(folder: int) -> int:
    start = random.randrange(len(_RANGE))
    for step in range(len(_RANGE)):
        project = _RANGE[(start + step) % len(_RANGE)]
        if quota.get_quota(folder, project) == quota.Quota(0, 0):
            return project
    raise Unsupported("all numbers for volumes with a size are in use: remove some")
