"""What daemon and supervisor say to each other, and how it is framed.

A frame is two 32-bit lengths, a JSON object (the header) and opaque bytes (the
payload); descriptors ride on the first byte (SCM_RIGHTS). Both ends use a
stream socket in the run directory, which only root can reach.

Requests carry ``do`` and a number ``n``; the answer carries the same ``n``:

=========  ==========================================================  =====================
do         other members; payload; descriptors                         answer; descriptors
=========  ==========================================================  =====================
hello                                                                  supervisor's pid
kit        at, devices; steps that parked children take beforehand      ok
start      task (see Task.FIELDS); plan; those the plan joins          pid, started; pidfd, master
exec       task with ``container``; plan                               pid, started; pidfd, master
mounts     id of a container whose mounts a child changes; plan;       ok
           what the plan joins besides the container
attach     id, stdin, stdout, stderr, multiplexed, keys; bytes         ok
           already read; the client's socket
detach     id: let go of clients of a task that never started          ok
kill       id, signal                                                  ok
resize     id, height, width                                           ok
list                                                                   a ``known`` event per task, then ok
adopt      task with pid, started; pidfd, master                       ok
forget     id: its exit is recorded, remove all of it; directory,      ok
           cgroup: where, when a former supervisor started it
quit       only when no task is left                                   ok
=========  ==========================================================  =====================

Events carry ``event``: ``exit`` (id, code, oom, at), ``known`` (a task with its exit, if
it ended; pidfd, master).
"""

import json
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LENGTHS = struct.Struct("<II")
MOST = 64 << 20  # a longer frame is a bug, not a message
MOST_DESCRIPTORS = 16


def encode(header: "dict[str, Any]", payload: bytes = b"") -> bytes:
    """Return the frame of *header* and *payload*."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


def send(connection: socket.socket, frame: bytes, descriptors: "tuple[int, ...] | list[int]" = ()) -> None:
    """Send one whole frame on a blocking socket, *descriptors* with its first byte.

    Raises:
        OSError: the other side is gone.
    """
    sent = socket.send_fds(connection, [frame], list(descriptors)) if descriptors else connection.send(frame)
    if sent < len(frame):
        connection.sendall(memoryview(frame)[sent:])


class Decoder:
    """Frames out of received bytes; descriptors wait for the frame they came with.

    A sender never puts the first byte of two frames with descriptors into one
    receive, because the kernel ends a receive where descriptors were attached.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._descriptors: list[int] = []

    def receive(self, connection: socket.socket) -> bool:
        """Take in what *connection* has; False when the other side closed it.

        Raises:
            BlockingIOError: nothing there on a non-blocking socket.
        """
        data, descriptors, _, _ = socket.recv_fds(
            connection, 1 << 16, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        for descriptor in descriptors:  # recv_fds of Python 3.11 drops its flags
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        self._buffer += data
        return bool(data)

    def frames(self) -> "list[tuple[dict[str, Any], bytes, list[int]]]":
        """Return the frames that are complete, as (header, payload, descriptors); the caller closes those."""
        found: list[tuple[dict[str, Any], bytes, list[int]]] = []
        while len(self._buffer) >= _LENGTHS.size:
            first, second = _LENGTHS.unpack_from(self._buffer)
            end = _LENGTHS.size + first + second
            if end > MOST:
                raise ValueError(f"a frame of {end} bytes")
            if len(self._buffer) < end:
                break
            header = json.loads(self._buffer[_LENGTHS.size : _LENGTHS.size + first])
            payload = bytes(self._buffer[_LENGTHS.size + first : end])
            del self._buffer[:end]
            count = header.pop("descriptors", 0)
            found.append((header, payload, self._descriptors[:count]))
            del self._descriptors[:count]
        return found

    def close(self) -> None:
        """Close descriptors that no frame claimed."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
