"""corten system reset: end the engine and remove every trace of it.

Works on what it finds, whether or not daemon and supervisor still answer:
containers are killed through their cgroups, and only folders that an engine
makes are removed.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

from corten.core.networks.drivers import strays
from corten.core.networks.firewall.firewall import Firewall
from corten.core.networks.guard import Guard
from corten.core.volumes.mounting import unmount
from corten.errors import CortenError
from corten.linux import cgroups, pidfd
from corten.serve.daemon.settings import Settings, parse

OURS_IN_ROOT = (
    "containers",
    "content",
    "snapshots",
    "images",
    "trash",
    "cache",
    "volumes",
    "engine-id",
    "daemon.lock",
)
OURS_IN_RUN = (
    *(
        "containers",
        "parked",
        "seccomp",
        "root",
        "moves",
        "corten.sock",
        "supervisor.sock",
        "supervisor.lock",
    ),
    *("supervisor.log", "daemon.log", "daemon.lock", "launch.lock"),
)
DEADLINE = 10.0  # seconds a process may take to end


def main(argv: list[str]) -> int:
    """Reset the engine of --root and --run; returns the exit status."""
    settings = parse(argv)
    if os.geteuid() != 0:
        sys.stderr.write("corten system reset: needs root: run it with sudo\n")
        return 1
    try:
        reset(settings)
    except (CortenError, OSError) as failure:
        sys.stderr.write(f"corten system reset: {failure}\n")
        return 1
    return 0


def reset(settings: Settings) -> None:
    """End daemon, containers and supervisor, then remove kernel objects and files; idempotent."""
    end(_owner(f"{settings.run}/daemon.lock"), signal.SIGTERM)
    layout = cgroups.probe()
    group = layout.cgroup(settings.tag)
    group.kill()
    end(_owner(f"{settings.run}/supervisor.lock"), signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE
    while group.pids() and time.monotonic() < deadline:
        group.kill()
        time.sleep(0.01)
    group.remove()
    strays.remove_all(settings.tag)
    Firewall(settings.table).remove()
    Guard(settings.tag).remove()
    unmount(f"{settings.root}/volumes")
    for folder, names in ((settings.root, OURS_IN_ROOT), (settings.run, OURS_IN_RUN)):
        _remove(folder, names)


def _owner(lock: str) -> int:
    """Return the process that wrote its number into a lock file and still holds it; 0 for none."""
    import fcntl

    try:
        with open(lock, encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0)
    except (FileNotFoundError, ValueError):
        pass
    return 0


def end(pid: int, number: int) -> None:
    """End a process and wait for it, killing it after a while; 0 is nobody."""
    if not pid:
        return
    with suppress(ProcessLookupError, OSError):
        descriptor = pidfd.pidfd_open(pid)
        try:
            pidfd.send_signal(descriptor, number)
            deadline = time.monotonic() + DEADLINE
            while not _gone(pid) and time.monotonic() < deadline:
                time.sleep(0.005)
            if not _gone(pid):
                pidfd.send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def _gone(pid: int) -> bool:
    """Tell whether a process has ended, a zombie included."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def _remove(folder: str, names: tuple[str, ...]) -> None:
    """Remove what an engine makes in *folder*, and the folder itself when nothing else is in it."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            if name in names or name.startswith("engine.db"):
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
        with suppress(OSError):
            os.rmdir(folder)
