"""What a cgroup of either version does, and how control files are read and written.

Resources come as a plain dict in the JSON form of the OCI runtime
specification (``linux.resources``), since the process that applies them
loads no typed decoder. A limit is a user's wish: a value that the kernel
refuses is ``InvalidInput``, a file that this kernel lacks is ``Unsupported``.
Control files are written by one unbuffered write(2), because the kernel takes
each write as one whole request.
Source: cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst,
runtime-spec config-linux.md "Control groups".
"""

import errno
import os
import time
from abc import ABC, abstractmethod

from corten.errors import InvalidInput, Unsupported
from corten.linux.pidfd import pidfd_open, send_signal
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False  # not from typing: that import is slow
if TYPE_CHECKING:
    from typing import Any

SIGKILL = 9
_REMOVE_DEADLINE = 2.0  # seconds that ended processes may still keep their cgroup busy
_QUIET_ROUNDS = 5  # rounds of signals after which whatever still forks is frozen first
_BATCH = 256  # descriptors held at once, well below the usual limit of open files
_REFUSED = (
    errno.EINVAL,
    errno.ERANGE,
    errno.EBUSY,
    errno.EACCES,
    errno.ENOSPC,
    errno.ENODEV,
    errno.EOVERFLOW,
    errno.EOPNOTSUPP,
)


def read(path: str) -> str:
    """Return the text of a control file; KernelError if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as failure:
        raise KernelError(failure.errno or 0, f"open {path}") from None
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    except OSError as failure:
        raise KernelError(failure.errno or 0, f"read {path}") from None
    finally:
        os.close(fd)
    return b"".join(parts).decode()


def write(path: str, text: str) -> None:
    """Write *text* to a control file as one request; KernelError if the kernel refuses it."""
    try:
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as failure:
        raise KernelError(failure.errno or 0, f"write {text!r} to {path}") from None


def limit(path: str, text: str) -> None:
    """Write a limit that a user asked for.

    Raises:
        InvalidInput: the kernel refuses the value.
        Unsupported: the kernel has no such limit.
        KernelError: anything else, such as EPERM.
    """
    try:
        write(path, text)
    except KernelError as failure:
        name = os.path.basename(path)
        if failure.errno == errno.ENOENT:
            raise Unsupported(f"this host has no cgroup limit {name}: leave it out") from None
        if failure.errno in _REFUSED:
            reason = f"the kernel refuses {text!r} for the cgroup limit {name} ({failure.strerror})"
            raise InvalidInput(f"{reason}: choose a value that it can hold") from None
        raise


def read_int(path: str) -> int | None:
    """Return the number in a control file, or None where it is absent or says ``max``."""
    try:
        text = read(path).strip()
    except KernelError as failure:
        if failure.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            return None
        raise
    return int(text) if text.lstrip("-").isdigit() else None


def read_table(path: str) -> dict[str, int]:
    """Return a file of ``name number`` lines; empty where it is absent."""
    try:
        text = read(path)
    except KernelError as failure:
        if failure.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            return {}
        raise
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def device_number(device: "dict[str, Any]") -> str:
    """Return ``major:minor`` of an OCI device entry."""
    return f"{device['major']}:{device['minor']}"


def make_tree(root: str, path: str) -> None:
    """Make the cgroup at *path* below *root* and its parents; idempotent."""
    try:
        os.mkdir(f"{root}/{path}", 0o755)
    except FileExistsError:
        return
    except OSError as failure:
        parent = path.rpartition("/")[0]
        if failure.errno != errno.ENOENT or not parent:
            raise KernelError(failure.errno or 0, f"create cgroup {root}/{path}") from None
        make_tree(root, parent)
        make_tree(root, path)


def children(directory: str) -> list[str]:
    """Return the paths of the child cgroups of *directory*; none where it is gone."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def tree_pids(directory: str) -> list[int]:
    """Return the processes of *directory* and of every cgroup below it, as our pid namespace numbers them."""
    try:
        found = [int(line) for line in read(f"{directory}/cgroup.procs").split()]
    except KernelError as failure:
        if failure.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return []
    for child in children(directory):
        found += tree_pids(child)
    return found


def remove_tree(directory: str) -> None:
    """Remove a cgroup and every one below it; done already is success.

    A process that has just ended may hold its cgroup for a moment: EBUSY is
    tried again for two seconds.

    Raises:
        KernelError: EBUSY while processes live in it.
    """
    deadline, pause = time.monotonic() + _REMOVE_DEADLINE, 0.0005
    while True:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError as failure:
            if failure.errno != errno.EBUSY or time.monotonic() > deadline:
                raise KernelError(failure.errno or 0, f"remove cgroup {directory}") from None
        else:
            return
        below = children(directory)
        for child in below:
            remove_tree(child)
        if not below:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def _kill_in_batches(directory: str, pids: list[int]) -> None:
    for start in range(0, len(pids), _BATCH):
        _kill_those_still_in(directory, pids[start : start + _BATCH])


def _kill_those_still_in(directory: str, pids: list[int]) -> None:
    """Kill *pids* through descriptors, leaving out a number that a process outside has taken over by now."""
    held: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                held[pid] = pidfd_open(pid)
            except KernelError as failure:
                if failure.errno != errno.ESRCH:
                    raise
        still = set(tree_pids(directory))
        for pid, fd in held.items():
            if pid in still:
                _kill(fd)
    finally:
        for fd in held.values():
            os.close(fd)


def _kill(pidfd: int) -> None:
    try:
        send_signal(pidfd, SIGKILL)
    except KernelError as failure:
        if failure.errno != errno.ESRCH:
            raise


class Cgroup(ABC):
    """One cgroup, in one hierarchy (v2) or in the same place of each (v1).

    Making the value touches nothing; ``path`` is relative to the root of the
    mounted hierarchy.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def create(self) -> None:
        """Make it and its parents, ready to hold processes and limits; idempotent.

        Raises:
            Unsupported: v2, where a parent holds processes and so cannot hand out controllers.
            KernelError: EROFS or EACCES where the hierarchy is not ours to change.
        """

    @abstractmethod
    def enter(self, pid: int = 0) -> None:
        """Move process *pid* of our pid namespace into it; 0 is the caller itself.

        A process that moves itself may be in any pid namespace, but must
        still see the host's mounts.

        Raises:
            KernelError: ENOENT before ``create``, ESRCH where *pid* has ended.
        """

    def directory_fd(self) -> int | None:
        """Return a descriptor for CLONE_INTO_CGROUP (the caller closes it), or None on v1."""
        return None

    @abstractmethod
    def apply(self, resources: "dict[str, Any]") -> None:
        """Set the limits in *resources* (OCI ``linux.resources``); what it does not name stays as it is.

        Swap limits are skipped where the kernel does not account for swap,
        I/O weights where its scheduler has none.

        Raises:
            InvalidInput: the kernel refuses a value.
            Unsupported: this kernel or this version of cgroups has no such limit.
        """

    @abstractmethod
    def freeze(self) -> None:
        """Stop every process in it and return when all stand still.

        Raises:
            KernelError: ETIMEDOUT where one does not stop within ten seconds; all run again then.
        """

    @abstractmethod
    def thaw(self) -> None:
        """Let every process in it run again; idempotent."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Return the processes in it and below it, as our pid namespace numbers them; none if it is gone."""

    @abstractmethod
    def kill(self) -> None:
        """Send SIGKILL to every process in it and below it, frozen or not; their ends are not awaited."""

    @abstractmethod
    def stats(self) -> dict[str, object]:
        """Return what it uses; a limit of None is no limit, and what the kernel does not count is 0.

        - ``cpu``: ``total user system throttled_time`` in nanoseconds, ``per_cpu`` a list of them
          (empty on v2), ``periods throttled_periods`` counts.
        - ``memory``: ``usage limit max`` in bytes (``max`` is the highest use so far), ``failures``
          how often the limit was hit, ``stat`` the kernel's ``memory.stat`` by its own names.
        - ``pids``: ``current limit`` counts of tasks.
        - ``blkio``: ``bytes operations``, each a list of (major, minor, operation, number).
        - ``oom_kills``: as ``oom_kills()``.
        """

    @abstractmethod
    def oom_kills(self) -> int:
        """Return how many of its processes the kernel killed for want of memory; 0 if it is gone."""

    @abstractmethod
    def rename(self, path: str) -> None:
        """Give it another name under the same parent, with its processes and limits.

        Raises:
            Unsupported: v2, which cannot rename: create it under its final name.
            KernelError: EEXIST where *path* is taken; nothing is renamed then.
        """

    @abstractmethod
    def remove(self) -> None:
        """Remove it and all below it; idempotent.

        Raises:
            KernelError: EBUSY while processes live in it.
        """

    def _kill_each(self, directory: str) -> None:
        """Signal what is in *directory* until nothing new turns up, freezing it if it forks too fast."""
        done: set[int] = set()
        for _ in range(_QUIET_ROUNDS):
            fresh = [pid for pid in tree_pids(directory) if pid not in done]
            if not fresh:
                return
            _kill_in_batches(directory, fresh)
            done.update(fresh)
        self.freeze()
        _kill_in_batches(directory, tree_pids(directory))
