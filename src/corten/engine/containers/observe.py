"""What can be seen of a container from outside: logs, processes, files, figures."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from corten.core.layers.changes import Change
from corten.core.layers.pack import write_tree
from corten.core.logs import reader
from corten.core.logs.segment import Chunk, Query
from corten.core.snapshots.browse import tree
from corten.engine.containers.changes import changes
from corten.engine.containers.figures import docker_stats
from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.places import Places, places
from corten.engine.records.container import Container
from corten.errors import Conflict, InvalidInput, Unavailable, Unsupported

PIECES = 16  # pieces of an archive that wait for a slow client
FOLLOWED = ("running", "paused", "restarting")


class LogWish(Protocol):
    """Which part of a log is wanted; times in ns since the epoch, *tail* in lines, None is all."""

    @property
    def stdout(self) -> bool:
        """Whether stdout is wanted."""
        ...

    @property
    def stderr(self) -> bool:
        """Whether stderr is wanted."""
        ...

    @property
    def since_ns(self) -> int | None:
        """From when."""
        ...

    @property
    def until_ns(self) -> int | None:
        """Until when."""
        ...

    @property
    def tail(self) -> int | None:
        """How many of the last lines."""
        ...

    @property
    def timestamps(self) -> bool:
        """Whether each line gets its time."""
        ...


class Observation:
    """Looking at containers; nothing here changes one."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def logs(self, ref: str, wish: LogWish, follow: bool) -> AsyncIterator[Chunk]:
        """Yield what the container wrote, and with *follow* what it goes on to write until it ends.

        Raises:
            Unsupported: it keeps no log (driver ``none``).
        """
        container = self._parts.records.find(ref)
        if container.host_config.log_config.type == "none":
            raise Unsupported("configured logging driver does not support reading: choose json-file or local")
        query = Query(
            stdout=wish.stdout,
            stderr=wish.stderr,
            since_ns=wish.since_ns,
            until_ns=wish.until_ns,
            tail=wish.tail,
            timestamps=wish.timestamps,
        )
        folder = self._parts.logs(container.id)
        if not follow:
            for chunk in await asyncio.to_thread(lambda: reader.read(folder, query)):
                yield chunk
            return
        following = reader.follow(folder, query, lambda: self._is_over(container.id))
        everybody = self._parts.followers.setdefault(container.id, set())
        everybody.add(following)
        try:
            async for chunk in following:
                yield chunk
        finally:
            everybody.discard(following)
            if not everybody:
                self._parts.followers.pop(container.id, None)
            await following.aclose()

    def _is_over(self, identifier: str) -> bool:
        """Tell whether the container will write no more."""
        found = [c for c in self._parts.records.all() if c.id == identifier]
        return not found or found[0].state.status not in FOLLOWED

    async def top(self, ref: str, ps_args: str) -> tuple[list[str], list[list[str]]]:
        """Return titles and rows of ps(1) for the container's processes, as the host sees them.

        Raises:
            Conflict: it does not run.
            InvalidInput: ps refuses the arguments, or prints no PID.
            Unavailable: there is no ps.
        """
        container = self._parts.records.find(ref)
        if not is_up(container):
            raise Conflict(f"container {container.id} is not running")
        pids = {
            str(pid)
            for pid in await asyncio.to_thread(self._parts.groups.pids, self._parts.cgroup_path(container))
        }
        try:
            process = await asyncio.create_subprocess_exec(
                "ps",
                *(ps_args or "-ef").split(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError:
            raise Unavailable("ps is not installed: apt install procps") from None
        output, complaint = await process.communicate()
        if process.returncode:
            said = complaint.decode(errors="replace").strip().splitlines()
            raise InvalidInput(f"error running ps: {said[0] if said else ps_args}")
        return _rows(output.decode(errors="replace"), pids)

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """Yield the container's file system, without mounts, as a tar."""
        container = self._parts.records.find(ref)
        self._parts.tell("export", container)
        async for piece in _from_thread(lambda out: self._write_tar(container, out)):
            yield piece

    def _write_tar(self, container: Container, out: Callable[[bytes], object]) -> None:
        with tree(self._parts.snapshots.mounts(container.id)[0]) as directory:
            write_tree(directory, out)

    async def changes(self, ref: str) -> list[Change]:
        """Return the paths that the container has changed; see ``changes.changes``."""
        return await changes(self._parts, ref)

    def places(self, container: Container) -> Places:
        """Return where the container's files lie on the host."""
        return places(self._parts, container)

    async def stats(self, ref: str) -> dict[str, Any]:
        """Return one sample of the container's resource use in Docker's form; zeros where it does not run."""
        container = self._parts.records.find(ref)
        if not is_up(container):
            return docker_stats(container, {}, self._parts.host.cpus)
        sample = await asyncio.to_thread(self._parts.groups.stats, self._parts.cgroup_path(container))
        return docker_stats(container, sample, self._parts.host.cpus)

    async def size(self, ref: str) -> tuple[int, int]:
        """Return the bytes of the writable layer, and those of the whole root."""
        container = self._parts.records.find(ref)
        own = (await asyncio.to_thread(self._parts.snapshots.usage, container.id)).bytes
        total, parent = own, self._parts.snapshots.info(container.id).parent
        while parent:
            total += (await asyncio.to_thread(self._parts.snapshots.usage, parent)).bytes
            parent = self._parts.snapshots.info(parent).parent
        return own, total


def _rows(text: str, pids: set[str]) -> tuple[list[str], list[list[str]]]:
    """Return the titles, and the rows of ps output whose PID is in *pids*; the last column keeps its spaces."""
    lines = text.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidInput("Couldn't find PID field in ps output: leave pid among the columns")
    column = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if len(row) > column and row[column] in pids]


async def _from_thread(work: Callable[[Callable[[bytes], object]], None]) -> AsyncIterator[bytes]:
    """Yield the bytes that *work* writes in a thread; a client that goes ends it."""
    loop = asyncio.get_running_loop()
    pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(PIECES)
    gone = threading.Event()

    def write(data: bytes) -> None:
        while not gone.is_set():
            try:
                return pieces.put(bytes(data), timeout=0.2)
            except queue.Full:
                continue
        raise BrokenPipeError

    def run() -> None:
        try:
            work(write)
            last: BaseException | None = None
        except BaseException as failure:  # noqa: BLE001 - raised again on the other side
            last = failure
        if not gone.is_set():
            pieces.put(last)

    task = loop.run_in_executor(None, run)
    try:
        while True:
            piece = await asyncio.to_thread(pieces.get)
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                return
            yield piece
    finally:
        gone.set()
        while not pieces.empty():
            pieces.get_nowait()
        await task
