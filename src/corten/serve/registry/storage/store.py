"""Storage: where a registry keeps bytes.

Three small interfaces, each with its own part of one place: blobs by digest,
uploads that become blobs, and notes, small named files that say what the blobs
mean (which repository holds which manifest, what a tag points to). Blobs and
notes are the whole truth: a registry's database can be made again from them.

All methods block and are called from worker threads, many at a time. The
registry never runs two calls for the same upload at once, nor two of ``put``,
``finish`` and ``delete`` for the same digest, nor two writes of the same note;
an implementation need not lock these itself. One registry at a time owns a
storage.

What every implementation must do stands in tests/conformance/test_registry_storage.py.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from corten.oci.digest import Digest


class Stored(NamedTuple):
    """A blob that is there; *size* in bytes."""

    digest: Digest
    size: int


class Pending(NamedTuple):
    """An upload that is not finished; *changed* in seconds since the epoch."""

    upload: str
    size: int
    changed: float


class Note(NamedTuple):
    """A note with its text."""

    name: str
    text: str


class Blobs(Protocol):
    """Finished blobs. A blob never changes; readers that have begun keep theirs when it is deleted."""

    def size(self, digest: Digest) -> int:
        """Return the length in bytes; NotFound("blob", digest) if absent."""
        ...

    def path(self, digest: Digest) -> str | None:
        """Return the file that holds the blob, for sendfile(2); None where there are no files.

        The blob need not exist: opening the path then fails with ENOENT.
        """
        ...

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield *length* bytes from *offset* (None: all the rest) in pieces of at most a mebibyte.

        The caller keeps the range inside the blob.

        Raises:
            NotFound: no such blob; at the latest with the first piece.
            Unavailable: the storage does not answer.
        """
        ...

    def put(self, digest: Digest, data: bytes) -> None:
        """Store a small blob whose digest the caller has checked; on return it is durable and visible.

        Idempotent.

        Raises:
            OutOfSpace: the storage is full; nothing is visible.
        """
        ...

    def delete(self, digest: Digest) -> None:
        """Remove a blob; one that is absent is fine."""
        ...

    def walk(self) -> Iterator[Stored]:
        """Yield every blob, in no order; what comes or goes meanwhile may be missed."""
        ...


class Uploads(Protocol):
    """Blobs on their way in, by an id; they outlive the process.

    Attributes:
        piece: Bytes that ``append`` likes best at a time. The registry gathers
            as much before it calls, except at the end of a request.
        least: The smallest chunk that a client should send but for its last,
            told as ``OCI-Chunk-Min-Length``; 0 for any.
    """

    piece: int
    least: int

    def begin(self) -> str:
        """Open an upload; return its id, a UUID in text form."""
        ...

    def size(self, upload: str) -> int:
        """Return how many bytes have arrived and would outlive this process.

        Raises:
            NotFound: no such upload: ``NotFound("upload", upload)``, as for all that follow.
        """
        ...

    def append(self, upload: str, offset: int, data: bytes | bytearray | memoryview) -> int:
        """Add *data*, which the caller may change afterwards; return the new size.

        A failure may leave a part of *data*; ``size`` tells how much.

        Raises:
            Conflict: the upload does not hold exactly *offset* bytes; nothing was added.
            OutOfSpace: the storage is full.
        """
        ...

    def finish(self, upload: str, digest: Digest) -> int:
        """Make the upload the blob *digest*, durable and visible on return; return its size.

        The upload is gone afterwards. A blob of that digest that is there
        already is fine: the bytes are the same.

        Raises:
            DataCorrupted: the bytes have another digest; the upload is gone.
            OutOfSpace: the storage is full; the upload is still there.
        """
        ...

    def cancel(self, upload: str) -> None:
        """Forget an upload; NotFound if there is none."""
        ...

    def walk(self) -> Iterator[Pending]:
        """Yield every upload, in no order."""
        ...


class Notes(Protocol):
    """Small named texts. A name is a path of safe parts (``repositories/a/b/_tags/latest``).

    Parts hold letters, digits and ``._-`` only and are never ``.`` or ``..``; no
    name is also a folder of another one.
    """

    def put(self, name: str, text: str) -> None:
        """Write or replace a note, all of it at once; durable on return.

        Raises:
            OutOfSpace: the storage is full; the note is what it was.
        """
        ...

    def get(self, name: str) -> str | None:
        """Return the text of a note, None if there is none."""
        ...

    def delete(self, name: str) -> None:
        """Remove a note; one that is absent is fine. Durable on return."""
        ...

    def walk(self, prefix: str = "") -> Iterator[Note]:
        """Yield the notes below the folder *prefix* (``repositories``; empty: all), in no order."""
        ...


class Storage(Protocol):
    """One place for all three."""

    @property
    def blobs(self) -> Blobs:
        """Return the finished blobs."""
        ...

    @property
    def uploads(self) -> Uploads:
        """Return the uploads."""
        ...

    @property
    def notes(self) -> Notes:
        """Return the notes."""
        ...

    def close(self) -> None:
        """Give the place back; idempotent."""
        ...
