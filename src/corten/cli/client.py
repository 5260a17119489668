"""The Engine API as the commands use it: requests in, Python values out.

Connections are kept and used again. ``begin`` sends without waiting, so that
a command can have several requests under way: ``corten stop a b c`` waits
for the slowest container, not for the sum.
"""

from __future__ import annotations

import _thread
from errno import EACCES, ECONNREFUSED, ENOENT, EPERM

from corten.cli.connection import Connection, ConnectionLost, Response
from corten.cli.failure import ApiError, Failure, NoDaemon
from corten.cli.wire import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from corten.cli.place import Place

VERSION = "/v1.47"  # of the Engine API
SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@,")
LOST = (ECONNREFUSED, ENOENT)


def quote(text: str) -> str:
    """Percent-encode *text* for a path or a query value (RFC 3986)."""
    if SAFE.issuperset(text):
        return text
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if chr(byte) in SAFE else f"%{byte:02X}" for byte in data)


def target(path: str, query: dict[str, Any]) -> str:
    """Path and query of a request; what is None, False or empty is left out."""
    base = path if path.startswith("/corten/") else VERSION + path
    pairs = []
    for name, value in query.items():
        if value is None or value is False or value in ("", []):
            continue
        items = value if isinstance(value, list) else [value]
        pairs += [f"{name}={quote('1' if item is True else str(item))}" for item in items]
    return base + "?" + "&".join(pairs) if pairs else base


class Exchange:
    """A request that was sent; the answer may be read once."""

    __slots__ = ("_client", "_connection", "_fresh", "_request")

    def __init__(self, client: Client, connection: Connection, request: bytes, *, fresh: bool) -> None:
        self._client, self._connection, self._request, self._fresh = client, connection, request, fresh

    @property
    def connection(self) -> Connection:
        """The connection that will carry the answer, for poll(2)."""
        return self._connection

    def response(self) -> Response:
        """Wait for the head of the answer.

        Raises:
            ApiError: the daemon says no.
        """
        try:
            response = Response(self._connection)
        except ConnectionLost:
            if self._fresh or self._connection.rest:
                raise
            # an idle connection that the daemon had closed: it never saw the request
            self._connection = self._client.connect()
            self._connection.send(self._request)
            response = Response(self._connection)
        if response.code >= 400:
            raise ApiError(response.code, _reason(response))
        return response

    def value(self) -> Any:
        """Wait for the whole answer and read it as JSON; None when it is empty."""
        response = self.response()
        body = response.read()
        self._client.give_back(response)
        return loads(body) if body.strip() else None


class Client:
    """Speaks with the daemon behind one socket.

    Args:
        place: The engine; its socket is connected to.
        absent: Called once when nobody answers there; returns when somebody
            does. None: it is an error that nobody answers.
    """

    def __init__(self, place: Place, absent: Callable[[], None] | None = None) -> None:
        self.place = place
        self._absent = absent
        self._idle: list[Connection] = []
        self._opened: list[Connection] = []

    def connect(self) -> Connection:
        """Open a new connection, starting the daemon if that is allowed.

        Raises:
            NoDaemon: nobody answers.
        """
        try:
            self._opened.append(Connection(self.place.socket))
            return self._opened[-1]
        except OSError as error:
            if error.errno in LOST and self._absent is not None:
                absent, self._absent = self._absent, None
                absent()
                return self.connect()
            raise _explain(error, self.place.socket) from None

    def close(self) -> None:
        """Close every connection; a program that ends right away need not."""
        for connection in self._opened:
            connection.close()

    def give_back(self, response: Response) -> None:
        """Keep the connection of an answer that was read to its end, close any other."""
        if response.reusable:
            self._idle.append(response.connection)
        else:
            response.connection.close()

    def begin(self, method: str, path: str, /, body: Any = None, headers: str = "", **query: Any) -> Exchange:
        """Send a request and return at once; *body* is sent as JSON."""
        fresh = not self._idle
        connection = self.connect() if fresh else self._idle.pop()
        data = b"" if body is None else dumps(body).encode()
        request = _head(method, target(path, query), headers, data, json=body is not None)
        try:
            connection.send(request)
        except ConnectionLost:
            if fresh:
                raise
            connection, fresh = self.connect(), True
            connection.send(request)
        return Exchange(self, connection, request, fresh=fresh)

    def get(self, path: str, **query: Any) -> Any:
        """GET *path*; the answer as a Python value."""
        return self.begin("GET", path, **query).value()

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST *body* to *path*; the answer as a Python value."""
        return self.begin("POST", path, body, **query).value()

    def delete(self, path: str, **query: Any) -> Any:
        """DELETE *path*; the answer as a Python value."""
        return self.begin("DELETE", path, **query).value()

    def stream(
        self, method: str, path: str, /, body: Any = None, headers: str = "", **query: Any
    ) -> Response:
        """Send a request and return when the head of the answer is there; the body is the caller's."""
        return self.begin(method, path, body, headers, **query).response()

    def upload(self, path: str, blocks: Iterable[bytes], /, **query: Any) -> Response:
        """POST a tar stream whose length is unknown; the body of the answer is the caller's.

        The stream is sent by a thread of its own, because the daemon answers
        while it reads.
        """
        connection = self.connect()
        headers = "Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n"
        request = f"POST {target(path, query)} HTTP/1.1\r\nHost: corten\r\n{headers}\r\n".encode()
        connection.send(request)
        failures: list[Failure] = []
        _thread.start_new_thread(_feed, (connection, blocks, failures))
        try:
            return Exchange(self, connection, request, fresh=True).response()
        except ConnectionLost:
            raise (failures or [ConnectionLost()])[0] from None

    def upgrade(self, path: str, body: Any = None, **query: Any) -> Exchange:
        """Send a request for a raw stream in both directions; see `raw`."""
        return self.begin("POST", path, body, "Connection: Upgrade\r\nUpgrade: tcp\r\n", **query)


def raw(exchange: Exchange) -> tuple[_socket.socket, bytes]:
    """Wait until an upgraded request is granted.

    Returns:
        The socket, now the caller's to close, and what was already read from it.

    Raises:
        ApiError: the daemon says no.
    """
    connection = exchange.response().connection
    return connection.socket, connection.rest


def _feed(connection: Connection, blocks: Iterable[bytes], failures: list[Failure]) -> None:
    """Send *blocks*; if they cannot be read, break the connection off, so that the daemon does not wait."""
    try:
        connection.send_chunks(blocks)
    except OSError as error:
        failures.append(Failure(f"cannot read the archive: {(error.strerror or str(error)).lower()}"))
        try:
            connection.socket.shutdown(2)
        except OSError:  # the command is over already
            return


def documents(response: Response) -> Iterator[Any]:
    """Yield the JSON documents of a stream, one per line."""
    for line in response.lines():
        yield loads(line)


def _head(method: str, where: str, headers: str, data: bytes, *, json: bool) -> bytes:
    kind = "Content-Type: application/json\r\n" if json else ""
    size = "" if method in ("GET", "DELETE", "HEAD") and not data else f"Content-Length: {len(data)}\r\n"
    return f"{method} {where} HTTP/1.1\r\nHost: corten\r\n{kind}{size}{headers}\r\n".encode() + data


def _reason(response: Response) -> str:
    text = response.read().decode("utf-8", "replace").strip()
    response.connection.close()
    try:
        message = loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    return str(message or f"HTTP status {response.code}")


def _explain(error: OSError, path: str) -> Failure:
    if error.errno in (EACCES, EPERM):
        return NoDaemon(
            f"permission denied while connecting to the corten daemon at unix://{path}: "
            "run the command as root, for example with sudo"
        )
    if error.errno in LOST:
        return NoDaemon(
            f"Cannot connect to the corten daemon at unix://{path}. Is the corten daemon running?"
        )
    return NoDaemon(
        f"cannot connect to unix://{path}: {error.strerror or error}: choose another --run or --host"
    )
