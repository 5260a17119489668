"""ContentStore: blobs by digest."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

from corten.errors import DataCorrupted
from corten.oci.digest import Digest


class Info(NamedTuple):
    """What is known of a stored blob: its name and its length in bytes."""

    digest: Digest
    size: int


class Writable(Protocol):
    """What takes bytes, all that it is given."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Write *data*; return how many bytes that were."""
        ...


class Ingest:
    """A blob on its way in: hashes and counts what is written to *file*.

    Raises:
        DataCorrupted: by ``write`` as soon as more than *size* bytes came, by
            ``check`` when size or digest are not what was expected.
    """

    def __init__(self, file: Writable, expected: Digest | None = None, size: int | None = None) -> None:
        self._file = file
        self._expected = expected
        self._limit = size
        self._algorithm = expected.algorithm if expected else "sha256"
        self._hash = hashlib.new(self._algorithm)
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Take the next bytes, all of them; return how many."""
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            raise DataCorrupted(f"blob {self._expected} is longer than the {self._limit} bytes announced")
        self._hash.update(data)
        self._file.write(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        """The digest of all that was written so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")

    def check(self) -> Digest:
        """Return the digest if everything arrived as expected; stores call this at the end."""
        if self._limit is not None and self.size != self._limit:
            raise DataCorrupted(
                f"blob {self._expected} ended after {self.size} of {self._limit} bytes: fetch it again"
            )
        if self._expected is not None and self.digest != self._expected:
            raise DataCorrupted(f"expected {self._expected}, received {self.digest}: fetch it again")
        return self.digest


class ContentStore(Protocol):
    """Blobs by digest. Writing is idempotent; a blob never changes; safe from many threads."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; the caller closes it.

        Where the blob is a file on disk, ``fileno()`` works (sendfile, mmap).

        Raises:
            NotFound: no such blob.
        """
        ...

    def info(self, digest: Digest) -> Info:
        """Return digest and size; NotFound if absent."""
        ...

    def exists(self, digest: Digest) -> bool:
        """Tell whether the blob is stored."""
        ...

    def ingest(
        self, expected: Digest | None = None, size: int | None = None
    ) -> AbstractContextManager[Ingest]:
        """Write a blob. On clean exit it is stored, durably; on any error nothing is.

        Args:
            expected: Digest the bytes must have; None to learn it from ``Ingest.digest``.
            size: Length in bytes they must have; None for any.

        Raises:
            DataCorrupted: digest or size differ.
            OutOfSpace: the disk is full.
        """
        ...

    def delete(self, digest: Digest) -> None:
        """Remove a blob; one that is absent is fine. Open readers keep theirs."""
        ...

    def verify(self, digest: Digest) -> None:
        """Read a blob again and compare.

        Raises:
            NotFound: no such blob.
            DataCorrupted: its bytes no longer have this digest.
        """
        ...

    def walk(self) -> Iterator[Info]:
        """Yield every stored blob, in no order; blobs that come or go meanwhile may be missed."""
        ...
