"""LocalContentStore: one file per blob, named by its digest.

``blobs/<algorithm>/<hex>`` is the layout of an OCI image layout. A blob is
written under ``ingest/``, made durable, and only then linked to its name, so
that a name always stands for complete bytes, also after loss of power.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from corten.core.content.store import Info, Ingest
from corten.errors import DataCorrupted, InvalidInput, NotFound, OutOfSpace
from corten.linux.files import start_writeback, sync_folder
from corten.oci.digest import Digest

_WRITEBACK = 8 << 20  # bytes
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Ahead:
    """Writes whole pieces to a file, and has the disk begin with them while more arrive.

    Otherwise all the writing would wait for the fsync at the end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = self._begun = 0

    def write(self, data: bytes | memoryview, /) -> int:
        """Write all of *data*."""
        written = os.write(self._descriptor, data)
        while written < len(data):
            written += os.write(self._descriptor, memoryview(data)[written:])
        self._size += written
        if self._size - self._begun >= _WRITEBACK:
            start_writeback(self._descriptor, self._begun, self._size - self._begun)
            self._begun = self._size
        return written


class LocalContentStore:
    """Blobs in *directory*, which one process at a time may own."""

    def __init__(self, directory: str | Path) -> None:
        self._blobs = Path(directory, "blobs")
        self._tmp = Path(directory, "ingest")
        for folder in (self._tmp, self._blobs / "sha256", self._blobs / "sha512"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.recover()

    def recover(self) -> None:
        """Remove what an earlier process had begun to write; none may be under way."""
        for leftover in self._tmp.iterdir():
            leftover.unlink()

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; NotFound if absent."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound("blob", digest) from None

    def info(self, digest: Digest) -> Info:
        """Return digest and size; NotFound if absent."""
        try:
            return Info(digest, self._path(digest).stat().st_size)
        except FileNotFoundError:
            raise NotFound("blob", digest) from None

    def exists(self, digest: Digest) -> bool:
        """Tell whether the blob is stored."""
        return self._path(digest).exists()

    @contextmanager
    def ingest(self, expected: Digest | None = None, size: int | None = None) -> Iterator[Ingest]:
        """Write a blob. On clean exit it is stored, durably; on any error nothing is."""
        try:
            with tempfile.NamedTemporaryFile(dir=self._tmp, buffering=0) as file:
                ingest = Ingest(_Ahead(file.fileno()), expected, size)
                yield ingest
                self._publish(file.fileno(), file.name, ingest.check())
        except OSError as failure:
            if failure.errno not in _FULL:
                raise
            raise OutOfSpace(
                f"no space left to store {expected or 'a blob'}: remove unused images"
            ) from failure

    def _publish(self, descriptor: int, name: str, digest: Digest) -> None:
        """Give durable bytes their name; another writer of the same bytes may have been first."""
        os.fsync(descriptor)
        path = self._path(digest)
        with suppress(FileExistsError):
            os.link(name, path)
        sync_folder(str(path.parent))

    def delete(self, digest: Digest) -> None:
        """Remove a blob; one that is absent is fine."""
        self._path(digest).unlink(missing_ok=True)

    def verify(self, digest: Digest) -> None:
        """Read a blob again and compare: NotFound or DataCorrupted."""
        with self.open(digest) as file:
            found = hashlib.file_digest(cast("BufferedReader", file), digest.algorithm).hexdigest()
        if found != digest.hex:
            raise DataCorrupted(f"blob {digest} is damaged on disk: fetch it again")

    def walk(self) -> Iterator[Info]:
        """Yield every stored blob, in no order."""
        for folder in self._blobs.iterdir():
            for entry in os.scandir(folder):
                with suppress(InvalidInput, FileNotFoundError):
                    yield Info(Digest(f"{folder.name}:{entry.name}"), entry.stat().st_size)

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.algorithm / digest.hex
