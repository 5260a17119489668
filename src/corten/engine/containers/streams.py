"""The streams of a container's first process: attach and terminal size."""

import asyncio
import socket
import struct
from contextlib import suppress

from corten.core.logs import reader
from corten.core.logs.segment import Query
from corten.engine.containers.parts import Parts, is_up
from corten.engine.records.container import Container
from corten.errors import Conflict, CortenError, InvalidInput

DETACH_KEYS = "ctrl-p,ctrl-q"


class Terminal:
    """Attach and resize."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Set the size of a running container's terminal, in cells.

        Raises:
            Conflict: it does not run.
        """
        container = self._parts.records.find(ref)
        if not is_up(container):
            raise Conflict(f"container {container.id} is not running")
        await self._parts.runtime.resize(container.id, height, width)
        self._parts.tell("resize", container, height=str(height), width=str(width))

    async def attach(
        self,
        ref: str,
        sock: socket.socket,
        leftover: bytes,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        logs: bool,
        stream: bool,
        detach_keys: str | None,
        multiplexed: bool,
    ) -> None:
        """Connect a client; before the start too, then it sees everything from the first byte.

        With *logs* what was written so far is sent first. The supervisor owns the
        connection afterwards, so that it outlives this process.

        Raises:
            Conflict: the container is paused.
            InvalidInput: malformed detach keys.
        """
        container = self._parts.records.find(ref)
        if container.state.status == "paused":
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        keys = key_codes(detach_keys or DETACH_KEYS) if container.config.tty else b""
        if logs:
            await asyncio.to_thread(self._replay, container, sock, stdout, stderr, multiplexed)
        if not stream:
            self._parts.tell("attach", container)
            sock.close()
            return
        try:
            await self._parts.runtime.attach(
                container.id,
                sock,
                leftover,
                stdin=stdin and container.config.open_stdin,
                stdout=stdout,
                stderr=stderr,
                multiplexed=multiplexed,
                keys=keys,
            )
        except CortenError:
            sock.close()  # the answer's head is on its way: all that is left to say is the end
        else:
            self._parts.tell("attach", container)

    def _replay(
        self, container: Container, sock: socket.socket, stdout: bool, stderr: bool, framed: bool
    ) -> None:
        """Send the log so far; in a thread."""
        sock.setblocking(True)
        query = Query(stdout=stdout, stderr=stderr)
        with suppress(OSError):
            for chunk in reader.read(self._parts.logs(container.id), query):
                head = struct.pack(">BxxxI", chunk.stream, len(chunk.data)) if framed else b""
                sock.sendall(head + bytes(chunk.data))


def key_codes(text: str) -> bytes:
    r"""Return the bytes of a detach sequence such as ``ctrl-p,ctrl-q`` or ``ctrl-@,x``.

    Raises:
        InvalidInput: a key that is neither one character nor ``ctrl-`` and one of ``a-z@[\\]^_``.
    """
    codes = bytearray()
    for key in text.split(","):
        name = key.lower().removeprefix("ctrl-")
        if key.lower().startswith("ctrl-") and len(name) == 1 and "@" <= name.upper() <= "_":
            codes.append(ord(name.upper()) - 64)
        elif len(key) == 1 and key.isascii():
            codes.append(ord(key))
        else:
            raise InvalidInput(
                f"invalid detach keys ({text}): unknown key {key!r}; write for example ctrl-p,ctrl-q"
            )
    return bytes(codes)
