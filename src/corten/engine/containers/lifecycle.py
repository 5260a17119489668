"""The moves of a container's life: start, stop, kill, pause, wait, end, restart.

Each container has a lock that orders its moves; nothing global is ever held.
An end is told by the supervisor, once; here it becomes a record, an event,
the answer to whoever waits, and by the restart policy perhaps a new start.
"""

import asyncio
import signal as signals
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from corten.core.runtime.runtime import Exit as TaskExit
from corten.engine.containers.parts import Parts, is_up, timestamp
from corten.engine.containers.start import Starter
from corten.engine.records.container import Container, State
from corten.errors import Conflict, CortenError, InvalidInput, NotFound, NotModified, StartFailed

DEFAULT_GRACE = 10.0  # seconds, as in the Docker Engine API
FIRST_DELAY, LONGEST_DELAY = 0.1, 60.0  # seconds between restarts
STEADY = 10.0  # a run of so many seconds resets the delay
UNKNOWN_CODE = 255
KILL_DEADLINE = 30.0  # a process that survives SIGKILL so long sits in the kernel


class Exit(msgspec.Struct, frozen=True):
    """How a container ended: the code, and what went wrong besides."""

    code: int
    error: str = ""


class Lifecycle:
    """The moves; one object for all containers."""

    def __init__(self, parts: Parts, starter: Starter) -> None:
        self._parts, self._starter = parts, starter
        self._waiting: dict[str, list[tuple[str, asyncio.Future[Exit]]]] = {}
        self._delays: dict[str, float] = {}
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()

    # moves that a user makes

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
            if container.state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.state.status == "running":
                raise NotModified(f"container {container.name} is running")
            self._cancel_restart(container.id)
            await self._start(container)

    async def _start(self, container: Container) -> None:
        """Start; the lock is held. A failure is recorded as Docker does."""
        try:
            container = await self._starter.start(container)
        except CortenError as failure:
            code = failure.exit_code if isinstance(failure, StartFailed) else 128
            state = replace(
                container.state, status=_after_failure(container), exit_code=code, error=str(failure)
            )
            container = replace(self._parts.records.get(container.id), state=state)
            self._parts.records.put(container)
            await self._parts.runtime.detach(container.id)
            if container.host_config.auto_remove:
                self._later(self.delete(container.id))
            raise
        self._parts.tell("start", container)

    async def stop(self, ref: str, grace: float | None, signal: str | None) -> None:
        """Ask a container to end, and kill it when it has not after *grace* seconds (-1: never).

        Raises:
            NotModified: it does not run.
            InvalidInput: unknown signal.
        """
        container = self._parts.records.find(ref)
        if container.state.status == "restarting":
            self._cancel_restart(container.id)
            self._set(container.id, stopped_by_user=True)
            self._settle(container.id, Exit(container.state.exit_code))
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
        """Kill a container and wait until it is down; done already is fine."""
        self._cancel_restart(identifier)
        with suppress(NotFound, Conflict):
            await self.kill(identifier, "SIGKILL")

    async def _signal(self, container: Container, number: int) -> None:
        """Signal the first process; a frozen one is thawed so that it can take it."""
        with suppress(Conflict):
            await self._parts.runtime.kill(container.id, number)
        if self._parts.records.get(container.id).state.status == "paused":
            await asyncio.to_thread(self._parts.groups.thaw, self._parts.cgroup_path(container))
            self._set_status(container.id, "running")

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
            status = self._parts.records.get(container.id).state.status
            if status == "paused":
                raise Conflict(f"Container {container.id} is already paused")
            if status != "running":
                raise Conflict(f"Container {container.id} is not running")
            await asyncio.to_thread(self._parts.groups.freeze, self._parts.cgroup_path(container))
            self._set_status(container.id, "paused")
        self._parts.tell("pause", container)

    async def unpause(self, ref: str) -> None:
        """Let the processes of a paused container go on.

        Raises:
            Conflict: it is not paused.
        """
        container = self._parts.records.find(ref)
        async with self._parts.lock(container.id):
            if self._parts.records.get(container.id).state.status != "paused":
                raise Conflict(f"Container {container.id} is not paused")
            await asyncio.to_thread(self._parts.groups.thaw, self._parts.cgroup_path(container))
            self._set_status(container.id, "running")
        self._parts.tell("unpause", container)

    async def wait(self, ref: str, condition: str) -> "asyncio.Future[Exit]":
        """Return a future of the exit: at once when *condition* is met already.

        Args:
            ref: Name or id.
            condition: ``not-running`` (also ""), ``next-exit`` or ``removed``.

        Raises:
            InvalidInput: another condition.
        """
        if condition not in ("", "not-running", "next-exit", "removed"):
            raise InvalidInput(f'invalid condition: "{condition}"')
        container = self._parts.records.find(ref)
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        busy = is_up(container) or container.state.status == "restarting"
        if condition in ("", "not-running") and not busy:
            future.set_result(Exit(container.state.exit_code))
        else:
            self._waiting.setdefault(container.id, []).append((condition, future))
        return future

    # what happens

    def ended(self, event: TaskExit) -> None:
        """Take note of a container's end; called by the runtime."""
        self._later(self._end(event))

    async def _end(self, event: TaskExit) -> None:
        parts = self._parts
        try:
            container = parts.records.get(event.id)
        except NotFound:
            await parts.runtime.forget(event.id)
            return
        code = UNKNOWN_CODE if event.code is None else event.code
        error = (
            "the exit code is unknown: it ended while no supervisor was there to see it"
            if event.code is None
            else ""
        )
        async with parts.lock(container.id):
            container = parts.records.get(event.id)
            again = self._wants_restart(container, code)
            state = State(
                status="restarting" if again is not None else "exited",
                exit_code=code,
                error=error,
                oom_killed=event.oom,
                started_at=container.state.started_at,
                finished_at=timestamp(event.at or None),
                unknown=event.code is None,
            )
            await self._release(container)
            container = replace(
                container, state=state, endpoints=tuple(type(e)(e.network) for e in container.endpoints)
            )
            parts.records.put(container)
        parts.wake_followers(container.id)
        if event.oom:
            parts.tell("oom", container)
        parts.tell("die", container, exitCode=str(code))
        self._resolve(container.id, Exit(code, error), "next-exit")
        if again is not None:
            self._restarts[container.id] = asyncio.get_running_loop().create_task(
                self._restart_later(container.id, again)
            )
            return
        self._settle(container.id, Exit(code, error))
        if container.host_config.auto_remove:
            await self.delete(container.id)

    async def _release(self, container: Container) -> None:
        """Give back what the run held."""
        sandbox = self._parts.sandboxes.pop(container.id, None)
        if sandbox is not None:
            sandbox.release()
        await self._parts.runtime.forget(container.id)

    def _wants_restart(self, container: Container, code: int) -> float | None:
        """Return after how many seconds the restart policy starts it again; None for never."""
        policy = container.host_config.restart_policy
        if container.stopped_by_user or policy.name in ("", "no"):
            self._delays.pop(container.id, None)
            return None
        most = policy.maximum_retry_count
        if policy.name == "on-failure" and (code == 0 or (most and container.restart_count >= most)):
            return None
        ran = time.time() - _seconds(container.state.started_at)
        delay = FIRST_DELAY if ran > STEADY else self._delays.get(container.id, FIRST_DELAY)
        self._delays[container.id] = min(delay * 2, LONGEST_DELAY)
        return delay

    async def _restart_later(self, identifier: str, delay: float) -> None:
        await asyncio.sleep(delay)
        async with self._parts.lock(identifier):
            container = self._parts.records.get(identifier)
            if container.state.status != "restarting":
                return
            self._restarts.pop(identifier, None)
            container = replace(container, restart_count=container.restart_count + 1)
            self._parts.records.put(container)
            with suppress(CortenError):
                await self._start(container)
                return
        self._settle(identifier, Exit(self._parts.records.get(identifier).state.exit_code))

    def _cancel_restart(self, identifier: str) -> None:
        """Call off a restart that is due; the container counts as exited."""
        task = self._restarts.pop(identifier, None)
        if task is not None:
            task.cancel()
        with suppress(NotFound):
            if self._parts.records.get(identifier).state.status == "restarting":
                self._set_status(identifier, "exited")

    async def delete(self, identifier: str) -> None:
        """Take a container that is down out of the records, then undo what it owned; idempotent."""
        parts = self._parts
        async with parts.lock(identifier):
            try:
                container = parts.records.get(identifier)
            except NotFound:
                return
            self._cancel_restart(identifier)
            parts.records.delete(identifier)
            with suppress(NotFound):
                await asyncio.to_thread(parts.snapshots.remove, identifier)
            parts.discard(parts.folder(identifier))
        parts.wake_followers(identifier)
        parts.locks.pop(identifier, None)
        self._delays.pop(identifier, None)
        parts.tell("destroy", container)
        self._resolve(identifier, Exit(container.state.exit_code), "removed", "", "not-running")
        for callback in parts.on_removed:
            callback(container)

    # small things

    def _resolve(self, identifier: str, outcome: Exit, *conditions: str) -> None:
        """Answer those who wait for one of *conditions*."""
        left = []
        for condition, future in self._waiting.pop(identifier, []):
            if condition not in conditions:
                left.append((condition, future))
            elif not future.done():
                future.set_result(outcome)
        if left:
            self._waiting[identifier] = left

    def _settle(self, identifier: str, outcome: Exit) -> None:
        """Answer those who wait for the container to be down."""
        self._resolve(identifier, outcome, "", "not-running")

    def _set(self, identifier: str, *, stopped_by_user: bool) -> None:
        container = self._parts.records.get(identifier)
        self._parts.records.put(replace(container, stopped_by_user=stopped_by_user))

    def _set_status(self, identifier: str, status: str) -> None:
        container = self._parts.records.get(identifier)
        self._parts.records.put(replace(container, state=replace(container.state, status=status)))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* in the background; kept alive until done."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Stop what is due in the background; containers go on."""
        for task in (*self._restarts.values(), *self._background):
            task.cancel()
        await asyncio.gather(*self._restarts.values(), *self._background, return_exceptions=True)


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


def _after_failure(container: Container) -> str:
    """Return the status of a container whose start failed: created stays so, as Docker shows it."""
    return "created" if container.state.status == "created" else "exited"


def _seconds(text: str) -> float:
    """Return a recorded time as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
