"""What this door needs of an engine: shapes only, so that a fake can stand in.

The engine's own classes fit these protocols by structure; nothing here is
inherited from. Parameters are positional where their name does not matter.
References (*ref*) are a name, an id, or a unique prefix of an id. Every
method may raise a ``CortenError``.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import msgspec

from corten.engine.containers.commit import Order
from corten.engine.containers.places import Places
from corten.engine.images.remote import Credential
from corten.engine.records.config import ContainerConfig, EndpointSettings, ExecConfig, HostConfig
from corten.engine.records.container import Container
from corten.oci.platform import Platform

Progress = Callable[[dict[str, Any]], None]
"""Takes one message in Docker's progress form; may be called from any thread."""

Filters = dict[str, list[str]]


class LogQuery(msgspec.Struct, frozen=True):
    """Which part of a log is wanted; times in ns since the epoch, *tail* in lines, None is all."""

    stdout: bool
    stderr: bool
    since_ns: int | None
    until_ns: int | None
    tail: int | None
    timestamps: bool


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


class Containers(Registry, Lifecycle, Observation, Commits, Terminal, Protocol):
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


class ImageTransfer(Protocol):
    """The verbs that move images in and out."""

    async def load(self, stream: BinaryIO, progress: Progress, platform: Platform | None, /) -> object:
        """Load every image of the archive *stream*, or those for *platform*."""
        ...

    async def import_(
        self,
        stream: BinaryIO,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
        /,
    ) -> str:
        """Make an image of the tar *stream*; reports its id last, and returns it."""
        ...

    async def import_url(
        self,
        address: str,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
        /,
    ) -> str:
        """Do what ``import_`` does with the tar at *address*."""
        ...

    def save(self, names: Sequence[str], platforms: Sequence[Platform], /) -> AsyncIterator[bytes]:
        """Yield one archive of the images, which are for one of *platforms*, or any."""
        ...

    async def bootstrap(
        self, suite: str | None, includes: Sequence[str], variant: str, progress: Progress, /
    ) -> str:
        """Make a Debian base image; returns its id."""
        ...


class ImageNames(Protocol):
    """The verbs on images that are here."""

    async def tag(self, name: str, reference: str, /) -> object:
        """Give an image one more reference."""
        ...

    async def remove(
        self, name: str, force: bool, noprune: bool, platforms: Sequence[Platform], /
    ) -> Sequence[dict[str, Any]]:
        """Take a reference away, and the image with its last one; returns what went."""
        ...

    async def list(
        self, filters: Filters, all_images: bool, extras: Sequence[str], /
    ) -> Sequence[dict[str, Any]]:
        """Return summaries in Docker's form, with *extras* of ``layers``, ``manifests``, ``shared-size``."""
        ...

    async def inspect(
        self, name: str, platform: Platform | None = None, manifests: bool = False, /
    ) -> dict[str, Any]:
        """Return an image in Docker's form; NotFound if it is not for *platform*."""
        ...

    async def history(self, name: str, platform: Platform | None, /) -> Sequence[dict[str, Any]]:
        """Return its history in Docker's form; NotFound if it is not for *platform*."""
        ...

    async def prune(self, filters: Filters, /) -> tuple[Sequence[dict[str, Any]], int]:
        """Remove those that nothing uses; returns what went, and the bytes that this frees."""
        ...


class Remote(Protocol):
    """The verbs on images in registries; a *credential* is None for who is nobody there."""

    async def pull(
        self,
        name: str,
        tag: str,
        platform: str | None,
        credential: Credential | None,
        progress: Progress,
        /,
    ) -> object:
        """Bring the tag or digest *tag* of *name* here, that in *name* where empty, all tags where there is none."""
        ...

    async def push(
        self,
        name: str,
        tag: str,
        platform: Platform | None,
        compression: str,
        credential: Credential | None,
        progress: Progress,
        /,
    ) -> object:
        """Send the tag *tag* of *name*, or all tags; *compression* is for layers stored without."""
        ...

    async def inspect(self, name: str, credential: Credential | None, /) -> dict[str, Any]:
        """Return what a registry has, in Docker's form."""
        ...

    async def image(
        self, name: str, platform: str | None, credential: Credential | None, /
    ) -> dict[str, Any]:
        """Return an image that a registry has, in the form of ``inspect``."""
        ...

    async def manifest(self, name: str, credential: Credential | None, /) -> tuple[str, str, bytes]:
        """Return media type, digest and bytes of a manifest or index in a registry."""
        ...

    async def login(self, server: str, credential: Credential, /) -> str:
        """Have *credential* checked; returns the token to keep instead of the password, or nothing."""
        ...

    async def search(
        self, term: str, limit: int | None, filters: Filters, credential: Credential | None, /
    ) -> Sequence[dict[str, Any]]:
        """Return repositories that match, in Docker's form."""
        ...


class Images(ImageNames, ImageTransfer, Protocol):
    """The verbs on images."""

    @property
    def remote(self) -> Remote:
        """The verbs on images in registries."""
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
    def events(self) -> Events:
        """What happens."""
        ...

    @property
    def system(self) -> System:
        """Facts."""
        ...
