"""Link: the daemon's connection to the supervisor, from one supervisor to the next."""

import asyncio
import fcntl
import logging
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from corten.core.runtime import protocol
from corten.errors import StartFailed, Unavailable

START_DEADLINE = 10.0  # seconds a new supervisor may take until it answers
RETRY = 1.0  # seconds between attempts to start one
REPLACED = "the supervisor has died and is being replaced: try again"

log = logging.getLogger("corten")

Answer = tuple[dict[str, Any], list[int]]


class Link:
    """Sends requests and takes events; starts a supervisor when there is none, or none any more.

    Args:
        run: The engine's run directory.
        command: How to start a supervisor.
        on_event: Takes each event with its descriptors, which it owns.
        on_new: Awaited when a supervisor was started in place of one that died,
            before any other request is sent to it.
    """

    def __init__(
        self,
        run: str,
        command: list[str],
        on_event: Callable[[dict[str, Any], list[int]], None],
        on_new: Callable[[], Awaitable[None]],
    ) -> None:
        self._run, self._command, self._on_event, self._on_new = run, command, on_event, on_new
        self._socket: socket.socket | None = None
        self._decoder = protocol.Decoder()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self._closing = False
        self._renewal: asyncio.Task[None] | None = None
        self._started: list[subprocess.Popen[bytes]] = []  # not reaped yet; the last one is the newest

    async def open(self) -> bool:
        """Connect; returns whether the supervisor had to be started.

        Raises:
            Unavailable: it does not start; says why.
        """
        connection = self._try()
        fresh = connection is None
        if connection is None:
            connection = await self._spawn()
        self._socket = connection
        self._decoder = protocol.Decoder()
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection.fileno(), self._readable, connection)
        return fresh

    def _try(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        try:
            connection.connect(f"{self._run}/supervisor.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        return connection

    async def _spawn(self) -> socket.socket:
        """Start a supervisor that outlives this process, and wait until it answers."""
        log = f"{self._run}/supervisor.log"
        process = await asyncio.to_thread(self._begin, log)
        deadline = asyncio.get_running_loop().time() + START_DEADLINE
        while True:
            connection = self._try()
            if connection is not None:
                return connection
            ended = process.poll() is not None and not self._another_starts()
            if ended or asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"the supervisor does not start: {_last_line(log)}")
            await asyncio.sleep(0.005)

    def _begin(self, log: str) -> "subprocess.Popen[bytes]":
        """Start it and know it, whatever becomes of the coroutine that waits."""
        process = _start(self._command, log)
        self._started.append(process)
        return process

    def _reap(self) -> None:
        """Forget those that have ended; one that still runs stays known until it has."""
        self._started = [process for process in self._started if process.poll() is None]

    def _another_starts(self) -> bool:
        """Tell whether a supervisor that a former daemon started is about to answer: it has the lock."""
        with suppress(FileNotFoundError), open(f"{self._run}/supervisor.lock", "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _readable(self, connection: socket.socket) -> None:
        try:
            alive = self._decoder.receive(connection)
        except BlockingIOError:
            return
        except OSError:
            alive = False
        for header, _, descriptors in self._decoder.frames():
            self._take(header, descriptors)
        if not alive:
            self._lost(connection)

    def _take(self, header: dict[str, Any], descriptors: list[int]) -> None:
        """Handle one frame of the supervisor."""
        if "event" in header:
            self._on_event(header, descriptors)
            return
        future = self._waiting.pop(header.pop("n"), None)
        if future is not None and not future.done():
            future.set_result((header, descriptors))
            return
        for descriptor in descriptors:
            os.close(descriptor)

    def _lost(self, connection: socket.socket) -> None:
        """The supervisor is gone: start another one."""
        asyncio.get_running_loop().remove_reader(connection.fileno())
        connection.close()
        self._decoder.close()
        self._socket = None
        self._reap()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable(REPLACED))
        self._waiting.clear()
        self._renew()

    def _renew(self) -> None:
        if self._socket is None and not self._closing:
            self._renewal = asyncio.get_running_loop().create_task(self._replace())
            self._renewal.add_done_callback(self._renewed)

    def _renewed(self, renewal: "asyncio.Task[None]") -> None:
        """Try again in a while when there is no new supervisor: ends of tasks have to be seen, asked for or not."""
        if not renewal.cancelled() and renewal.exception() is not None and renewal is self._renewal:
            log.warning("%s", renewal.exception())
            asyncio.get_running_loop().call_later(RETRY, self._retry)

    def _retry(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renew()

    async def _replace(self) -> None:
        await self.open()
        with suppress(Unavailable):  # it has died too: its own replacement is under way
            await self._on_new()

    async def _ready(self) -> socket.socket:
        """Return the connection, after a replacement under way; a failed one is tried again."""
        ours = asyncio.current_task() is self._renewal
        if not ours:
            self._retry()
        while not ours and self._renewal is not None and not self._renewal.done():
            await asyncio.shield(self._renewal)
        if self._socket is None:
            raise Unavailable("the supervisor is not running: restart the daemon")
        return self._socket

    async def request(
        self, header: dict[str, Any], payload: bytes = b"", descriptors: list[int] | tuple[int, ...] = ()
    ) -> Answer:
        """Send a request and wait for its answer; descriptors of the answer are the caller's.

        Raises:
            StartFailed: the supervisor refused; with its text and exit code.
            Unavailable: the supervisor died meanwhile.
        """
        connection = await self._ready()
        self._number += 1
        number = self._number
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        if descriptors:
            header["descriptors"] = len(descriptors)
        connection.setblocking(True)
        try:
            protocol.send(connection, protocol.encode({**header, "n": number}, payload), descriptors)
        except OSError:
            self._waiting.pop(number, None)
            raise Unavailable(REPLACED) from None
        finally:
            connection.setblocking(False)
        answer, handed = await future
        if "error" in answer:
            raise StartFailed(answer["error"], answer.get("exit_code", 128))
        return answer, handed

    def close(self) -> None:
        """Leave the supervisor to itself; nothing is replaced from now on."""
        self._closing = True
        if self._renewal is not None:
            self._renewal.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def expect_end(self, expected: bool = True) -> None:
        """Do not replace the supervisor when it goes."""
        self._closing = expected


def _start(command: list[str], log: str) -> "subprocess.Popen[bytes]":
    """Start the supervisor in a session of its own, its messages going to *log*."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    with open(log, "ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=environment,
        )


def _last_line(path: str) -> str:
    """Return the last line of a log, which says why a program ended."""
    with suppress(OSError), open(path, "rb") as file:
        lines = file.read()[-4096:].decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return "it said nothing"
