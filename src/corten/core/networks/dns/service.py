"""Service: what the name server does for one container.

Names of containers are answered within the call that reads the question. What
has to be asked outside becomes a task, of which there are only so many at a
time, so that a container cannot fill the daemon. Nothing that arrives here is
trusted: it comes from inside of a container.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Coroutine
from concurrent.futures import Executor
from contextlib import suppress

from corten.core.networks.dns import stream, wire
from corten.core.networks.dns.forward import Forwarder
from corten.core.networks.dns.resolve import resolve
from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.dns.view import Server, View
from corten.core.networks.dns.wire import Malformed, Query
from corten.core.networks.dns.zone import Zone

LIFE = 5  # seconds that a client may remember an address; containers come and go
MOST_OUTSIDE = 128  # questions of one container outside at a time
MOST_CONNECTIONS = 32
IDLE = 10.0  # seconds until a connection without a question is closed
BATCH = 32  # datagrams read in one go, before others have their turn
PAUSE = 1.0  # seconds without new connections when there are no descriptors left

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("corten.dns")


class Service:
    """Answers on the sockets of one container, from ``begin`` to ``end``; lives in the running loop.

    Args:
        resolver: Its sockets, closed by ``end``.
        view: What it may see; replaced at will.
        zone: The names.
        forwarder: Asks outside.
        visitor: Runs what enters a network namespace.
    """

    def __init__(
        self, resolver: Resolver, view: View, zone: Zone, forwarder: Forwarder, visitor: Executor
    ) -> None:
        self.view = view
        self._resolver, self._zone, self._forwarder, self._visitor = resolver, zone, forwarder, visitor
        self._loop = asyncio.get_running_loop()
        self._questions: set[asyncio.Task[None]] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._ended = False

    def begin(self) -> None:
        """Answer from now on."""
        self._loop.add_reader(self._resolver.udp.fileno(), self._read_datagrams)
        self._listen()

    def end(self) -> set[asyncio.Task[None]]:
        """Close the sockets and give up what is under way; return the tasks that end now."""
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._resolver.udp.fileno())
            self._loop.remove_reader(self._resolver.tcp.fileno())
            self._resolver.close()
        tasks = self._questions | self._conversations
        for task in tasks:
            task.cancel()
        return tasks

    def _listen(self) -> None:
        if not self._ended:
            self._loop.add_reader(self._resolver.tcp.fileno(), self._accept)

    def _read_datagrams(self) -> None:
        for _ in range(BATCH):
            try:
                data, client = self._resolver.udp.recvfrom(wire.LARGEST_UDP)
            except OSError:  # nothing more
                return
            query, reply = self._at_once(data, 0)
            if query is not None:
                self._start(self._answer_later(query, data, client), self._questions)
            elif reply:
                self._send(reply, client)

    def _send(self, reply: bytes, client: tuple[str, int]) -> None:
        with suppress(OSError):  # a client that is gone, or a full buffer: as if the datagram was lost
            self._resolver.udp.sendto(reply, client)

    def _at_once(self, data: bytes, limit: int) -> tuple[Query | None, bytes]:
        """Return what has to be asked outside, or the answer (nothing for what deserves none)."""
        try:
            query = wire.parse_query(data)
        except Malformed as failure:
            return None, failure.reply
        answer = resolve(query, self._zone, self.view)
        if answer is not None:
            return None, wire.reply_to(query, answer.rcode, answer.records, life=LIFE, limit=limit)
        if not self.view.servers:
            return None, wire.reply_to(query, wire.SERVFAIL)
        if len(self._questions) >= MOST_OUTSIDE:
            return None, wire.reply_to(query, wire.REFUSED)
        return query, b""

    async def _answer_later(self, query: Query, data: bytes, client: tuple[str, int]) -> None:
        reply = await self._ask_outside(query, data, socket.SOCK_DGRAM)
        if not self._ended:
            self._send(reply if len(reply) <= query.size else wire.truncated(query), client)

    async def _ask_outside(self, query: Query, data: bytes, kind: int) -> bytes:
        reply = await self._forwarder.ask(query, data, self.view.servers, self._make_socket, kind=kind)
        return reply or wire.reply_to(query, wire.SERVFAIL)

    async def _make_socket(self, server: Server, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        if not server.inside:
            return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        visit = self._loop.run_in_executor(self._visitor, self._resolver.socket_inside, family, kind)
        try:
            return await asyncio.shield(visit)
        except asyncio.CancelledError:
            visit.add_done_callback(_close_result)
            raise

    def _accept(self) -> None:
        try:
            connection, _ = self._resolver.tcp.accept()
        except OSError as failure:
            if failure.errno in _NO_DESCRIPTORS:
                self._loop.remove_reader(self._resolver.tcp.fileno())
                self._loop.call_later(PAUSE, self._listen)
            return
        if len(self._conversations) >= MOST_CONNECTIONS:
            connection.close()
            return
        connection.setblocking(False)
        task = self._start(self._converse(connection), self._conversations)
        task.add_done_callback(lambda _: connection.close())  # also of one that never began

    async def _converse(self, connection: socket.socket) -> None:
        """Answer the questions of one connection, one after the other, until the client ends it or is silent."""
        with suppress(OSError, EOFError):  # a TimeoutError is an OSError
            while True:
                async with asyncio.timeout(IDLE):
                    data = await stream.receive(connection)
                query, reply = self._at_once(data, wire.LARGEST)
                if query is not None:
                    reply = await self._ask_outside(query, data, socket.SOCK_STREAM)
                if not reply:
                    return
                async with asyncio.timeout(IDLE):
                    await stream.send(connection, reply)

    def _start(
        self, work: Coroutine[object, object, None], group: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)
        task.add_done_callback(_report)
        return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()):
        log.error("a question about a name failed", exc_info=failure)


def _close_result(visit: asyncio.Future[socket.socket]) -> None:
    """Close a socket that nobody waits for any more."""
    if not visit.cancelled() and not visit.exception():
        visit.result().close()
