"""The steps of init that change the mounts of a container that runs, on descriptors only.

Theory: the container works against us while this happens. So what appears is
finished before it is seen: copied, or made, and given its attributes while it
is attached nowhere. Its place is looked up by one openat2(2) beneath the
container's root, in the container's mount namespace, where no path leads to a
file of the host; the descriptor that was found is checked, and mounted at. A
link that is swapped afterwards changes nothing, since nothing is looked up
twice. What is taken away is identified by device and inode, because a folder
above it may have been renamed: taking the path's word for it could unmount
what hides a part of /proc. The mount table is read through the host's /proc,
opened before; the container's shows what the container likes.

Sources: open_tree(2), move_mount(2), openat2(2), proc_pid_mountinfo(5),
mount_namespaces(7). Related: CVE-2018-15664, CVE-2019-16884, CVE-2021-30465.
"""

import errno
import os
import stat
from contextlib import ExitStack

from corten.core.runtime.init.filesystem import Tree, _dress, _made
from corten.core.runtime.init.process import StartError
from corten.linux import mounts
from corten.linux.namespaces import CLONE_NEWNS, setns
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Wanted = list[dict[str, Any]]

REFUSED = 125
KERNEL_TYPES = (b"proc", b"sysfs", b"cgroup", b"cgroup2", b"devpts", b"mqueue", b"securityfs", b"debugfs")
KERNEL_PLACES = (b"/proc/", b"/sys/")
LAYERED = (b"overlay", b"erofs")  # what images are shown by, where it is no copy


class Facts:
    """What the mount table says of one mount: its type, where it is attached, whether it is shared."""

    def __init__(self, line: bytes) -> None:
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        self.place, self.shared = fields[4], any(field.startswith(b"shared:") for field in fields[6:])
        self.kind = after.split(b" ")[0]


class Exchange:
    """Mounts to appear, made and attached nowhere yet, and what is known of those to go.

    Args:
        namespace: Descriptor of the mount namespace that shows the sources; this process
            stays there until it joins the container's.
        add: Mounts to make: target, kind, source, options.
        remove: Mounts to take away, likewise.

    Raises:
        StartError: says which mount cannot be made.
    """

    def __init__(self, namespace: int, add: "Wanted", remove: "Wanted") -> None:
        setns(namespace, CLONE_NEWNS)
        self._proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._tree = Tree()
        self._add = [(mount, _ready(mount)) for mount in add]
        self._remove = [(mount["target"], mount["kind"], _identity(mount)) for mount in remove]

    def carry_out(self, container: int) -> None:
        """Enter the mount namespace behind the pidfd *container*, take away and add: all of it or nothing.

        Raises:
            StartError: says which mount, and why.
        """
        try:
            setns(container, CLONE_NEWNS)
        except KernelError:
            raise StartError("the container is not running any more", REFUSED) from None
        self._tree.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        with ExitStack() as undo:
            for target, kind, identity in self._remove:
                try:
                    self._take_away(target, kind, identity, undo)
                except OSError as failure:
                    raise _failed(target, failure) from None
            for mount, made in self._add:
                try:
                    self._attach(mount, made, undo)
                except OSError as failure:
                    raise _failed(mount["target"], failure) from None
            undo.pop_all()

    def _attach(self, mount: "dict[str, Any]", made: int, undo: ExitStack) -> None:
        target = mount["target"]
        is_folder = stat.S_ISDIR(os.fstat(made).st_mode)
        place = self._tree.folder(target) if is_folder else self._tree.file(target)
        try:
            facts = self._facts(place)
            _check_place(target, facts)
            mounts.attach(made, place)
        finally:
            os.close(place)
        undo.callback(self._detach, made)
        if facts.shared:  # what is attached below a shared mount becomes shared too
            mounts.set_attributes(made, propagation=mounts.MS_PRIVATE, recursive=True)
            _dress(made, mount["kind"], tuple(mount["options"]))

    def _take_away(self, target: str, kind: str, identity: "os.stat_result | None", undo: ExitStack) -> None:
        found = self._tree.find(target)
        try:
            if not _is_same(found, self._facts(found), kind, identity):
                raise StartError(
                    f"the mount at {target} is not where it was: something inside has moved or unmounted it; "
                    "stop the container to remove it",
                    REFUSED,
                )
            copy = mounts.clone_tree(found)
            self._detach(found)
        finally:
            os.close(found)
        undo.callback(self._put_back, target, copy)

    def _put_back(self, target: str, copy: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(copy).st_mode)
        place = self._tree.folder(target) if is_folder else self._tree.file(target)
        mounts.attach(copy, place)
        os.close(place)

    def _detach(self, mount: int) -> None:
        """Unmount what *mount* is the root of; a descriptor is named through the host's /proc."""
        os.fchdir(self._proc)
        mounts.unmount(f"self/fd/{mount}")
        os.fchdir(self._tree.root)

    def _facts(self, descriptor: int) -> Facts:
        """Return what the mount table says of the mount that *descriptor* lies in.

        Raises:
            KernelError: ENOENT where it is not part of this namespace.
        """
        lines = self._read(f"self/fdinfo/{descriptor}").split(b"\n")
        number = next(line.split()[1] for line in lines if line.startswith(b"mnt_id:"))
        for line in self._read("self/mountinfo").split(b"\n"):
            if line.startswith(number + b" "):
                return Facts(line)
        raise KernelError(errno.ENOENT, "find its mount")

    def _read(self, name: str) -> bytes:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        parts = []
        try:
            while part := os.read(descriptor, 1 << 16):
                parts.append(part)
        finally:
            os.close(descriptor)
        return b"".join(parts)


def _check_place(target: str, facts: Facts) -> None:
    """Refuse a place where a link led to a file system of the kernel, or whose mounts the host would see."""
    if facts.kind in KERNEL_TYPES or facts.place.startswith(KERNEL_PLACES):
        raise StartError(f"mount at {target}: it leads into a file system of the kernel", REFUSED)
    if facts.shared and facts.place != b"/":
        raise StartError(
            f"mount at {target}: it lies in a mount that is shared with the host, which would get it too",
            REFUSED,
        )


def _ready(mount: "dict[str, Any]") -> int:
    """Make one mount with all its attributes, attached nowhere: no moment shows it otherwise."""
    options = tuple(mount["options"])
    try:
        made = _made(mount["kind"], mount["source"], options)
        _dress(made, mount["kind"], options)
    except OSError as failure:
        raise _failed(mount["target"], failure) from None
    return made


def _identity(mount: "dict[str, Any]") -> "os.stat_result | None":
    """Return device and inode of what was bound; None for a file system of its own, or where it is gone."""
    if mount["kind"] != "bind":
        return None
    try:
        made = _made(mount["kind"], mount["source"], tuple(mount["options"]))
    except OSError:
        return None
    facts = os.fstat(made)
    os.close(made)
    return facts


def _is_same(found: int, facts: Facts, kind: str, identity: "os.stat_result | None") -> bool:
    """Tell whether *found* is the root of the mount that was made: not of one that hides something of ours.

    Of two mounts of tmpfs a container that renames the folders above them can
    have the wrong one taken away, of its own.
    """
    if facts.kind in KERNEL_TYPES or facts.place.startswith(KERNEL_PLACES) or facts.place == b"/":
        return False
    here = os.fstat(found)
    if identity is not None:
        return (here.st_dev, here.st_ino) == (identity.st_dev, identity.st_ino)
    if kind == "bind":
        return here.st_nlink == 0  # the source was removed, and this is what is left of it
    return facts.kind == b"tmpfs" if kind == "tmpfs" else facts.kind in LAYERED


def _failed(target: str, failure: OSError) -> StartError:
    reason = str(failure) if isinstance(failure, KernelError) else failure.strerror or str(failure)
    return StartError(f"mount at {target}: {reason}", REFUSED)
