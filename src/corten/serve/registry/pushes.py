"""Pushes: manifests, tags and links come and go.

A manifest exists from the one transaction on that checks that all it refers
to is there and adds it. Its bytes are stored before, and announced before
that, so that a killed process leaves nothing that is not known.
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from corten.errors import NotFound
from corten.oci.digest import Digest
from corten.serve.registry import records
from corten.serve.registry.manifests import Checked
from corten.serve.registry.refusal import Code, Refusal
from corten.serve.registry.shelves import Shelves


class Condition(NamedTuple):
    """What a tag must point to for it to be changed (RFC 9110, section 13.1).

    *matches*: one of these digests, None for anything; *absent*: there must be no such tag.
    """

    matches: frozenset[str] | None = None
    absent: bool = False


ANYWAY = Condition()


class Pushes:
    """The side of a registry that changes what it holds; all methods block."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._database = shelves.database

    def put(
        self,
        repository: str,
        checked: Checked,
        tag: str = "",
        *,
        condition: Condition = ANYWAY,
        complete: bool = True,
    ) -> None:
        """Store a manifest and point *tag* to it, all or nothing; durable on return. Idempotent.

        Args:
            repository: Made if it is new.
            checked: The manifest.
            tag: Empty for none.
            condition: What the tag must be before.
            complete: All that the manifest refers to must be there. A cache,
                which fetches blobs when they are asked for, does without.

        Raises:
            Refusal: MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID (a size differs), or 412 for *condition*.
            OutOfSpace: the storage is full.
        """
        if complete:
            self._database.read(lambda c: _check(c, repository, checked))

        def commit(c: sqlite3.Connection) -> list[str]:
            if complete:
                _check(c, repository, checked)
            return self._add(c, repository, checked, tag, condition)

        with self._shelves.locks.hold(checked.digest):
            self._store(checked)
            notes = self._database.write(commit)
        self._shelves.mirror.flush(notes)

    def _store(self, checked: Checked) -> None:
        """Put the manifest's bytes into the storage, unless they are there for good."""
        if not self._database.read(lambda c: records.is_live(c, checked.digest)):
            self._database.write(lambda c: records.announce_blob(c, checked.digest), durable=False)
            self._shelves.storage.blobs.put(checked.digest, checked.raw)

    def _add(
        self, c: sqlite3.Connection, repository: str, checked: Checked, tag: str, condition: Condition
    ) -> list[str]:
        now = self._shelves.clock()
        notes = records.add_manifest(c, repository, checked, now, self._shelves.lease())
        if tag:
            _check_condition(c, repository, tag, condition)
            notes.append(records.set_tag(c, repository, tag, checked.digest, now))
        return notes

    def delete_tag(self, repository: str, tag: str) -> None:
        """Remove a tag; NotFound if there is none. The manifest stays."""
        self._shelves.mirror.flush([self._database.write(lambda c: records.delete_tag(c, repository, tag))])

    def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and all tags that point to it.

        Raises:
            NotFound: the repository does not hold it.
            Refusal: UNSUPPORTED, an index of the repository refers to it.
        """
        self._delete(repository, digest, lambda c: records.delete_manifest(c, repository, digest))

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Remove a blob from the repository. Its bytes go when nothing needs them.

        Raises:
            NotFound: the repository does not hold it.
            Refusal: UNSUPPORTED, a manifest of the repository refers to it.
        """

        def remove(c: sqlite3.Connection) -> list[str]:
            records.blob(c, repository, digest)
            return [records.hide(c, repository, digest)]

        self._delete(repository, digest, remove)

    def _delete(
        self, repository: str, digest: Digest, remove: Callable[[sqlite3.Connection], list[str]]
    ) -> None:
        """Remove what no manifest of the repository refers to."""

        def commit(c: sqlite3.Connection) -> list[str]:
            notes = remove(c)
            if user := records.user_of(c, repository, digest):
                raise Refusal(Code.UNSUPPORTED, f"{digest} is part of {repository}@{user}: delete that first")
            return notes

        self._shelves.mirror.flush(self._database.write(commit))

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Let *repository* hold a blob that the repository *source* holds; tell whether that worked."""

        def commit(c: sqlite3.Connection) -> str:
            records.blob(c, source, digest)
            return records.link(c, repository, digest, self._shelves.lease())

        try:
            note = self._database.write(commit)
        except NotFound:
            return False
        self._shelves.mirror.flush([note])
        return True


def _check(c: sqlite3.Connection, repository: str, checked: Checked) -> None:
    """Refuse a manifest that refers to what the repository does not hold."""
    absent: list[str] = []
    for wanted in checked.wanted:
        size = records.held_size(c, repository, wanted)
        if size is None and not wanted.optional:
            absent.append(wanted.digest)
        elif size is not None and size != wanted.size:
            raise Refusal(
                Code.MANIFEST_INVALID,
                f"the manifest says that {wanted.digest} has {wanted.size} bytes, but it has {size}",
            )
    if absent:
        raise Refusal(
            Code.MANIFEST_BLOB_UNKNOWN,
            f"the manifest refers to {absent[0]}, which {repository} does not hold: push that first",
            detail={"digests": absent},
        )


def _check_condition(c: sqlite3.Connection, repository: str, tag: str, condition: Condition) -> None:
    held = records.tag(c, records.repository_id(c, repository), tag)
    if (condition.absent and held) or (condition.matches is not None and held not in condition.matches):
        raise Refusal(
            Code.DENIED,
            f"the tag {tag} points to {held or 'nothing'} by now: read it again, and then decide",
            status=412,
        )
