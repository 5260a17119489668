"""HTTP/1.1 over a Unix socket: one connection, one answer at a time.

Written on ``_socket`` because ``http.client`` takes 26 ms to import, more
than twice what a whole command may cost. Only what an Engine API server
sends is understood: Content-Length, chunked, and bodies that end with the
connection. Source: RFC 9112.
"""

from __future__ import annotations

import _socket

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK = 256 * 1024  # bytes asked for at once; a chunk of a tar stream is of this order
HEAD_LIMIT = 1 << 20  # bytes of status line and headers, or of one line, before we give up


class ConnectionLost(Failure):
    """The daemon closed the connection in the middle of an answer."""

    def __init__(self) -> None:
        super().__init__("the daemon closed the connection: look at its log, or run the command again")


class Connection:
    """A connected socket and the bytes read from it that nobody has asked for yet."""

    __slots__ = ("_at", "_buffer", "socket")

    def __init__(self, path: str) -> None:
        """Connect to the socket at *path*; OSError as connect(2)."""
        self._buffer, self._at = b"", 0
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise

    def close(self) -> None:
        """Close the socket; may be called again."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of *data*.

        Raises:
            ConnectionLost: the daemon does not read any more.
        """
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise ConnectionLost from None

    def send_chunks(self, blocks: Iterable[bytes]) -> None:
        """Send *blocks* as a chunked body; stops in silence when the daemon has heard enough.

        The answer, which has to be read next, says why it stopped listening.
        """
        try:
            for block in blocks:
                if block:
                    self.socket.sendall(b"%x\r\n%b\r\n" % (len(block), block))
            self.socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    @property
    def rest(self) -> bytes:
        """What was read from the socket and not asked for yet."""
        return self._buffer[self._at :]

    def fill(self) -> None:
        """Append what has arrived to the rest, waiting for at least one byte.

        Raises:
            ConnectionLost: there will be no more bytes.
        """
        try:
            data = self.socket.recv(BLOCK)
        except ConnectionResetError:
            data = b""
        if not data:
            raise ConnectionLost
        self._buffer, self._at = self.rest + data, 0

    def line(self) -> bytes:
        """The next line without its end."""
        while True:
            end = self._buffer.find(b"\r\n", self._at)
            if end >= 0:
                line = self._buffer[self._at : end]
                self._at = end + 2
                return line
            if len(self._buffer) - self._at > HEAD_LIMIT:
                raise Failure("the answer is not HTTP: is this the socket of a container engine?")
            self.fill()

    def head(self) -> tuple[int, dict[str, str]]:
        """Read a status line and headers; names in lower case."""
        while True:
            version, _, rest = self.line().decode("latin-1").partition(" ")
            code = rest[:3]
            if not version.startswith("HTTP/1.") or not code.isdigit():
                raise Failure("the answer is not HTTP: is this the socket of a container engine?")
            headers = {}
            while line := self.line().decode("latin-1"):
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            if code != "100":  # RFC 9110, 15.2: an interim answer comes before the final one
                return int(code), headers

    def take(self, count: int) -> Iterator[bytes]:
        """Yield the next *count* bytes in pieces as they arrive."""
        while count:
            if self._at == len(self._buffer):
                self.fill()
            piece = self._buffer[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def drain(self) -> Iterator[bytes]:
        """Yield everything until the daemon closes its side."""
        try:
            while True:
                if self._at == len(self._buffer):
                    self.fill()
                piece, self._at = self.rest, len(self._buffer)
                yield piece
        except ConnectionLost:
            return


class Response:
    """An answer whose head has been read and whose body has not.

    ``complete`` turns true when the body was read to its end, so that the
    connection can carry another request.
    """

    __slots__ = ("code", "complete", "connection", "headers")

    def __init__(self, connection: Connection, *, bodiless: bool = False) -> None:
        self.connection = connection
        self.code, self.headers = connection.head()
        self.complete = bodiless or self.code in (204, 304) or self.headers.get("content-length") == "0"

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self.complete and self.headers.get("connection", "").lower() != "close"

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces as they arrive; the sizes mean nothing.

        Raises:
            ConnectionLost: the body ended too early.
        """
        if self.complete:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunked()
        elif "content-length" in self.headers:
            yield from self.connection.take(int(self.headers["content-length"]))
        else:
            yield from self.connection.drain()
            self.headers["connection"] = "close"
        self.complete = True

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body without their ends; empty ones are left out."""
        rest = b""
        for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if stripped := line.strip():
                    yield stripped
        if rest.strip():
            yield rest.strip()

    def _chunked(self) -> Iterator[bytes]:
        connection = self.connection
        while True:
            size = int(connection.line().partition(b";")[0], 16)
            if not size:
                break
            yield from connection.take(size)
            connection.line()
        while connection.line():  # trailer fields
            pass
