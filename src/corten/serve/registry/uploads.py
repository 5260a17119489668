"""Sessions: blobs on their way in, each for one repository."""

import sqlite3

from corten.errors import DataCorrupted, NotFound
from corten.oci.digest import Digest
from corten.serve.registry import records
from corten.serve.registry.shelves import Shelves


class Sessions:
    """The uploads of a registry; all methods block.

    An upload is known in the repository alone that it was begun for: each
    method raises NotFound("upload", ...) otherwise.
    """

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._database, self._uploads = shelves.database, shelves.storage.uploads

    @property
    def piece(self) -> int:
        """Return how many bytes to gather before they are added."""
        return self._uploads.piece

    @property
    def least(self) -> int:
        """Return the smallest chunk that clients should send but for the last; 0 for any."""
        return self._uploads.least

    def begin(self, repository: str) -> str:
        """Open an upload; return its id."""
        upload = self._uploads.begin()
        now = self._shelves.clock()
        self._database.write(lambda c: records.add_upload(c, upload, repository, now), durable=False)
        return upload

    def size(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived."""
        self._database.read(lambda c: records.check_upload(c, upload, repository))
        return self._uploads.size(upload)

    def append(self, upload: str, offset: int, data: bytes | bytearray) -> int:
        """Add *data* to an upload that the caller has looked up; return the new size.

        Raises:
            Conflict: the upload does not end at *offset*.
            OutOfSpace: the storage is full.
        """
        with self._shelves.locks.hold(f"upload {upload}"):
            return self._uploads.append(upload, offset, data)

    def finish(self, repository: str, upload: str, digest: Digest) -> None:
        """Make the upload a blob of the repository; on return that is durable.

        Raises:
            DataCorrupted: the bytes have another digest; the upload is gone.
            OutOfSpace: the storage is full; the upload is still there.
        """
        with self._shelves.locks.hold(f"upload {upload}"), self._shelves.locks.hold(digest):
            self._database.read(lambda c: records.check_upload(c, upload, repository))
            self._database.write(lambda c: records.announce_blob(c, digest), durable=False)
            try:
                size = self._uploads.finish(upload, digest)
            except (DataCorrupted, NotFound):
                self._database.write(lambda c: records.remove_upload(c, upload), durable=False)
                raise
            note = self._database.write(lambda c: self._arrived(c, repository, upload, digest, size))
        self._shelves.mirror.flush([note])

    def _arrived(self, c: sqlite3.Connection, repository: str, upload: str, digest: Digest, size: int) -> str:
        records.revive(c, digest, size)
        records.remove_upload(c, upload)
        return records.link(c, repository, digest, self._shelves.lease())

    def cancel(self, repository: str, upload: str) -> None:
        """Forget an upload."""
        with self._shelves.locks.hold(f"upload {upload}"):
            self._database.read(lambda c: records.check_upload(c, upload, repository))
            self._database.write(lambda c: records.remove_upload(c, upload), durable=False)
            self._uploads.cancel(upload)
