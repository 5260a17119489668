"""Archives: files of a volume as tar streams, in and out.

What comes in is unpacked where nobody else can see it and then moved into the
volume, so that a container which changes the volume meanwhile can lead nothing
astray (CVE-2018-15664, CVE-2019-14271); it is decompressed in this process.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import BinaryIO

from corten.core.layers.compression import decompress
from corten.core.layers.headers import BLOCK, Member, encode, has_kind
from corten.core.layers.pack import write_tree
from corten.core.layers.unpack import Applied, apply
from corten.core.volumes import browse
from corten.core.volumes.copy import dress_folder
from corten.core.volumes.merge import merge
from corten.core.volumes.work import DATA
from corten.engine.threads import finished
from corten.engine.volumes.shared import Shared
from corten.engine.volumes.streaming import Out, written
from corten.errors import DataCorrupted, LimitExceeded

_CHUNK = 1 << 20
_END = bytes(2 * BLOCK)


class Archives:
    """The verbs; one object for all volumes."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._numbers = itertools.count(1)

    async def export(self, name: str) -> AsyncIterator[bytes]:
        """Yield all files of a volume as one tar, times to the nanosecond, holes kept.

        A volume that a container writes to meanwhile gives each file as it is
        when its turn comes.

        Raises:
            NotFound: no such volume.
            Unavailable: its files are missing, or cannot be mounted.
        """

        def write(out: Out) -> None:
            with self._shared.store.opened(name) as data:
                write_tree(data, out, fractions=True)

        async with self._shared.reading(name, self._reader("export")), aclosing(written(write)) as stream:
            async for block in stream:
                yield block

    async def import_(self, name: str, stream: BinaryIO) -> None:
        """Put the files of a tar, compressed or not, into a volume; what is there already under a name gives way.

        Args:
            name: The volume.
            stream: Has ``read``; read to its end in a thread.

        Raises:
            NotFound: no such volume.
            DataCorrupted: not a tar, or one that leads out of the volume; the volume is as it was.
            LimitExceeded: over a budget; so, too.
            OutOfSpace: the disk, or the volume, is full.
        """
        await self.archive_put(name, "/", stream)

    async def archive_get(self, name: str, path: str) -> AsyncIterator[bytes]:
        """Yield the file or folder *path* of a volume as a tar, as Docker's ``GET /containers/{id}/archive`` does.

        Raises:
            NotFound: no such volume, or nothing at *path*; before the first bytes.
        """

        def write(out: Out) -> None:
            with self._shared.store.opened(name) as data:
                _write_files(browse.files(data, path), out)

        async with self._shared.reading(name, self._reader("copy")), aclosing(written(write)) as stream:
            async for block in stream:
                yield block

    async def archive_put(self, name: str, path: str, stream: BinaryIO) -> None:
        """Put the files of a tar into the folder *path* of a volume; see ``import_``.

        Raises:
            NotFound: no such volume, or nothing at *path*.
            InvalidInput: *path* is no folder.
            CortenError: as for ``import_``.
        """
        async with self._shared.reading(name, self._reader("copy")):
            await finished(lambda: self._put(name, path, stream))
        self._shared.tell("import", name, driver="local")

    def _put(self, name: str, path: str, stream: BinaryIO) -> None:
        store = self._shared.store
        with store.opened(name) as data, browse.folder(data, path) as target, store.work.making() as made:
            work, scratch = made
            with _as_archive():
                applied: Applied = apply(decompress(stream), f"{work}/{DATA}", whiteouts="plain")
            merge(scratch, target)
            if applied.own_root:
                dress_folder(scratch, target)

    def _reader(self, verb: str) -> str:
        return f"{verb} {next(self._numbers)}"


def _write_files(found: Iterator[browse.Found], out: Out) -> None:
    for each in found:
        if not has_kind(each.info.st_mode):
            continue
        size = each.info.st_size if each.file >= 0 else 0
        out(encode(_member(each, size)))
        for offset in range(0, size, _CHUNK):
            length = min(_CHUNK, size - offset)
            out(os.pread(each.file, length, offset).ljust(length, b"\0"))  # it may shrink while it is read
        out(bytes(-size % BLOCK))
    out(_END)


def _member(found: browse.Found, size: int) -> Member:
    info = found.info
    return Member(
        found.path,
        info.st_mode,
        info.st_uid,
        info.st_gid,
        size=size,
        mtime=info.st_mtime_ns,
        link=found.link,
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        xattrs={key: value for key, value in found.attributes.items() if not key.startswith(b"trusted.")},
    )


@contextmanager
def _as_archive() -> Iterator[None]:
    """Speak of an archive where the reader of layers speaks of a layer."""
    try:
        yield
    except (DataCorrupted, LimitExceeded) as failure:
        raise type(failure)(str(failure).replace("layer", "archive")) from failure
