"""A door of a fake engine, served by a loop in a thread, for clients of every kind."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from corten.serve.api.app import Door, serve
from tests.fakes.engine import FakeEngine

PATIENCE = 20.0  # seconds until a test that hangs fails

_Result = TypeVar("_Result")


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection through a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Server:
    """A running door."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop, engine: FakeEngine, door: Door) -> None:
        self.path, self.loop, self.engine, self.door = path, loop, engine, door

    @property
    def url(self) -> str:
        """The address as clients take it."""
        return f"unix://{self.path}"

    def do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run *work* in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Make one request; anything but bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(UnixConnection(self.path)) as connection:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def container(self, *cmd: str, start: bool = True, name: str = "", **config: Any) -> str:
        """Create a container, start it, and return its id."""
        body = {"Image": "debian", "Cmd": list(cmd), **config}
        answer = self.call("POST", f"/containers/create?name={name}", body)
        assert answer.status == 201, answer.body
        identity: str = answer.json()["Id"]
        if start:
            assert self.call("POST", f"/containers/{identity}/start").status == 204
        return identity

    def ended(self, identity: str) -> int:
        """Wait for a container to end and return its exit code."""
        code: int = self.call("POST", f"/containers/{identity}/wait").json()["StatusCode"]
        return code

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        """Lend a raw connection."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.path)
            yield sock


def read_all(sock: socket.socket) -> bytes:
    """Read until the other side closes."""
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def read_head(sock: socket.socket) -> bytes:
    """Read exactly the head of a response."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        assert piece, f"closed after {head!r}"
        head += piece
    return head


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A door of a fake engine that runs in a thread until the test ends."""
    path = str(tmp_path / "corten.sock")
    ready: list[Server] = []
    opened = threading.Event()

    async def live() -> None:
        engine = FakeEngine()
        door = await serve(engine, path)
        ready.append(Server(path, asyncio.get_running_loop(), engine, door))
        stop.append(asyncio.Event())
        opened.set()
        await stop[0].wait()
        await door.close()
        await engine.close()

    stop: list[asyncio.Event] = []
    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert opened.wait(PATIENCE)
    yield ready[0]
    ready[0].loop.call_soon_threadsafe(stop[0].set)
    thread.join(PATIENCE)
    assert not thread.is_alive()
