"""A name server outside of the engine, which remembers what it was asked."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.unit.core.networks.dns import oracle

DEADLINE = 5.0  # seconds until an answer has to be there

Reply = Callable[[bytes, str], bytes | None]  # (query, "udp" or "tcp"); None says nothing


def always(*addresses: str, rcode: int = 0) -> Reply:
    """Answer everything with the same."""
    return lambda query, _: oracle.answer(query, *addresses, rcode=rcode)


class Recording:
    """Answers by UDP and TCP at *address*, in the network namespace of the thread that starts it."""

    def __init__(self, reply: Reply, address: str = "127.0.0.1", port: int = 0) -> None:
        self.address, self.asked = address, list[tuple[str, str]]()
        self._reply, self._wanted = reply, port
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Answer from now on."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        while True:
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            self._tcp = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._udp.bind((self.address, self._wanted))
                self.port: int = self._udp.getsockname()[1]
                self._tcp.bind((self.address, self.port))
                break
            except OSError:
                self._udp.close()
                self._tcp.close()
                if self._wanted:
                    raise
        self._tcp.listen()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._datagrams, self._streams)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close all and wait for the threads."""
        for one in (self._udp, self._tcp, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits
        for thread in self._threads:
            thread.join()
        for one in (self._udp, self._tcp):
            one.close()

    def names(self) -> list[str]:
        """Each name that was asked for, in order."""
        return [name for _, name in self.asked]

    def _answer(self, query: bytes, way: str) -> bytes | None:
        self.asked.append((way, oracle.question(query)))
        return self._reply(query, way)

    def _datagrams(self) -> None:
        with suppress(OSError):
            while True:
                query, client = self._udp.recvfrom(65535)
                if not query:
                    return
                if reply := self._answer(query, "udp"):
                    self._udp.sendto(reply, client)

    def _streams(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                self._connections.append(connection)
                with connection, suppress(OSError):
                    while query := framed(connection):
                        if reply := self._answer(query, "tcp"):
                            connection.sendall(len(reply).to_bytes(2, "big") + reply)


def framed(connection: socket.socket) -> bytes:
    """Read one message with its length from a blocking socket; empty at the end."""
    head = connection.recv(2, socket.MSG_WAITALL)
    return connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if len(head) == 2 else b""


async def datagram(server: tuple[str, int], query: bytes) -> bytes:
    """Ask by UDP."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asker:
        asker.connect(server)
        await loop.sock_sendall(asker, query)
        async with asyncio.timeout(DEADLINE):
            return await loop.sock_recv(asker, 65535)


async def streamed(server: tuple[str, int], *queries: bytes) -> list[bytes]:
    """Ask all of *queries* on one TCP connection, sent at once."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(*server)
        writer.write(b"".join(len(query).to_bytes(2, "big") + query for query in queries))
        replies = []
        for _ in queries:
            length = int.from_bytes(await reader.readexactly(2), "big")
            replies.append(await reader.readexactly(length))
        writer.close()
        await writer.wait_closed()
    return replies
