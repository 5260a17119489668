"""Starting the daemon when a command needs one and none answers.

The daemon is a new program, never a fork of the client: its own session, its
output in a log file, nothing of the client's terminal, folder, umask or
signal settings. It is ready when its socket accepts. A lock on the run folder
lets only one of several clients that come at once start it; the others wait
and then find it there.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys

from corten.cli.connection import Connection
from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from corten.cli.place import Place

IDLE = 300  # seconds without containers and clients after which the daemon leaves
STEP = 5  # milliseconds between two looks at the socket
PATIENCE = 60  # seconds that a daemon may take to come up: recovery reads the whole state
LOG_LIMIT = 1 << 20  # bytes of daemon.log after which it starts anew
FAILED = 125
# the package is added last, so that the daemon's own environment comes first
BOOT = (
    "import importlib, os, sys; sys.path.append(sys.argv.pop(1)); os.chdir('/'); os.umask(0o22); "
    "sys.exit(importlib.import_module(sys.argv.pop(1)).main(sys.argv[1:]))"
)
DAEMON = "corten.serve.daemon.main"
RESET = "corten.serve.daemon.reset"


def command(module: str, place: Place, *options: str) -> list[str]:
    """The command line that runs ``main(argv)`` of *module* in an isolated interpreter."""
    package = __file__.rpartition("/corten/cli/")[0]
    python = sys.executable or "/usr/bin/python3"
    return [python, "-I", "-c", BOOT, package, module, "--root", place.root, "--run", place.run, *options]


def replace(argv: list[str]) -> NoReturn:
    """Become the program *argv*."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)


def start(place: Place) -> None:
    """Return when a daemon accepts connections on the socket of *place*.

    Raises:
        Failure: it did not start; the message holds its last words.
    """
    if os.geteuid() != 0:
        raise Failure(
            "the corten daemon is not running and only root can start it: run the command with sudo", FAILED
        )
    log = place.run + "/daemon.log"
    try:
        os.makedirs(place.run, mode=0o711, exist_ok=True)
        lock = os.open(place.run + "/launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"cannot use the run folder {place.run}: {error.strerror}", FAILED) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if answers(place.socket):
            return
        before = _prepare_log(log)
        pid = _spawn(command(DAEMON, place, "--idle-exit", str(IDLE)), log)
        if not _wait(pid, place.socket):
            raise Failure(f"the daemon did not start: {_last_line(log, before)}; see {log}", FAILED)
    finally:
        os.close(lock)


def answers(socket: str) -> bool:
    """Whether somebody accepts connections on *socket*."""
    try:
        Connection(socket).close()
    except OSError:
        return False
    return True


def _prepare_log(log: str) -> int:
    """Make room in the log; return its size in bytes."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size > LOG_LIMIT:
            os.truncate(descriptor, 0)
            size = 0
    finally:
        os.close(descriptor)
    return size


def _spawn(argv: list[str], log: str) -> int:
    import signal

    return os.posix_spawn(
        argv[0],
        argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE),
    )


def _wait(pid: int, socket: str) -> bool:
    """Wait until *socket* answers; False when the daemon ended or took too long."""
    import time

    exited = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(exited, select.POLLIN)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if answers(socket):
                return True
            if poll.poll(STEP):
                os.waitpid(pid, 0)
                return answers(socket)
        return False
    finally:
        os.close(exited)


def _last_line(log: str, before: int) -> str:
    with open(log, "rb") as file:
        file.seek(before)
        lines = file.read().decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "it said nothing"
