"""MemoryContentStore: a ContentStore that passes the conformance suite and touches no disk."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from corten.core.content.store import Info, Ingest
from corten.errors import DataCorrupted, NotFound
from corten.oci.digest import Digest


class MemoryContentStore:
    """Blobs in a dictionary; ``blobs`` may be spoiled by a test."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

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
    def ingest(self, expected: Digest | None = None, size: int | None = None) -> Iterator[Ingest]:
        """Write a blob. On clean exit it is stored; on any error nothing is."""
        file = io.BytesIO()
        ingest = Ingest(file, expected, size)
        yield ingest
        self.blobs[ingest.check()] = file.getvalue()

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
