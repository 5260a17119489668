"""Names inside a layer: what they mean, and which are refused."""

import os
import re

from corten.core.layers.limits import Limits
from corten.errors import DataCorrupted, LimitExceeded

WHITEOUT = b".wh."
RESERVED = b".wh..wh."
OPAQUE = b".wh..wh..opq"
OVERLAY_OPAQUE = b"trusted.overlay.opaque"
_XATTRS = (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default")

_ODD = re.compile(rb"(?:^|/)\.{0,2}(?:/|$)")  # an empty component, "." or ".."


def clean(name: bytes) -> bytes:
    """Return *name* as a path below the root without ``.`` and ``..``; empty for the root itself.

    As Docker has it: an absolute name starts at the layer's root, and ``a/../b``
    is ``b`` whatever ``a`` may be.

    Raises:
        DataCorrupted: *name* leads out of the layer.
    """
    name = name.removeprefix(b"./").rstrip(b"/")
    if not _ODD.search(name):
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise DataCorrupted(f"the layer names {shown(name)}, which lies outside of it")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def check(path: bytes, limits: Limits) -> None:
    """Refuse a cleaned *path* that is too long, too deep, or below a whiteout.

    Raises:
        LimitExceeded: too long or too deep.
        DataCorrupted: a folder has a name that is reserved for whiteouts.
    """
    if len(path) > limits.path:
        raise LimitExceeded(f"the layer has a path of {len(path)} bytes; {limits.path} are allowed")
    if path.count(b"/") >= limits.depth:
        raise LimitExceeded(f"the layer nests folders more than {limits.depth} deep")
    if WHITEOUT in path and any(part.startswith(WHITEOUT) for part in path.split(b"/")[:-1]):
        raise DataCorrupted(f"the layer has a folder with a reserved name: {shown(path)}")


def hidden_name(name: bytes) -> bytes:
    """Return the name that the whiteout *name* hides.

    Raises:
        DataCorrupted: it hides no name, or a name that is none.
    """
    hidden = name[len(WHITEOUT) :]
    if hidden in (b"", b".", b".."):
        raise DataCorrupted(f"the layer has a whiteout for no name: {shown(name)}")
    return hidden


def is_allowed_xattr(attribute: bytes) -> bool:
    """Tell whether a layer may set *attribute*; the others are left out, as they steer the kernel.

    ``trusted.overlay.redirect`` would show any folder of the host's file system;
    other ``security.`` attributes belong to the host's policy.

    Raises:
        DataCorrupted: it is no name at all.
    """
    if b"\0" in attribute:
        raise DataCorrupted("the layer has an extended attribute with a zero byte in its name")
    return attribute.startswith(b"user.") or attribute in _XATTRS


def shown(name: bytes) -> str:
    """Return *name* for a message: on one line, not too long."""
    return repr(os.fsdecode(name[:100]))
