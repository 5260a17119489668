"""Registries on the loopback of an engine's network namespace, and a way to them that breaks."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import pytest

from corten.linux.namespaces import CLONE_NEWNET, setns
from tests.e2e.tools import PATIENCE, until
from tests.fakes.registry import FakeRegistry
from tests.kernel.isolated import inside

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from aiohttp import web

    from tests.e2e.conftest import Engine

USER, PASSWORD = "anna", "s3cret"
HASH = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG"  # bcrypt of PASSWORD
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
AUTH = "auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
_PIECE = 1 << 16


@contextmanager
def debian_registry(engine: Engine, folder: Path, port: int, locked: bool = False) -> Iterator[str]:
    """Run Debian's docker-registry beside *engine*; with *locked* it knows one user. Yields ``host:port``."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    folder.mkdir()
    (folder / "htpasswd").write_text(f"{USER}:{HASH}\n")
    (folder / "config.yml").write_text((CONFIG + (AUTH if locked else "")).format(folder=folder, port=port))
    words = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{engine.netns}", "--")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*words, program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        until(lambda: _listens(engine.netns, port), "the registry to answer")
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _listens(netns: int, port: int) -> bool:
    def connect() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    return inside(netns, connect)


class NearRegistry(FakeRegistry):
    """A registry that misbehaves on order, in the network namespace of an engine."""

    def __init__(self, engine: Engine, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._netns = engine.netns
        self._transports: set[Any] = set()

    async def _live(self) -> None:
        setns(self._netns, CLONE_NEWNET)
        await super()._live()
        for transport in self._transports:  # what nobody reads any more, or says goodbye to, would stay open
            below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
            if below is not None or self._tls is None:
                (below or transport).abort()
        await asyncio.sleep(0)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        self._transports.add(request.transport)
        return await super()._serve(request)


class Way:
    """A way to a port, at a pace, that counts what passes in each direction and may break.

    Args:
        engine: In whose network namespace it is.
        port: Where it leads to.
        pace: Bytes per second towards the client.
        every: Bytes after which it breaks, again and again; 0 for never.
        near: Where it listens.
    """

    def __init__(
        self,
        engine: Engine,
        port: int,
        pace: float = 1e9,
        every: int = 0,
        near: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._netns, self._port, self._pace, self._every = engine.netns, port, pace, every
        self.down = self.up = self.breaks = 0
        self._lock = threading.Lock()
        self._next = every
        self._listener = inside(self._netns, lambda: socket.create_server(near))
        self._listener.settimeout(0.2)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._open = True
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    @property
    def host(self) -> str:
        """The way as references name it."""
        return f"localhost:{self.port}"

    def _accept(self) -> None:
        setns(self._netns, CLONE_NEWNET)
        while self._open:
            with suppress(TimeoutError):
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                for sock in (near, far):
                    sock.settimeout(0.2)
                near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
                for source, target, down in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._move, args=(source, target, down))
                    self._threads.append(thread)
                    thread.start()

    def _move(self, source: socket.socket, target: socket.socket, down: bool) -> None:
        with suppress(OSError):
            while self._open:
                with suppress(TimeoutError):
                    data = source.recv(_PIECE)
                    if not data:
                        break
                    self._send(target, data)
                    if self._count(len(data), down):
                        break
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if down:
            source.close()
            target.close()

    def _send(self, target: socket.socket, data: bytes) -> None:
        while data and self._open:
            with suppress(TimeoutError):
                data = data[target.send(data) :]

    def _count(self, count: int, down: bool) -> bool:
        """Count; tell whether it is time to break."""
        with self._lock:
            if not down:
                self.up += count
                return False
            self.down += count
            broken = bool(self._every) and self.down >= self._next
            if broken:
                self._next = self.down + self._every
                self.breaks += 1
        time.sleep(count / self._pace)
        return broken
