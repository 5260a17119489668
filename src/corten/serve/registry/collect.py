"""Collector: gives back the space of what nothing needs, while pushes go on.

How a blob that somebody is about to need is never lost:

1. *Mark* is one transaction. It removes the links whose lease has ended and that
   no manifest of their repository needs, and makes blobs that no link and no
   manifest names dead. A client was told that a blob is there only together
   with a lease, in a transaction too, so it was either told before, and the
   blob stays, or asks afterwards, and hears that it is not there.
2. *Sweep* takes one dead blob at a time, under the lock of its digest, looks once
   more whether it is still dead, and deletes it. An upload of the same digest
   holds that lock while its bytes come in and makes the blob live; so whichever
   is first, the upload wins.

A dry run is the very same mark, undone instead of committed.
Sources: distribution/distribution issue 3544 and its kind; the idea of leases
is containerd's (docs/garbage-collection.md).
"""

import logging
import sqlite3
from contextlib import suppress
from typing import NamedTuple

from corten.errors import NotFound, OutOfSpace
from corten.oci.digest import Digest
from corten.serve.registry import naming, records
from corten.serve.registry.shelves import Shelves

log = logging.getLogger(__name__)


class Report(NamedTuple):
    """What a run gave back, or would give back.

    *size* is the sum of the bytes of blobs and uploads, exactly what their
    files hold. *kept* counts bytes that were given up by the mark and then
    uploaded again before they were deleted.
    """

    manifests: int = 0
    blobs: int = 0
    uploads: int = 0
    size: int = 0
    kept: int = 0


class _Marked(NamedTuple):
    """What one mark decided: how many manifests, the notes to remove, dead blobs with their sizes."""

    manifests: int
    notes: list[str]
    dead: dict[Digest, int]


class Collector:
    """Collects one registry's garbage; all methods block. Runs one after another, never at once."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._database, self._storage = shelves.database, shelves.storage

    def plan(self) -> Report:
        """Tell what ``run`` would give back now; changes nothing."""
        old = self._left_over()
        marked = self._database.rehearse(self._mark)
        uploads = self._expired()
        size = sum(marked.dead.values()) + sum(old.values()) + sum(uploads.values())
        return Report(marked.manifests, len(marked.dead) + len(old), len(uploads), size)

    def run(self) -> Report:
        """Collect, also on a full disk.

        Raises:
            OutOfSpace: the disk is so full that not even the mark could be written.
            Unavailable: the storage does not answer; what was not deleted goes next time.
        """
        with self._shelves.locks.hold("collector"):
            uploads, freed = self._drop_uploads()
            try:
                self._shelves.mirror.replay()
            except OutOfSpace as failure:
                log.warning("%s", failure)
            old = self._left_over()
            marked = self._mark_for_good()
            self._shelves.mirror.flush(marked.notes)
            blobs, size, kept = self._sweep({**old, **marked.dead})
        return Report(marked.manifests, blobs, uploads, size + freed, kept)

    def _mark_for_good(self) -> _Marked:
        try:
            return self._database.write(self._mark)
        except OutOfSpace:
            self._database.make_room()
            return self._database.write(self._mark)

    def _mark(self, c: sqlite3.Connection) -> _Marked:
        """Decide what nothing needs."""
        now = self._shelves.clock()
        manifests, notes = _drop_untagged(c, now) if self._shelves.terms.untagged else (0, [])
        notes += _drop_links(c, now)
        _drop_repositories(c)
        dead = c.execute(
            "UPDATE blobs SET live = 0 WHERE live = 1"
            " AND NOT EXISTS (SELECT 1 FROM links l WHERE l.digest = blobs.digest)"
            " AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.digest = blobs.digest)"
            " RETURNING digest, size"
        )
        return _Marked(manifests, notes, {Digest(digest): size for digest, size in dead})

    def _left_over(self) -> dict[Digest, int]:
        """Return what an earlier process left dead, with the bytes that it has in the storage."""
        rows = self._database.read(lambda c: c.execute("SELECT digest FROM blobs WHERE live = 0").fetchall())
        found: dict[Digest, int] = {}
        for (text,) in rows:
            digest = Digest(text)
            with self._shelves.locks.hold(digest):
                if not self._database.read(lambda c, d=digest: records.is_live(c, d)):  # type: ignore[misc]
                    found[digest] = self._size(digest)
        return found

    def _size(self, digest: Digest) -> int:
        try:
            return self._storage.blobs.size(digest)
        except NotFound:
            return 0

    def _sweep(self, dead: dict[Digest, int]) -> tuple[int, int, int]:
        """Delete dead blobs; return how many, their bytes, and the bytes of those that came back."""
        blobs = size = kept = 0
        for digest, held in dead.items():
            if self._delete(digest):
                blobs, size = blobs + 1, size + held
            else:
                kept += held
        return blobs, size, kept

    def _delete(self, digest: Digest) -> bool:
        """Delete one blob unless it lives again."""
        with self._shelves.locks.hold(digest):
            if self._database.read(lambda c: records.is_live(c, digest)):
                return False
            self._storage.blobs.delete(digest)
            self._database.write(lambda c: _forget_blob(c, digest), durable=False)
            return True

    def _expired(self) -> dict[str, int]:
        """Return the uploads that nobody has added to for long, with their sizes."""
        before = self._shelves.clock() - self._shelves.terms.upload
        return {each.upload: each.size for each in self._storage.uploads.walk() if each.changed < before}

    def _drop_uploads(self) -> tuple[int, int]:
        """Cancel expired uploads; return how many, and their bytes."""
        number = size = 0
        for upload, held in self._expired().items():
            with self._shelves.locks.hold(f"upload {upload}"), suppress(NotFound):
                self._storage.uploads.cancel(upload)
                number, size = number + 1, size + held
        self._forget_uploads()
        return number, size

    def _forget_uploads(self) -> None:
        """Drop the rows of uploads whose bytes are gone."""
        before = self._shelves.clock() - self._shelves.terms.upload
        rows = self._database.read(
            lambda c: c.execute("SELECT id FROM uploads WHERE begun < ?", (before,)).fetchall()
        )
        for (upload,) in rows:
            try:
                self._storage.uploads.size(upload)
            except NotFound:
                self._database.write(lambda c, u=upload: records.remove_upload(c, u), durable=False)  # type: ignore[misc]


def _drop_untagged(c: sqlite3.Connection, now: float) -> tuple[int, list[str]]:
    """Remove the manifests that no tag, index or subject leads to; return how many, and their notes."""
    number, notes = 0, list[str]()
    while rows := c.execute(_UNTAGGED, (now,)).fetchall():
        for name, digest in rows:
            notes += records.delete_manifest(c, name, Digest(digest))
        number += len(rows)
    return number, notes


_UNTAGGED = """
SELECT r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository
WHERE m.lease < ?
AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository = m.repository AND t.digest = m.digest)
AND NOT EXISTS (SELECT 1 FROM refs f WHERE f.repository = m.repository AND f.target = m.digest)
AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository = m.repository AND s.digest = m.subject)
"""


def _drop_links(c: sqlite3.Connection, now: float) -> list[str]:
    """Remove the links that nobody relies on; return their notes."""
    rows = c.execute(
        "SELECT l.repository, r.name, l.digest FROM links l JOIN repositories r ON r.id = l.repository"
        " WHERE l.lease < ? AND NOT EXISTS"
        " (SELECT 1 FROM refs f WHERE f.repository = l.repository AND f.target = l.digest)",
        (now,),
    ).fetchall()
    c.executemany(
        "DELETE FROM links WHERE repository = ? AND digest = ?",
        [(number, digest) for number, _, digest in rows],
    )
    return [records.post(c, naming.blob_note(name, Digest(digest)), None) for _, name, digest in rows]


def _drop_repositories(c: sqlite3.Connection) -> None:
    """Remove the repositories that hold nothing any more."""
    c.execute(
        "DELETE FROM repositories WHERE NOT EXISTS"
        " (SELECT 1 FROM manifests m WHERE m.repository = repositories.id)"
        " AND NOT EXISTS (SELECT 1 FROM links l WHERE l.repository = repositories.id)"
    )


def _forget_blob(c: sqlite3.Connection, digest: Digest) -> None:
    c.execute("DELETE FROM blobs WHERE digest = ? AND live = 0", (digest,))
