"""LocalContentStore: one file per blob, named by its digest.

``blobs/<algorithm>/<hex>`` is the layout of an OCI image layout. A blob is
written under ``ingest/`` (or ``partial/``, where an ingest can be resumed), made
durable, and only then linked to its name, so that a name always stands for
complete bytes, also after loss of power. Deleting renames into ``trash/``, since
freeing the blocks of a large file takes a while.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from corten.core.content.partials import LocalPartials
from corten.core.content.store import FATAL, Info, Ingest
from corten.errors import DataCorrupted, InvalidInput, NotFound, OutOfSpace
from corten.linux.files import start_writeback, sync_folder
from corten.oci.digest import Digest

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
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
    """Blobs in *directory*, which one process at a time may own.

    Args:
        directory: Made when absent.
        executor: Frees the space of what was deleted; without one the caller of
            ``delete`` does.
    """

    def __init__(self, directory: str | Path, executor: Executor | None = None) -> None:
        self._blobs = Path(directory, "blobs")
        self._tmp = Path(directory, "ingest")
        self._trash = Path(directory, "trash")
        self._executor = executor
        for folder in (self._tmp, self._trash, self._blobs / "sha256", self._blobs / "sha512"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.partials = LocalPartials(Path(directory, "partial"))
        self.recover()

    def recover(self) -> None:
        """Remove what an earlier process had begun to write and cannot be resumed; none may be under way."""
        for leftover in (*self._tmp.iterdir(), *self._trash.iterdir()):
            self._unlink(leftover)
        self.partials.expire()

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
    def ingest(
        self, expected: Digest | None = None, size: int | None = None, resume: bool = False
    ) -> Iterator[Ingest]:
        """Write a blob. On clean exit it is stored, durably; on any error nothing is."""
        try:
            with self._file(expected if resume else None, size) as path:
                descriptor = os.open(path, _APPEND, 0o600)
                try:
                    ingest = Ingest(_Ahead(descriptor), expected, size, lambda: path.open("rb", buffering=0))
                    try:
                        yield ingest
                    finally:
                        ingest.end()
                    self._publish(descriptor, path, ingest.check())
                finally:
                    os.close(descriptor)
        except OSError as failure:
            if failure.errno not in _FULL:
                raise
            raise OutOfSpace(
                f"no space left to store {expected or 'a blob'}: remove unused images"
            ) from failure

    @contextmanager
    def _file(self, resumable: Digest | None, size: int | None) -> Iterator[Path]:
        """Give the path to write to: that of the partial blob, if it is free, or one of its own."""
        self._check_space(resumable, size or 0)
        if resumable is not None and size is not None:
            self.partials.expire()
            with self.partials.hold(resumable) as path:
                if path is not None:
                    with _kept(path, resumable, size):
                        yield path
                    return
        path = self._tmp / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _check_space(self, resumable: Digest | None, size: int) -> None:
        """Refuse at once what cannot fit, before it is fetched."""
        found = os.statvfs(self._tmp)
        free = found.f_bavail * found.f_frsize
        there = self.partials.size(resumable) if resumable is not None else 0
        if size - there > free:
            raise OutOfSpace(
                f"no space left to store a blob of {size} bytes, {free} are free: remove unused images"
            )

    def _publish(self, descriptor: int, name: Path, digest: Digest) -> None:
        """Give durable bytes their name; another writer of the same bytes may have been first."""
        os.fsync(descriptor)
        path = self._path(digest)
        with suppress(FileExistsError):
            os.link(name, path)
        sync_folder(str(path.parent))

    def delete(self, digest: Digest) -> None:
        """Remove a blob; one that is absent is fine."""
        gone = self._trash / uuid.uuid4().hex
        with suppress(FileNotFoundError):
            self._path(digest).rename(gone)
            self._unlink(gone)

    def _unlink(self, path: Path) -> None:
        """Free a file that has no name any more by which it could be found, now or in the background."""
        if self._executor is None:
            path.unlink(missing_ok=True)
        else:
            self._executor.submit(path.unlink, missing_ok=True)

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


@contextmanager
def _kept(path: Path, expected: Digest, size: int) -> Iterator[None]:
    """Keep what is written to *path* in this block, unless it turns out to be of no use."""
    if path.exists() and not _is_sound(path, expected, size):
        path.unlink()
    try:
        yield
    except (*FATAL, OSError) as failure:
        if isinstance(failure, FATAL) or failure.errno in _FULL:
            path.unlink(missing_ok=True)
        raise


def _is_sound(path: Path, expected: Digest, size: int) -> bool:
    """Tell whether a partial blob can be gone on with: too long, or complete and damaged, it cannot.

    One that a stored blob shares its bytes with is never added to, whatever *size* is said to be.
    """
    found = path.stat()
    if found.st_size != size:
        return found.st_size < size and found.st_nlink == 1
    with path.open("rb") as file:
        return hashlib.file_digest(file, expected.algorithm).hexdigest() == expected.hex
