"""Mounts: the new mount API with a fallback to mount(2).

The new calls (Linux 5.2; mount_setattr 5.12) work on descriptors: a mount is
made detached, checked, and attached to a descriptor that was looked up beneath
the container's root, so that no path is resolved twice. Where the kernel
lacks them, ``mount`` is used on ``/proc/self/fd/N``, which names the same
descriptor. Source: mount(2), fsopen(2), fsconfig(2), fsmount(2),
open_tree(2), move_mount(2), mount_setattr(2), umount2(2).
"""

import ctypes
import errno
import os

from corten.linux.syscalls import (
    NR_FSCONFIG,
    NR_FSMOUNT,
    NR_FSOPEN,
    NR_MOUNT_SETATTR,
    NR_MOVE_MOUNT,
    NR_OPEN_TREE,
    KernelError,
    check,
    libc,
    syscall,
)

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_BIND, MS_MOVE, MS_REC = 0x20, 0x400, 0x1000, 0x2000, 0x4000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
ATTR_NOATIME, ATTR_STRICTATIME, ATTR_NODIRATIME = 0x10, 0x20, 0x80
ATTR_ATIME_MASK = 0x70
_ATTR_IDMAP = 0x100000
ATTR_NOSYMFOLLOW = 0x200000

# mount(8) option -> (attributes set, attributes cleared)
ATTRIBUTES = {
    "ro": (ATTR_RDONLY, 0),
    "rw": (0, ATTR_RDONLY),
    "nosuid": (ATTR_NOSUID, 0),
    "suid": (0, ATTR_NOSUID),
    "nodev": (ATTR_NODEV, 0),
    "dev": (0, ATTR_NODEV),
    "noexec": (ATTR_NOEXEC, 0),
    "exec": (0, ATTR_NOEXEC),
    "noatime": (ATTR_NOATIME, ATTR_ATIME_MASK),
    "relatime": (0, ATTR_ATIME_MASK),
    "strictatime": (ATTR_STRICTATIME, ATTR_ATIME_MASK),
    "nodiratime": (ATTR_NODIRATIME, 0),
    "nosymfollow": (ATTR_NOSYMFOLLOW, 0),
}
PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_CLOEXEC = os.O_CLOEXEC
_FSCONFIG_FLAG, _FSCONFIG_STRING, _FSCONFIG_CREATE = 0, 1, 6


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((n, ctypes.c_uint64) for n in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def mount(source: str, target: str, fstype: str = "", flags: int = 0, options: str = "") -> None:
    """Attach *source* at *target*; see mount(2).

    Raises:
        KernelError: EPERM without CAP_SYS_ADMIN, EINVAL for unknown *options*.
    """
    result = libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode() or None, flags, options.encode() or None
    )
    check(result, f"mount {source} on {target} type {fstype or 'none'} ({options})")


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """Detach the mount at *target*; see umount2(2)."""
    check(libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def filesystem(fstype: str, options: "list[tuple[str, str]]", attributes: int = 0, source: str = "") -> int:
    """Make a file system instance that is attached nowhere.

    Args:
        fstype: A name of /proc/filesystems.
        options: ``(key, value)`` pairs; an empty value makes the key a flag.
        attributes: ``ATTR_*`` bits of the mount.
        source: What the mount table shows as its source.

    Returns:
        Descriptor of the detached mount; usable as a folder, unmounted when closed.

    Raises:
        KernelError: the option that was refused, or what the file system said.
    """
    context = syscall(f"open file system {fstype}", NR_FSOPEN, fstype.encode(), 1)
    try:
        for key, value in [("source", source or fstype), *options]:
            command, word = (_FSCONFIG_STRING, os.fsencode(value)) if value else (_FSCONFIG_FLAG, None)
            action = f"configure {fstype}: {key}={value}"
            try:
                syscall(action, NR_FSCONFIG, context, command, key.encode(), word, 0)
            except KernelError as failure:
                raise KernelError(failure.errno or 0, f"{action}{_said(context)}") from None
        try:
            syscall(f"create {fstype}", NR_FSCONFIG, context, _FSCONFIG_CREATE, None, None, 0)
        except KernelError as failure:
            raise KernelError(failure.errno or 0, f"create {fstype}{_said(context)}") from None
        return syscall(f"mount {fstype}", NR_FSMOUNT, context, 1, attributes)
    finally:
        os.close(context)


def _said(context: int) -> str:
    """Return what the kernel logged to a file system context, as `` (text)``."""
    try:
        return f" ({os.read(context, 512).decode(errors='replace').strip()})"
    except OSError:
        return ""


def overlay(lower: "list[str]", upper: str = "", work: str = "", extra: "tuple[str, ...]" = ()) -> int:
    """Make a detached overlay mount of *lower* (top first) under *upper*.

    Each lower folder is added on its own (``lowerdir+``, Linux 6.5), which has no
    page-size limit; older kernels get one ``lowerdir`` text.

    Returns:
        Descriptor of the detached mount; the caller closes it.

    Source: linux/Documentation/filesystems/overlayfs.rst.
    """
    writable = [("upperdir", upper), ("workdir", work)] if upper else []
    rest = [*writable, *((key, value) for key, _, value in (word.partition("=") for word in extra))]
    try:
        return filesystem("overlay", [*(("lowerdir+", path) for path in lower), *rest], source="overlay")
    except KernelError as failure:
        if failure.errno != errno.EINVAL or "lowerdir+" not in str(failure):
            raise
    return filesystem("overlay", [("lowerdir", ":".join(lower)), *rest], source="overlay")


def erofs(image: str, data: str, direct: bool = False) -> int:
    """Make a detached read-only erofs mount of the file *image*, whose file contents lie in the file *data*.

    Both are regular files, which needs Linux 6.12 and a file system that can
    be read page by page (not tmpfs). Overlay takes a detached mount as a
    layer, and ``clone_tree`` copies one, from Linux 6.15 on.

    Args:
        image: Path; neither path may be longer than 255 bytes.
        data: Path; the first and only device of *image*.
        direct: Read *data* past its own page cache.

    Returns:
        Descriptor of the detached mount; the caller closes it.

    Raises:
        KernelError: also for an *image* that is damaged.

    Source: linux/Documentation/filesystems/erofs.rst.
    """
    options = [("device", data), *([("directio", "")] if direct else [])]
    return filesystem("erofs", options, ATTR_RDONLY, image)


def clone_tree(directory: int, path: str = "", recursive: bool = True) -> int:
    """Return a detached copy (a bind mount) of what lies at *path*; see open_tree(2).

    Args:
        directory: Descriptor to look up from; with an empty *path* the thing itself.
        path: Trusted path, resolved as usual.
        recursive: Take the mounts below along.
    """
    flags = _OPEN_TREE_CLONE | _CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return syscall(f"clone mount {path or directory}", NR_OPEN_TREE, directory, os.fsencode(path), flags)


def attach(detached: int, target: int) -> None:
    """Attach a detached mount on the file or folder behind descriptor *target*; see move_mount(2)."""
    flags = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("attach mount", NR_MOVE_MOUNT, detached, b"", target, b"", flags)


def set_attributes(
    mount_fd: int, *, add: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Change the attributes and the propagation of a mount; see mount_setattr(2).

    Kernels before 5.12 lack the call: there the mount has to be attached
    already, and attributes reach its top alone, as a remount does.

    Args:
        mount_fd: Descriptor of its root.
        add: ``ATTR_*`` bits to set.
        clear: ``ATTR_*`` bits to clear; ``ATTR_ATIME_MASK`` as a whole.
        propagation: One of ``MS_PRIVATE``, ``MS_SLAVE``, ``MS_SHARED``, ``MS_UNBINDABLE``, or 0.
        recursive: Apply to the mounts below too.
    """
    if not (add or clear or propagation):
        return
    attr = _MountAttr(add, clear, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    try:
        syscall(
            "change mount", NR_MOUNT_SETATTR, mount_fd, b"", flags, ctypes.byref(attr), ctypes.sizeof(attr)
        )
    except KernelError as failure:
        if failure.errno != errno.ENOSYS:
            raise
        _remount(mount_fd, add, clear, propagation, recursive)


_REMOUNT_FLAGS = (
    (ATTR_RDONLY, MS_RDONLY),
    (ATTR_NOSUID, MS_NOSUID),
    (ATTR_NODEV, MS_NODEV),
    (ATTR_NOEXEC, MS_NOEXEC),
    (ATTR_NOATIME, MS_NOATIME),
    (ATTR_STRICTATIME, MS_STRICTATIME),
    (ATTR_NODIRATIME, 0x800),
)


def _remount(mount_fd: int, add: int, clear: int, propagation: int, recursive: bool) -> None:
    """Do by mount(2) what mount_setattr would; a remount sets all flags, so present ones are read first."""
    target = f"/proc/self/fd/{mount_fd}"
    if propagation:
        mount("none", target, flags=propagation | (MS_REC if recursive else 0))
    if not (add or clear):
        return
    present = os.fstatvfs(mount_fd).f_flag & (
        MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | 0x800
    )
    for bit, flag in _REMOUNT_FLAGS:
        if clear & bit:
            present &= ~flag
        if add & bit:
            present |= flag
    if clear & ATTR_ATIME_MASK and not add & ATTR_ATIME_MASK:
        present |= MS_RELATIME  # without a word about access times a remount leaves them as they are
    mount("none", target, flags=MS_REMOUNT | MS_BIND | present)


def map_ids(detached: int, user_namespace: int, recursive: bool = False) -> None:
    """Show the files of a mount with other owners, by the maps of a user namespace; see mount_setattr(2).

    Needs Linux 5.12 and a file system that can do it.

    Args:
        detached: Descriptor of a mount that nobody has seen yet.
        user_namespace: See ``idmap.user_namespace``.
        recursive: The mounts below too.

    Raises:
        KernelError: EINVAL where a file system cannot, EPERM where a mount has other owners already.
    """
    attr = _MountAttr(_ATTR_IDMAP, 0, 0, user_namespace)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(
        "map the owners of files",
        NR_MOUNT_SETATTR,
        detached,
        b"",
        flags,
        ctypes.byref(attr),
        ctypes.sizeof(attr),
    )


def split_options(options: "tuple[str, ...]") -> "tuple[int, int, int, bool, list[tuple[str, str]]]":
    """Sort mount(8) options into what each kernel call wants.

    Returns:
        Attributes to set, attributes to clear, propagation (``MS_*`` with ``MS_REC``
        for the recursive forms), whether it is a recursive bind, and what is
        left for the file system as ``(key, value)``.
    """
    add = clear = propagation = 0
    recursive = False
    data: list[tuple[str, str]] = []
    for option in options:
        if option in ATTRIBUTES:
            more, less = ATTRIBUTES[option]
            add, clear = add & ~less | more, clear & ~more | less
        elif option in PROPAGATION:
            propagation = PROPAGATION[option]
        elif option in ("bind", "rbind"):
            recursive = option == "rbind"
        elif option not in ("defaults", "async", "rro") and not option.startswith("X-"):
            key, _, value = option.partition("=")
            data.append((key, value))
    return add, clear, propagation, recursive, data


def own_options(options: "tuple[str, ...]") -> dict[str, str]:
    """Return the options that mount(8) leaves to programs, ``X-name=value``, by name; the last of a name counts."""
    pairs = (option.partition("=") for option in options if option.startswith("X-"))
    return {name: value for name, _, value in pairs}
