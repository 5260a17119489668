"""Runs: how a run of a container begins, ends, and perhaps begins again.

The end of a task is told by the supervisor, once. Here it becomes a record, an
event, the answer to whoever waits, and by the restart policy another start.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

from msgspec.structs import replace

from corten.core.runtime.runtime import Exit as TaskExit
from corten.engine.containers.parts import Parts, timestamp
from corten.engine.containers.restarts import Restarts
from corten.engine.containers.start import Starter
from corten.engine.containers.status import UP, Move, Status, advance
from corten.engine.containers.waiters import Exit, Waiters
from corten.engine.networks.attachments import without_facts
from corten.engine.records.container import Container, State
from corten.errors import CortenError, NotFound, StartFailed

UNKNOWN_CODE = 255
UNSEEN = "the exit code is unknown: it ended while no supervisor was there to see it"


class Runs:
    """Beginning and end of runs; one object for all containers."""

    def __init__(self, parts: Parts, starter: Starter) -> None:
        self._parts, self._starter = parts, starter
        self._policy = Restarts()
        self._due: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self.waiters = Waiters()

    async def start(self, container: Container) -> None:
        """Start a container whose lock is held; a failure is recorded as Docker does."""
        try:
            container = await self._starter.start(container)
        except (CortenError, OSError) as failure:
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
        error = UNSEEN if event.code is None else ""
        async with parts.lock(container.id):
            container = parts.records.get(event.id)
            again = self._policy.delay(container, code)
            state = State(
                status=_after_end(container, again is not None),
                exit_code=code,
                error=error,
                oom_killed=event.oom,
                started_at=container.state.started_at,
                finished_at=timestamp(event.at or None),
                unknown=event.code is None,
            )
            ran, container = container, replace(without_facts(container), state=state)
            parts.records.put(container)  # first: who forgets the task forgets the exit code
            await self._release(ran)
        parts.wake_followers(container.id)
        if event.oom:
            parts.tell("oom", container)
        parts.tell("die", container, exitCode=str(code))
        self.waiters.resolve(container.id, Exit(code, error), "next-exit")
        if again is not None:
            self._due[container.id] = asyncio.get_running_loop().create_task(
                self._restart_later(container.id, again)
            )
            return
        self._settle(container.id, Exit(code, error))
        if container.host_config.auto_remove:
            await self.delete(container.id)

    async def _release(self, ran: Container) -> None:
        """Give back what the run held, of which *ran* is the record."""
        async with AsyncExitStack() as rest:  # each step is taken, also when one before it fails
            rest.push_async_callback(self._parts.mounting.end, ran)
            rest.push_async_callback(self._parts.runtime.forget, ran.id)
            self._parts.attachments.leave(ran)

    async def _restart_later(self, identifier: str, delay: float) -> None:
        await asyncio.sleep(delay)
        async with self._parts.lock(identifier):
            container = self._parts.records.get(identifier)
            if container.state.status != Status.RESTARTING:
                return
            self._due.pop(identifier, None)
            container = replace(container, restart_count=container.restart_count + 1)
            self._parts.records.put(container)
            with suppress(CortenError, OSError):
                await self.start(container)
                return
        self._settle(identifier, Exit(self._parts.records.get(identifier).state.exit_code))

    def cancel_restart(self, identifier: str) -> None:
        """Call off a restart that is due; the container counts as exited."""
        task = self._due.pop(identifier, None)
        if task is not None:
            task.cancel()
        with suppress(NotFound):
            if self._parts.records.get(identifier).state.status == Status.RESTARTING:
                self.set_status(identifier, Status.EXITED)

    def stay_down(self, container: Container) -> None:
        """Call off the restart of a container between two runs: it counts as ended."""
        self.cancel_restart(container.id)
        self._settle(container.id, Exit(container.state.exit_code))

    async def delete(self, identifier: str, *, volumes: bool = False) -> bool:
        """Take a container that is down out of the records, then undo what it owned; idempotent.

        Its anonymous volumes go too with *volumes*, and when it was to remove itself.

        Returns:
            Whether it is gone: False for one that was started before its turn came, and runs.
        """
        parts = self._parts
        async with parts.lock(identifier):
            try:
                container = parts.records.get(identifier)
            except NotFound:
                return True
            if container.state.status in UP:
                return False
            self.cancel_restart(identifier)
            parts.records.delete(identifier)
            with suppress(NotFound):
                await asyncio.to_thread(parts.snapshots.remove, identifier)
            parts.discard(parts.folder(identifier))
            await parts.mounting.removed(container, volumes or container.host_config.auto_remove)
        parts.wake_followers(identifier)
        parts.locks.pop(identifier, None)
        self._policy.forget(identifier)
        parts.tell("destroy", container)
        self.waiters.resolve(identifier, Exit(container.state.exit_code), "removed", "not-running")
        for callback in parts.on_removed:
            callback(container)
        return True

    def set_status(self, identifier: str, status: Status) -> None:
        """Record a new status."""
        container = self._parts.records.get(identifier)
        self._parts.records.put(replace(container, state=replace(container.state, status=status)))

    def _settle(self, identifier: str, outcome: Exit) -> None:
        """Answer those who wait for the container to be down."""
        self.waiters.resolve(identifier, outcome, "not-running")

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do *work* in the background; kept alive until done."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Stop what is due in the background; containers go on."""
        for task in (*self._due.values(), *self._background):
            task.cancel()
        await asyncio.gather(*self._due.values(), *self._background, return_exceptions=True)


def _after_end(container: Container, again: bool) -> Status:
    """Return the status of a container whose task ended; of one whose start was not recorded, too."""
    if container.state.status not in UP:
        return Status.EXITED
    return advance(container, Move.RETRY if again else Move.EXIT)


def _after_failure(container: Container) -> Status:
    """Return the status of a container whose start failed: created stays so, as Docker shows it."""
    return Status.CREATED if container.state.status == Status.CREATED else Status.EXITED
