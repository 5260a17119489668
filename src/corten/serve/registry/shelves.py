"""Shelves: what the parts of a registry share, and the side of it that pulls."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from corten.errors import NotFound
from corten.oci.digest import Digest
from corten.serve.registry import records
from corten.serve.registry.database import Database
from corten.serve.registry.locks import Locks
from corten.serve.registry.mirror import Mirror
from corten.serve.registry.source import Found, Held, Referrer
from corten.serve.registry.storage.store import Storage

HOUR = 3600.0  # seconds


@dataclass(frozen=True)
class Terms:
    """How long things are kept, in seconds.

    Attributes:
        grace: What a client was told to be there is kept as long at least, though nothing refers to it.
        upload: An upload that nobody adds to is kept as long.
        untagged: Collect manifests too that no tag, index or subject leads to.
    """

    grace: float = 24 * HOUR
    upload: float = 7 * 24 * HOUR
    untagged: bool = False


@dataclass(frozen=True)
class Shelves:
    """Storage, records, and the locks that keep both in step.

    A digest's lock is held while its bytes come into the storage or leave it,
    an upload's while it is added to.
    """

    storage: Storage
    database: Database
    terms: Terms = Terms()
    clock: Callable[[], float] = time.time
    locks: Locks = field(default_factory=Locks)
    mirror: Mirror = field(init=False)

    def __post_init__(self) -> None:
        """Connect records and notes."""
        object.__setattr__(self, "mirror", Mirror(self.database, self.storage.notes, self.locks))

    def lease(self) -> float:
        """Return until when something that a client is told of now is kept.

        Half as long again as it must be, so that not every request renews it.
        """
        return self.clock() + 1.5 * self.terms.grace

    def fresh(self, lease: float) -> bool:
        """Tell whether a lease runs long enough not to be written again."""
        return lease > self.clock() + self.terms.grace


class Pulls:
    """The Source of a registry's own shelves."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._database, self._blobs = shelves.database, shelves.storage.blobs

    def repositories(self, last: str, count: int) -> list[str]:
        """Return names of repositories that hold a manifest."""
        return self._database.read(lambda c: records.repositories(c, last, count))

    def tags(self, repository: str, last: str, count: int) -> list[str]:
        """Return tags; NotFound if there is no such repository."""
        return self._database.read(lambda c: records.tags(c, repository, last, count))

    def manifest(self, repository: str, reference: str, *, promise: bool = False) -> Held:
        """Return a manifest; NotFound if there is none."""
        row = self._database.read(lambda c: records.manifest(c, repository, reference))
        if promise and not self._shelves.fresh(row.lease):
            until = self._shelves.lease()
            row = self._database.write(
                lambda c: records.lease_manifest(c, repository, reference, until), durable=False
            )
        try:
            raw = b"".join(self._blobs.read(row.digest))
        except NotFound:  # deleted between the two
            raise NotFound("manifest", f"{repository}@{row.digest}") from None
        return Held(row.digest, row.media_type, raw)

    def blob(self, repository: str, digest: Digest, *, promise: bool = False) -> Found:
        """Return where a blob is; NotFound if the repository does not hold it."""
        row = self._database.read(lambda c: records.blob(c, repository, digest))
        if promise and not self._shelves.fresh(row.lease):
            until = self._shelves.lease()
            row = self._database.write(
                lambda c: records.lease_blob(c, repository, digest, until), durable=False
            )
        return Found(digest, row.size, self._blobs.path(digest))

    def read(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        """Yield a range of a blob."""
        return self._blobs.read(digest, offset, length)

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """Return the manifests whose subject this is.

        Those that clients list under the fallback tag are among them: every
        manifest's subject is known since it was pushed.
        """
        rows = self._database.read(lambda c: records.referrers(c, repository, subject))
        return [Referrer(*row) for row in rows]
