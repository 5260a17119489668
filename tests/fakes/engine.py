"""An engine in memory: real records and real streams, but programs are coroutines.

It keeps to the contracts of ``corten.serve.api.interface``, so that a door
can be tried with real clients and without a kernel. The programs that its
containers know are in ``PROGRAMS``.
"""

import asyncio
import hashlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

from msgspec.structs import replace

from corten.engine.containers.commit import Order
from corten.engine.containers.places import Places
from corten.engine.containers.update_request import UpdateRequest
from corten.engine.events import Events
from corten.engine.records.config import ContainerConfig, EndpointSettings, ExecConfig, HostConfig
from corten.engine.records.container import Container, Endpoint, State
from corten.errors import Conflict, DataCorrupted, InvalidInput, NotFound, NotModified, StartFailed
from corten.oci.platform import Platform
from corten.serve.api.interface_values import Filters, LogQuery, Progress
from tests.fakes.networks import FakeNetworks
from tests.fakes.remote import FakeRemote
from tests.fakes.volumes import FakeVolumes

BRIDGE = Endpoint(
    "bridge",
    "b" * 64,
    "e" * 64,
    address="172.17.0.2",
    prefix=16,
    gateway="172.17.0.1",
    mac="02:42:ac:11:00:02",
)
IMAGE_ID = "sha256:" + "1" * 64


@dataclass(frozen=True)
class Written:
    """Bytes that a program wrote."""

    stream: int
    data: bytes


@dataclass(frozen=True)
class Changed:
    """A path that a container has changed."""

    path: bytes
    kind: int


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    error: str = ""


class Streams:
    """The standard streams of one program, what they carried, and who is attached."""

    def __init__(self) -> None:
        self.log: list[Written] = []
        self.stdin = asyncio.StreamReader()
        self.changed = asyncio.Condition()
        self.ended = False
        self._attached: list[tuple[socket.socket, bool]] = []
        self._readers: list[asyncio.Task[None]] = []

    def attach(self, sock: socket.socket, multiplexed: bool) -> None:
        """Write all further output to *sock*, and close it at the end."""
        self._attached.append((sock, multiplexed))

    async def write(self, stream: int, data: bytes) -> None:
        """Be the program, writing *data*."""
        loop = asyncio.get_running_loop()
        async with self.changed:
            self.log.append(Written(stream, data))
            self.changed.notify_all()
        for sock, multiplexed in self._attached:
            head = struct.pack(">BxxxI", stream, len(data)) if multiplexed else b""
            await loop.sock_sendall(sock, head + data)

    def read_from(self, sock: socket.socket, leftover: bytes) -> None:
        """Feed what comes from *sock* to the program, until the client closes its half."""
        self._readers.append(asyncio.get_running_loop().create_task(self._read(sock, leftover)))

    async def _read(self, sock: socket.socket, leftover: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.stdin.feed_data(leftover)
        while data := await loop.sock_recv(sock, 1 << 16):
            self.stdin.feed_data(data)
        self.stdin.feed_eof()

    async def end(self) -> None:
        """Close what is attached."""
        self.ended = True
        for task in self._readers:  # before their sockets are closed: the loop still watches these
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers.clear()
        for sock, _ in self._attached:
            sock.close()
        self._attached.clear()
        async with self.changed:
            self.changed.notify_all()


Program = Callable[[Streams, Sequence[str]], Awaitable[int]]


async def _cat(streams: Streams, _: Sequence[str]) -> int:
    while data := await streams.stdin.read(1 << 16):
        await streams.write(1, data)
    return 0


async def _echo(streams: Streams, words: Sequence[str]) -> int:
    await streams.write(1, (" ".join(words) + "\n").encode())
    return 0


async def _warn(streams: Streams, words: Sequence[str]) -> int:
    await streams.write(2, (" ".join(words) + "\n").encode())
    return 1


async def _exit(_: Streams, words: Sequence[str]) -> int:
    return int(words[0])


async def _sleep(_: Streams, __: Sequence[str]) -> int:
    await asyncio.get_running_loop().create_future()
    return 0


PROGRAMS: dict[str, Program] = {"cat": _cat, "echo": _echo, "warn": _warn, "exit": _exit, "sleep": _sleep}


def program(cmd: Sequence[str] | None) -> tuple[Program, Sequence[str]]:
    """Return the program of a command; StartFailed where there is none."""
    name, *words = cmd or ("sleep",)
    if name not in PROGRAMS:
        raise StartFailed(f'exec: "{name}": executable file not found in $PATH', 127)
    return PROGRAMS[name], words


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")


def _named(network: str) -> str:
    """Return the name of a network: clients say default and mean bridge."""
    return "bridge" if network == "default" else network


@dataclass
class Tasks:
    """The programs that run; ``close`` ends them all."""

    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    opened: list[Streams] = field(default_factory=list)

    def streams(self) -> Streams:
        """Return new streams, which ``close`` ends."""
        self.opened.append(Streams())
        return self.opened[-1]

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run *work* until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel all and wait for them."""
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for streams in self.opened:
            await streams.end()


class FakeContainers:
    """Containers whose first process is a coroutine."""

    def __init__(self, images: "FakeImages", events: Events, tasks: Tasks) -> None:
        self._images, self._events, self._tasks = images, events, tasks
        self.calls: list[tuple[Any, ...]] = []  # what was asked for, where the fake does not act on it
        self._records: dict[str, Container] = {}
        self.streams: dict[str, Streams] = {}
        self._running: dict[str, asyncio.Task[int]] = {}
        self._waiters: dict[str, list[tuple[str, asyncio.Future[Ended]]]] = {}
        self._ids = (hashlib.sha256(str(n).encode()).hexdigest() for n in itertools.count())
        self.gate: asyncio.Event | None = None  # start waits for it, if there is one
        self.sizes: list[tuple[int, int]] = []
        self.commits: list[tuple[str, Order]] = []
        self.prunes: list[Filters] = []

    def get(self, ref: str) -> Container:
        """Return a record by name, id or prefix."""
        for record in self._records.values():
            if ref in (record.id, record.name):
                return record
        found = [record for record in self._records.values() if record.id.startswith(ref)]
        if not found:
            raise NotFound("container", ref)
        return found[0]

    def list(self) -> Sequence[Container]:
        """Return all records."""
        return [*self._records.values()]

    def put(self, record: Container) -> None:
        """Set a record as it shall be."""
        self._records[record.id] = record
        if record.id not in self.streams:
            self.streams[record.id] = self._tasks.streams()

    async def create(
        self,
        config: ContainerConfig,
        host: HostConfig,
        name: str | None,
        networks: dict[str, EndpointSettings | None],
    ) -> tuple[Container, Sequence[str]]:
        """Record a container of a known image."""
        await self._images.inspect(config.image)
        if name is not None and name in {record.name for record in self._records.values()}:
            raise Conflict(f'Conflict. The container name "/{name}" is already in use')
        identity = next(self._ids)
        path, *args = config.cmd or ("sleep",)
        record = Container(
            id=identity,
            name=name or f"name_{identity[:6]}",
            created=now(),
            image_id=IMAGE_ID,
            config=config,
            host_config=host,
            path=path,
            args=tuple(args),
            snapshotter="overlay",
            endpoints=(BRIDGE,)
            if not networks
            else tuple(replace(BRIDGE, network=_named(n)) for n in networks),
        )
        self.put(record)
        self._tell("create", record)
        return record, []

    def _tell(self, action: str, record: Container) -> None:
        attributes = {"name": record.name, "image": record.config.image, **(record.config.labels or {})}
        self._events.publish("container", action, record.id, attributes)

    def _set(self, record: Container, **changes: Any) -> Container:
        self._records[record.id] = replace(record, state=replace(record.state, **changes))
        return self._records[record.id]

    async def start(self, ref: str) -> None:
        """Run the program."""
        record = self.get(ref)
        if record.state.status == "running":
            raise NotModified(f"container {ref} is running")
        if self.gate is not None:
            await self.gate.wait()
        try:
            body, words = program((record.path, *record.args))
        except StartFailed as failure:
            await self._start_failed(record, failure)
            raise
        record = self._set(record, status="running", pid=4242, started_at=now(), exit_code=0)
        self._tell("start", record)
        streams = self.streams[record.id]
        streams.ended = False
        self._running[record.id] = self._tasks.run(self._live(record.id, body(streams, words)))

    async def _start_failed(self, record: Container, failure: StartFailed) -> None:
        """Leave nothing behind that a client could wait for."""
        self._set(record, exit_code=failure.exit_code, error=str(failure))
        await self.streams[record.id].end()
        if record.host_config.auto_remove:
            self._forget(record.id, Ended(failure.exit_code))

    async def _live(self, identity: str, work: Awaitable[int]) -> int:
        try:
            code = await work
        except asyncio.CancelledError:
            code = 137
        await self.streams[identity].end()
        record = self._set(self._records[identity], status="exited", pid=0, exit_code=code, finished_at=now())
        self._tell("die", record)
        self._resolve(identity, {"not-running", "next-exit"}, Ended(code))
        if record.host_config.auto_remove:
            self._forget(identity, Ended(code))
        return code

    def _resolve(self, identity: str, conditions: set[str], ended: Ended) -> None:
        for condition, waiter in self._waiters.get(identity, ()):
            if condition in conditions and not waiter.done():
                waiter.set_result(ended)

    def _forget(self, identity: str, ended: Ended) -> None:
        self._tell("destroy", self._records.pop(identity))
        self._resolve(identity, {"removed", "not-running", "next-exit"}, ended)

    async def stop(self, ref: str, grace: float | None, signal: str | None) -> None:
        """Cancel the program."""
        self.calls.append(("stop", ref, grace, signal))
        record = self.get(ref)
        if record.id not in self._running or record.state.status != "running":
            raise NotModified(f"container {ref} is not running")
        self._running[record.id].cancel()
        await self._running.pop(record.id)

    async def restart(self, ref: str, grace: float | None, signal: str | None) -> None:
        """Stop and start."""
        await self.stop(ref, grace, signal)
        await self.start(ref)

    async def kill(self, ref: str, signal: str) -> None:
        """Cancel the program, if it runs."""
        record = self.get(ref)
        if record.state.status != "running":
            raise Conflict(f"container {record.id} is not running")
        await self.stop(ref, 0, signal)

    async def pause(self, ref: str) -> None:
        """Say so."""
        self._set(self.get(ref), status="paused")

    async def unpause(self, ref: str) -> None:
        """Say so."""
        self._set(self.get(ref), status="running")

    async def update(self, ref: str, request: UpdateRequest) -> Sequence[str]:
        """Change the restart policy."""
        record = self.get(ref)
        self.calls.append(("update", ref, request))
        if request.restart_policy is not None:
            host = replace(record.host_config, restart_policy=request.restart_policy)
            self.put(replace(record, host_config=host))
        return []

    async def rename(self, ref: str, name: str) -> None:
        """Change the name."""
        if not name:
            raise InvalidInput("Neither old nor new names may be empty")
        record = self.get(ref)
        self._records[record.id] = replace(record, name=name)

    async def remove(self, ref: str, force: bool, volumes: bool) -> None:
        """Forget the record."""
        self.calls.append(("remove", ref, force, volumes))
        record = self.get(ref)
        if record.state.status == "running":
            if not force:
                raise Conflict(f"cannot remove container {ref}: container is running")
            await self.stop(ref, 0, None)
        if record.id in self._records:
            self._forget(record.id, Ended(record.state.exit_code))

    async def wait(self, ref: str, condition: str) -> "asyncio.Future[Ended]":
        """Return a future of the end."""
        record = self.get(ref)
        waiter: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        if condition == "not-running" and record.state.status in ("created", "exited"):
            waiter.set_result(Ended(record.state.exit_code))
        self._waiters.setdefault(record.id, []).append((condition, waiter))
        return waiter

    def waiting(self, ref: str) -> int:
        """Return how many callers wait for *ref* still."""
        return sum(not waiter.done() for _, waiter in self._waiters.get(self.get(ref).id, ()))

    async def logs(self, ref: str, query: LogQuery, follow: bool) -> AsyncIterator[Written]:
        """Yield what was written, and what is."""
        streams = self.streams[self.get(ref).id]
        wanted = {stream for stream, on in ((1, query.stdout), (2, query.stderr)) if on}
        position = max(0, len(streams.log) - query.tail) if query.tail is not None else 0
        while True:
            for chunk in streams.log[position:]:
                position += 1
                if chunk.stream in wanted:
                    yield chunk
            async with streams.changed:
                if position < len(streams.log):
                    continue
                if not follow or streams.ended:
                    return
                await streams.changed.wait()

    async def attach(
        self,
        ref: str,
        sock: socket.socket,
        leftover: bytes,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        logs: bool,
        stream: bool,
        detach_keys: str | None,
        multiplexed: bool,
    ) -> None:
        """Connect the program's streams with *sock*."""
        self.calls.append(("attach", stdin, stdout, stderr, logs, stream, detach_keys))
        streams = self.streams[self.get(ref).id]
        streams.attach(sock, multiplexed)
        if stdin:
            streams.read_from(sock, leftover)

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Record the size."""
        self.get(ref)
        self.sizes.append((height, width))

    async def top(self, ref: str, ps_args: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Return one process."""
        record = self.get(ref)
        return ["PID", "CMD"], [[str(record.state.pid), f"{record.path} ({ps_args})"]]

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """Yield two pieces."""
        self.get(ref)
        yield b"first "
        yield b"second"

    async def stats(self, ref: str) -> dict[str, Any]:
        """Return a sample."""
        record = self.get(ref)
        return {"id": record.id, "name": f"/{record.name}", "read": now(), "cpu_stats": {"online_cpus": 2}}

    def places(self, container: Container) -> Places:
        """Return one place."""
        return Places(hosts=f"/c/{container.id}/hosts", graph={"UpperDir": "/upper"})

    async def changes(self, ref: str) -> Sequence[Changed]:
        """Return one of each kind; nothing for a container that did not start."""
        started = self.get(ref).state.status != "created"
        return [Changed(b"/etc", 0), Changed(b"/etc/new\xff", 1), Changed(b"/gone", 2)] if started else []

    async def commit(self, ref: str, order: Order) -> str:
        """Remember what was asked."""
        self.commits.append((self.get(ref).id, order))
        return IMAGE_ID

    async def prune(self, filters: Filters) -> tuple[Sequence[str], int]:
        """Remove what does not run."""
        self.prunes.append(filters)
        gone = [each.id for each in self.list() if each.state.status in ("created", "exited")]
        for identity in gone:
            await self.remove(identity, False, False)
        return gone, 7 * len(gone)

    async def size(self, ref: str) -> tuple[int, int]:
        """Return made-up sizes."""
        self.get(ref)
        return 10, 1000


@dataclass(frozen=True)
class FakeExec:
    """One exec."""

    id: str
    container_id: str
    config: ExecConfig
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class FakeExecs:
    """Further coroutines."""

    def __init__(self, containers: FakeContainers, tasks: Tasks) -> None:
        self._containers, self._tasks = containers, tasks
        self.calls: list[tuple[Any, ...]] = []
        self._execs: dict[str, FakeExec] = {}

    async def create(self, ref: str, config: ExecConfig) -> str:
        """Record an exec."""
        container = self._containers.get(ref)
        if container.state.status != "running":
            raise Conflict(f"container {container.id} is not running")
        identity = hashlib.sha256(f"exec {len(self._execs)}".encode()).hexdigest()
        self._execs[identity] = FakeExec(identity, container.id, config)
        return identity

    async def start(
        self,
        exec_id: str,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None,
        sock: socket.socket | None,
        leftover: bytes,
    ) -> None:
        """Run the program."""
        self.calls.append(("start", detach, tty, console_size))
        state, streams = self._execs[exec_id], self._tasks.streams()
        try:
            body, words = program(state.config.cmd)
        except StartFailed as failure:
            self._execs[exec_id] = FakeExec(
                exec_id, state.container_id, state.config, False, failure.exit_code
            )
            raise
        if sock is not None:
            streams.attach(sock, not tty)
            streams.read_from(sock, leftover)
        self._execs[exec_id] = FakeExec(exec_id, state.container_id, state.config, True, None, 4243)
        self._tasks.run(self._live(exec_id, streams, body(streams, words)))

    async def _live(self, exec_id: str, streams: Streams, work: Awaitable[int]) -> None:
        code = await work
        state = self._execs[exec_id]
        self._execs[exec_id] = FakeExec(exec_id, state.container_id, state.config, False, code)
        await streams.end()

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Record the size."""
        await self.inspect(exec_id)
        self._containers.sizes.append((height, width))

    def running(self, container_id: str) -> list[str]:
        """Return the ids of those that run in a container."""
        return [
            each.id for each in self._execs.values() if each.running and each.container_id == container_id
        ]

    async def inspect(self, exec_id: str) -> FakeExec:
        """Return an exec."""
        if exec_id not in self._execs:
            raise NotFound("exec instance", exec_id)
        return self._execs[exec_id]


class FakeImages:
    """Images that are no more than names; an archive is a name on each line."""

    def __init__(self) -> None:
        self.names = {"debian:latest"}
        self.remote = FakeRemote(self.names)
        self.cancelled = asyncio.Event()
        self.calls: list[tuple[Any, ...]] = []

    async def load(self, stream: BinaryIO, progress: Progress, platform: Platform | None) -> None:
        """Take the names in *stream*, read in a thread as the real verbs do."""
        self.calls += [("load", str(platform))] if platform else []
        await asyncio.to_thread(self._load, stream, progress)

    def _load(self, stream: BinaryIO, progress: Progress) -> None:
        for line in stream:
            name = line.decode().strip()
            if ":" not in name:
                raise DataCorrupted(f"not an image: {name}")
            progress({"status": "Loading", "progressDetail": {"current": 1, "total": 1}, "id": name})
            self.names.add(name)
            progress({"stream": f"Loaded image: {name}\n"})

    async def import_(
        self,
        stream: BinaryIO,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        """Take *reference*."""
        size = len(await asyncio.to_thread(stream.read))
        self.calls.append(("import", size, reference, message, tuple(changes), platform))
        progress({"status": "Importing"})
        progress({"status": IMAGE_ID})
        return IMAGE_ID

    async def import_url(
        self,
        address: str,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        """Take *reference*."""
        self.calls.append(("import", address, reference, message, tuple(changes), platform))
        progress({"status": IMAGE_ID})
        return IMAGE_ID

    async def save(self, names: Sequence[str], platforms: Sequence[Platform]) -> AsyncIterator[bytes]:
        """Yield the names."""
        self.calls += [("save", *map(str, platforms))] if platforms else []
        for name in names:
            await self.inspect(name)
            yield f"{name}\n".encode()

    async def bootstrap(
        self, suite: str | None, includes: Sequence[str], variant: str, progress: Progress
    ) -> str:
        """Make a name; the suite ``endless`` never ends."""
        progress({"status": f"making {suite} with {'+'.join(includes)}", "id": variant})
        if suite == "endless":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled.set()
        if suite == "broken":
            raise InvalidInput("no such suite: broken")
        return IMAGE_ID

    async def tag(self, name: str, reference: str) -> None:
        """Add a name."""
        await self.inspect(name)
        self.names.add(reference)

    async def remove(
        self, name: str, force: bool, noprune: bool, platforms: Sequence[Platform]
    ) -> Sequence[dict[str, Any]]:
        """Take a name away."""
        self.calls.append(("remove", name, force, noprune, *map(str, platforms)))
        await self.inspect(name)
        self.names.discard(name)
        return [{"Untagged": name}]

    async def list(
        self, filters: Filters, all_images: bool, extras: Sequence[str]
    ) -> Sequence[dict[str, Any]]:
        """Return the names, of which the filter ``reference`` chooses."""
        self.calls.append(("list", filters, all_images, *extras))
        wanted = filters.get("reference")
        names = sorted(name for name in self.names if not wanted or name in wanted)
        return [{"Id": IMAGE_ID, "RepoTags": [name], "Created": 0, "Size": 1, "Labels": {}} for name in names]

    async def inspect(
        self, name: str, platform: Platform | None = None, manifests: bool = False
    ) -> dict[str, Any]:
        """Return a known image."""
        self.calls += [("inspect", str(platform), manifests)] if platform or manifests else []
        if name not in self.names and f"{name}:latest" not in self.names and name != IMAGE_ID:
            raise NotFound("image", name if ":" in name else f"{name}:latest")
        return {"Id": IMAGE_ID, "RepoTags": [name], "Config": {}, "Os": "linux", "Architecture": "amd64"}

    async def prune(self, filters: Filters) -> tuple[Sequence[dict[str, Any]], int]:
        """Take all names away."""
        self.calls.append(("prune", filters))
        gone, self.names = sorted(self.names), set()
        return [{"Untagged": name} for name in gone], 10 * len(gone)

    async def history(self, name: str, platform: Platform | None) -> Sequence[dict[str, Any]]:
        """Return one step."""
        self.calls += [("history", str(platform))] if platform else []
        await self.inspect(name)
        return [{"Id": IMAGE_ID, "Created": 0, "CreatedBy": "test", "Tags": [name], "Size": 0, "Comment": ""}]


class FakeSystem:
    """Facts."""

    def __init__(self, containers: "FakeContainers", volumes: FakeVolumes) -> None:
        self._containers, self._volumes = containers, volumes

    async def info(self) -> dict[str, Any]:
        """Return some."""
        return {"ID": "fake", "NCPU": 2, "Name": "host"}

    async def version(self) -> dict[str, Any]:
        """Return some."""
        return {"KernelVersion": "6.18.0", "Arch": "amd64"}

    async def disk_usage(self, kinds: Sequence[str]) -> dict[str, Any]:
        """Return one byte for each container, and two for the rest of its root; the bytes of volumes."""
        rows = [{"Id": each.id, "SizeRw": 1, "SizeRootFs": 3} for each in self._containers.list()]
        found: dict[str, Any] = {"Containers": rows, "ContainerUsage": {"TotalSize": len(rows)}}
        usages = {volume.name: self._volumes.usage(volume) for volume in self._volumes.list()}
        volumes = [{"Name": name, "Size": size, "RefCount": users} for name, (size, users) in usages.items()]
        everything = {"LayersSize": 0, "Images": [], "ImageUsage": {}, "Volumes": volumes, "BuildCache": []}
        return found if kinds == ["container"] else everything | found


class FakeEngine:
    """The services, as ``corten.serve.api.interface.Engine`` wants them; call ``close`` at the end."""

    def __init__(self) -> None:
        self._tasks = Tasks()
        self.events = Events()
        self.images = FakeImages()
        self.containers = FakeContainers(self.images, self.events, self._tasks)
        self.execs = FakeExecs(self.containers, self._tasks)
        self.networks = FakeNetworks(self.containers.list, self.containers.get, self.containers.put)
        self.volumes = FakeVolumes(self.containers.list)
        self.system = FakeSystem(self.containers, self.volumes)

    async def close(self) -> None:
        """End all programs."""
        await self._tasks.close()


RUNNING = State(status="running", pid=4242, started_at="2026-01-01T00:00:00.000000000Z")
