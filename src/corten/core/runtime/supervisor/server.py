"""Server: the daemon's requests, one method each; see protocol.py for the list."""

import json
import os
import socket
import time
from contextlib import suppress

from corten.core.runtime import protocol
from corten.core.runtime.supervisor import pool
from corten.core.runtime.supervisor.attach import Attacher
from corten.core.runtime.supervisor.errand import Errand
from corten.core.runtime.supervisor.loop import HANGUP, READ, Loop
from corten.core.runtime.supervisor.task import RETRY, Pipe, Task, write
from corten.linux import pidfd as pidfds
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corten.core.runtime.supervisor.task import Sink
    from corten.linux.cgroups import Layout


class Refused(Exception):
    """A request cannot be carried out; the text and the exit code go to the daemon."""

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Server:
    """All tasks of one engine, and the connections of its daemon.

    Args:
        loop: The event loop.
        layout: The host's cgroup hierarchies.
        run: The engine's run directory.
        prefix: Folder of this engine's cgroups.
        open_log: Makes the log writer for (directory, most bytes of a file, files).
    """

    def __init__(
        self,
        loop: Loop,
        layout: "Layout",
        run: str,
        prefix: str,
        open_log: "Callable[[str, int, int], Sink]",
    ) -> None:
        self._loop, self._layout, self._open_log = loop, layout, open_log
        self._tasks: dict[str, Task] = {}
        self._forgotten: dict[str, Task] = {}  # to be cleared when there is time, or before a new start
        self._early: dict[str, list[Attacher]] = {}
        self.starting: set[str] = set()
        self._clients: set[Attacher] = set()  # all that are connected, those of ended tasks too
        self._leaving = False
        self._daemons: list[Connection] = []
        self._pool = pool.Pool(loop, layout, prefix, f"{run}/parked")

    def listen(self, listener: socket.socket) -> None:
        """Serve daemons that connect to *listener*; each gets every event."""
        listener.setblocking(False)
        self._loop.register(listener.fileno(), lambda _: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            connection, _ = listener.accept()
            self._daemons.append(Connection(self._loop, connection, self._request, self._daemons.remove))

    def _request(
        self, daemon: "Connection", header: "dict[str, Any]", payload: bytes, handed: list[int]
    ) -> None:
        """Carry out one request; a failure is answered, never raised."""
        number = header.pop("n", None)
        verb = getattr(self, "do_" + header.pop("do", ""), None)
        try:
            if verb is None:
                raise Refused(
                    "unknown request: daemon and supervisor are of different versions; restart both"
                )
            verb(lambda answer, fds=(): daemon.send({"n": number, **answer}, fds), header, payload, handed)
        except Refused as failure:
            daemon.send({"n": number, "error": str(failure), "exit_code": failure.exit_code})
        except (OSError, KernelError) as failure:
            daemon.send({"n": number, "error": str(failure), "exit_code": 128})
        finally:
            for descriptor in handed:
                os.close(descriptor)

    def _tell(self, event: "dict[str, Any]") -> None:
        for daemon in list(self._daemons):
            daemon.send(event)

    def _task(self, header: "dict[str, Any]") -> Task:
        task = self._tasks.get(header["id"])
        if task is None:
            raise Refused(f"no such task: {header['id']}")
        return task

    # requests

    def do_hello(self, answer: "Answer", *_: object) -> None:
        """Say who is here; a daemon that comes needs this process."""
        self._leaving = False
        answer({"pid": os.getpid()})

    def do_kit(self, answer: "Answer", header: "dict[str, Any]", plan: bytes, _: list[int]) -> None:
        """Take the steps that children do while they are parked, and begin to park some."""
        self._pool.prepare((header["at"], json.loads(plan)), header["devices"])
        answer({})

    def do_start(self, answer: "Answer", facts: "dict[str, Any]", plan: bytes, handed: list[int]) -> None:
        """Start a container's first process."""
        if facts["id"] in self._tasks:
            raise Refused(f"task {facts['id']} exists already")
        self._clear(facts["id"], now=True)
        task = Task(self._loop, facts)
        stdio: list[int] = []
        try:
            stdio = task.open_streams(self._open_log(*facts["log"]), self._pool.streams())
            parked = self._child(facts)
        except BaseException:
            task.release()
            raise
        else:
            Starting(self, task, parked, answer).go(plan, [*stdio, *handed])
        finally:
            for descriptor in stdio:
                os.close(descriptor)

    def _child(self, facts: "dict[str, Any]") -> pool.Parked:
        """Return a child in the container's cgroup, limits applied."""
        flags, path = facts["flags"], facts["cgroup"]
        parked = self._pool.take(path) if flags == pool.DEFAULT_FLAGS else None
        cgroup, resources = self._layout.cgroup(path), facts.pop("resources")
        if parked is None:
            cgroup.create()
        elif resources.get("devices") == self._pool.devices:
            del resources["devices"]  # obeyed since it was parked
        try:
            cgroup.apply(resources)
            if parked is None:
                parked = pool.spawn(flags, cgroup, create=False)
        except BaseException:
            if parked is not None:
                pool.dismiss(parked)
            cgroup.remove()
            raise
        parked.cgroup = cgroup
        return parked

    def do_exec(self, answer: "Answer", facts: "dict[str, Any]", plan: bytes, handed: list[int]) -> None:
        """Start one more process in a container: born in its pid namespace, joining the others itself."""
        owner = self._tasks.get(facts["container"])
        if owner is None or owner.ended is not None:
            raise Refused(f"container {facts['container']} is not running", 126)
        task = Task(self._loop, facts)
        stdio: list[int] = []
        try:
            stdio = task.open_streams(Pipe())
            cgroup = self._layout.cgroup(owner.facts["cgroup"])
            parked = pool.spawn(0, cgroup, create=False, pid_of=owner.pidfd)
        except BaseException:
            task.release()
            raise
        else:
            Starting(self, task, parked, answer).go(plan, [*stdio, owner.pidfd, *handed])
        finally:
            for descriptor in stdio:
                os.close(descriptor)

    def do_mounts(self, answer: "Answer", header: "dict[str, Any]", plan: bytes, handed: list[int]) -> None:
        """Change the mounts of a running container by a child that enters its mount namespace and ends."""
        owner = self._task(header)
        if owner.ended is not None:
            raise Refused(f"container {owner.id} is not running")
        Errand(self._loop, pool.spawn(0, None), answer).go(plan, [owner.pidfd, *handed])

    def do_attach(
        self, answer: "Answer", header: "dict[str, Any]", leftover: bytes, handed: list[int]
    ) -> None:
        """Connect a client; before the start it waits for the task of that name."""
        connection = socket.socket(fileno=handed.pop(0))
        name = header["id"]
        wanted = {1} if header["stdout"] else set()
        wanted |= {2} if header["stderr"] else set()

        attacher = Attacher(
            self._loop,
            connection,
            wanted,
            header["multiplexed"],
            bytes(header["keys"]),
            leftover,
            self._client_gone,
        )
        attacher.input_wanted = header["stdin"]
        self._clients.add(attacher)
        if name in self._tasks:
            self._tasks[name].attach(attacher)
        else:
            self._early.setdefault(name, []).append(attacher)
        answer({})

    def _client_gone(self, attacher: Attacher) -> None:
        for task in self._tasks.values():
            if attacher in task.attachers:
                task.gone(attacher)
        for waiting in self._early.values():
            if attacher in waiting:
                waiting.remove(attacher)
        self._clients.discard(attacher)
        if self._leaving and not self._clients:
            self._leave()

    def do_detach(self, answer: "Answer", header: "dict[str, Any]", *_: object) -> None:
        """Let go of the clients of a task that did not start; the daemon tells them why."""
        for attacher in self._early.pop(header["id"], []):
            attacher.let_go()
            self._clients.discard(attacher)
        answer({})

    def do_kill(self, answer: "Answer", header: "dict[str, Any]", *_: object) -> None:
        """Signal a task."""
        task = self._task(header)
        if task.ended is None:
            with suppress(ProcessLookupError):
                task.signal(header["signal"])
        answer({})

    def do_resize(self, answer: "Answer", header: "dict[str, Any]", *_: object) -> None:
        """Set the size of a task's terminal."""
        self._task(header).resize(header["height"], header["width"])
        answer({})

    def do_list(self, answer: "Answer", *_: object) -> None:
        """Tell the daemon every task, with the descriptors that it keeps for the next supervisor."""
        for task in self._tasks.values():
            fds = tuple(fd for fd in (task.pidfd, task.master) if fd >= 0)
            self._tell_known(task, fds)
        answer({})

    def _tell_known(self, task: Task, fds: tuple[int, ...]) -> None:
        event = {
            "event": "known",
            **task.facts,
            "pid": task.pid,
            "started": task.started,
            "ended": task.ended,
        }
        for daemon in list(self._daemons):
            daemon.send(event, fds)

    def do_adopt(self, answer: "Answer", facts: "dict[str, Any]", _: bytes, handed: list[int]) -> None:
        """Take over a task from a supervisor that has died; its end may be past already."""
        if facts["id"] in self._tasks or facts["id"] in self.starting:
            return answer({})
        pid, started = facts.pop("pid"), facts.pop("started")
        task = Task(self._loop, facts)
        log = Pipe() if facts.get("container") else self._open_log(*facts["log"])
        for descriptor in task.open_streams(log):
            os.close(descriptor)
        if len(handed) > 1:
            task.set_master(os.dup(handed[1]))
        self._tasks[task.id] = task
        task.take_process(pid, os.dup(handed[0]), started)
        task.is_started(self._ended)
        return answer({})

    def do_forget(self, answer: "Answer", header: "dict[str, Any]", *_: object) -> None:
        """Remove all of a task that has ended: descriptors, run directory, cgroup.

        Of one that only a former supervisor knew, what that one left.
        """
        task = self._tasks.get(header["id"])
        if task is None and "directory" in header and header["id"] not in self._forgotten:
            with suppress(OSError):
                self._remove_group(header["cgroup"])
            remove_directory(header["directory"])
        elif task is not None and task.ended is not None:
            self._forgotten[task.id] = self._tasks.pop(task.id)
            self._loop.when_idle(lambda: self._clear(task.id))
        answer({})

    def _remove_group(self, path: str) -> None:
        """End what still runs in the cgroup of a container that never came to be, and remove it."""
        if path:
            cgroup = self._layout.cgroup(path)
            cgroup.kill()
            cgroup.remove()

    def _clear(self, name: str, *, now: bool = False) -> None:
        """Give back what a forgotten task has; output that found no space is waited for, unless it must be *now*."""
        task = self._forgotten.get(name)
        if task is None:
            return
        task.drain()
        if task.holds_output() and not now and not task.facts.get("container"):
            self._loop.after(RETRY, lambda: self._clear(name))
            return
        del self._forgotten[name]
        task.release()
        if not task.facts.get("container"):
            with suppress(OSError):
                self._layout.cgroup(task.facts["cgroup"]).remove()
        remove_directory(task.facts["directory"])  # last: it tells a next supervisor what is left to remove

    def do_quit(self, answer: "Answer", *_: object) -> None:
        """End this process, unless a task is left; a client that has yet to read its output is waited for."""
        if any(task.ended is None for task in self._tasks.values()):
            raise Refused("tasks are running")
        self._leaving = True
        if self._clients:
            raise Refused("clients are reading")
        answer({})
        self._leave()

    def _leave(self) -> None:
        """Undo what is prepared, and end."""
        self._forgotten.update(self._tasks)
        for name in list(self._forgotten):
            self._clear(name, now=True)
        self._pool.close()
        self._loop.stop()

    # called back

    def started(self, task: Task) -> None:
        """Take up a task whose process runs now."""
        self._tasks[task.id] = task
        task.is_started(self._ended)
        for attacher in self._early.pop(task.id, []):
            task.attach(attacher)

    def _ended(self, task: Task) -> None:
        """Record an exit on disk, then tell it."""
        assert task.ended is not None
        task.ended["at"] = time.time_ns()
        if not task.facts.get("container"):
            with suppress(OSError):
                task.ended["oom"] = self._layout.cgroup(task.facts["cgroup"]).oom_kills() > 0
        with suppress(OSError):
            write(f"{task.facts['directory']}/exit.json", task.ended)
        self._tell({"event": "exit", "id": task.id, **task.ended})


class Starting:
    """A child between being told its plan and exec: waits for its socket to say how it went."""

    def __init__(self, server: Server, task: Task, parked: pool.Parked, answer: "Answer") -> None:
        self._server, self._task, self._parked, self._answer = server, task, parked, answer
        self._loop = server._loop  # noqa: SLF001 - one thing in two classes

    def go(self, plan: bytes, descriptors: list[int]) -> None:
        """Tell the child, then return to the loop."""
        self._loop.register(self._parked.channel.fileno(), self._ready)
        self._server.starting.add(self._task.id)
        with suppress(OSError):  # it has died: its socket says why, or only that
            self._parked.tell(plan, descriptors)
        self._task.take_process(self._parked.pid, self._parked.pidfd, pidfds.start_time(self._parked.pid))
        with suppress(OSError):  # no space: then only a supervisor that lives can tell of it
            self._task.save()  # beside the child's work, not after it

    def _ready(self, _: int) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._parked.channel, 1 << 16, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # killed before it had read its plan
            data, fds = b"", []
        if fds:
            self._task.set_master(fds[0])
        elif data.startswith(b'{"ready"'):
            pass
        elif data:
            self._failed(data)
        else:
            self._running()

    def _running(self) -> None:
        """The socket closed without a word: exec has happened, or the child was killed."""
        self._leave()
        task = self._task
        self._server.started(task)
        fds = tuple(fd for fd in (task.pidfd, task.master) if fd >= 0)
        self._answer({"pid": task.pid, "started": task.started}, fds)

    def _failed(self, data: bytes) -> None:
        """Undo everything and pass the child's error on."""
        self._leave()
        os.waitpid(self._parked.pid, 0)
        self._task.release()
        if self._parked.cgroup is not None and not self._task.facts.get("container"):
            self._parked.cgroup.remove()
        remove_directory(self._task.facts["directory"])
        self._answer(json.loads(data))

    def _leave(self) -> None:
        self._server.starting.discard(self._task.id)
        self._loop.unregister(self._parked.channel.fileno())
        self._parked.channel.close()


class Connection:
    """One daemon's socket: frames in, frames out, never blocking the loop for long."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        on_request: "Callable[[Connection, dict[str, Any], bytes, list[int]], None]",
        on_gone: "Callable[[Connection], None]",
    ) -> None:
        self._loop, self._socket, self._on_request, self._on_gone = loop, connection, on_request, on_gone
        self._decoder = protocol.Decoder()
        loop.register(connection.fileno(), self._ready)

    def _ready(self, events: int) -> None:
        try:
            alive = self._decoder.receive(self._socket) if events & READ else not events & HANGUP
            for header, payload, descriptors in self._decoder.frames():
                self._on_request(self, header, payload, descriptors)
        except (OSError, ValueError):
            alive = False
        if not alive:
            self.close()

    def send(self, header: "dict[str, Any]", descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame; a daemon that is gone, or has stopped reading for a second, is dropped."""
        if self._socket.fileno() < 0:
            return
        if descriptors:
            header["descriptors"] = len(descriptors)
        self._socket.settimeout(1)
        try:
            protocol.send(self._socket, protocol.encode(header), descriptors)
            self._socket.setblocking(True)
        except OSError:
            self.close()

    def close(self) -> None:
        """Drop the connection; idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.unregister(self._socket.fileno())
            self._decoder.close()
            self._socket.close()
            self._on_gone(self)


def remove_directory(directory: str) -> None:
    """Remove a task's run directory, which holds no folders but ``exec``."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                remove_directory(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(directory)


if TYPE_CHECKING:
    from typing import Protocol

    class Answer(Protocol):
        """Sends the answer of one request."""

        def __call__(self, answer: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
            """Send it."""
            ...
