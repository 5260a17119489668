"""DNS messages on a TCP connection: two bytes of length before each (RFC 1035 section 4.2.2)."""

import asyncio
import socket


async def send(connection: socket.socket, message: bytes) -> None:
    """Send one message of at most 65535 bytes; OSError when the other side is gone."""
    await asyncio.get_running_loop().sock_sendall(connection, len(message).to_bytes(2, "big") + message)


async def receive(connection: socket.socket) -> bytes:
    """Return the next message.

    Raises:
        EOFError: the other side has ended, also in the middle of a message.
        OSError: the connection broke.
    """
    return await _exactly(connection, int.from_bytes(await _exactly(connection, 2), "big"))


async def _exactly(connection: socket.socket, size: int) -> bytes:
    loop, parts = asyncio.get_running_loop(), bytearray()
    while len(parts) < size:
        part = await loop.sock_recv(connection, size - len(parts))
        if not part:
            raise EOFError("the connection has ended")
        parts += part
    return bytes(parts)
