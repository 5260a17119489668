"""Joining the user's stdin, stdout and stderr with a container's.

One loop polls the hijacked connection, stdin and a pipe of signals. The
socket does not block: while bytes for it are pending, stdin is not read, so
that a container that prints before it reads never blocks both sides. Output
is written as it comes, and a slow reader of it slows the container down.
"""

from __future__ import annotations

import _socket
import posix
import select

from corten.cli.demux import Demultiplexer, plain
from corten.cli.failure import Failure
from corten.cli.signals import NAMES, RESIZED, Signals
from corten.cli.terminal import DetachKeys, Raw, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from corten.cli.client import Client

BLOCK = 256 * 1024  # bytes read from the connection at once
STDIN = 64 * 1024  # bytes read from stdin at once, the size of a pipe
GONE = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Session:
    """One attached stream.

    Args:
        sock: The hijacked connection; closed by `converse`.
        early: Bytes that were read from it with the answer's head.
        tty: The other side is a terminal: raw bytes, no frames.
        stdin: Copy stdin, and half-close the connection at its end.
        keys: Bytes that end the session when typed; empty for none.
    """

    def __init__(self, sock: _socket.socket, early: bytes, *, tty: bool, stdin: bool, keys: bytes) -> None:
        self._sock, self._early, self._stdin = sock, early, stdin
        self._output: Callable[[bytes], None] = plain if tty else Demultiplexer()
        self._keys = DetachKeys(keys) if keys else None
        self._pending = memoryview(b"")
        self._waiting = False  # for room in the connection; stdin is not polled meanwhile
        self._poll = select.poll()

    def converse(
        self, signals: Signals | None = None, on_signal: Callable[[int], None] | None = None
    ) -> bool:
        """Copy in both directions until the daemon closes the stream.

        Args:
            signals: Signals that were caught, handed to *on_signal* one by one.
            on_signal: Called with the number of each.

        Returns:
            False when the user detached.
        """
        self._sock.setblocking(False)
        self._poll.register(self._sock.fileno(), select.POLLIN)
        if self._stdin:
            self._poll.register(0, select.POLLIN)
        if signals:
            self._poll.register(signals.descriptor, select.POLLIN)
        try:
            if self._early:
                self._output(self._early)
            while self._turn(signals, on_signal):
                if self._keys and self._keys.found:
                    return False
        finally:
            self._sock.close()
        return True

    def _turn(self, signals: Signals | None, on_signal: Callable[[int], None] | None) -> bool:
        """Wait for something to do and do it; False when the daemon has closed the stream."""
        connection = self._sock.fileno()
        for descriptor, event in self._poll.poll():
            if descriptor == 0:
                self._read_stdin()
            elif descriptor == connection:
                if event & select.POLLOUT:
                    self._send()
                if event & GONE and not self._receive():
                    return False
            elif signals and on_signal:
                for number in signals.arrived():
                    on_signal(number)
        return True

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(BLOCK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if data:
            self._output(data)
        return bool(data)

    def _read_stdin(self) -> None:
        try:
            data = posix.read(0, STDIN)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal is gone or belongs to another job
            data = b""
        if not data:
            self._stop_stdin()
            self._finish_stdin()
            return
        if self._keys:
            data = self._keys.feed(data)
        self._pending = memoryview(data)
        self._send()

    def _stop_stdin(self) -> None:
        if self._stdin:
            self._stdin = False
            self._poll.unregister(0)

    def _send(self) -> None:
        """Send what is pending; what does not fit waits for POLLOUT, and stdin with it."""
        waited, self._waiting = self._waiting, False
        try:
            while self._pending:
                self._pending = self._pending[self._sock.send(self._pending) :]
        except BlockingIOError:
            self._waiting = True
        except (BrokenPipeError, ConnectionResetError):  # the container does not read: keep its output coming
            self._pending = memoryview(b"")
            if waited:
                self._stdin = False
            else:
                self._stop_stdin()
        if waited != self._waiting:
            self._hold(self._waiting)

    def _hold(self, waiting: bool) -> None:
        """Stop reading stdin until the connection takes more, or go on."""
        self._poll.modify(self._sock.fileno(), select.POLLIN | (select.POLLOUT if waiting else 0))
        if self._stdin and waiting:
            self._poll.unregister(0)
        elif self._stdin:
            self._poll.register(0, select.POLLIN)

    def _finish_stdin(self) -> None:
        try:
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError:  # the other side was faster
            return


def converse(
    client: Client,
    session: Session,
    path: str,
    *,
    tty: bool,
    raw: bool,
    proxy: bool,
) -> bool:
    """Run *session* with the user's terminal and signals.

    Args:
        client: For resize and kill requests.
        session: The stream to copy.
        path: ``/containers/ID`` or ``/exec/ID``, the object to resize or to signal.
        tty: The other side is a terminal: it follows the size of the user's.
        raw: Put the user's terminal into raw mode: keys go to the container.
        proxy: Pass signals on to the container.

    Returns:
        False when the user detached.
    """

    def on_signal(number: int) -> None:
        try:
            if number == RESIZED:
                resize(client, path)
            else:
                client.post(f"{path}/kill", signal=NAMES[number])
        except Failure:  # it has ended in the meantime, which the stream will tell
            return

    wanted = [*NAMES] if proxy else []
    if tty:
        wanted.append(RESIZED)
        on_signal(RESIZED)
    with Raw() if raw else _Nothing(), Signals(wanted) as signals:
        return session.converse(signals, on_signal)


def resize(client: Client, path: str) -> None:
    """Tell the daemon the size of the user's terminal, if there is one."""
    found = size()
    if found:
        client.post(f"{path}/resize", h=found[0], w=found[1])


class _Nothing:
    """Enters and leaves without effect."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *unused: object) -> None:
        pass
