"""Runtime: the daemon's side of the supervisor.

It keeps, for every task, the descriptors that a next supervisor needs: the
pidfd (whose exit status the kernel keeps for us), the terminal's master, and
an idle end of each FIFO, so that output which nobody has read yet is not lost
with a supervisor. If the supervisor dies, a new one is started and adopts all.
"""

import json
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from corten.core.runtime import plan
from corten.core.runtime.link import Link
from corten.core.runtime.live_plan import live_plan
from corten.errors import Conflict, CortenError, InvalidInput, NotFound, StartFailed, Unavailable
from corten.linux import pidfd as pidfds
from corten.linux.syscalls import KernelError
from corten.oci.spec import Mount, Spec

FORGET_ATTEMPTS = 2


class TaskFacts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the supervisor is told of a task, and what it writes to the run directory.

    ``note`` is what the engine wants to find again should it die before it has recorded the start.
    """

    id: str
    directory: str
    cgroup: str = ""
    container: str = ""
    flags: int = 0
    log: tuple[str, int, int] = ("", 0, 0)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: dict[str, Any] = {}
    note: dict[str, Any] = {}


class Running(msgspec.Struct, frozen=True):
    """A process that runs: its id on the host, and when it started in ticks since boot."""

    pid: int
    started: int


class Exit(msgspec.Struct, frozen=True):
    """The end of a task; ``code`` is None where nobody could see it; ``at`` in ns since the epoch."""

    id: str
    code: int | None
    at: int = 0
    oom: bool = False


class Known(msgspec.Struct, frozen=True):
    """A task found at start: its facts, its process, and its end if it has ended."""

    facts: TaskFacts
    pid: int
    started: int
    ended: Exit | None


class _Kept:
    """Descriptors held for the next supervisor."""

    def __init__(self, facts: TaskFacts, pid: int, started: int, descriptors: list[int]) -> None:
        self.facts, self.pid, self.started, self.descriptors = facts, pid, started, descriptors
        self.idle: list[int] = []
        for name in ("out", "err"):
            with suppress(OSError):
                self.idle.append(
                    os.open(f"{facts.directory}/{name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                )

    def close(self) -> None:
        for descriptor in (*self.descriptors, *self.idle):
            os.close(descriptor)
        self.descriptors, self.idle = [], []


class Runtime:
    """Starts processes through the supervisor, and follows it from one to the next.

    Args:
        run: The engine's run directory.
        command: How to start a supervisor.
    """

    def __init__(self, run: str, command: list[str]) -> None:
        self._run = run
        self._link = Link(run, command, self._event, self._adopt_kept)
        self._on_exit: Callable[[Exit], None] = lambda _: None
        self._kept: dict[str, _Kept] = {}
        self._found: list[Known] = []
        self._kit: tuple[str, list[Any], bytes] = ("", [], b"[]")

    def set_kit(self, at: str, spec: Spec) -> None:
        """Say what children make while they are parked: what *spec*, a usual one, has in common with others.

        Call it before ``open``. *at* is a trusted empty folder; see plan.split.
        """
        devices = msgspec.to_builtins(spec.linux.resources.devices)
        self._kit = (at, devices, msgspec.json.encode(plan.split(spec)[0]))

    async def open(self, on_exit: Callable[[Exit], None]) -> list[Known]:
        """Find or start the supervisor; returns the tasks it, or a former one, has.

        Args:
            on_exit: Called in the event loop for each task that ends.

        Raises:
            Unavailable: it does not start; says why.
        """
        self._on_exit = on_exit
        await self._link.open()
        await self._send_kit()
        await self._list()
        if await self._adopt_left():
            await self._list()
        return self._found

    async def _list(self) -> None:
        self._found = []
        await self._link.request({"do": "list"})

    async def _send_kit(self) -> None:
        at, devices, steps = self._kit
        await self._link.request({"do": "kit", "at": at, "devices": devices}, steps)

    def _event(self, header: dict[str, Any], descriptors: list[int]) -> None:
        """Handle what the supervisor tells by itself."""
        event = header.pop("event")
        if event == "known":
            self._know(header, descriptors)
            return
        if event == "exit":
            self._on_exit(msgspec.convert(header, Exit))
        for descriptor in descriptors:
            os.close(descriptor)

    def _know(self, header: dict[str, Any], descriptors: list[int]) -> None:
        """Keep a task that the supervisor listed."""
        pid, started, ended = header.pop("pid"), header.pop("started"), header.pop("ended")
        facts = msgspec.convert(header, TaskFacts)
        self._keep(facts, pid, started, descriptors)
        self._found.append(
            Known(facts, pid, started, msgspec.convert({"id": facts.id, **ended}, Exit) if ended else None)
        )

    def _keep(self, facts: TaskFacts, pid: int, started: int, descriptors: list[int]) -> None:
        former = self._kept.pop(facts.id, None)
        if former is not None:
            former.close()
        self._kept[facts.id] = _Kept(facts, pid, started, descriptors)

    async def _adopt_kept(self) -> None:
        """Hand a supervisor that took a dead one's place all that this process kept for it."""
        await self._send_kit()
        for kept in list(self._kept.values()):
            if kept.descriptors:  # not forgotten while the others were handed over
                await self._adopt(kept)
        for directory in self._directories():
            name = os.path.basename(directory)
            if name not in self._kept:  # forgotten, but not yet cleared when the supervisor died
                cgroup = _saved(directory).get("cgroup", "")
                await self._forget({"id": name, "directory": directory, "cgroup": cgroup})

    async def _adopt(self, kept: _Kept) -> None:
        facts = msgspec.to_builtins(kept.facts)
        header = {"do": "adopt", **facts, "pid": kept.pid, "started": kept.started}
        with suppress(CortenError):
            await self._link.request(header, descriptors=kept.descriptors)

    async def _adopt_left(self) -> bool:
        """Hand the supervisor the tasks whose files a former one left in the run directory; tells whether any.

        Not only a fresh one: who started it may have died before it had handed over all.
        """
        left = [_left(path) for path in self._directories() if os.path.basename(path) not in self._kept]
        for kept in left:
            if kept is not None:
                self._kept[kept.facts.id] = kept
                await self._adopt(kept)
        return any(left)

    def _directories(self) -> list[str]:
        """Return the run directories of containers."""
        folder = f"{self._run}/containers"
        with suppress(FileNotFoundError):
            return [f"{folder}/{name}" for name in os.listdir(folder)]
        return []

    async def start(self, facts: TaskFacts, steps: list[Any], descriptors: list[int]) -> Running:
        """Start a container's first process: running when this returns, or nothing of it is left.

        Args:
            facts: What it is.
            steps: The plan of its child.
            descriptors: What the plan joins; stays the caller's.

        Raises:
            StartFailed: with Docker's exit code.
        """
        return await self._begin("start", facts, steps, descriptors)

    async def execute(self, facts: TaskFacts, steps: list[Any]) -> Running:
        """Start one more process in the running container ``facts.container``; as ``start``."""
        return await self._begin("exec", facts, steps, [])

    async def _begin(self, verb: str, facts: TaskFacts, steps: list[Any], descriptors: list[int]) -> Running:
        header = {"do": verb, **msgspec.to_builtins(facts)}
        try:
            answer, handed = await self._link.request(header, msgspec.json.encode(steps), descriptors)
        except Unavailable:
            await self._undo(facts)
            raise
        facts.resources = {}
        self._keep(facts, answer["pid"], answer["started"], handed)
        return Running(answer["pid"], answer["started"])

    async def change_mounts(self, task: str, add: Sequence[Mount], remove: Sequence[Mount]) -> None:
        """Take mounts away from a running container and give it others: all of it or nothing.

        Sources are looked up as this process sees them; see ``live_plan`` for the order.

        Raises:
            Conflict: it does not run.
            InvalidInput: a source is missing, or its place in the container cannot be mounted at.
        """
        if task not in self._kept:
            raise Conflict(f"container {task} is not running")
        steps = msgspec.json.encode(live_plan(add, remove))
        namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._link.request({"do": "mounts", "id": task}, steps, [namespace])
        except StartFailed as failure:
            raise InvalidInput(str(failure)) from None
        finally:
            os.close(namespace)

    async def attach(
        self,
        task: str,
        client: socket.socket,
        leftover: bytes,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        multiplexed: bool,
        keys: bytes,
    ) -> None:
        """Hand a client's connection to the supervisor; may come before the start. Closes *client* here."""
        header = {
            "do": "attach",
            "id": task,
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "multiplexed": multiplexed,
            "keys": list(keys),
        }
        try:
            await self._link.request(header, leftover, [client.fileno()])
        finally:
            client.close()

    async def detach(self, task: str) -> None:
        """Close the clients of a task that never started; idempotent."""
        await self._link.request({"do": "detach", "id": task})

    async def kill(self, task: str, signal: int) -> None:
        """Signal a task; one that has ended already is fine.

        Raises:
            Conflict: there is no such task.
        """
        kept = self._kept.get(task)
        if kept is None:
            raise Conflict(f"container {task} is not running")
        with suppress(ProcessLookupError):
            try:
                pidfds.send_signal(kept.descriptors[0], signal)
            except KernelError as failure:
                if failure.errno != 3:  # ESRCH
                    raise

    async def resize(self, task: str, height: int, width: int) -> None:
        """Set the terminal size of a task."""
        if task not in self._kept:
            raise NotFound("task", task)
        await self._link.request({"do": "resize", "id": task, "height": height, "width": width})

    async def _undo(self, facts: TaskFacts) -> None:
        """Leave nothing of a start whose supervisor died: the child may have got as far as running."""
        left = _left(facts.directory)
        if left is not None:
            with suppress(KernelError):
                pidfds.send_signal(left.descriptors[0], 9)
            left.close()
        await self._forget({"id": facts.id, "directory": facts.directory, "cgroup": facts.cgroup})

    async def forget(self, task: str) -> None:
        """Drop a task whose end is recorded; idempotent."""
        kept = self._kept.pop(task, None)
        places = {}
        if kept is not None:
            places = {"directory": kept.facts.directory, "cgroup": kept.facts.cgroup}
            kept.close()
        await self._forget({"id": task, **places})

    async def _forget(self, header: dict[str, Any]) -> None:
        """Have what is left of a task removed, by the next supervisor if this one dies; else the next start does."""
        for _ in range(FORGET_ATTEMPTS):
            with suppress(Unavailable, StartFailed):
                await self._link.request({"do": "forget", **header})
                return

    async def quit(self) -> None:
        """End the supervisor; refused while a task runs.

        Raises:
            Conflict: a task runs.
        """
        self._link.expect_end()
        try:
            await self._link.request({"do": "quit"})
        except StartFailed as failure:
            self._link.expect_end(False)
            raise Conflict(str(failure)) from None

    def close(self) -> None:
        """Leave the supervisor to itself."""
        self._link.close()
        for kept in self._kept.values():
            kept.close()
        self._kept.clear()


def _saved(directory: str) -> dict[str, Any]:
    """Return what a supervisor wrote down of a task; empty where it did not get to it."""
    try:
        with open(f"{directory}/task.json", "rb") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _left(directory: str) -> _Kept | None:
    """Return a task that a former supervisor left, if its process can still be named."""
    facts = _saved(directory)
    try:
        pid, started = int(facts.pop("pid")), int(facts.pop("started"))
        task = msgspec.convert(facts, TaskFacts)
        descriptor = pidfds.pidfd_open(pid)
    except (OSError, KeyError, ValueError, TypeError, msgspec.ValidationError):
        return None
    with suppress(OSError):
        if pidfds.start_time(pid) == started:
            return _Kept(task, pid, started, [descriptor])
    os.close(descriptor)
    return None
