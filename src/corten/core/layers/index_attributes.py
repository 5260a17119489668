"""Extended attributes of an index: what the kernel does when one is set, done without it.

A tree on disk has its attributes checked by setxattr(2), which also lets a list
of access rights change the mode. In an index nobody does that before a
container reads it, so the same is done here.

Source: acl(5); capabilities(7), "File capability extended attribute
versioning"; linux/include/uapi/linux/posix_acl_xattr.h.
"""

import stat
import struct
from collections.abc import Mapping

from corten.core.layers.names import is_allowed_xattr, shown
from corten.errors import DataCorrupted

_ACCESS, _DEFAULT, _CAPABILITY = (
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"security.capability",
)
_LONGEST_NAME, _LONGEST_VALUE = 255, 65535  # bytes
_MOST = 65535  # bytes of all attributes of one inode
_RIGHTS = struct.Struct("<HHI")
_OWNER, _USER, _GROUP_OWNER, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_ORDER = (_OWNER, _USER, _GROUP_OWNER, _GROUP, _MASK, _OTHER)
_NAMED = (_USER, _GROUP)
_NOBODY = 0xFFFFFFFF
_CAPABILITY_SIZES = {2: 20, 3: 24}  # bytes by version


def settle(path: bytes, mode: int, xattrs: Mapping[bytes, bytes]) -> tuple[int, dict[bytes, bytes]]:
    """Return the mode and the attributes that a file has once *xattrs* are set on it.

    Left out is what a layer may not set, and what such a file cannot have.

    Args:
        path: For messages.
        mode: With the bits of the type.
        xattrs: Value by name, as the layer has them.

    Raises:
        DataCorrupted: a name or value that the kernel would refuse.
    """
    kept: dict[bytes, bytes] = {}
    for name, value in xattrs.items():
        if not is_allowed_xattr(name) or (name.startswith(b"user.") and not _takes_user(mode)):
            continue
        if name == b"user." or len(name) > _LONGEST_NAME or len(value) > _LONGEST_VALUE:
            raise _refused(path, name)
        if name == _CAPABILITY:
            _check_capability(path, value)
        elif name in (_ACCESS, _DEFAULT):
            mode, value = _set_rights(path, name, value, mode)  # noqa: PLW2901 as the kernel would store it
            if not value:
                continue
        kept[name] = value
    if sum(len(name) + len(value) + 8 for name, value in kept.items()) > _MOST:
        raise DataCorrupted(f"the layer has too many extended attributes for {shown(path)}")
    return mode, kept


def _takes_user(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _check_capability(path: bytes, value: bytes) -> None:
    if len(value) < 4 or _CAPABILITY_SIZES.get(value[3]) != len(value):
        raise _refused(path, _CAPABILITY)


def _set_rights(path: bytes, name: bytes, value: bytes, mode: int) -> tuple[int, bytes]:
    """Return the mode, and a list as it is stored; empty when nothing is.

    A list for access that says no more than the mode can say becomes the mode.
    """
    if stat.S_ISLNK(mode):
        return mode, b""
    if name == _DEFAULT and not stat.S_ISDIR(mode) and len(value) > 4:
        raise _refused(path, name)
    rights = _rights(path, name, value)
    if not rights:
        return mode, b""
    stored = value[:4] + b"".join(
        _RIGHTS.pack(tag, allowed, who if tag in _NAMED else _NOBODY) for tag, allowed, who in rights
    )
    if name == _DEFAULT:
        return mode, stored
    allowed = {tag: allowed for tag, allowed, _ in rights}
    group = allowed.get(_MASK, allowed[_GROUP_OWNER])
    mode = mode & ~0o777 | allowed[_OWNER] << 6 | group << 3 | allowed[_OTHER]
    return mode, stored if len(rights) > 3 else b""


def _rights(path: bytes, name: bytes, value: bytes) -> list[tuple[int, int, int]]:
    """Return the (tag, rights, id) of a list; none for an empty list or one of another version."""
    if len(value) < 4 or (len(value) - 4) % _RIGHTS.size:
        raise _refused(path, name)
    if value[:4] != b"\2\0\0\0":
        return []
    rights = list(_RIGHTS.iter_unpack(value[4:]))
    tags = [tag for tag, _, _ in rights]
    if not rights:
        return []
    if any(tag not in _ORDER or allowed > 7 for tag, allowed, _ in rights):
        raise _refused(path, name)
    once = [tags.count(tag) for tag in (_OWNER, _GROUP_OWNER, _OTHER)]
    masks = tags.count(_MASK)
    named = any(tag in _NAMED for tag in tags)
    nobody = any(tag in _NAMED and who == _NOBODY for tag, _, who in rights)
    if tags != sorted(tags) or once != [1, 1, 1] or masks > 1 or (named and not masks) or nobody:
        raise _refused(path, name)
    return rights


def _refused(path: bytes, name: bytes) -> DataCorrupted:
    return DataCorrupted(f"the layer has a bad extended attribute {shown(name)} for {shown(path)}")
