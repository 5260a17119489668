"""The supervisor process: one per engine, single-threaded, forking, outliving the daemon.

Theory: who forks must have no threads, who must never die must do little, and
fork time grows with memory; so this process loads neither asyncio nor sqlite
and holds nothing that the kernel or the run directory does not hold too. It
runs from a read-only mount of the interpreter, which a container that reaches
``/proc/PID/exe`` of a child cannot open for writing (CVE-2019-5736).
"""

import fcntl
import os
import signal
import socket
import sys
from contextlib import suppress

from corten.core.runtime.supervisor.loop import Loop
from corten.core.runtime.supervisor.server import Server
from corten.linux import cgroups, mounts, namespaces
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from corten.core.runtime.supervisor.task import Sink

SOCKET = "supervisor.sock"
LOCK = "supervisor.lock"
SEALED = "CORTEN_SEALED"


def reexec_read_only(argv: list[str], environment: dict[str, str]) -> None:
    """Run this program again from a read-only mount of its interpreter; returns in the second run.

    Args:
        argv: The full command, with the interpreter's path first, which tells it where its library is.
        environment: Of the second run, too; what marks that run is taken out of it.
    """
    if environment.pop(SEALED, "") == "1":
        return
    try:
        tree = mounts.clone_tree(mounts.AT_FDCWD, os.path.realpath("/proc/self/exe"), recursive=False)
        mounts.set_attributes(tree, add=mounts.ATTR_RDONLY)
        descriptor = tree
    except KernelError:
        descriptor = _sealed_copy()
    os.execve(f"/proc/self/fd/{descriptor}", argv, {**environment, SEALED: "1"})


def _sealed_copy() -> int:
    """Return a memfd with the interpreter's bytes, sealed against any change; for kernels before 5.12."""
    descriptor = os.memfd_create("corten", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open("/proc/self/exe", "rb") as program:
        while os.sendfile(descriptor, program.fileno(), None, 1 << 24):
            pass
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def take_lock(run: str) -> None:
    """Be the only supervisor of this run directory; the lock is held until this process ends.

    Raises:
        SystemExit: another one holds it.
    """
    lock = os.open(f"{run}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another supervisor serves this run directory")
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def settle(run: str) -> None:
    """Leave the session and the mount namespace of whoever started us, and prepare what children need."""
    with suppress(OSError):
        os.setsid()
    os.chdir("/")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # service managers signal the whole group; containers live on
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_SLAVE)
    remove_tree(f"{run}/parked")
    for name in ("root", "moves", "parked"):
        os.makedirs(f"{run}/{name}", 0o700, exist_ok=True)
    with suppress(OSError):
        cgroups.favor_dynamic_moves(f"{run}/moves")
    with suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"-999")


def serve(run: str, prefix: str, open_log: "Callable[[str, int, int], Sink]") -> None:
    """Be the supervisor of the engine with run directory *run* until told to quit."""
    take_lock(run)
    settle(run)
    loop = Loop()
    layout = cgroups.probe()
    sweep_pool(layout, prefix)
    path = f"{run}/{SOCKET}"
    with suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        mask = os.umask(0o177)
        listener.bind(path)
        os.umask(mask)
        listener.listen(16)
        server = Server(loop, layout, run, prefix, open_log)
        server.listen(listener)
        loop.run()
    os.unlink(path)


def remove_tree(folder: str) -> None:
    """Remove the FIFOs that a former supervisor had made ready; idempotent."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(f"{path}/{name}")
        for name in folders:
            os.rmdir(f"{path}/{name}")


def sweep_pool(layout: cgroups.Layout, prefix: str) -> None:
    """Remove the cgroups of children that a former supervisor had parked; they died with it."""
    for root in set(layout.controllers.values()):
        with suppress(OSError), os.scandir(f"{root}/{prefix}") as entries:
            for entry in list(entries):
                if entry.name.startswith("pool-"):
                    with suppress(OSError):
                        os.rmdir(entry.path)
