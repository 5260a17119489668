"""The steps of init that build the container's file tree, on descriptors only.

Paths of the container are looked up beneath its root by openat2(2); what lies
below /proc, /sys and /dev is looked up from the descriptor of the file system
that was just mounted there, so that neither the image nor a container that
shares a volume can put something else in its place (CVE-2019-16884,
CVE-2021-30465, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).

What is bound is opened before, by ``open_sources``: a folder below a volume or
an image (``X-mount.subdir``) is looked up beneath it, so that no link which a
container left there leads out, and the copy is made of the descriptor that was
found, so that no later swap counts.
"""

import errno
import os
import stat
from contextlib import suppress

from corten.linux import idmap, mounts, paths, pty
from corten.linux.namespaces import CLONE_NEWNS, pivot_root, setns
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELD = ("/proc", "/sys", "/dev")
CORNER = "/proc"  # is on every host, and nothing is looked up there while it is covered
SUBDIR, IDMAP = "X-mount.subdir", "X-mount.idmap"  # as mount(8) has them


class Tree:
    """The root under construction: descriptors of its root and of the kernel's file systems in it.

    *own* says where the process's own cgroup is in each hierarchy; see ``_cgroup``.
    ``sources`` are the copies of what is to be bound, in the order of the plan.
    """

    def __init__(self, own: str = "") -> None:
        self.root, self.own, self.group = -1, own, -1
        self.sources: list[int] = []
        self.propagation = ""
        self.held: dict[str, int] = {}
        self.sysctls = -1

    def base(self, path: str) -> tuple[int, str]:
        """Return the descriptor and the rest from which *path* is to be looked up."""
        for prefix in HELD:
            if path.startswith(prefix + "/") and prefix in self.held:
                return self.held[prefix], path[len(prefix) + 1 :]
        return self.root, path

    def find(self, path: str) -> int:
        """Open *path* as a place (``O_PATH``), following links inside the container only."""
        base, rest = self.base(path)
        if base == self.root:
            return paths.openat2(base, rest, os.O_PATH)
        return paths.openat2(base, rest, os.O_PATH, resolve=paths.RESOLVE_BENEATH | paths.RESOLVE_NO_SYMLINKS)

    def folder(self, path: str) -> int:
        """Open the folder *path*, making it when absent."""
        base, rest = self.base(path)
        return paths.make_directory(base, rest)

    def file(self, path: str) -> int:
        """Open the file *path* as a place, making it when absent."""
        base, rest = self.base(path)
        return paths.make_file(base, rest)


def root(tree: Tree, at: str, kind: str, source: str, options: list[str], propagation: str) -> None:
    """Mount the snapshot at the trusted folder *at*, to be pivoted into later."""
    place = os.open(at, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    detached = _made(kind, source, tuple(options))
    mounts.attach(detached, place)
    os.close(place)
    _dress(detached, kind, tuple(options))
    mounts.set_attributes(detached, propagation=mounts.MS_PRIVATE, recursive=True)
    tree.propagation = propagation
    tree.root = detached


def scratch(tree: Tree, at: str) -> None:
    """Give the tree a root of its own at the trusted folder *at*, for mounts that are moved to the real one later."""
    detached = mounts.filesystem(
        "tmpfs", [("mode", "755"), ("size", "64k")], mounts.ATTR_NOSUID | mounts.ATTR_NODEV
    )
    place = os.open(at, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.attach(detached, place)
    os.close(place)
    tree.root = detached


def move_in(tree: Tree, target: str) -> None:
    """Move a mount that was made in a scratch tree, with all below it, to its place in the root."""
    if target in tree.held:
        place, made = _real_folder(tree, target), tree.held[target]
    else:
        place, made = tree.folder(target), tree.group
    mounts.attach(made, place)
    os.close(place)


def mount(
    tree: Tree,
    target: str,
    kind: str,
    source: str,
    options: list[str],
    nodes: "list[list[Any]] | None" = None,
    opened: int = -1,
) -> None:
    """Attach one mount of the Spec; a bind of a file gets a file as its place.

    *opened* is the number of a source that was opened before; -1 for none.
    """
    if kind == "cgroup":
        return _cgroup(tree, target, source or tree.own, options)
    detached = tree.sources[opened] if opened >= 0 else _made(kind, source, tuple(options))
    is_folder = stat.S_ISDIR(os.fstat(detached).st_mode)
    if target in HELD and kind in ("proc", "sysfs", "tmpfs"):
        place = _real_folder(tree, target)
        tree.held[target] = detached
    else:
        place = tree.folder(target) if is_folder else tree.file(target)
    if nodes:
        make_devices(detached, nodes)
    mounts.attach(detached, place)
    _dress(detached, kind, tuple(options))
    if kind == "proc" and target == "/proc":
        tree.sysctls = os.open("sys", os.O_PATH | os.O_CLOEXEC, dir_fd=detached)
    os.close(place)
    if detached not in tree.held.values():
        os.close(detached)
    return None


def _real_folder(tree: Tree, path: str) -> int:
    """Open /proc, /sys or /dev, which must not be a link: what is masked there must be what was mounted."""
    name = path[1:]
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=tree.root)
    try:
        return paths.openat2(tree.root, name, os.O_PATH | os.O_DIRECTORY, resolve=paths.RESOLVE_NO_SYMLINKS)
    except KernelError as failure:
        raise KernelError(
            failure.errno or 0, f"{path} of the image is not a folder; refusing to mount there"
        ) from None


def open_sources(tree: Tree, wanted: "list[list[Any]]", namespace: int) -> None:
    """Copy what is to be bound, ``[source, options]`` each, as the mount namespace *namespace* shows it.

    What was mounted on the host since this process's own mounts were copied from
    the host's can be seen there alone; a copy of one of its mounts stays its
    peer, which shared and slave propagation need.
    """
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    setns(namespace, CLONE_NEWNS)
    try:
        for source, options in wanted:
            tree.sources.append(open_source(source, tuple(options)))
    except KernelError as failure:
        raise KernelError(failure.errno or 0, f"mount {source}: {failure.action}") from None
    finally:
        setns(own, CLONE_NEWNS)
        os.close(own)


def open_source(source: str, options: tuple[str, ...]) -> int:
    """Return a detached copy of what lies at *source*, its owners mapped, for a bind with *options*.

    Raises:
        KernelError: says which source; EXDEV for a folder below it whose way leads out.
    """
    recursive = mounts.split_options(options)[3]
    wanted = mounts.own_options(options)
    try:
        if SUBDIR in wanted:
            top = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                made = _below(top, wanted[SUBDIR], recursive)
            finally:
                os.close(top)
        else:
            made = mounts.clone_tree(mounts.AT_FDCWD, source, recursive)
    except KernelError:
        raise
    except OSError as failure:
        raise KernelError(failure.errno or 0, f"open {source}") from None
    if IDMAP in wanted:
        _map_owners(made, source, wanted[IDMAP], recursive)
    return made


def _below(top: int, path: str, recursive: bool) -> int:
    """Return a detached copy of what lies at *path* below the folder *top*; links may not lead out of it."""
    place = paths.openat2(top, path, os.O_PATH, resolve=paths.RESOLVE_BENEATH | paths.RESOLVE_NO_MAGICLINKS)
    try:
        return mounts.clone_tree(place, recursive=recursive)
    finally:
        os.close(place)


def _below_detached(made: int, path: str) -> int:
    """As ``_below``, of a mount that is attached nowhere; closes it.

    Before Linux 6.15 only an attached mount can be copied: then it is attached
    for a moment, over a folder of the host that only this process sees covered.
    """
    try:
        return _below(made, path, False)
    except KernelError as failure:
        if failure.errno != errno.EINVAL:
            raise
        place = os.open(CORNER, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mounts.attach(made, place)
        os.close(place)
        try:
            return _below(made, path, False)
        finally:
            mounts.unmount(CORNER)
    finally:
        os.close(made)


def _map_owners(made: int, source: str, maps: str, recursive: bool) -> None:
    namespace = idmap.user_namespace(maps)
    try:
        mounts.map_ids(made, namespace, recursive)
    except KernelError as failure:
        if failure.errno != errno.EINVAL:
            raise
        raise KernelError(
            errno.EINVAL, f"the file system of {source}, or of a mount below it, cannot map owners"
        ) from None
    finally:
        os.close(namespace)


def _made(kind: str, source: str, options: tuple[str, ...]) -> int:
    """Make the mount that (*kind*, *source*, *options*) of mount(8) describe, attached nowhere, not yet dressed."""
    add, _, _, _, data = mounts.split_options(options)
    if _is_bind(kind, options):
        return open_source(source, options)
    if kind == "overlay":
        words = dict(data)
        lower = words.pop("lowerdir").split(":")
        upper, work = words.pop("upperdir", ""), words.pop("workdir", "")
        rest = tuple(f"{key}={value}" if value else key for key, value in words.items())
        made = mounts.overlay(lower, upper, work, rest)
        below = mounts.own_options(options).get(SUBDIR)
        return _below_detached(made, below) if below else made
    return mounts.filesystem(kind, data, add, source)


def _is_bind(kind: str, options: tuple[str, ...]) -> bool:
    return kind == "bind" or "bind" in options or "rbind" in options


def _dress(made: int, kind: str, options: tuple[str, ...]) -> None:
    """Give an attached mount its attributes and propagation; before Linux 5.12 only an attached one can get them."""
    add, clear, propagation, recursive, _ = mounts.split_options(options)
    if not _is_bind(kind, options):
        if kind == "overlay":
            mounts.set_attributes(made, add=add, clear=clear)
        return
    _spread(made, propagation)
    mounts.set_attributes(made, add=add, clear=clear, recursive=recursive and "rro" in options)


def _spread(made: int, propagation: int) -> None:
    """Give a copy of a host's mount its propagation: what is mounted in it reaches the host if shared alone.

    The mounts below a top that alone is to be private or slave become slaves
    too: as copies they were peers of the host's. Source: mount_namespaces(7).
    """
    mode = propagation & ~mounts.MS_REC or mounts.MS_PRIVATE
    everywhere = bool(propagation & mounts.MS_REC) or not propagation
    if not everywhere and mode != mounts.MS_SHARED:
        mounts.set_attributes(made, propagation=mounts.MS_SLAVE, recursive=True)
    mounts.set_attributes(made, propagation=mode, recursive=everywhere)


def _cgroup(tree: Tree, target: str, source: str, options: list[str]) -> None:
    """Show the container its own cgroup: each hierarchy's folder, read-only unless told otherwise.

    *source* lists ``name=folder`` pairs separated by ``;``, or is one folder of cgroup v2.
    """
    add, clear, *_ = mounts.split_options(tuple(options))
    place = tree.folder(target)
    if "=" not in source:
        detached = mounts.clone_tree(mounts.AT_FDCWD, source, recursive=False)
        mounts.attach(detached, place)
        mounts.set_attributes(detached, add=add, clear=clear)
        os.close(place)
        tree.group = detached
        return
    flags = mounts.ATTR_NOSUID | mounts.ATTR_NODEV | mounts.ATTR_NOEXEC
    shelf = mounts.filesystem("tmpfs", [("mode", "755")], flags)
    mounts.attach(shelf, place)
    os.close(place)
    for name, _, folder in (pair.partition("=") for pair in source.split(";")):
        os.mkdir(name, 0o755, dir_fd=shelf)
        detached = mounts.clone_tree(mounts.AT_FDCWD, folder, recursive=False)
        spot = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=shelf)
        mounts.attach(detached, spot)
        mounts.set_attributes(detached, add=add, clear=clear)
        os.close(spot)
        os.close(detached)
    mounts.set_attributes(shelf, add=add & mounts.ATTR_RDONLY)
    tree.group = shelf


def make_devices(folder: int, nodes: "list[list[Any]]") -> None:
    """Fill a fresh /dev: nodes ``[name, type, major, minor, mode, uid, gid]`` and links ``[name, target]``."""
    for node in nodes:
        name = node[0]
        if "/" in name:
            os.close(paths.make_directory(folder, name.rpartition("/")[0]))
        if len(node) == 2:
            os.symlink(node[1], name, dir_fd=folder)
            continue
        _, kind, major, minor, mode, uid, gid = node
        form = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}[kind]
        os.mknod(name, form | mode, os.makedev(major, minor), dir_fd=folder)
        if uid or gid:
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


def devices(tree: Tree, nodes: "list[list[Any]]") -> None:
    """Make device nodes outside /dev, or where the user mounted a /dev of their own: beneath the root."""
    for node in nodes:
        folder, _, name = node[0].rpartition("/")
        parent = tree.folder(folder or "/")
        try:
            make_devices(parent, [[name, *node[1:]]])
        except FileExistsError:
            pass
        finally:
            os.close(parent)


def terminal(tree: Tree, height: int, width: int) -> tuple[int, int]:
    """Open a terminal on the container's own devpts and show it as /dev/console.

    Returns:
        Descriptors of the master and of the terminal side; the caller closes both.
    """
    pts = tree.find("/dev/pts")
    try:
        ptmx = paths.openat2(pts, "ptmx", os.O_RDWR | os.O_NOCTTY, resolve=paths.RESOLVE_BENEATH)
    finally:
        os.close(pts)
    check_ptmx(ptmx)
    peer, _ = pty.open_pair(ptmx)
    if height and width:
        pty.resize(ptmx, height, width)
    return ptmx, peer


def console(tree: Tree, peer: int) -> None:
    """Bind the terminal over /dev/console of a /dev that we made."""
    if "/dev" not in tree.held:
        return
    place = paths.make_file(tree.held["/dev"], "console", 0o600)
    detached = mounts.clone_tree(peer, recursive=False)
    mounts.attach(detached, place)
    os.close(detached)
    os.close(place)


def check_ptmx(descriptor: int) -> None:
    """Refuse anything that is not the terminal multiplexer, character device 5:2.

    Raises:
        KernelError: ENOTTY for anything else.
    """
    facts = os.fstat(descriptor)
    if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != os.makedev(5, 2):
        raise KernelError(errno.ENOTTY, "/dev/pts/ptmx of the container is not a terminal multiplexer")


def sysctl(tree: Tree, values: dict[str, str]) -> None:
    """Set kernel parameters of the container's namespaces through the /proc that was just mounted."""
    for key, value in values.items():
        name = key.replace(".", "/")
        resolve = paths.RESOLVE_BENEATH | paths.RESOLVE_NO_SYMLINKS
        try:
            descriptor = paths.openat2(tree.sysctls, name, os.O_WRONLY, resolve=resolve)
        except KernelError as failure:
            raise KernelError(failure.errno or 0, f"set sysctl {key}") from None
        try:
            os.write(descriptor, value.encode())
        except OSError as failure:
            raise KernelError(failure.errno or 0, f"set sysctl {key}={value}") from None
        finally:
            os.close(descriptor)


def read_only(tree: Tree, places: list[str]) -> None:
    """Make each existing place read-only by a bind of itself."""
    for path in places:
        try:
            place = tree.find(path)
        except OSError:
            continue
        detached = mounts.clone_tree(place)
        mounts.attach(detached, place)
        mounts.set_attributes(detached, add=mounts.ATTR_RDONLY, recursive=True)
        os.close(detached)
        os.close(place)


def mask(tree: Tree, places: list[str]) -> None:
    """Hide each existing place: a file behind our own /dev/null, a folder behind an empty tmpfs."""
    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    facts = os.fstat(null)
    if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != os.makedev(1, 3):
        raise KernelError(errno.ENODEV, "/dev/null is not the null device")
    empty = -1
    for path in places:
        try:
            place = tree.find(path)
        except OSError:
            continue
        if stat.S_ISDIR(os.fstat(place).st_mode):
            if empty < 0:
                empty = mounts.filesystem("tmpfs", [("size", "4k"), ("nr_inodes", "2")], mounts.ATTR_RDONLY)
            detached = mounts.clone_tree(empty, recursive=False)
        else:
            detached = mounts.clone_tree(null, recursive=False)
        mounts.attach(detached, place)
        os.close(detached)
        os.close(place)
    if empty >= 0:
        os.close(empty)
    os.close(null)


def pivot(tree: Tree, readonly: bool, marker: bool) -> None:
    """Make the tree the root of this process; nothing outside can be named any more."""
    if marker:
        os.close(paths.make_file(tree.root, "/.dockerenv", 0o755))
    if readonly:
        mounts.set_attributes(tree.root, add=mounts.ATTR_RDONLY)
    pivot_root(tree.root)  # refuses a shared one
    if tree.propagation:
        mounts.set_attributes(
            tree.root,
            propagation=mounts.PROPAGATION[tree.propagation] & ~mounts.MS_REC,
            recursive=tree.propagation.startswith("r"),
        )
