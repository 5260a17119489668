"""The moves that a user makes in a container's life: start, stop, kill, pause, wait.

Each container has a lock that orders its moves; nothing global is ever held.
What is legal from where stands in status.py; how a run ends in runs.py.
"""

import asyncio
import signal as signals
from contextlib import suppress

from msgspec.structs import replace

from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.runs import Runs
from corten.engine.containers.status import UP, Move, Status, advance
from corten.engine.containers.waiters import Exit
from corten.engine.records.container import Container
from corten.errors import Conflict, InvalidInput, NotFound, NotModified

DEFAULT_GRACE = 10.0  # seconds, as in the Docker Engine API
KILL_DEADLINE = 30.0  # a process that survives SIGKILL so long sits in the kernel


class Lifecycle:
    """The moves; one object for all containers."""

    def __init__(self, parts: Parts, runs: Runs) -> None:
        self._parts, self._runs = parts, runs

    async def start(self, ref: str) -> None:
        """Start a container.

        Raises:
            NotModified: it runs.
            Conflict: it is paused.
            StartFailed: the process could not be started.
        """
        container = self._parts.records.find(ref)
        async with self._parts.lock(container.id):
            container = self._parts.records.get(container.id)
            advance(container, Move.START)
            self._runs.cancel_restart(container.id)
            await self._runs.start(self._parts.records.get(container.id))

    async def stop(self, ref: str, grace: float | None, signal: str | None) -> None:
        """Ask a container to end, and kill it when it has not after *grace* seconds (-1: never).

        Raises:
            NotModified: it does not run.
            InvalidInput: unknown signal.
        """
        container = self._parts.records.find(ref)
        if container.state.status == Status.RESTARTING:
            self._set(container.id, stopped_by_user=True)
            self._runs.stay_down(container)
            return
        if not is_up(container):
            raise NotModified(f"container {container.name} is not running")
        number = signal_number(signal or container.config.stop_signal or "SIGTERM")
        if grace is None:
            grace = DEFAULT_GRACE if container.config.stop_timeout is None else container.config.stop_timeout
        self._set(container.id, stopped_by_user=True)
        ended = await self.wait(container.id, "next-exit")
        await self._signal(container, number)
        if not await _within(ended, None if grace < 0 else grace):
            await self._signal(container, signals.SIGKILL)
            await self._killed(container, ended)
        self._parts.tell("stop", container)

    async def restart(self, ref: str, grace: float | None, signal: str | None) -> None:
        """Stop a container where it runs, and start it."""
        container = self._parts.records.find(ref)
        with suppress(NotModified):
            await self.stop(container.id, grace, signal)
        await self.start(container.id)
        self._parts.tell("restart", self._parts.records.get(container.id))

    async def kill(self, ref: str, signal: str) -> None:
        """Send a signal, SIGKILL when none is named.

        Raises:
            Conflict: it does not run.
            InvalidInput: unknown signal.
        """
        number = signal_number(signal or "SIGKILL")
        container = self._parts.records.find(ref)
        if not is_up(container):
            raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
        if number in (signals.SIGKILL, signal_number(container.config.stop_signal or "SIGTERM")):
            self._set(container.id, stopped_by_user=True)
        ended = await self.wait(container.id, "next-exit")
        await self._signal(container, number)
        self._parts.tell("kill", container, signal=str(number))
        if number == signals.SIGKILL:
            await self._killed(container, ended)
        else:
            ended.cancel()

    async def force_down(self, identifier: str) -> None:
        """Kill a container and wait until it is down; done already is fine.

        Raises:
            Conflict: the kernel does not let it go.
        """
        self._runs.cancel_restart(identifier)
        with suppress(NotFound):
            try:
                await self.kill(identifier, "SIGKILL")
            except Conflict:
                if is_up(self._parts.records.get(identifier)):
                    raise

    async def _signal(self, container: Container, number: int) -> None:
        """Signal the first process; a frozen one is thawed so that it can take it."""
        with suppress(Conflict):
            await self._parts.runtime.kill(container.id, number)
        with suppress(NotFound):
            if self._parts.records.get(container.id).state.status == Status.PAUSED:
                await asyncio.to_thread(self._parts.groups.thaw, self._parts.cgroup_path(container))
                self._runs.set_status(container.id, Status.RUNNING)

    async def _killed(self, container: Container, ended: "asyncio.Future[Exit]") -> None:
        """Wait for the end of a killed container.

        Raises:
            Conflict: the kernel does not let it go.
        """
        if not await _within(ended, KILL_DEADLINE):
            raise Conflict(
                f"container {container.name} was killed but its process does not end: it waits in the kernel"
            )

    async def pause(self, ref: str) -> None:
        """Freeze all processes of a container.

        Raises:
            Conflict: it does not run, or is paused already.
        """
        container = self._parts.records.find(ref)
        async with self._parts.lock(container.id):
            status = advance(self._parts.records.get(container.id), Move.PAUSE)
            await asyncio.to_thread(self._parts.groups.freeze, self._parts.cgroup_path(container))
            self._runs.set_status(container.id, status)
        self._parts.tell("pause", container)

    async def unpause(self, ref: str) -> None:
        """Let the processes of a paused container go on.

        Raises:
            Conflict: it is not paused.
        """
        container = self._parts.records.find(ref)
        async with self._parts.lock(container.id):
            status = advance(self._parts.records.get(container.id), Move.UNPAUSE)
            await asyncio.to_thread(self._parts.groups.thaw, self._parts.cgroup_path(container))
            self._runs.set_status(container.id, status)
        self._parts.tell("unpause", container)

    async def wait(self, ref: str, condition: str) -> "asyncio.Future[Exit]":
        """Return a future of the exit: at once when *condition* is met already.

        Args:
            ref: Name or id.
            condition: ``not-running`` (also ""), ``next-exit`` or ``removed``.

        Raises:
            InvalidInput: another condition.
        """
        container = self._parts.records.find(ref)
        future = self._runs.waiters.add(container.id, condition)
        if container.state.status not in (*UP, Status.RESTARTING):
            self._runs.waiters.resolve(container.id, Exit(container.state.exit_code), "not-running")
        return future

    def _set(self, identifier: str, *, stopped_by_user: bool) -> None:
        container = self._parts.records.get(identifier)
        self._parts.records.put(replace(container, stopped_by_user=stopped_by_user))


def signal_number(text: str) -> int:
    """Return the number of ``SIGTERM``, ``term``, ``15``, ``SIGRTMIN+3``.

    Raises:
        InvalidInput: no such signal.
    """
    name, _, offset = text.upper().removeprefix("SIG").partition("+")
    if text.isdigit() and 0 < int(text) <= signals.SIGRTMAX:
        return int(text)
    try:
        return int(signals.Signals[f"SIG{name}"]) + int(offset or 0)
    except (KeyError, ValueError):
        raise InvalidInput(f"invalid signal: {text}") from None


async def _within(future: "asyncio.Future[Exit]", seconds: float | None) -> bool:
    """Wait for *future*, at most *seconds*; tell whether it is done."""
    done, _ = await asyncio.wait([future], timeout=seconds)
    return bool(done)
