"""Project quotas: how much the files of one folder may take, where the file system counts it.

A project is a number that a folder hands down to all that is made in it; the
file system adds up the blocks of each project and refuses what would pass its
limit (EDQUOT). ext4 has it with the feature ``project`` and the mount option
``prjquota``, xfs with ``prjquota``. Needs quotactl_fd(2), Linux 5.14.
Source: quotactl(2), ioctl_xfs_fsgetxattr(2), linux/include/uapi/linux/quota.h, dqblk_xfs.h.
"""

import ctypes
import errno
import fcntl
import struct
from typing import NamedTuple

from corten.linux.syscalls import KernelError, syscall

_NR_QUOTACTL_FD = 443
_PROJECT = 2  # the third type of quota, after users and groups
_GET, _SET, _STATE = 0x800007, 0x800008, 0x5805
_ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD
_BLOCK_LIMITS = 1  # QIF_BLIMITS
_UNIT = 1024  # bytes; QIF_DQBLKSIZE

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT
_Attributes = struct.Struct("=5I8x")  # flags, extent size, extents, project, copy-on-write extent size


class _Quota(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("block_hard", "block_soft", "space")),
        *((name, ctypes.c_uint64) for name in ("inode_hard", "inode_soft", "inodes", "block_time")),
        ("inode_time", ctypes.c_uint64),
        ("valid", ctypes.c_uint32),
    )


class _State(ctypes.Structure):
    _fields_ = (("version", ctypes.c_int8), ("flags", ctypes.c_uint16), ("rest", ctypes.c_uint8 * 124))


class Quota(NamedTuple):
    """The most that a project may take, 0 for no limit, and what it takes; both in bytes."""

    limit: int
    used: int


def is_enforced(folder: int) -> bool:
    """Tell whether the file system of the open *folder* keeps projects to their limits."""
    state = _State(version=1)
    try:
        _control("look at quotas", folder, _STATE, 0, state)
    except KernelError:  # ENOSYS, ENOTTY, ESRCH, EINVAL: each file system has its own way to say no
        return False
    return bool(state.flags & _ENFORCED)


def get_quota(folder: int, project: int) -> Quota:
    """Return limit and use of *project* on the file system of *folder*; zeros for one never heard of.

    Raises:
        KernelError: ESRCH where no quotas are kept.
    """
    quota = _Quota()
    try:
        _control(f"read the quota of project {project}", folder, _GET, project, quota)
    except KernelError as failure:
        if failure.errno != errno.ENOENT:
            raise
    return Quota(quota.block_hard * _UNIT, quota.space)


def set_limit(folder: int, project: int, limit: int) -> None:
    """Cap what *project* takes at *limit* bytes, rounded up to 1024; 0 lifts the cap.

    Raises:
        KernelError: ESRCH where no quotas are kept.
    """
    blocks = -(-limit // _UNIT)
    quota = _Quota(block_hard=blocks, block_soft=blocks, valid=_BLOCK_LIMITS)
    _control(f"limit project {project}", folder, _SET, project, quota)


def get_project(folder: int) -> int:
    """Return the project of the open *folder*; 0 for none, and where there is no such thing."""
    attributes = bytearray(_Attributes.size)
    try:
        fcntl.ioctl(folder, _GET_ATTRIBUTES, attributes)
    except OSError as failure:
        if failure.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS):
            return 0
        raise
    return int(_Attributes.unpack(attributes)[3])


def set_project(folder: int, project: int) -> None:
    """Make the open *folder*, and all that will be made in it, belong to *project*.

    Raises:
        OSError: EOPNOTSUPP or ENOTTY where the file system has no projects.
    """
    attributes = bytearray(_Attributes.size)
    fcntl.ioctl(folder, _GET_ATTRIBUTES, attributes)
    flags, extent, extents, _, copy = _Attributes.unpack(attributes)
    fcntl.ioctl(folder, _SET_ATTRIBUTES, _Attributes.pack(flags | _INHERIT, extent, extents, project, copy))


def _control(action: str, folder: int, command: int, project: int, facts: ctypes.Structure) -> None:
    syscall(action, _NR_QUOTACTL_FD, folder, command << 8 | _PROJECT, project, ctypes.byref(facts))
