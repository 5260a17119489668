"""Task: one process that the supervisor looks after, a container's first or one of its execs.

Its stdout and stderr are FIFOs in the run directory, held open read-write by the
container, this process and the daemon: no death of ours ever breaks them,
and what nobody has read yet waits in the kernel. A terminal's output is moved
into the stdout FIFO first and so takes the same way.
"""

import fcntl
import json
import os
import termios
from contextlib import suppress

from corten.core.runtime.supervisor.attach import HIGH_WATER, LOW_WATER, Attacher
from corten.core.runtime.supervisor.loop import HANGUP, READ, WRITE, Loop
from corten.linux import pidfd as pidfds
from corten.linux import pty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from corten.core.runtime.supervisor.attach import Extent

    class Sink(Protocol):
        """Where output goes: the log store's writer, or a Pipe for what is not logged."""

        def take(self, stream: int, source: int, limit: int = ..., /) -> Extent | bytes | None:
            """Move what the FIFO has, at most *limit* bytes, and say where; None when it is empty."""
            ...

        def close(self) -> None:
            """Give files back."""
            ...


STREAMS = {1: "out", 2: "err"}
CHUNK = 1 << 18
PIPE_SIZE = 1 << 18
ROUNDS = 64  # takes that certainly empty a full FIFO
F_SETPIPE_SZ = 1031
RETRY = 0.5  # seconds until a log that had no space is tried again
STDIN_MOST = 1 << 20  # bytes of input that wait here before the client has to


class Pipe:
    """The sink of an exec: output goes to its client and nowhere else."""

    def take(self, stream: int, source: int, limit: int = CHUNK, /) -> bytes | None:  # noqa: ARG002 - a Sink
        """Read what the FIFO has."""
        try:
            return os.read(source, limit) or None
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Nothing to give back."""


class Streams:
    """Output FIFOs in a folder of their own, made before anybody needs them.

    ``kept`` are our ends by stream, ``handed`` the descriptors for a child's 0, 1 and 2.
    """

    def __init__(self, directory: str, names: "dict[int, str]" = STREAMS) -> None:
        self.directory = directory
        os.makedirs(directory, 0o700, exist_ok=True)
        self.kept: dict[int, int] = {}
        self.handed = [os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)]
        for stream, name in names.items():
            path = f"{directory}/{name}"
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            self.kept[stream] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            _enlarge(self.kept[stream])
            self.handed.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def move(self, directory: str) -> bool:
        """Rename the folder; False where that cannot be."""
        try:
            os.rename(self.directory, directory)
        except OSError:
            return False
        self.directory = directory
        return True

    def close(self) -> None:
        """Close every descriptor."""
        for descriptor in (*self.kept.values(), *self.handed):
            os.close(descriptor)


class Task:
    """One process: its descriptors, its sink, its clients, its end.

    ``facts`` is the request that started it, as JSON; it is written to the run
    directory, so that a next supervisor can take over: id, container (of an
    exec), directory, cgroup, log, stdin, tty.
    """

    def __init__(self, loop: Loop, facts: "dict[str, Any]") -> None:
        self._loop, self.facts = loop, facts
        self.id: str = facts["id"]
        self.pid, self.started, self.pidfd, self.master = 0, 0, -1, -1
        self.ended: dict[str, Any] | None = None
        self.sink: Sink | None = None
        self._fifos: dict[int, int] = {}
        self._stdin, self._stdin_pending, self._stdin_end = -1, b"", False
        self._paused_output, self._no_space = True, False  # until it has started and its clients are known
        self.attachers: list[Attacher] = []

    # streams

    def open_streams(self, sink: "Sink", ready: "Streams | None" = None) -> list[int]:
        """Make or reopen the FIFOs; returns descriptors for the child's 0, 1 and 2, which the caller closes.

        With a terminal, or without stdin, what is missing is /dev/null. *ready* ones
        are used where they fit, else closed.
        """
        self.sink = sink
        directory = self.facts["directory"]
        plain = not self.facts.get("tty")
        if ready is not None and not (plain and ready.move(directory)):
            ready.close()
            ready = None
        streams = ready or Streams(directory, STREAMS if plain else {1: "out"})
        self._fifos, handed = streams.kept, streams.handed
        if self.facts.get("stdin") and not self.facts.get("tty"):
            path = f"{directory}/in"
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            keeper = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            os.close(handed[0])
            handed[0] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._stdin = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.close(keeper)
        while len(handed) < 3:
            handed.append(os.dup(handed[-1]))
        return handed

    def set_master(self, master: int) -> None:
        """Take the master of the task's terminal."""
        self.master = master
        os.set_blocking(master, False)
        self._watch_master()

    def _terminal(self, events: int) -> None:
        """Move terminal output into the stdout FIFO: the kernel keeps it if this process ends now."""
        try:
            moved = os.splice(self.master, self._fifos[1], CHUNK, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            moved = 1  # the FIFO is full: it is drained below
        except OSError:
            moved = 0
        if not moved and events & HANGUP:
            self._loop.unregister(self.master)  # every copy of the other side is closed
        self._output(1)

    def _watch_output(self, stream: int) -> None:
        self._loop.register(self._fifos[stream], lambda _: self._output(stream))

    def _output(self, stream: int) -> None:
        """Log what a FIFO holds and show it to the clients."""
        self._take(stream, self._fifos[stream])
        self._balance()

    def _take(self, stream: int, fifo: int) -> bool:
        """Move one run of bytes out of a FIFO; False when it was empty."""
        assert self.sink is not None
        try:
            extent = self.sink.take(stream, fifo, CHUNK)
        except OSError:  # no space: the bytes stay in the FIFO; the container waits, nothing is lost
            self._pause_output()
            if not self._no_space:
                self._no_space = True
                self._loop.after(RETRY, self._try_again)
            return False
        if extent is None:
            return False
        for attacher in list(self.attachers):
            attacher.push(stream, extent)
        return True

    def _balance(self) -> None:
        """Let the container wait while a client is far behind."""
        most = max((attacher.waiting for attacher in self.attachers), default=0)
        if not self._paused_output and most > HIGH_WATER:
            self._pause_output()
        elif self._paused_output and most < LOW_WATER and not self._no_space:
            self._resume_output()

    def _pause_output(self) -> None:
        """Leave output in the FIFOs: when they are full the container waits."""
        self._paused_output = True
        for fifo in self._fifos.values():
            self._loop.unregister(fifo)
        self._watch_master()

    def _resume_output(self) -> None:
        self._paused_output = False
        for stream in self._fifos:
            self._watch_output(stream)
        self._watch_master()

    def _try_again(self) -> None:
        self._no_space = False
        self._balance()

    def _watch_master(self) -> None:
        """Wait for what the terminal has and takes; while nothing is wanted its hang-up waits too."""
        events = (0 if self._paused_output else READ) | (WRITE if self._stdin_pending else 0)
        if self.master >= 0 and events:
            self._loop.register(self.master, self._both, events)
        else:
            self._loop.unregister(self.master)

    # input

    def input(self, data: bytes) -> bool:
        """Pass a client's bytes to stdin; b"" is its end. False while the task is far behind."""
        if data:
            self._stdin_pending += data
        elif self.facts.get("stdin_once") or self.facts.get("container"):
            self._stdin_end = True
        self._write_stdin(0)
        return len(self._stdin_pending) < STDIN_MOST

    def _write_stdin(self, _: int) -> None:
        target = self.master if self.facts.get("tty") else self._stdin
        if target < 0:
            self._stdin_pending = b""
            return
        try:
            while self._stdin_pending:
                self._stdin_pending = self._stdin_pending[os.write(target, self._stdin_pending[:65536]) :]
        except BlockingIOError:
            pass
        except OSError:
            self._stdin_pending = b""
        self._watch_stdin(target)
        if not self._stdin_pending:
            for attacher in self.attachers:
                attacher.resume()
            if self._stdin_end:
                self.close_stdin()

    def _watch_stdin(self, target: int) -> None:
        """Ask to be told when stdin takes more, or stop asking."""
        if target == self.master:
            self._watch_master()
        elif self._stdin_pending:
            self._loop.register(target, self._write_stdin, WRITE)
        else:
            self._loop.unregister(target)

    def _both(self, events: int) -> None:
        if events & WRITE:
            self._write_stdin(events)
        if events & ~WRITE and self.master >= 0 and not self._paused_output:
            self._terminal(events)

    def close_stdin(self) -> None:
        """End the task's stdin; a terminal has no end. Idempotent."""
        if self._stdin >= 0:
            self._loop.unregister(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    def attach(self, attacher: Attacher) -> None:
        """Show output from now on to one more client."""
        if self.ended is not None:
            attacher.finish()
            return
        self.attachers.append(attacher)
        attacher.on_room = self._balance
        attacher.begin(self.input if attacher.input_wanted else None)

    def gone(self, attacher: Attacher) -> None:
        """Forget a client that has closed; with stdin open once, its end is stdin's end."""
        if attacher in self.attachers:
            self.attachers.remove(attacher)
            if attacher.input_wanted:
                self.input(b"")
        self._balance()

    # life

    def take_process(self, pid: int, pidfd: int, started: int) -> None:
        """Take the process and its pidfd; *started* in ticks since boot."""
        self.pid, self.pidfd, self.started = pid, pidfd, started

    def is_started(self, on_exit: "Callable[[Task], None]") -> None:
        """Watch the process; *on_exit* is called once when it has ended and its output is stored."""
        self._on_exit = on_exit
        self._resume_output()
        self._loop.register(self.pidfd, self._exited)

    def save(self) -> None:
        """Write what a next supervisor needs to the run directory."""
        write(
            f"{self.facts['directory']}/task.json", {**self.facts, "pid": self.pid, "started": self.started}
        )

    def _exited(self, _: int) -> None:
        """Reap the process, store its last output, tell clients and daemon."""
        self._loop.unregister(self.pidfd)
        status = _reap(self.pid, self.pidfd)
        self.drain()
        self.ended = {"code": None if status is None else pidfds.exit_code(status)}
        self._on_exit(self)
        for attacher in list(self.attachers):
            attacher.finish()

    def drain(self) -> None:
        """Store everything that is still in the FIFOs and behind the terminal.

        What a process that outlives an exec goes on to write is not waited for.
        """
        if self.master >= 0:
            for _ in range(ROUNDS):
                try:
                    if not os.splice(self.master, self._fifos[1], CHUNK, flags=os.SPLICE_F_NONBLOCK):
                        break
                except OSError:
                    break
                while self._take(1, self._fifos[1]):
                    pass
        for stream, fifo in self._fifos.items():
            for _ in range(ROUNDS):
                if not (_waiting(fifo) and self._take(stream, fifo)):
                    break

    def holds_output(self) -> bool:
        """Tell whether output waits that could not be stored."""
        return any(_waiting(fifo) for fifo in self._fifos.values())

    def resize(self, height: int, width: int) -> None:
        """Set the terminal's size; nothing without a terminal."""
        if self.master >= 0:
            pty.resize(self.master, height, width)

    def signal(self, number: int) -> None:
        """Signal the process; ESRCH when it has ended."""
        pidfds.send_signal(self.pidfd, number)

    def release(self) -> None:
        """Close every descriptor; clients stay until they have read what is theirs; idempotent."""
        for attacher in list(self.attachers):
            attacher.finish()
        self.close_stdin()
        for descriptor in (*self._fifos.values(), self.master, self.pidfd):
            if descriptor >= 0:
                self._loop.unregister(descriptor)
                os.close(descriptor)
        self._fifos, self.master, self.pidfd = {}, -1, -1
        if self.sink is not None:
            self.sink.close()
            self.sink = None


def _enlarge(fifo: int) -> None:
    """Give a FIFO more room, so that a busy moment of ours does not stop the container; see F_SETPIPE_SZ, fcntl(2)."""
    with suppress(OSError):
        fcntl.fcntl(fifo, F_SETPIPE_SZ, PIPE_SIZE)


def _waiting(fifo: int) -> bool:
    """Return whether a FIFO holds bytes, so that a silent stream needs no file; see FIONREAD, ioctl(2)."""
    return any(fcntl.ioctl(fifo, termios.FIONREAD, b"\0\0\0\0"))


def _reap(pid: int, pidfd: int) -> int | None:
    """Return the wait status of an ended process, our child or not; None where nobody can say it.

    A process that a former supervisor started has been inherited by init. Until
    init has reaped it the status stands in its stat file (proc_pid_stat(5), field
    52); afterwards the kernel tells it by the pidfd.
    """
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        pass
    status = pidfds.exit_status(pidfd)
    if status is not None:
        return status
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return pidfds.exit_status(pidfd)
    return int(fields[49]) if fields[0] == b"Z" else pidfds.exit_status(pidfd)


def write(path: str, value: "dict[str, Any]") -> None:
    """Replace the JSON file *path* in one step."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(value).encode())
    finally:
        os.close(descriptor)
    os.rename(temporary, path)
