"""S3Storage: a registry's bytes in an S3-compatible object store.

An object cannot grow and cannot be renamed, and the library does not show the
service's own multipart uploads, which one could resume. So an upload is a row
of *parts*, one object each, written once and never moved: ``parts/ID/OFFSET``,
the offset being the state that outlives a crash. When the upload is finished
one small object, the *entry* ``blobs/ALGORITHM/HEX``, says which parts make
the blob: from there the blob exists, without a byte having been copied. Small
blobs (manifests) stand in their entry.

No crash leaves parts that nobody knows of:
- ``uploads/ID`` is there before the first part, and goes after the entry was
  written; from the last moment before that it names the blob, so that
  cancelling what a crash left finished does not take the blob's parts.
- ``trash/ID`` is there before an entry goes, until its parts are gone.

Readers that have begun keep the parts of a blob that is deleted: the registry
that owns the bucket counts them.
"""

import hashlib
import re
import threading
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from corten.errors import Conflict, DataCorrupted, InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.serve.registry.storage.bucket import Bucket, BucketSettings
from corten.serve.registry.storage.running import Running
from corten.serve.registry.storage.store import Note, Pending, Stored

PART = 8 << 20  # bytes of a part at most
_LEAST = 1 << 20  # bytes that a client should send at a time
_PIECE = 1 << 20  # bytes
_MOST_CACHED = 4096  # entries
_MOST_INLINE = 16 << 10  # bytes of a blob that are kept with its cached entry
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PART_OF_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class S3Storage:
    """All of a registry in a bucket, which one registry at a time may own.

    Raises:
        Unavailable: the service does not answer, or refuses.
    """

    def __init__(self, settings: BucketSettings) -> None:
        bucket = Bucket(settings)
        self.blobs = S3Blobs(bucket)
        self.uploads = S3Uploads(bucket, self.blobs)
        self.notes = S3Notes(bucket)
        self.blobs.recover()

    def close(self) -> None:
        """Nothing is held."""


class _Header(msgspec.Struct, frozen=True):
    """The first line of an entry: size in bytes, and of which upload's parts the blob consists.

    Without an upload the blob itself follows the line.
    """

    size: int
    upload: str = ""
    parts: tuple[int, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    """An entry as read; *inline* are the bytes of a blob without parts, None if they were not kept."""

    header: _Header
    inline: bytes | None = None


class S3Blobs:
    """Finished blobs: an entry each, and the parts that it names."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._cache: OrderedDict[Digest, _Entry] = OrderedDict()
        self._readers: Counter[str] = Counter()
        self._unread: set[str] = set()  # uploads whose parts go when their last reader does
        self._deletions = 0

    def recover(self) -> None:
        """Finish the deletions that an earlier process had begun."""
        for name, text in self._bucket.walk_contents("trash/"):
            upload = name.rpartition("/")[2]
            if self.made_of(Digest(text.decode())) == upload:
                self._bucket.delete([name])
            else:
                self._drop(upload)

    def path(self, digest: Digest) -> None:
        """Return None: there are no files."""

    def size(self, digest: Digest) -> int:
        """Return the length in bytes; NotFound if absent."""
        return self._entry(digest).header.size

    def made_of(self, digest: Digest) -> str:
        """Return the upload whose parts make the blob; empty if there are none, or no blob."""
        try:
            return self._entry(digest).header.upload
        except NotFound:
            return ""

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield *length* bytes from *offset* in pieces of at most a mebibyte."""
        entry = self._entry(digest)
        end = entry.header.size if length is None else offset + length
        if not entry.header.upload:
            yield from _pieces(self._inline(digest, entry)[offset:end])
            return
        with self._reading(entry.header.upload):
            yield from self._parts(digest, entry.header, offset, end)

    def put(self, digest: Digest, data: bytes) -> None:
        """Store a small blob in its entry; on return it is durable and visible."""
        self._bucket.put(_place(digest), msgspec.json.encode(_Header(len(data))) + b"\n" + data)

    def publish(self, digest: Digest, upload: str, parts: tuple[int, ...]) -> None:
        """Make the parts of *upload* the blob."""
        header = _Header(sum(parts), upload, parts)
        self._bucket.put(_place(digest), msgspec.json.encode(header) + b"\n")

    def delete(self, digest: Digest) -> None:
        """Remove a blob; its parts go when nobody reads them any more."""
        upload = self.made_of(digest)
        if upload:
            self._bucket.put(f"trash/{upload}", str(digest).encode())
        self._bucket.delete([_place(digest)])
        with self._lock:
            self._deletions += 1
            self._cache.pop(digest, None)
            if self._readers[upload]:
                self._unread.add(upload)
                return
        if upload:
            self._drop(upload)

    def walk(self) -> Iterator[Stored]:
        """Yield every blob, in no order."""
        for name, text in self._bucket.walk_contents("blobs/"):
            _, algorithm, hexadecimal = name.split("/")
            yield Stored(Digest(f"{algorithm}:{hexadecimal}"), _decode(text).header.size)

    def _drop(self, upload: str) -> None:
        """Remove the parts of a blob that is gone, and then what tells of them."""
        self._bucket.delete([found.name for found in self._bucket.walk(f"parts/{upload}/")])
        self._bucket.delete([f"trash/{upload}"])

    @contextmanager
    def _reading(self, upload: str) -> Iterator[None]:
        """Keep the parts of *upload* while they are read."""
        with self._lock:
            self._readers[upload] += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers[upload] -= 1
                last = self._readers[upload] == 0
                if last:
                    del self._readers[upload]
                drop = last and upload in self._unread
                self._unread -= {upload} if drop else set()
            if drop:
                self._drop(upload)

    def _parts(self, digest: Digest, header: _Header, offset: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of the parts that lie between *offset* and *end*."""
        start = 0
        for size in header.parts:
            low, high = max(offset, start), min(end, start + size)
            if low < high:
                data = self._bucket.get(_part(header.upload, start), low - start, high - start)
                if data is None:
                    raise NotFound("blob", digest)
                yield from _pieces(data)
            start += size

    def _inline(self, digest: Digest, entry: _Entry) -> bytes:
        """Return the bytes of a blob that stands in its entry."""
        if entry.inline is not None:
            return entry.inline
        text = self._bucket.get(_place(digest))
        if text is None:
            raise NotFound("blob", digest)
        return text.partition(b"\n")[2]

    def _entry(self, digest: Digest) -> _Entry:
        """Return the entry, NotFound if there is none."""
        with self._lock:
            known, deletions = self._cache.get(digest), self._deletions
        if known is not None:
            return known
        text = self._bucket.get(_place(digest))
        if text is None:
            raise NotFound("blob", digest)
        entry = _decode(text)
        with self._lock:
            if self._deletions == deletions:  # else it may have been read just before it went
                self._cache[digest] = entry
            if len(self._cache) > _MOST_CACHED:
                self._cache.popitem(last=False)
        return entry


class S3Uploads:
    """Uploads: a row of parts each."""

    piece = PART
    least = _LEAST

    def __init__(self, bucket: Bucket, blobs: S3Blobs) -> None:
        self._bucket = bucket
        self._blobs = blobs
        self._running = Running()
        self._known: dict[str, tuple[int, ...]] = {}

    def begin(self) -> str:
        """Open an upload; return its id."""
        upload = str(uuid.uuid4())
        self._bucket.put(f"uploads/{upload}", b"")
        self._known[upload] = ()
        return upload

    def size(self, upload: str) -> int:
        """Return how many bytes have arrived; NotFound if there is no such upload."""
        return sum(self._parts(upload))

    def append(self, upload: str, offset: int, data: bytes | bytearray | memoryview) -> int:
        """Add *data* as one part or more; return the new size."""
        parts = self._parts(upload)
        size = sum(parts)
        if size != offset:
            raise Conflict(f"upload {upload} holds {size} bytes: go on from there, not from {offset}")
        view = memoryview(data)
        for start in range(0, len(view), PART):
            piece = view[start : start + PART]
            self._known.pop(upload, None)  # what a failure leaves, the service knows
            self._bucket.put(_part(upload, size), piece)
            self._running.update(upload, size, piece)
            parts, size = (*parts, len(piece)), size + len(piece)
            self._known[upload] = parts
        return size

    def finish(self, upload: str, digest: Digest) -> int:
        """Make the upload the blob *digest*; return its size."""
        parts = self._parts(upload)
        size = sum(parts)
        found = self._running.digest(upload, size, digest.algorithm) or self._hash(upload, parts, digest)
        if found != digest:
            self.cancel(upload)
            raise DataCorrupted(f"expected {digest}, received {found}: upload the blob again")
        if self._is_there(digest):
            self.cancel(upload)
            return size
        self._bucket.put(f"uploads/{upload}", str(digest).encode())
        self._blobs.publish(digest, upload, parts)
        self._forget(upload)
        return size

    def cancel(self, upload: str) -> None:
        """Forget an upload; NotFound if there is none."""
        finished = self._record(upload)
        if not (finished and self._blobs.made_of(Digest(finished)) == upload):
            self._bucket.delete([found.name for found in self._bucket.walk(f"parts/{upload}/")])
        self._forget(upload)

    def walk(self) -> Iterator[Pending]:
        """Yield every upload, in no order."""
        for record in list(self._bucket.walk("uploads/")):
            upload = record.name.rpartition("/")[2]
            parts = list(self._bucket.walk(f"parts/{upload}/"))
            changed = max([record.changed, *(part.changed for part in parts)])
            yield Pending(upload, sum(part.size for part in parts), changed)

    def _record(self, upload: str) -> str:
        """Return the digest that the upload was finished as, or empty; NotFound if there is no such upload."""
        text = self._bucket.get(f"uploads/{upload}") if _UUID.fullmatch(upload) else None
        if text is None:
            raise NotFound("upload", upload)
        return text.decode()

    def _parts(self, upload: str) -> tuple[int, ...]:
        """Return the sizes of the parts that have arrived."""
        known = self._known.get(upload)
        if known is None:
            self._record(upload)
            known = self._known[upload] = self._found(upload)
        return known

    def _found(self, upload: str) -> tuple[int, ...]:
        """Return the sizes of the parts that the service has, up to the first gap."""
        parts = {
            int(part.name.rpartition("/")[2]): part.size for part in self._bucket.walk(f"parts/{upload}/")
        }
        sizes: list[int] = []
        while (size := parts.get(sum(sizes), 0)) > 0:
            sizes.append(size)
        return tuple(sizes)

    def _hash(self, upload: str, parts: tuple[int, ...], wanted: Digest) -> Digest:
        """Read all parts again, and hash them with the algorithm of *wanted*."""
        state, start = hashlib.new(wanted.algorithm), 0
        for size in parts:
            state.update(self._bucket.get(_part(upload, start)) or b"")
            start += size
        return Digest(f"{wanted.algorithm}:{state.hexdigest()}")

    def _is_there(self, digest: Digest) -> bool:
        try:
            return self._blobs.size(digest) >= 0
        except NotFound:
            return False

    def _forget(self, upload: str) -> None:
        self._bucket.delete([f"uploads/{upload}"])
        self._known.pop(upload, None)
        self._running.forget(upload)


class S3Notes:
    """Notes, one object each."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, name: str, text: str) -> None:
        """Write or replace a note; durable on return."""
        self._bucket.put(_note(name), text.encode())

    def get(self, name: str) -> str | None:
        """Return the text of a note, None if there is none."""
        data = self._bucket.get(_note(name))
        return None if data is None else data.decode()

    def delete(self, name: str) -> None:
        """Remove a note; one that is absent is fine."""
        self._bucket.delete([_note(name)])

    def walk(self, prefix: str = "") -> Iterator[Note]:
        """Yield the notes below the folder *prefix*, in no order."""
        folder = f"{_note(prefix)}/" if prefix else "notes/"
        for name, data in self._bucket.walk_contents(folder):
            yield Note(name.partition("/")[2], data.decode())


def _place(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _part(upload: str, offset: int) -> str:
    return f"parts/{upload}/{offset:016}"


def _note(name: str) -> str:
    if not all(_PART_OF_NAME.fullmatch(part) for part in name.split("/")):
        raise InvalidInput(f"{name!r} is not a name of a note")
    return f"notes/{name}"


def _decode(text: bytes) -> _Entry:
    """Read an entry; DataCorrupted if it is none."""
    line, _, body = text.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=_Header)
    except msgspec.DecodeError as failure:
        raise DataCorrupted(f"an entry of the bucket is damaged ({failure}): remove it") from None
    return _Entry(header, body if not header.upload and len(body) <= _MOST_INLINE else None)


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
