"""Digests of files that were read before, so that an unchanged file is not read again.

A file counts as unchanged while its device, inode, size, mtime and ctime are
the same; nobody can set the ctime. One danger is left: a file written to within
the same tick of the file system's clock looks unchanged. So what was changed
just before it was read is not remembered; the next build reads it again.

All is in one file of rows of fixed length, the oldest first, which is replaced
as a whole. It is a cache: a damaged one is forgotten, and losing a row that
another build wrote at the same time costs reading a file again.
"""

import os
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple, Self

MOST_ROWS = 1 << 17  # 12 MB

_MAGIC = b"corten digests 1\n"
_KEY = struct.Struct("<QQ")  # device, inode
_SEEN = struct.Struct("<Qqq")  # size, mtime, ctime
_ROW = _KEY.size + _SEEN.size + 32
_TICK = 20_000_000  # nanoseconds; the kernel's clock for files advances every 10 ms or more often
_COARSE = 2_000_000_000  # nanoseconds; where the file system keeps whole seconds, or two


class Seen(NamedTuple):
    """What tells whether a file is the one that was read; times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int


class KnownDigests:
    """Digests of files by what tells that they are unchanged; a ``with`` reads them, and writes what is new.

    Threads may share it inside of one ``with``.

    Args:
        path: The file that keeps them; made when missing. Its folder must exist.
        clock: Nanoseconds since 1970, by the clock that file systems use.
    """

    def __init__(self, path: str, clock: Callable[[], int] = time.time_ns) -> None:
        self._path, self._clock = path, clock
        self._rows: dict[bytes, bytes] = {}
        self._new: dict[bytes, bytes] = {}

    def __enter__(self) -> Self:
        self._rows = self._load()
        return self

    def __exit__(self, *_: object) -> None:
        if self._new:
            with suppress(OSError):  # a full disk is said by whoever has to write there
                self._save()
        self._rows, self._new = {}, {}

    def get(self, seen: Seen) -> bytes | None:
        """Return the digest of the file, 32 bytes, if it was read and has not changed since."""
        row = self._rows.get(_KEY.pack(seen.device, seen.inode))
        return row[_SEEN.size :] if row and row.startswith(_SEEN.pack(*seen[2:])) else None

    def add(self, seen: Seen, digest: bytes) -> None:
        """Remember *digest*, 32 bytes, of a file that was *seen* so both before and after it was read."""
        settled = _TICK if seen.ctime % 1_000_000_000 else _COARSE
        if seen.ctime + settled < self._clock():
            self._new[_KEY.pack(seen.device, seen.inode)] = _SEEN.pack(*seen[2:]) + digest

    def _load(self) -> dict[bytes, bytes]:
        with suppress(FileNotFoundError), open(self._path, "rb") as file:
            data = file.read()
            body = data[len(_MAGIC) : -32]
            if data.startswith(_MAGIC) and len(body) % _ROW == 0 and sha256(body).digest() == data[-32:]:
                split = _KEY.size
                return {
                    body[at : at + split]: body[at + split : at + _ROW] for at in range(0, len(body), _ROW)
                }
        return {}

    def _save(self) -> None:
        rows = self._load()  # another build may have written meanwhile
        for key in self._new:
            rows.pop(key, None)
        rows.update(self._new)
        kept = list(rows.items())[-MOST_ROWS:]
        body = b"".join(part for row in kept for part in row)
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(self._path) or ".", delete=False) as file:
            try:
                file.write(_MAGIC + body + sha256(body).digest())
                file.flush()
                os.replace(file.name, self._path)  # no fsync: what a power loss damages is forgotten
            except BaseException:
                os.unlink(file.name)
                raise
