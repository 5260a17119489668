"""What this door needs of an engine: shapes only, so that a fake can stand in.

The engine's own classes fit these protocols by structure; nothing here is
inherited from. Parameters are positional where their name does not matter.
References (*ref*) are a name, an id, or a unique prefix of an id. Every
method may raise a ``CortenError``.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from corten.engine.containers.commit import Order
from corten.engine.containers.places import Places
from corten.engine.records.config import ContainerConfig, EndpointSettings, ExecConfig, HostConfig
from corten.engine.records.container import Container
from corten.serve.api.interface_images import Images
from corten.serve.api.interface_networks import AllNetworks
from corten.serve.api.interface_updates import Updates
from corten.serve.api.interface_values import Filters, LogQuery
from corten.serve.api.interface_volumes import Volumes


class Chunk(Protocol):
    """Bytes of one stream: 1 is stdout, 2 is stderr."""

    @property
    def stream(self) -> int:
        """1 for stdout, 2 for stderr."""
        ...

    @property
    def data(self) -> bytes | memoryview:
        """The bytes, never empty."""
        ...


class Exit(Protocol):
    """How a container ended; *error* is empty where nothing but its own code is known."""

    @property
    def code(self) -> int:
        """The exit code, 128 and the signal where a signal ended it."""
        ...

    @property
    def error(self) -> str:
        """What went wrong besides, or nothing."""
        ...


class Change(Protocol):
    """One path that a container has changed."""

    @property
    def path(self) -> bytes:
        """Where, absolute."""
        ...

    @property
    def kind(self) -> int:
        """0 for modified, 1 for added, 2 for deleted."""
        ...


class ExecState(Protocol):
    """One further process of a container; *exit_code* is None until it ended."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def container_id(self) -> str:
        """The full id of its container."""
        ...

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        ...

    @property
    def exit_code(self) -> int | None:
        """The exit code; None until it ended."""
        ...

    @property
    def pid(self) -> int:
        """Its process id on the host; 0 unless it runs."""
        ...

    @property
    def config(self) -> ExecConfig:
        """What was asked for."""
        ...


class Lifecycle(Protocol):
    """The moves of a container's life, but for its beginning and its end."""

    async def start(self, ref: str, /) -> object:
        """Start it; NotModified where it runs."""
        ...

    async def stop(self, ref: str, grace: float | None, signal: str | None, /) -> object:
        """Stop it and kill it *grace* seconds later, both the container's own where None; NotModified where it does not run."""
        ...

    async def restart(self, ref: str, grace: float | None, signal: str | None, /) -> object:
        """Stop it as ``stop`` does, and start it."""
        ...

    async def kill(self, ref: str, signal: str, /) -> object:
        """Send *signal*, a name or a number."""
        ...

    async def pause(self, ref: str, /) -> object:
        """Freeze all its processes."""
        ...

    async def unpause(self, ref: str, /) -> object:
        """Thaw them."""
        ...

    async def wait(self, ref: str, condition: str, /) -> asyncio.Future[Any]:
        """Return at once a future of an ``Exit``, one for this caller, who may cancel it."""
        ...


class Registry(Protocol):
    """Which containers there are."""

    async def create(
        self,
        config: ContainerConfig,
        host: HostConfig,
        name: str | None,
        networks: dict[str, EndpointSettings | None],
        /,
    ) -> tuple[Container, Sequence[str]]:
        """Record a new container; returns it with warnings for the user."""
        ...

    def get(self, ref: str, /) -> Container:
        """Return the record; NotFound where there is none."""
        ...

    def list(self) -> Sequence[Container]:
        """Return all records."""
        ...

    async def rename(self, ref: str, name: str, /) -> object:
        """Give it another name."""
        ...

    async def remove(self, ref: str, force: bool, volumes: bool, /) -> object:
        """Remove it, with *force* even while it runs, and its anonymous *volumes*."""
        ...


class Observation(Protocol):
    """What can be seen of a container from outside."""

    def logs(self, ref: str, query: LogQuery, follow: bool, /) -> AsyncIterator[Chunk]:
        """Yield what it wrote, and with *follow* what it goes on to write until it ends."""
        ...

    async def top(self, ref: str, ps_args: str, /) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Return the titles and rows of ``ps`` for its processes."""
        ...

    def export(self, ref: str, /) -> AsyncIterator[bytes]:
        """Yield its file system as a tar."""
        ...

    async def stats(self, ref: str, /) -> dict[str, Any]:
        """Return one sample in Docker's form, without the members of an earlier one."""
        ...

    async def size(self, ref: str, /) -> tuple[int, int]:
        """Return the bytes of the writable layer, and those of the whole root."""
        ...

    def places(self, container: Container, /) -> Places:
        """Return where its files lie on the host."""
        ...


class Commits(Protocol):
    """What became of containers' files."""

    async def changes(self, ref: str, /) -> Sequence[Change]:
        """Return the paths that it has changed, added or deleted."""
        ...

    async def commit(self, ref: str, order: Order, /) -> str:
        """Make an image of it; returns its id."""
        ...

    async def prune(self, filters: Filters, /) -> tuple[Sequence[str], int]:
        """Remove those that do not run; returns their ids, and the bytes that this frees."""
        ...


class Terminal(Protocol):
    """The streams of a container's first process."""

    async def resize(self, ref: str, height: int, width: int, /) -> object:
        """Tell its terminal the size in cells."""
        ...

    async def attach(
        self,
        ref: str,
        sock: socket.socket,
        leftover: bytes,
        /,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        logs: bool,
        stream: bool,
        detach_keys: str | None,
        multiplexed: bool,
    ) -> object:
        """Connect *sock*, of which *leftover* was read already; the engine owns it from now on.

        A failure is told to the client by the caller, who holds a duplicate until this returns.
        """
        ...


class Containers(Registry, Lifecycle, Observation, Commits, Updates, Terminal, Protocol):
    """The verbs on containers."""


class Execs(Protocol):
    """The verbs on further processes in containers."""

    async def create(self, ref: str, config: ExecConfig, /) -> str:
        """Record a process to run; returns its id."""
        ...

    async def start(
        self,
        exec_id: str,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None,
        sock: socket.socket | None,
        leftover: bytes,
        /,
    ) -> object:
        """Start the process; *sock* is taken over as by ``attach``, and is None for a detached start."""
        ...

    async def resize(self, exec_id: str, height: int, width: int, /) -> object:
        """Tell its terminal the size in cells."""
        ...

    async def inspect(self, exec_id: str, /) -> ExecState:
        """Return how it stands; NotFound where there is none."""
        ...

    def running(self, container_id: str, /) -> Sequence[str]:
        """Return the ids of those that run in a container."""
        ...


class Event(Protocol):
    """Something that happened."""

    def wire(self) -> Mapping[str, Any]:
        """Return it in Docker's form."""
        ...


class Events(Protocol):
    """What happens."""

    def subscribe(self, since: int | None, until: int | None, filters: Filters, /) -> AsyncIterator[Any]:
        """Yield ``Event`` values; times in ns since the epoch."""
        ...


class System(Protocol):
    """Facts about the engine and its machine, in Docker's member names."""

    async def info(self) -> dict[str, Any]:
        """Return members of ``GET /info``."""
        ...

    async def version(self) -> dict[str, Any]:
        """Return members of ``GET /version``."""
        ...

    async def disk_usage(self, kinds: Sequence[str], /) -> dict[str, Any]:
        """Return ``GET /system/df``, of some *kinds* or all; of containers the ids and sizes."""
        ...


class Engine(Protocol):
    """The services behind this door."""

    @property
    def containers(self) -> Containers:
        """The verbs on containers."""
        ...

    @property
    def execs(self) -> Execs:
        """The verbs on execs."""
        ...

    @property
    def images(self) -> Images:
        """The verbs on images."""
        ...

    @property
    def networks(self) -> AllNetworks:
        """The verbs on networks."""
        ...

    @property
    def volumes(self) -> Volumes:
        """The verbs on volumes."""
        ...

    @property
    def events(self) -> Events:
        """What happens."""
        ...

    @property
    def system(self) -> System:
        """Facts."""
        ...
