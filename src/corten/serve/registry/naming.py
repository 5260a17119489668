"""Names and texts of the notes, from which the records can be made again; and the grammar of names.

``repositories/NAME/_manifests/ALGORITHM-HEX`` holds a manifest's media type and
when it was pushed, ``repositories/NAME/_tags/TAG`` the digest it points to,
``repositories/NAME/_blobs/ALGORITHM-HEX`` nothing. No part of a repository's
name begins with an underscore, so these never meet.
Source: OCI distribution-spec 1.1, "Pulling manifests".
"""

import re
from typing import NamedTuple

import msgspec

from corten.oci.digest import Digest

TOP = "repositories"
MAX_REPOSITORY = 255  # characters; many clients allow no more, with the registry's own name included
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class ManifestText(msgspec.Struct, frozen=True):
    """What the note of a manifest says; *pushed* in seconds since the epoch."""

    media_type: str
    pushed: float


class TagText(msgspec.Struct, frozen=True):
    """What the note of a tag says; *changed* in seconds since the epoch."""

    digest: str
    changed: float


class Place(NamedTuple):
    """What a note is about: *kind* is ``_manifests``, ``_tags`` or ``_blobs``, *name* a digest or a tag."""

    repository: str
    kind: str
    name: str


def is_repository(text: str) -> bool:
    """Tell whether *text* can name a repository."""
    return len(text) <= MAX_REPOSITORY and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Tell whether *text* can be a tag."""
    return _TAG.fullmatch(text) is not None


def blob_note(repository: str, digest: Digest) -> str:
    """Return the name of the note that a repository holds a blob."""
    return f"{TOP}/{repository}/_blobs/{digest.algorithm}-{digest.hex}"


def manifest_note(repository: str, digest: Digest) -> str:
    """Return the name of the note that a repository holds a manifest."""
    return f"{TOP}/{repository}/_manifests/{digest.algorithm}-{digest.hex}"


def tag_note(repository: str, tag: str) -> str:
    """Return the name of the note that says what a tag points to."""
    return f"{TOP}/{repository}/_tags/{tag}"


def manifest_text(media_type: str, pushed: float) -> str:
    """Return what the note of a manifest says."""
    return msgspec.json.encode(ManifestText(media_type, pushed)).decode()


def tag_text(digest: Digest, changed: float) -> str:
    """Return what the note of a tag says."""
    return msgspec.json.encode(TagText(str(digest), changed)).decode()


def place_of(note: str) -> Place:
    """Return what a note below ``repositories`` is about; ``_tags`` has tags, the others digests."""
    path, name = note.removeprefix(f"{TOP}/").rsplit("/", 1)
    repository, _, kind = path.rpartition("/")
    return Place(repository, kind, name if kind == "_tags" else name.replace("-", ":", 1))
