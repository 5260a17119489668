"""ContentStore: blobs by digest."""

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol, Self, cast

from corten.errors import DataCorrupted, InvalidInput, LimitExceeded, OutOfSpace, Unsupported
from corten.oci.digest import Digest

FATAL = (DataCorrupted, LimitExceeded, InvalidInput, Unsupported, OutOfSpace)
"""Failures after which the first bytes of a blob are of no use, or take space that is needed."""

_CHUNK = 1 << 20
_WORTH = 128 << 10  # bytes that a follower waits for


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

    ``offset`` bytes of it were there before, of an attempt that was broken off:
    the writer goes on behind them.

    Args:
        file: Takes the bytes, at its end.
        expected: Digest the bytes must have; None to learn it.
        size: Length they must have; None for any.
        read: Opens what *file* holds, from its beginning; what it has already is
            hashed and counted.

    Raises:
        DataCorrupted: by ``write`` as soon as more than *size* bytes came, by
            ``check`` when size or digest are not what was expected.
    """

    def __init__(
        self,
        file: Writable,
        expected: Digest | None = None,
        size: int | None = None,
        read: Callable[[], BinaryIO] | None = None,
    ) -> None:
        self._file = file
        self._read = read
        self._expected = expected
        self._limit = size
        self._algorithm = expected.algorithm if expected else "sha256"
        self._hash = hashlib.new(self._algorithm)
        self._grown = threading.Condition()
        self._ended = False
        self.size = 0
        if read is not None:
            with read() as begun:
                while data := begun.read(_CHUNK):
                    self._hash.update(data)
                    self.size += len(data)
        self.offset = self.size

    def write(self, data: bytes | memoryview) -> int:
        """Take the next bytes, all of them; return how many."""
        size = self.size + len(data)
        if self._limit is not None and size > self._limit:
            raise DataCorrupted(f"blob {self._expected} is longer than the {self._limit} bytes announced")
        self._hash.update(data)
        self._file.write(data)
        with self._grown:
            self.size = size
            self._grown.notify_all()
        return len(data)

    def end(self) -> None:
        """Say that no more will be written, now or because of a failure: those who follow come to an end."""
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def follow(self) -> BinaryIO:
        """Open the blob for reading from its beginning while it is written; the caller closes it.

        ``read`` waits for bytes that are still to come, until ``end``. For another
        thread than the writer's, which looks at the digest before it believes
        what it has read.
        """
        if self._read is None:
            raise InvalidInput("this blob cannot be read before it is complete")
        return cast("BinaryIO", _Follower(self, self._read()))

    def wait(self, size: int) -> int:
        """Wait until *size* bytes are there, or no more will come; return how many are."""
        with self._grown:
            self._grown.wait_for(lambda: self.size >= size or self._ended)
            return self.size

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


class _Follower:
    """Reads *file* up to where *ingest* has written it."""

    def __init__(self, ingest: Ingest, file: BinaryIO) -> None:
        self._ingest = ingest
        self._file = file
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Read at most *size* bytes, all of the blob for -1; empty at its end."""
        wanted = sys.maxsize if size < 0 else min(size, _WORTH)  # fewer are not worth a switch of threads
        there = self._ingest.wait(self._at + wanted) - self._at
        data = self._file.read(there if size < 0 else min(size, there))
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Partials(Protocol):
    """What has arrived of blobs whose ingest was broken off; none of it can be opened as a blob.

    A blob that was ingested with *resume* stays here too, at no cost, until it
    is dropped: should it be deleted because what needed it was broken off, the
    next ingest has all of it already. What nobody asks for within a day goes.
    """

    def walk(self) -> Iterator[Info]:
        """Yield the expected digest, and the bytes that are held for this alone (0 for a stored blob)."""
        ...

    def drop(self, digest: Digest) -> None:
        """Forget what has arrived of *digest*; nothing, or a stored blob's, is fine."""
        ...


class ContentStore(Protocol):
    """Blobs by digest. Writing is idempotent; a blob never changes; safe from many threads."""

    @property
    def partials(self) -> Partials:
        """What has arrived of blobs whose ingest was broken off."""
        ...

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
        self, expected: Digest | None = None, size: int | None = None, resume: bool = False
    ) -> AbstractContextManager[Ingest]:
        """Write a blob. On clean exit it is stored, durably; on any error nothing is.

        Args:
            expected: Digest the bytes must have; None to learn it from ``Ingest.digest``.
            size: Length in bytes they must have; None for any.
            resume: Begin with the ``Ingest.offset`` bytes of *expected* that are
                here from an attempt that was broken off, and keep what has come
                when this one is, also by the end of this process; but not for
                a failure of ``FATAL``. Of two at once for the same blob one only
                resumes, and the other begins at 0.

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
