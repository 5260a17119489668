"""Ask servers outside, several of them, and take the first answer that is one.

Servers are asked in their order. The next one is asked when the one before
fails, or says nothing for a moment; who was asked before may still answer.
After the last one the silent ones are asked once more, since a datagram can be
lost. All of it ends before the patience of a usual client does (5 seconds,
resolv.conf(5)).

Each question has a random id and a socket, so a source port, of its own, and
the socket is connected: others cannot slip in an answer (RFC 5452), and a
server that does not run is noticed at once.
"""

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from corten.core.networks.dns import stream, wire
from corten.core.networks.dns.view import ADDRESS, Server
from corten.core.networks.dns.wire import Query

STEP = 1.0  # seconds until the next server is asked too
PATIENCE = 4.5  # seconds for all of it
MOST_SERVERS = 3  # as many as resolv.conf(5) takes
_FINAL = (wire.NOERROR, wire.NXDOMAIN)  # other codes speak of the server, not of the name

MakeSocket = Callable[[Server, int], Awaitable[socket.socket]]  # (server, SOCK_DGRAM or SOCK_STREAM)


class Forwarder:
    """Asks servers; *step* and *patience* are in seconds."""

    def __init__(self, step: float = STEP, patience: float = PATIENCE) -> None:
        self._step, self._patience = step, patience

    async def ask(
        self, query: Query, message: bytes, servers: Sequence[Server], make: MakeSocket, *, kind: int
    ) -> bytes | None:
        """Return the best answer to *query*, under its id; None when nobody answers.

        Args:
            query: What is asked.
            message: The same as bytes.
            servers: Whom to ask; our own address, from inside, is left out.
            make: Makes a non-blocking socket from where a server is asked.
            kind: ``SOCK_DGRAM`` or ``SOCK_STREAM``, as the client has asked.
        """
        clock = asyncio.get_running_loop().time
        end, chosen = clock() + self._patience, _usable(servers)
        waiting, spent = deque([*chosen, *chosen]), set[Server]()
        tasks: dict[asyncio.Task[bytes | None], Server] = {}
        second_best: bytes | None = None
        try:
            while (left := end - clock()) > 0:
                while waiting and waiting[0] in spent:
                    waiting.popleft()
                if waiting:
                    server = waiting.popleft()
                    tasks[asyncio.create_task(_ask(server, query, message, make, kind))] = server
                if not tasks:
                    break
                done, _ = await asyncio.wait(
                    tasks,
                    timeout=min(left, self._step) if waiting else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    spent.add(tasks.pop(task))
                    reply = task.result()
                    if reply and wire.rcode_of(reply) in _FINAL:
                        return reply
                    second_best = second_best or reply
            return second_best
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _usable(servers: Iterable[Server]) -> list[Server]:
    return [s for s in servers if not (s.inside and s.address == ADDRESS)][:MOST_SERVERS]


async def _ask(server: Server, query: Query, message: bytes, make: MakeSocket, kind: int) -> bytes | None:
    """Ask one server and wait for its answer, however long; None when it cannot be reached."""
    number = secrets.randbits(16)
    try:
        with await make(server, kind) as connection:
            await asyncio.get_running_loop().sock_connect(connection, (server.address, server.port))
            exchange = _by_stream if kind == socket.SOCK_STREAM else _by_datagram
            reply = await exchange(connection, query, wire.renumbered(message, number), number)
    except (OSError, EOFError):
        return None
    return wire.renumbered(reply, query.id)


async def _by_datagram(connection: socket.socket, query: Query, message: bytes, number: int) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, message)
    while not wire.answers(reply := await loop.sock_recv(connection, wire.LARGEST), number, query):
        pass
    return reply


async def _by_stream(connection: socket.socket, query: Query, message: bytes, number: int) -> bytes:
    await stream.send(connection, message)
    while not wire.answers(reply := await stream.receive(connection), number, query):
        pass
    return reply
