"""MemoryContentStore: a ContentStore that passes the conformance suite and touches no disk."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from corten.core.content.store import FATAL, Info, Ingest
from corten.errors import DataCorrupted, NotFound
from corten.oci.digest import Digest


class MemoryContentStore:
    """Blobs in a dictionary; ``blobs`` may be spoiled by a test."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.partials = MemoryPartials(self)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; NotFound if absent."""
        return io.BytesIO(self._blob(digest))

    def info(self, digest: Digest) -> Info:
        """Return digest and size; NotFound if absent."""
        return Info(digest, len(self._blob(digest)))

    def exists(self, digest: Digest) -> bool:
        """Tell whether the blob is stored."""
        return digest in self.blobs

    @contextmanager
    def ingest(
        self, expected: Digest | None = None, size: int | None = None, resume: bool = False
    ) -> Iterator[Ingest]:
        """Write a blob. On clean exit it is stored; on any error nothing is."""
        resumable = expected if resume and size is not None and expected not in self.partials.held else None
        grown = _Grown(self.partials.begin(resumable, size or 0) if resumable else b"")
        ingest = Ingest(grown, expected, size, lambda: _Reader(grown))  # type: ignore[arg-type, return-value]
        try:
            yield ingest
            self.blobs[ingest.check()] = bytes(grown.data)
        except FATAL:
            grown.data.clear()
            raise
        finally:
            ingest.end()
            if resumable:
                self.partials.leave(resumable, bytes(grown.data))

    def delete(self, digest: Digest) -> None:
        """Remove a blob; one that is absent is fine."""
        self.blobs.pop(digest, None)

    def verify(self, digest: Digest) -> None:
        """Hash a blob again and compare."""
        if Digest.of(self._blob(digest)) != digest:
            raise DataCorrupted(f"blob {digest} is damaged")

    def walk(self) -> Iterator[Info]:
        """Yield every stored blob."""
        for digest, blob in list(self.blobs.items()):
            yield Info(digest, len(blob))

    def _blob(self, digest: Digest) -> bytes:
        try:
            return self.blobs[digest]
        except KeyError:
            raise NotFound("blob", digest) from None


class MemoryPartials:
    """The first bytes of blobs, in a dictionary."""

    def __init__(self, store: MemoryContentStore) -> None:
        self._store = store
        self.bytes: dict[Digest, bytes] = {}
        self.held: set[Digest] = set()

    def begin(self, digest: Digest, size: int) -> bytes:
        """Hold *digest*; return what there is of it."""
        self.held.add(digest)
        begun = self.bytes.get(digest, b"")
        useless = len(begun) > size or (len(begun) == size and Digest.of(begun) != digest)
        return b"" if useless else begun

    def leave(self, digest: Digest, data: bytes) -> None:
        """Keep *data*, if any, and hold *digest* no longer."""
        self.held.discard(digest)
        self.bytes.pop(digest, None)
        if data:
            self.bytes[digest] = data

    def walk(self) -> Iterator[Info]:
        """Yield what there is."""
        for digest, data in list(self.bytes.items()):
            yield Info(digest, 0 if digest in self._store.blobs else len(data))

    def drop(self, digest: Digest) -> None:
        """Forget what has arrived of *digest*."""
        if digest not in self.held:
            self.bytes.pop(digest, None)


class _Grown:
    """Bytes that grow while they are read."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def write(self, data: bytes | memoryview, /) -> int:
        """Add *data*."""
        self.data += data
        return len(data)


class _Reader(io.RawIOBase):
    """Reads what has grown so far."""

    def __init__(self, grown: _Grown) -> None:
        self._grown = grown
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read at most *size* bytes."""
        end = len(self._grown.data) if size < 0 else self._at + size
        data = bytes(self._grown.data[self._at : end])
        self._at += len(data)
        return data
