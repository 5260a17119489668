"""Attach and exec: the connection leaves HTTP and becomes a raw stream.

The transport stops reading, the response head is written past the HTTP
server, the socket is duplicated, and the transport is aborted, which closes
its own descriptor and nothing else. From then on the duplicate is the
connection: both halves can be closed apart, which the HTTP server would not
allow, and it can be passed to another process.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from corten.errors import InvalidInput
from corten.serve.api.connection import Connection
from corten.serve.api.failures import expected, message_of
from corten.serve.api.request import Request

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
_MULTIPLEXED_NAMED_SINCE = (1, 42)

log = logging.getLogger(__name__)


class Stream(NamedTuple):
    """A connection taken from HTTP; whoever is given it closes ``sock``.

    ``leftover`` is what the client had sent and the parser had read already.
    """

    sock: socket.socket
    leftover: bytes


class Taken(web.StreamResponse):
    """Stands for the response of a request whose connection has left HTTP: writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:  # the base's signature
        """Write nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


def stream_type(version: tuple[int, int], tty: bool) -> str:
    """Return the content type of the streams of a process, as API *version* names it."""
    return MULTIPLEXED if not tty and version >= _MULTIPLEXED_NAMED_SINCE else RAW


def frame(stream: int, size: int) -> bytes:
    """Return the header of *size* bytes of *stream* (1 stdout, 2 stderr) in a multiplexed stream."""
    return struct.pack(">BxxxI", stream, size)


def _head(request: Request, tty: bool) -> bytes:
    """Return the response head: 101 where the client asked for an upgrade, else 200."""
    if "upgrade" in request.raw.headers:
        return (
            "HTTP/1.1 101 UPGRADED\r\n"
            f"Content-Type: {stream_type(request.version, tty)}\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        ).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n".encode()


async def take(request: Request, *, tty: bool) -> Stream:
    """Answer *request* and take its connection out of HTTP; its body must have been read.

    Raises:
        InvalidInput: the connection carries other requests as well.
        ConnectionError: the client is gone.
    """
    connection, transport = request.raw.protocol, request.raw.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    assert isinstance(connection, Connection)
    transport.pause_reading()
    try:
        if transport.get_write_buffer_size():
            raise InvalidInput("cannot take over this connection: read the earlier answer first")
        leftover = connection.behind(request.raw)
    except InvalidInput:
        transport.resume_reading()
        raise
    sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    sock.setblocking(False)
    try:
        await _send_apart(sock, _head(request, tty))
    except BaseException:
        sock.close()
        raise
    transport.abort()
    return Stream(sock, leftover)


async def _send_apart(sock: socket.socket, head: bytes) -> None:
    """Send *head* so that no receive call returns it together with what follows.

    docker-py reads the head through a buffer and the stream past that buffer,
    so that output which arrives with the head would be lost to it; an engine
    that is quick enough makes that happen. The kernel does not join bytes
    that came with a descriptor to those behind them, so one of /dev/null goes
    along, which a plain read drops.
    Source: linux/net/unix/af_unix.c, unix_stream_read_generic.
    """
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        socket.send_fds(sock, [head], [null])
    except BlockingIOError:  # the client is behind with earlier answers
        await asyncio.get_running_loop().sock_sendall(sock, head)
    finally:
        os.close(null)


async def hand_over(request: Request, *, tty: bool, use: Callable[[Stream], Awaitable[object]]) -> Taken:
    """Take the connection of *request* and give it to *use*, which runs on behind the request.

    A failure of *use* can no longer be a status code: it is written into the
    stream, where Docker's clients show it.
    """
    stream = await take(request, tty=tty)
    request.background(_run(stream, tty, use))
    return Taken()


async def _run(stream: Stream, tty: bool, use: Callable[[Stream], Awaitable[object]]) -> None:
    """Run *use*, which owns the socket; a duplicate is kept until it returns, to tell the client of a failure."""
    with stream.sock.dup() as voice:
        voice.setblocking(False)
        try:
            await use(stream)
        except Exception as failure:
            stream.sock.close()
            if not expected(failure):
                log.exception("a taken connection failed")
            text = f"{message_of(failure)}\r\n".encode()
            with contextlib.suppress(OSError):  # a client that is gone does not matter
                await asyncio.get_running_loop().sock_sendall(
                    voice, text if tty else frame(1, len(text)) + text
                )
        except BaseException:
            stream.sock.close()
            raise
