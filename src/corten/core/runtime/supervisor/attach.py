"""Attacher: one client connected to the streams of a task.

Output is never copied through this process where it can be helped: what the
log has stored is sent from the log's file (sendfile(2)), behind the 8-byte
header of Docker's multiplexed stream. Source: Docker Engine API, "Attach to a
container", stream format.
"""

import os
import socket
import struct
from collections import deque
from contextlib import suppress

from corten.core.runtime.supervisor.loop import HANGUP, READ, WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Extent(Protocol):
        """A run of bytes in a file that stays readable while the extent is held."""

        @property
        def file(self) -> "HasFileno":
            """Return the file."""
            ...

        @property
        def offset(self) -> int:
            """Return where it begins."""
            ...

        @property
        def length(self) -> int:
            """Return its length in bytes."""
            ...

    class HasFileno(Protocol):
        """Something with a descriptor."""

        def fileno(self) -> int:
            """Return the descriptor."""
            ...


class Run:
    """Bytes of a file that are still to be sent to one client."""

    def __init__(self, file: "HasFileno", offset: int, length: int) -> None:
        self.file, self.offset, self.length = file, offset, length

    def send(self, connection: int) -> int:
        """Send what the socket takes; returns the bytes left. A file cut short has nothing left."""
        sent = os.sendfile(connection, self.file.fileno(), self.offset, self.length) or self.length
        self.offset, self.length = self.offset + sent, self.length - sent
        return self.length


HIGH_WATER = 8 << 20  # bytes that may wait for a client before the container has to
LOW_WATER = 1 << 20


class Attacher:
    """Sends output to a client's socket and its input to the task.

    Args:
        loop: The event loop.
        connection: The client's socket; owned.
        wanted: Streams to send: 1 stdout, 2 stderr.
        multiplexed: Whether each run of bytes gets a header.
        keys: Detach key sequence as bytes; empty when there is none.
        leftover: Input that was read along with the request.
        on_gone: Called once when the attacher has closed itself.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        wanted: set[int],
        multiplexed: bool,
        keys: bytes,
        leftover: bytes,
        on_gone: "Callable[[Attacher], None]",
    ) -> None:
        self._loop, self._connection, self._keys = loop, connection, keys
        self._wanted, self._multiplexed = wanted, multiplexed
        self._leftover, self._on_gone = leftover, on_gone
        self._on_input: Callable[[bytes], bool] | None = None
        self._queue: deque[bytes | Run] = deque()
        self._matched, self._ended = 0, False
        self._reading, self._finishing, self._closed = False, False, False
        self.waiting = 0
        self.input_wanted = False
        self.on_room: Callable[[], None] | None = None  # called when a backlog has been sent
        connection.setblocking(False)
        self._watch()

    def _watch(self) -> None:
        events = (READ if self._reading else 0) | (WRITE if self._queue else 0)
        self._loop.register(self._connection.fileno(), self._ready, events)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._pump()
        if not self._closed and events & READ and self._reading:
            self._receive()
        if not self._closed and events & HANGUP and not events & READ:
            self.close()

    def begin(self, on_input: "Callable[[bytes], bool] | None") -> None:
        """Read the client's input from now on.

        Args:
            on_input: Called with its bytes, and with b"" at its end; returns False when
                the task cannot take more now (``resume`` follows). None discards them.
        """
        self._on_input = on_input
        self._reading = True
        leftover, self._leftover = self._leftover, b""
        if leftover:
            self.feed(leftover)
        self.resume()

    def push(self, stream: int, item: "bytes | Extent") -> None:
        """Queue output for the client, and send what it takes now."""
        if stream not in self._wanted or self._closed:
            return
        length = len(item) if isinstance(item, bytes) else item.length
        if self._multiplexed:
            self._queue.append(struct.pack(">BxxxI", stream, length))
            self.waiting += 8
        self._queue.append(item if isinstance(item, bytes) else Run(item.file, item.offset, item.length))
        self.waiting += length
        self._pump()

    def _pump(self) -> None:
        """Send until the client takes no more."""
        try:
            while self._queue:
                item = self._queue[0]
                if isinstance(item, bytes):
                    had = len(item)
                    left = had - self._connection.send(item)
                    self._queue[0] = item[had - left :]
                else:
                    had = item.length
                    left = item.send(self._connection.fileno())
                self.waiting -= had - left
                if not left:
                    self._queue.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if self._finishing and not self._queue:
            self.close()
        if not self._closed:
            self._watch()
        if self.on_room is not None and self.waiting < LOW_WATER:
            self.on_room()

    def _receive(self) -> None:
        """Take input from the client."""
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._reading, self._ended = False, True
            self._watch()
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Pass input on; detach keys end the attachment instead."""
        data, detached = self._scan(data) if self._keys and data else (data, False)
        if self._on_input is not None and (data or not detached) and not self._on_input(data):
            self._reading = False
            self._watch()
        if detached:
            self.close()

    def _scan(self, data: bytes) -> tuple[bytes, bool]:
        """Return *data* without a detach sequence at which it ends, and whether one was typed."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(out), True
                continue
            out += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                out.append(byte)
        return bytes(out), False

    def resume(self) -> None:
        """Read the client's input again, unless it has ended."""
        if not self._closed and not self._ended:
            self._reading = True
            self._watch()

    def finish(self) -> None:
        """Close once everything queued is sent."""
        self._finishing = True
        self._pump()

    def let_go(self) -> None:
        """Give the connection back to whoever else holds it, unharmed; idempotent."""
        if not self._closed:
            self._closed = True
            self._loop.unregister(self._connection.fileno())
            self._connection.close()

    def close(self) -> None:
        """End the connection, for every process that may have inherited it; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.unregister(self._connection.fileno())
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._queue.clear()
        self.waiting = 0
        self._on_gone(self)
