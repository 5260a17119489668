"""How ``corten registry gc`` and ``retention`` reach a registry that is being served.

A Unix socket in the folder of its state, which only that folder's owner can
open. One line of JSON each way: ``{"verb": "gc", "dry_run": true}`` and
``{"text": "..."}`` or ``{"failure": "..."}``.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from corten.errors import CortenError, Unavailable

SOCKET = "control.sock"
_LINE = 1 << 16  # bytes of a question at most

Verb = Callable[[bool], Awaitable[str]]


class Control:
    """The server's side: *verbs* by name, each told whether it is to change anything."""

    def __init__(self, folder: str, verbs: dict[str, Verb]) -> None:
        self._folder = folder
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; whoever has the folder's lock owns the socket, so one that is there is stale."""
        with _short(self._folder) as path:
            with suppress(FileNotFoundError):
                os.unlink(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(path)
                os.chmod(path, 0o600)
            except BaseException:
                listener.close()
                raise
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LINE)

    async def close(self) -> None:
        """Stop listening and remove the socket; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with suppress(FileNotFoundError):
                os.unlink(f"{self._folder}/{SOCKET}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            answer = await self._answer(await reader.readline())
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> dict[str, str]:
        try:
            question = json.loads(line)
            verb, dry_run = self._verbs[question["verb"]], bool(question["dry_run"])
        except (ValueError, KeyError, TypeError):
            return {"failure": "the running registry does not understand that: restart it with this version"}
        try:
            return {"text": await verb(dry_run)}
        except (CortenError, OSError) as failure:
            return {"failure": str(failure)}


def ask(folder: str, verb: str, *, dry_run: bool) -> str | None:
    """Have the registry that is served from *folder* do something; return what it says, None if none runs.

    Raises:
        Unavailable: it failed, or went away.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _short(folder) as path:
                connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        connection.sendall(json.dumps({"verb": verb, "dry_run": dry_run}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise Unavailable("the running registry went away: look at its log, and try again")
    answer: dict[str, str] = json.loads(line)
    if "failure" in answer:
        raise Unavailable(answer["failure"])
    return answer["text"]


@contextmanager
def _short(folder: str) -> Iterator[str]:
    """Lend a path of the socket that fits into an address of 107 bytes, however long the folder's is."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
