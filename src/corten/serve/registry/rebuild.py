"""Rebuild: makes the records again from the storage."""

import logging
import sqlite3
from collections.abc import Callable
from itertools import islice

import msgspec

from corten.errors import CortenError, InvalidInput
from corten.oci.digest import Digest
from corten.serve.registry import manifests, naming, records
from corten.serve.registry.database import mark_complete
from corten.serve.registry.refusal import Refusal
from corten.serve.registry.shelves import Shelves
from corten.serve.registry.storage.store import Note

log = logging.getLogger(__name__)
_BATCH = 1000  # rows in one transaction


def rebuild(shelves: Shelves) -> None:
    """Fill empty records with all that the storage holds; may be repeated after it was killed.

    Uploads that are not finished are forgotten. What cannot be read is left
    out and logged: it never keeps a registry from starting.

    Raises:
        OutOfSpace, Unavailable: database or storage cannot be used.
    """
    blobs = ((found.digest, found.size) for found in shelves.storage.blobs.walk())
    while batch := list(islice(blobs, _BATCH)):
        shelves.database.write(lambda c, b=batch: _add_blobs(c, b))  # type: ignore[misc]
    notes = [(naming.place_of(note.name), note) for note in shelves.storage.notes.walk(naming.TOP)]
    for kind, add in (("_blobs", _add_link), ("_manifests", _add_manifest), ("_tags", _add_tag)):
        _fill(shelves, add, [each for each in notes if each[0].kind == kind])
    shelves.database.write(_finish)


_Adder = Callable[[sqlite3.Connection, Shelves, naming.Place, Note], None]


def _fill(shelves: Shelves, add: _Adder, notes: list[tuple[naming.Place, Note]]) -> None:
    for place, note in notes:
        if not naming.is_repository(place.repository):
            log.warning("the note %s was left out: it names no repository", note.name)
            continue
        try:
            shelves.database.write(lambda c, p=place, n=note: add(c, shelves, p, n), durable=False)  # type: ignore[misc]
        except (InvalidInput, msgspec.MsgspecError, Refusal) as failure:
            log.warning("the note %s was left out: %s", note.name, failure)


def _add_blobs(c: sqlite3.Connection, batch: list[tuple[Digest, int]]) -> None:
    """Take every blob for dead until something names it."""
    c.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?, 0)", batch)


def _add_link(c: sqlite3.Connection, shelves: Shelves, place: naming.Place, _note: Note) -> None:
    """Let a repository hold a blob, unless its bytes are gone; it gets a new lease."""
    _relink(c, shelves, place.repository, Digest(place.name))


def _relink(c: sqlite3.Connection, shelves: Shelves, repository: str, digest: Digest) -> None:
    if c.execute("UPDATE blobs SET live = 1 WHERE digest = ?", (digest,)).rowcount:
        records.link(c, repository, digest, shelves.lease())


def _add_manifest(c: sqlite3.Connection, shelves: Shelves, place: naming.Place, note: Note) -> None:
    """Let a repository hold a manifest, and the blobs that it refers to."""
    text = msgspec.json.decode(note.text, type=naming.ManifestText)
    digest = Digest(place.name)
    try:
        raw = b"".join(shelves.storage.blobs.read(digest))
    except CortenError as failure:
        raise InvalidInput(str(failure)) from None
    checked = manifests.check(raw, text.media_type, digest)
    records.add_manifest(c, place.repository, checked, text.pushed, shelves.lease())
    for wanted in checked.wanted:
        if wanted.blob:
            _relink(c, shelves, place.repository, wanted.digest)


def _add_tag(c: sqlite3.Connection, _: Shelves, place: naming.Place, note: Note) -> None:
    """Point a tag to its manifest."""
    text = msgspec.json.decode(note.text, type=naming.TagText)
    if not naming.is_tag(place.name):
        raise InvalidInput(f"{place.name} is no tag")
    found = c.execute(
        "SELECT 1 FROM manifests m JOIN repositories r ON r.id = m.repository WHERE r.name = ? AND m.digest = ?",
        (place.repository, text.digest),
    ).fetchone()
    if found is None:
        raise InvalidInput(f"there is no manifest {text.digest}")
    records.set_tag(c, place.repository, place.name, Digest(text.digest), text.changed)


def _finish(c: sqlite3.Connection) -> None:
    c.execute("DELETE FROM outbox")  # the notes say it already
    mark_complete(c)
