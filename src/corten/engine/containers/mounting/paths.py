"""What mounts of every type have: a target, perhaps a path below the source, a propagation. Pure.

Targets are cleaned as text only: where they lead is decided at start, beneath
the container's root.
"""

import posixpath

from corten.errors import InvalidInput

PROPAGATION = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


def clean(target: str, where: str) -> str:
    """Return *target* without ``.``, ``..`` and doubled slashes.

    Raises:
        InvalidInput: not absolute, or the root itself; *where* says which mount.
    """
    if not target.startswith("/") or "\0" in target:
        raise InvalidInput(f"{where}: invalid mount path: '{target}' mount path must be absolute")
    cleaned = "/" + posixpath.normpath(target).lstrip("/")
    if cleaned == "/":
        raise InvalidInput(f"{where}: invalid specification: destination can't be '/'")
    return cleaned


def local(subpath: str, where: str, what: str) -> str:
    """Return *subpath* cleaned, empty for the whole of *what*.

    Raises:
        InvalidInput: it is absolute, or leads out.
    """
    if not subpath:
        return ""
    cleaned = posixpath.normpath(subpath)
    if subpath.startswith("/") or cleaned == ".." or cleaned.startswith("../") or "\0" in subpath:
        raise InvalidInput(f"{where}: subpath must be a relative path within the {what}")
    return "" if cleaned == "." else cleaned
