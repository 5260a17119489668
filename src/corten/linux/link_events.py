"""Links that go: what the kernel tells of it, without being asked.

A socket in the multicast group of links hears of each change of each link. A
filter in the kernel lets only deletions through, so that a daemon which makes
hundreds of links wakes up for none of them.

Source: rtnetlink(7), socket(7) "SO_ATTACH_FILTER", linux/filter.h.
"""

import ctypes
import socket
import struct
import sys
from types import TracebackType
from typing import Self

RTM_DELLINK, RTMGRP_LINK, IFLA_IFNAME = 17, 1, 3
SO_ATTACH_FILTER = 26
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_LINK_SIZE = 16  # bytes of ifinfomsg
_ATTRIBUTE = struct.Struct("=HH")

# ldh [4]; jeq #RTM_DELLINK, accept; ret #0; accept: ret #-1. The filter reads numbers in network order.
_KIND = socket.htons(RTM_DELLINK) if sys.byteorder == "little" else RTM_DELLINK
_PROGRAM = ((0x28, 0, 0, 4), (0x15, 0, 1, _KIND), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
_INSTRUCTION = struct.Struct("=HBBI")


class LinkEvents:
    """Hears of links that were deleted in the network namespace of the thread that made it.

    Closed by the owner, by ``with`` or ``close``; ``fileno`` is for waiting.

    Raises:
        OSError: the socket cannot be opened.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            self._filter()
            self._socket.bind((0, RTMGRP_LINK))
        except BaseException:
            self._socket.close()
            raise

    def _filter(self) -> None:
        code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in _PROGRAM)
        kept = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(_PROGRAM), ctypes.addressof(kept))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, which is readable when there is something to tell."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()

    def read(self) -> list[str]:
        """Return the names of the links that have gone since; never waits.

        An empty name stands for those that could not be told for lack of room.
        """
        names: list[str] = []
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return names
            except OSError:  # ENOBUFS: more happened than the socket could hold
                names.append("")
                continue
            names += _gone(data)


def _gone(data: bytes) -> list[str]:
    names, offset = [], 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            break
        if kind == RTM_DELLINK:
            names.append(_name(data[offset + _HEADER.size + _LINK_SIZE : offset + length]))
        offset += (length + 3) & ~3
    return names


def _name(data: bytes) -> str:
    """Return the name among the attributes of a link; empty where there is none."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        if kind == IFLA_IFNAME:
            return data[offset + _ATTRIBUTE.size : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += (length + 3) & ~3
    return ""
