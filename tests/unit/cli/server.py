"""A small HTTP/1.1 server on a Unix socket, scripted by the test, that remembers what it was asked."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SOURCE = Path(__file__).parents[3] / "src"
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from corten.cli.main import main; main()"


@dataclass
class Request:
    """What a client asked; ``path`` is without the version of the API."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Reply:
    """What the server answers: JSON, bytes, chunks, or a stream that a function uses."""

    code: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] | None = None
    stream: Callable[[socket.socket], None] | None = None
    close: bool = False  # end the body by closing
    drop: bool = False  # close in silence after a whole answer


Handler = Callable[[Request], Reply]


def encode(reply: Reply) -> bytes:
    """The bytes of *reply* on the wire."""
    headers = dict(reply.headers)
    if reply.stream:
        headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
        body = b""
    elif reply.chunks is not None:
        headers["Transfer-Encoding"] = "chunked"
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in reply.chunks) + b"0\r\n\r\n"
    else:
        body = reply.body if isinstance(reply.body, bytes) else b""
        if reply.body is not None and not isinstance(reply.body, bytes):
            body = json.dumps(reply.body).encode()
        if not reply.close:
            headers["Content-Length"] = str(len(body))
    head = f"HTTP/1.1 {101 if reply.stream else reply.code} Words\r\n"
    return (head + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode() + body


class Daemon:
    """Answers every request by calling the handler of its method and path, or with 404."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.connections = 0
        self.routes: dict[tuple[str, str], Handler | Reply] = {}
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._start(self._accept)

    def on(self, method: str, path: str, handler: Handler | Reply) -> None:
        """Answer *method* on *path* with *handler*."""
        self.routes[method, path] = handler

    def asked(self, method: str = "") -> list[str]:
        """The requests so far, as ``METHOD /path``, those of *method* alone if one is given."""
        return [f"{r.method} {r.path}" for r in self.requests if not method or r.method == method]

    def close(self) -> None:
        """Stop everything and wait for it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(10)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for sock in self._sockets:
            sock.close()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), sock.makefile("rb") as file:
            while True:
                request = _read(file)
                if request is None:
                    return
                self.requests.append(request)
                reply = self.routes.get(
                    (request.method, request.path), Reply(404, {"message": "No such thing"})
                )
                if callable(reply):
                    reply = reply(request)
                sock.sendall(encode(reply))
                if reply.stream:
                    reply.stream(sock)
                    sock.shutdown(socket.SHUT_RDWR)
                    return
                if reply.close or reply.drop:
                    sock.shutdown(socket.SHUT_RDWR)
                    return


def _read(file: Any) -> Request | None:
    line = file.readline().decode()
    if not line:
        return None
    method, target, _ = line.split()
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = file.read(int(headers.get("content-length", "0")))
    if headers.get("transfer-encoding") == "chunked":
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        file.readline()
    parts = urlsplit(target)
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    return Request(method, unquote(parts.path.removeprefix("/v1.47")), query, headers, body)


def frame(stream: int, data: bytes) -> bytes:
    """*data* as a frame of a multiplexed stream."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def command(daemon: Daemon, *words: str) -> list[str]:
    """The command line that starts the client in a process of its own."""
    return [
        sys.executable,
        "-I",
        "-S",
        "-X",
        "utf8",
        "-c",
        START,
        str(SOURCE),
        "-H",
        f"unix://{daemon.path}",
        *words,
    ]


def corten(
    daemon: Daemon, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the client against *daemon* and wait for it."""
    return subprocess.run(
        command(daemon, *words),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=30,
        env=os.environ | (env or {}),
    )


@contextlib.contextmanager
def serving(path: Path) -> Iterator[Daemon]:
    """A daemon on the socket *path* while the block runs."""
    daemon = Daemon(path)
    try:
        yield daemon
    finally:
        daemon.close()
