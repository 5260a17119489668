"""Changes of nftables rules, as the kernel tells of them: by which process, of which tables.

Every transaction is announced as one message per thing changed, closed by one
that names the new generation of the rules and who made it.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h, netlink(7).
"""

import errno
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from corten.linux.netlink_messages import attributes, messages

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWGEN = 15
NFTA_GEN_PROC_PID, NFTA_TABLE = 2, 1  # the name of the table has number 1 in every other message

_GENERIC = 4  # bytes of nfgenmsg
_ROOM = 1 << 20  # bytes of messages that may wait


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction. *pid* is the thread that made it, 0 when unknown.

    ``tables`` is None when messages were lost, so that it may have been any.
    """

    tables: frozenset[str] | None
    pid: int


class NftablesEvents:
    """Hears of changes in the network namespace of the thread that made it.

    Closed by the owner, by ``with`` or ``close``; ``fileno`` is for waiting.

    Raises:
        OSError: the socket cannot be opened.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            self._socket.bind((0, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        except BaseException:
            self._socket.close()
            raise
        self._tables: set[str] = set()  # of the transaction whose end has not come yet

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

    def read(self) -> list[Change]:
        """Return the transactions since the last call; never waits."""
        changes: list[Change] = []
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return changes
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changes.append(Change(None, 0))
                continue
            changes += self._changes(data)

    def _changes(self, data: bytes) -> list[Change]:
        changes = []
        for kind, _flags, _sequence, body in messages(data):
            found = attributes(body[_GENERIC:])
            if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN:
                pid = found.get(NFTA_GEN_PROC_PID, bytes(4))
                changes.append(Change(frozenset(self._tables), int.from_bytes(pid, "big")))
                self._tables.clear()
            elif kind >> 8 == NFNL_SUBSYS_NFTABLES and NFTA_TABLE in found:
                self._tables.add(found[NFTA_TABLE].rstrip(b"\0").decode(errors="replace"))
        return changes
