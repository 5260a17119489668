"""Further processes in running containers: docker exec.

An exec lives in memory: it belongs to a run of its container and is forgotten
with it, or some minutes after its end.
"""

import asyncio
import secrets
import socket
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from corten.core.runtime import plan as plans
from corten.core.runtime.runtime import Exit as TaskExit
from corten.core.runtime.runtime import TaskFacts
from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.security import seccomp, security_options
from corten.engine.containers.spec import exec_process, namespaces
from corten.engine.containers.start import Starter
from corten.engine.containers.streams import DETACH_KEYS, key_codes
from corten.engine.records.config import ExecConfig
from corten.engine.records.container import Container
from corten.errors import Conflict, CortenError, InvalidInput, NotFound, StartFailed

CANNOT_RUN, OTHER_FAILURE = 126, 128  # what Docker reports of an exec where it records 128 of a container
KEPT_FOR = 300.0  # seconds that an ended exec can still be asked about


class ExecState(msgspec.Struct, frozen=True):
    """How an exec stands; ``exit_code`` is None until it has ended."""

    id: str
    container_id: str
    config: ExecConfig
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class Execs:
    """The verbs on execs."""

    def __init__(self, parts: Parts, starter: Starter) -> None:
        self._parts, self._starter = parts, starter
        self._execs: dict[str, ExecState] = {}
        self._background: set[asyncio.Task[None]] = set()
        parts.on_removed.append(self._forget_all)

    def owns(self, task: str) -> bool:
        """Tell whether a task of the runtime is an exec."""
        return task in self._execs

    async def create(self, ref: str, config: ExecConfig) -> str:
        """Note a process to run; returns its id.

        Raises:
            Conflict: the container does not run, or is paused.
            InvalidInput: no command.
        """
        container = self._up(ref)
        if not config.cmd:
            raise InvalidInput("No exec command specified")
        state = ExecState(secrets.token_hex(32), container.id, config)
        self._execs[state.id] = state
        self._parts.tell(f"exec_create: {' '.join(config.cmd)}", container, execID=state.id)
        return state.id

    def _up(self, ref: str) -> Container:
        container = self._parts.records.find(ref)
        if container.state.status == "paused":
            raise Conflict(f"container {ref} is paused, unpause the container before exec")
        if not is_up(container):
            raise Conflict(f"container {container.id} is not running")
        return container

    async def inspect(self, exec_id: str) -> ExecState:
        """Return how it stands; NotFound where there is none."""
        if exec_id not in self._execs:
            raise NotFound("exec instance", exec_id)
        return self._execs[exec_id]

    def running(self, container_id: str) -> list[str]:
        """Return the ids of the execs that run in a container."""
        return [
            state.id for state in self._execs.values() if state.running and state.container_id == container_id
        ]

    async def start(
        self,
        exec_id: str,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None,
        sock: socket.socket | None,
        leftover: bytes,
    ) -> None:
        """Start the process, its streams on *sock*; detached it has none.

        Raises:
            NotFound: no such exec.
            Conflict: it was started before, or the container is down.
            StartFailed: with Docker's exit code, which is recorded too.
        """
        state = await self.inspect(exec_id)
        if state.running or state.exit_code is not None:
            raise Conflict(
                f"exec command {exec_id} has already run" if not state.running else f"exec {exec_id} runs"
            )
        container = self._up(state.container_id)
        config = replace(
            state.config, tty=state.config.tty or tty, console_size=console_size or state.config.console_size
        )
        self._execs[exec_id] = replace(state, running=True)
        try:
            if sock is not None and not detach:
                await self._attach(exec_id, config, sock, leftover)
            running = await self._parts.runtime.execute(
                self._facts(exec_id, container, config), self._plan(container, config)
            )
        except CortenError as failure:
            code = failure.exit_code if isinstance(failure, StartFailed) else CANNOT_RUN
            code = CANNOT_RUN if code == OTHER_FAILURE else code
            self._execs[exec_id] = replace(state, running=False, exit_code=code)
            await self._parts.runtime.detach(exec_id)
            raise
        current = self._execs[exec_id]
        self._execs[exec_id] = replace(current, pid=running.pid if current.running else 0)
        self._parts.tell(f"exec_start: {' '.join(config.cmd or ())}", container, execID=exec_id)

    async def _attach(self, exec_id: str, config: ExecConfig, sock: socket.socket, leftover: bytes) -> None:
        """Hand the client's connection over before the process exists, so that it misses nothing."""
        await self._parts.runtime.attach(
            exec_id,
            sock,
            leftover,
            stdin=config.attach_stdin,
            stdout=config.attach_stdout,
            stderr=config.attach_stderr,
            multiplexed=not config.tty,
            keys=key_codes(config.detach_keys or DETACH_KEYS) if config.tty else b"",
        )

    def _facts(self, exec_id: str, container: Container, config: ExecConfig) -> TaskFacts:
        return TaskFacts(
            id=exec_id,
            container=container.id,
            directory=f"{self._parts.run_folder(container.id)}/exec-{exec_id[:16]}",
            stdin=config.attach_stdin,
            stdin_once=True,
            tty=config.tty,
        )

    def _plan(self, container: Container, config: ExecConfig) -> list[plans.Step]:
        """Return the steps of the process."""
        parts, wishes = self._parts, container.host_config
        process = exec_process(container.config.hostname, container.config, wishes, config, parts.host)
        profile = seccomp(security_options(wishes), wishes.privileged, parts.host)
        kinds = namespaces(wishes.network_mode, wishes, parts.host)
        return plans.exec_plan(
            process,
            kinds,
            seccomp=self._starter.filter(profile, process.capabilities),
            groups=tuple(wishes.group_add or ()),
        )

    def ended(self, event: TaskExit) -> None:
        """Take note of an exec's end; called by the runtime."""
        state = self._execs.get(event.id)
        if state is None:
            return
        code = 255 if event.code is None else event.code
        self._execs[event.id] = replace(state, running=False, exit_code=code, pid=0)
        loop = asyncio.get_running_loop()
        loop.call_later(KEPT_FOR, self._execs.pop, event.id, None)
        forgetting = loop.create_task(self._parts.runtime.forget(event.id))
        self._background.add(forgetting)
        forgetting.add_done_callback(self._background.discard)
        with suppress(NotFound):
            container = self._parts.records.get(state.container_id)
            self._parts.tell("exec_die", container, execID=event.id, exitCode=str(code))

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Set the size of its terminal, in cells."""
        await self.inspect(exec_id)
        await self._parts.runtime.resize(exec_id, height, width)

    def of(self, container: str) -> list[str]:
        """Return the ids of a container's execs that run."""
        return [
            state.id for state in self._execs.values() if state.container_id == container and state.running
        ]

    def _forget_all(self, container: Container) -> None:
        for state in [s for s in self._execs.values() if s.container_id == container.id]:
            del self._execs[state.id]
