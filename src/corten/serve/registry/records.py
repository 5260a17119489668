"""Records: what a registry knows, as questions and changes on an open connection.

Each function runs inside a transaction of its caller (``Database.read`` or
``Database.write``), so that several make one step. The rules they keep:

- a *link* says that a repository holds a blob; a manifest that a repository
  holds is told by its row in ``manifests``;
- a blob is *live* while a link or a manifest names it; one that is not may be
  on its way in or out, and nobody is told of it;
- a link has a *lease*, a time until which it is kept even if no manifest of the
  repository refers to the blob. A *hidden* link is one that was deleted while
  its lease ran: nobody sees it, but whoever was told before that the blob is
  there can still push a manifest that refers to it;
- what a scan of the storage has to find again is put into the *outbox* in the
  same transaction, and from there into the storage's notes (mirror.py).
"""

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from corten.errors import NotFound
from corten.oci.digest import Digest
from corten.serve.registry import naming
from corten.serve.registry.manifests import Checked, Wanted


class BlobRow(NamedTuple):
    """A blob of a repository; *lease* in seconds since the epoch."""

    size: int
    lease: float


class ManifestRow(NamedTuple):
    """A manifest of a repository; *lease* in seconds since the epoch."""

    digest: Digest
    media_type: str
    size: int
    lease: float


class ReferrerRow(NamedTuple):
    """A manifest that has a subject, as the list of referrers shows it."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str
    annotations: Mapping[str, str]


def repository_id(c: sqlite3.Connection, name: str) -> int:
    """Return the number of a repository; NotFound if nothing was ever pushed there."""
    found = c.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise NotFound("repository", name)
    return int(found[0])


def make_repository(c: sqlite3.Connection, name: str) -> int:
    """Return the number of a repository, which is made if it is new."""
    c.execute("INSERT OR IGNORE INTO repositories (name) VALUES (?)", (name,))
    return repository_id(c, name)


def repositories(c: sqlite3.Connection, last: str, count: int) -> list[str]:
    """Return at most *count* names of repositories that hold a manifest, in order, after *last*."""
    rows = c.execute(
        "SELECT name FROM repositories r WHERE name > ?"
        " AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository = r.id) ORDER BY name LIMIT ?",
        (last, count),
    )
    return [name for (name,) in rows]


def tags(c: sqlite3.Connection, repository: str, last: str, count: int) -> list[str]:
    """Return at most *count* tags in lexical order (letters without regard to case) after *last*."""
    rows = c.execute(
        "SELECT name FROM tags WHERE repository = ? AND (lower(name), name) > (lower(?), ?)"
        " ORDER BY lower(name), name LIMIT ?",
        (repository_id(c, repository), last, last, count),
    )
    return [name for (name,) in rows]


def manifest(c: sqlite3.Connection, repository: str, reference: str) -> ManifestRow:
    """Return the manifest that a tag or digest stands for; NotFound if there is none."""
    number = repository_id(c, repository)
    digest = reference if ":" in reference else tag(c, number, reference)
    found = c.execute(
        "SELECT digest, media_type, size, lease FROM manifests WHERE repository = ? AND digest = ?",
        (number, digest),
    ).fetchone()
    if found is None:
        raise NotFound("manifest", f"{repository}{'@' if ':' in reference else ':'}{reference}")
    return ManifestRow(Digest(found[0]), *found[1:])


def tag(c: sqlite3.Connection, number: int, name: str) -> str:
    """Return the digest that a tag points to, empty if there is no such tag."""
    found = c.execute("SELECT digest FROM tags WHERE repository = ? AND name = ?", (number, name)).fetchone()
    return found[0] if found else ""


def blob(c: sqlite3.Connection, repository: str, digest: Digest) -> BlobRow:
    """Return a blob that the repository holds; NotFound if it does not."""
    found = c.execute(
        "SELECT b.size, l.lease FROM repositories r JOIN links l ON l.repository = r.id"
        " JOIN blobs b ON b.digest = l.digest"
        " WHERE r.name = ? AND l.digest = ? AND l.hidden = 0 AND b.live = 1",
        (repository, digest),
    ).fetchone()
    if found is None:
        raise NotFound("blob", digest)
    return BlobRow(*found)


def lease_blob(c: sqlite3.Connection, repository: str, digest: Digest, until: float) -> BlobRow:
    """Return a blob that the repository holds, and keep it until a time; NotFound if it is not there."""
    found = blob(c, repository, digest)
    c.execute(
        "UPDATE links SET lease = max(lease, ?) WHERE repository = ? AND digest = ?",
        (until, repository_id(c, repository), digest),
    )
    return found


def lease_manifest(c: sqlite3.Connection, repository: str, reference: str, until: float) -> ManifestRow:
    """Return a manifest as ``manifest`` does, and keep it until a time."""
    found = manifest(c, repository, reference)
    c.execute(
        "UPDATE manifests SET lease = max(lease, ?) WHERE repository = ? AND digest = ?",
        (until, repository_id(c, repository), found.digest),
    )
    return found


def referrers(c: sqlite3.Connection, repository: str, subject: Digest) -> list[ReferrerRow]:
    """Return the manifests of a repository that have *subject*, the oldest first; none if it is unknown."""
    rows = c.execute(
        "SELECT m.digest, m.media_type, m.size, m.artifact_type, m.annotations FROM manifests m"
        " JOIN repositories r ON r.id = m.repository WHERE r.name = ? AND m.subject = ?"
        " ORDER BY m.pushed, m.digest",
        (repository, subject),
    )
    return [
        ReferrerRow(Digest(digest), media_type, size, artifact_type, msgspec.json.decode(annotations))
        for digest, media_type, size, artifact_type, annotations in rows
    ]


def announce_blob(c: sqlite3.Connection, digest: Digest) -> None:
    """Note that the bytes of a blob may be in the storage from now on, though nobody is told of them."""
    c.execute("INSERT OR IGNORE INTO blobs VALUES (?, 0, 0)", (digest,))


def is_live(c: sqlite3.Connection, digest: Digest) -> bool:
    """Tell whether the storage holds a blob for good."""
    return c.execute("SELECT 1 FROM blobs WHERE digest = ? AND live = 1", (digest,)).fetchone() is not None


def revive(c: sqlite3.Connection, digest: Digest, size: int) -> None:
    """Note that the bytes of a blob are in the storage."""
    c.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, 1)", (digest, size))


def link(c: sqlite3.Connection, repository: str, digest: Digest, lease: float) -> str:
    """Let a repository hold a live blob until *lease* at least; return the note to write."""
    number = make_repository(c, repository)
    c.execute(
        "INSERT INTO links VALUES (?, ?, ?, 0)"
        " ON CONFLICT DO UPDATE SET lease = max(lease, excluded.lease), hidden = 0",
        (number, digest, lease),
    )
    return post(c, naming.blob_note(repository, digest), "")


def hide(c: sqlite3.Connection, repository: str, digest: Digest) -> str:
    """Delete a blob from a repository as far as anybody sees; return the note to remove."""
    c.execute(
        "UPDATE links SET hidden = 1 WHERE repository = ? AND digest = ?",
        (repository_id(c, repository), digest),
    )
    return post(c, naming.blob_note(repository, digest), None)


def user_of(c: sqlite3.Connection, repository: str, digest: str) -> str:
    """Return a manifest of the repository that refers to *digest*, empty if there is none."""
    found = c.execute(
        "SELECT f.manifest FROM refs f JOIN repositories r ON r.id = f.repository"
        " WHERE r.name = ? AND f.target = ? LIMIT 1",
        (repository, digest),
    ).fetchone()
    return found[0] if found else ""


def held_size(c: sqlite3.Connection, repository: str, wanted: Wanted) -> int | None:
    """Return the size of what a manifest wants as the repository holds it, hidden or not; None if absent."""
    found = None
    if wanted.manifest:
        found = c.execute(
            "SELECT size FROM manifests m JOIN repositories r ON r.id = m.repository"
            " WHERE r.name = ? AND m.digest = ?",
            (repository, wanted.digest),
        ).fetchone()
    if found is None and wanted.blob:
        found = c.execute(
            "SELECT size FROM links l JOIN repositories r ON r.id = l.repository"
            " JOIN blobs b ON b.digest = l.digest WHERE r.name = ? AND l.digest = ? AND b.live = 1",
            (repository, wanted.digest),
        ).fetchone()
    return int(found[0]) if found else None


def add_manifest(
    c: sqlite3.Connection, repository: str, checked: Checked, pushed: float, lease: float
) -> list[str]:
    """Let a repository hold a manifest whose bytes are stored; return the notes to write."""
    number = make_repository(c, repository)
    revive(c, checked.digest, len(checked.raw))
    annotations = msgspec.json.encode(checked.annotations).decode()
    c.execute(
        "INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET media_type = excluded.media_type,"
        " artifact_type = excluded.artifact_type, lease = max(lease, excluded.lease)",
        (
            *(number, checked.digest, checked.media_type, len(checked.raw), checked.subject),
            *(checked.artifact_type, annotations, pushed, lease),
        ),
    )
    targets = {each.digest for each in checked.wanted}
    c.executemany(
        "INSERT OR IGNORE INTO refs VALUES (?, ?, ?)",
        [(number, checked.digest, target) for target in targets],
    )
    notes = [_unhide(c, repository, number, target) for target in targets]
    (kept,) = c.execute(
        "SELECT pushed FROM manifests WHERE repository = ? AND digest = ?", (number, checked.digest)
    ).fetchone()
    text = naming.manifest_text(checked.media_type, kept)
    return [*filter(None, notes), post(c, naming.manifest_note(repository, checked.digest), text)]


def _unhide(c: sqlite3.Connection, repository: str, number: int, digest: Digest) -> str:
    """Bring back a blob that was deleted while somebody relied on it; return the note to write, if any."""
    changed = c.execute(
        "UPDATE links SET hidden = 0 WHERE repository = ? AND digest = ? AND hidden = 1", (number, digest)
    ).rowcount
    return post(c, naming.blob_note(repository, digest), "") if changed else ""


def set_tag(c: sqlite3.Connection, repository: str, name: str, digest: Digest, changed: float) -> str:
    """Point a tag to a manifest that the repository holds; return the note to write."""
    c.execute(
        "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)",
        (repository_id(c, repository), name, digest, changed),
    )
    return post(c, naming.tag_note(repository, name), naming.tag_text(digest, changed))


def delete_tag(c: sqlite3.Connection, repository: str, name: str) -> str:
    """Remove a tag; return the note to remove. NotFound if there is no such tag."""
    number = repository_id(c, repository)
    if not c.execute("DELETE FROM tags WHERE repository = ? AND name = ?", (number, name)).rowcount:
        raise NotFound("manifest", f"{repository}:{name}")
    return post(c, naming.tag_note(repository, name), None)


def delete_manifest(c: sqlite3.Connection, repository: str, digest: Digest) -> list[str]:
    """Remove a manifest and the tags that point to it; return the notes to remove. NotFound if absent."""
    key = (repository_id(c, repository), digest)
    if not c.execute("DELETE FROM manifests WHERE repository = ? AND digest = ?", key).rowcount:
        raise NotFound("manifest", f"{repository}@{digest}")
    c.execute("DELETE FROM refs WHERE repository = ? AND manifest = ?", key)
    names = c.execute("DELETE FROM tags WHERE repository = ? AND digest = ? RETURNING name", key).fetchall()
    notes = [naming.manifest_note(repository, digest), *(naming.tag_note(repository, n) for (n,) in names)]
    return [post(c, note, None) for note in notes]


def post(c: sqlite3.Connection, note: str, text: str | None) -> str:
    """Put a note, or with None its removal, into the outbox; return its name."""
    c.execute("INSERT OR REPLACE INTO outbox (name, text) VALUES (?, ?)", (note, text))
    return note


def add_upload(c: sqlite3.Connection, upload: str, repository: str, now: float) -> None:
    """Note whose upload it is."""
    c.execute("INSERT INTO uploads VALUES (?, ?, ?)", (upload, repository, now))


def check_upload(c: sqlite3.Connection, upload: str, repository: str) -> None:
    """Raise NotFound unless the upload belongs to the repository."""
    if (
        c.execute("SELECT 1 FROM uploads WHERE id = ? AND repository = ?", (upload, repository)).fetchone()
        is None
    ):
        raise NotFound("upload", upload)


def remove_upload(c: sqlite3.Connection, upload: str) -> None:
    """Forget whose upload it was."""
    c.execute("DELETE FROM uploads WHERE id = ?", (upload,))
