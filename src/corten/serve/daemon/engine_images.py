"""EngineSource: an engine's images, read-only, as something that a registry can serve.

The engine's database is read while the engine writes it (SQLite in WAL mode
allows that), its blobs are opened where they are. Nothing is locked: an image
that is removed while it is pulled ends the pull, as it would at the engine.
A repository is what comes after ``docker.io/``, with or without ``library/``;
of other registries' images the registry's name is part of it, a colon before
its port written as a dash.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from corten.engine.records.images import Image
from corten.errors import CortenError, DataCorrupted, InvalidInput, NotFound, Unavailable
from corten.oci import codec
from corten.oci.descriptor import INDEXES, OCI_INDEX, OCI_MANIFEST
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest
from corten.oci.reference import DEFAULT_DOMAIN, Reference
from corten.serve.registry.source import Found, Held, Referrer

_PIECE = 1 << 20  # bytes
_OFFICIAL = "library/"


class _Shelf:
    """What one repository holds: digests by tag, and the images with a name there."""

    def __init__(self) -> None:
        self.tags: dict[str, Digest] = {}
        self.manifests: set[Digest] = set()
        self.blobs: set[Digest] = set()

    def take(self, image: Image, tag: str) -> None:
        """Add *image*, under *tag* if there is one."""
        self.manifests |= {image.manifest, *image.documents}
        self.blobs |= image.blobs
        if tag:
            self.tags[tag] = image.manifest


class EngineSource:
    """The Source over the engine of the state directory *root*; usable from any thread.

    Raises:
        Unavailable: there is no engine's state, or it may not be read.
    """

    def __init__(self, root: str) -> None:
        self._blobs = Path(root, "content", "blobs")
        self._database = f"{root}/engine.db"
        self._lock = threading.Lock()
        self._connection = self._open()
        self._version = -1
        self._shelves: dict[str, _Shelf] = {}
        self._current()

    def close(self) -> None:
        """Close the database; idempotent."""
        self._connection.close()

    def repositories(self, last: str, count: int) -> list[str]:
        """Return at most *count* names in order, those after *last*."""
        return [name for name in sorted(self._current()) if name > last][:count]

    def tags(self, repository: str, last: str, count: int) -> list[str]:
        """Return at most *count* tags in lexical order, those after *last*."""
        tags = sorted(self._shelf(repository).tags, key=_order)
        return [tag for tag in tags if not last or _order(tag) > _order(last)][:count]

    def manifest(self, repository: str, reference: str, *, promise: bool = False) -> Held:  # noqa: ARG002  # nothing is pushed
        """Return the manifest that a tag or a digest stands for."""
        shelf = self._shelf(repository)
        digest = shelf.tags.get(reference)
        if ":" in reference:
            with suppress(InvalidInput):
                digest = Digest(reference)
        missing = NotFound("manifest", f"{repository}{'@' if ':' in reference else ':'}{reference}")
        if digest is None or digest not in shelf.manifests:
            raise missing
        try:
            raw = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise missing from None
        return Held(digest, _media_type(raw), raw)

    def blob(self, repository: str, digest: Digest, *, promise: bool = False) -> Found:  # noqa: ARG002  # nothing is pushed
        """Return where a blob is; NotFound if the repository does not hold it."""
        path = self._path(digest)
        try:
            if digest in self._shelf(repository).blobs:
                return Found(digest, path.stat().st_size, str(path))
        except FileNotFoundError:
            pass
        raise NotFound("blob", digest)

    def read(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        """Yield a range of a blob."""
        try:
            file = self._path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound("blob", digest) from None
        with file:
            file.seek(offset)
            while length > 0 and (piece := file.read(min(length, _PIECE))):
                yield piece
                length -= len(piece)

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """Return the manifests whose subject this is, among those that images are named by."""
        shelf = self._current().get(repository)
        found = [self._referrer(digest, subject) for digest in sorted(shelf.manifests)] if shelf else []
        return [each for each in found if each is not None]

    def _referrer(self, digest: Digest, subject: Digest) -> Referrer | None:
        try:
            raw = self._path(digest).read_bytes()
            kind = _media_type(raw)
            fields = (Index.parse(raw) if kind in INDEXES else Manifest.parse(raw)).fields
        except (FileNotFoundError, CortenError):
            return None
        if fields.subject is None or fields.subject.digest != subject:
            return None
        return Referrer(digest, kind, len(raw), fields.artifact_type, fields.annotations or {})

    def _shelf(self, repository: str) -> _Shelf:
        found = self._current().get(repository) or self._current().get(_OFFICIAL + repository)
        if found is None:
            raise NotFound("repository", repository)
        return found

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.algorithm / digest.hex

    def _open(self) -> sqlite3.Connection:
        if not os.path.exists(self._database):
            raise Unavailable(f"there is no engine at {self._database}: name its state directory with --root")
        try:
            address = f"file:{quote(self._database)}?mode=ro"
            return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as failure:
            raise Unavailable(f"cannot read {self._database}: {failure}") from None

    def _current(self) -> dict[str, _Shelf]:
        """Return the repositories as the engine has them now; read again only when something was written."""
        with self._lock:
            try:
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
                if version != self._version:
                    self._shelves = self._read()
                    self._version = version
            except sqlite3.Error as failure:
                raise Unavailable(f"cannot read {self._database}: {failure}") from None
            return self._shelves

    def _read(self) -> dict[str, _Shelf]:
        rows = self._connection.execute(
            "SELECT r.reference, i.body FROM image_references r JOIN images i ON i.id = r.image"
        )
        shelves: dict[str, _Shelf] = {}
        for name, body in rows:
            with suppress(DataCorrupted, InvalidInput):  # the engine itself sets such a row aside
                reference = Reference.parse(name)
                image = codec.decode(bytes(body), Image, "image record")
                shelves.setdefault(_repository(reference), _Shelf()).take(image, reference.tag)
        return shelves


def _repository(reference: Reference) -> str:
    if reference.domain == DEFAULT_DOMAIN:
        return reference.path
    return f"{reference.domain.lower().replace(':', '-')}/{reference.path}"


def _order(tag: str) -> tuple[str, str]:
    return tag.lower(), tag


class _Kind(msgspec.Struct, rename="camel"):
    """What a document says of itself, and what tells an index from a manifest."""

    media_type: str = ""
    manifests: Any = None


def _media_type(raw: bytes) -> str:
    """Return what a stored manifest is; DataCorrupted if it is none."""
    kind = codec.decode(raw, _Kind, "manifest")
    return kind.media_type or (OCI_MANIFEST if kind.manifests is None else OCI_INDEX)
