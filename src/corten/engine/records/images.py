"""Images: which there are, and what they are called."""

import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

import msgspec

from corten.engine.records.database import Database
from corten.errors import DataCorrupted, InvalidInput, NotFound
from corten.oci import codec
from corten.oci.digest import Digest
from corten.oci.image import chain_ids
from corten.oci.reference import Reference

_FULL = re.compile(r"[a-f0-9]{64}")
_PREFIX = re.compile(r"(?:sha256:)?([a-f0-9]{1,64})")


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded image: its tree is unpacked and its blobs are stored.

    Attributes:
        id: Digest of the configuration.
        manifest: Digest of the manifest that came with it first.
        manifest_size: Bytes of that manifest.
        manifest_type: Media type of that manifest.
        layers: Digests of the layer blobs as stored, lowest first.
        diff_ids: Digests of the layers' tar, lowest first.
        layer_sizes: Bytes that each layer takes on disk when unpacked.
        created: RFC 3339 time of the configuration, or empty.
        labels: Labels of the configuration.
        tagged: RFC 3339 time of the last tag given here, or empty.
        references: Full names (``docker.io/library/debian:latest``), sorted.
        documents: Digests of indexes and further manifests that registries name this image by;
            their bytes are kept as long as the image.
        parent: The image that this one was made from here, None for one that came from elsewhere.
    """

    id: Digest
    manifest: Digest
    manifest_size: int
    manifest_type: str
    layers: tuple[Digest, ...]
    diff_ids: tuple[Digest, ...]
    layer_sizes: tuple[int, ...]
    created: str = ""
    labels: dict[str, str] = {}
    tagged: str = ""
    references: tuple[str, ...] = ()
    documents: tuple[Digest, ...] = ()
    parent: Digest | None = None

    @property
    def size(self) -> int:
        """Return the bytes that the whole unpacked image takes."""
        return sum(self.layer_sizes)

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """Return the snapshot name after each layer, lowest first."""
        return chain_ids(self.diff_ids)

    @property
    def chain_id(self) -> Digest | None:
        """Return the name of the snapshot of the whole tree; None for an image without layers."""
        return self.chain_ids[-1] if self.diff_ids else None

    @property
    def blobs(self) -> frozenset[Digest]:
        """Return all that the content store keeps for this image."""
        return frozenset((self.id, self.manifest, *self.layers, *self.documents))

    @property
    def short_id(self) -> str:
        """Return the twelve digits by which people see the image."""
        return self.id.hex[:12]


class ImageRepository:
    """All images, in memory and written through; usable from any thread.

    A reference names one image at most; naming another one moves it. A record
    that no longer decodes is set aside (``damaged`` table) and its names with it.

    ``complete`` is False when anything recorded was lost, here or in the whole
    database: then nothing may be undone for want of a record.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._images: dict[Digest, Image] = {}
        self.complete = not database.notes
        for identifier, body in database.read("SELECT id, body FROM images ORDER BY created, id"):
            self._load(str(identifier), cast("bytes", body))
        rows = database.read("SELECT reference, image FROM image_references")
        self._names = {str(name): Digest(str(owner)) for name, owner in rows}
        self._refresh(set(self._names.values()))

    def _load(self, identifier: str, body: bytes) -> None:
        """Take one row in, or set it aside."""
        try:
            image = codec.decode(bytes(body), Image, "image record")
        except DataCorrupted as error:
            self._set_aside(identifier, body, str(error))
        else:
            self._images[image.id] = image

    def _set_aside(self, identifier: str, body: bytes, reason: str) -> None:
        self.complete = False
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO damaged (noun, id, name, body, reason, moved) VALUES ('image', ?, '', ?, ?, ?)",
                (identifier, body, reason, now()),
            )
            connection.execute("DELETE FROM images WHERE id = ?", (identifier,))

    def _refresh(self, identifiers: Iterable[Digest]) -> None:
        """Write the names that point to each image into its value."""
        for identifier in identifiers:
            names = tuple(sorted(name for name, owner in self._names.items() if owner == identifier))
            found = self._images[identifier]
            self._images[identifier] = msgspec.structs.replace(found, references=names)

    def all(self) -> list[Image]:
        """Return every image, in no order; never waits for a write."""
        return list(self._images.values())

    def put(self, image: Image, references: Iterable[Reference] = ()) -> Image:
        """Record *image* and give it *references*, all or nothing; *from here the image exists*.

        An image already recorded under the same id keeps its references, and
        its first manifest and layer blobs: the caller discards what it brought.
        Only documents are added.

        Returns:
            The image as recorded.
        """
        with self._lock:
            known = self._images.get(image.id, image)
            documents = tuple(dict.fromkeys((*known.documents, *image.documents)))
            known = msgspec.structs.replace(known, documents=documents)
            return self._record(known, [str(name) for name in references])

    def repack(self, image: Image) -> Image:
        """Record another manifest, with other layer blobs, for an image that is there.

        The caller stored the blobs, and discards those that are no longer named.

        Raises:
            NotFound: the image is gone.
        """
        with self._lock:
            known = self.get(image.id)
            taken = {
                name: getattr(image, name)
                for name in ("manifest", "manifest_size", "manifest_type", "layers")
            }
            return self._record(msgspec.structs.replace(known, **taken), ())

    def _record(self, image: Image, names: Sequence[str]) -> Image:
        if names:
            image = msgspec.structs.replace(image, tagged=now())
        self._write(image, names)
        moved = {self._names[name] for name in names if name in self._names}
        self._images[image.id] = image  # before its names: readers hold no lock
        self._names.update(dict.fromkeys(names, image.id))
        self._refresh({*moved, image.id})
        return self._images[image.id]

    def _write(self, image: Image, names: Sequence[str]) -> None:
        body = codec.encode(msgspec.structs.replace(image, references=()))
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO images (id, created, body) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                (str(image.id), image.created, body),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO image_references (reference, image) VALUES (?, ?)",
                [(name, str(image.id)) for name in names],
            )

    def tag(self, identifier: Digest, reference: Reference) -> Image:
        """Give the image *identifier* one more name; NotFound if it is gone."""
        with self._lock:
            return self._record(self.get(identifier), [str(reference)])

    def untag(self, reference: str) -> None:
        """Take a full name away; one that names nothing is fine."""
        with self._lock:
            self._database.execute(
                "DELETE FROM image_references WHERE reference = ?", (reference,), essential=True
            )
            owner = self._names.pop(reference, None)
            if owner is not None:
                self._refresh([owner])

    def remove(self, identifier: Digest) -> None:
        """Forget an image and its names; one that is not there is fine."""
        with self._lock:
            self._database.execute("DELETE FROM images WHERE id = ?", (str(identifier),), essential=True)
            self._names = {name: owner for name, owner in self._names.items() if owner != identifier}
            self._images.pop(identifier, None)

    def get(self, identifier: str) -> Image:
        """Return the image of this full id; NotFound if absent."""
        try:
            return self._images[Digest(identifier)]
        except (KeyError, InvalidInput):
            raise NotFound("image", identifier) from None

    def find(self, text: str) -> Image:
        """Return the image that *text* means: a full id, a name, or the beginning of an id.

        A name wins over the beginning of an id, as in Docker.

        Raises:
            InvalidInput: not a name, or the beginning of several ids.
            NotFound: nothing of that name.
        """
        with suppress(NotFound):
            return self.get(text if text.startswith("sha256:") else f"sha256:{text}")
        if not text.startswith("sha256:") and not _FULL.fullmatch(text):
            named = self.named(Reference.parse(text))
            if named is not None:
                return named
        return self._by_prefix(text)

    def named(self, reference: Reference) -> Image | None:
        """Return the image of this reference; one by digest also knows the manifests' digests."""
        owner = self._names.get(str(reference))
        found = self._images.get(owner) if owner is not None else None
        if found is not None:
            return found
        if reference.digest:
            for image in self.all():
                if reference.digest in (image.manifest, image.id) and _knows(image, reference):
                    return image
        return None

    def tags(self, repository: str) -> dict[str, Image]:
        """Return the images of all references in *repository* (a full name), by reference."""
        owners = {name: owner for name, owner in list(self._names.items()) if _repository(name) == repository}
        found = {name: self._images.get(owners[name]) for name in sorted(owners)}
        return {name: image for name, image in found.items() if image is not None}

    def _by_prefix(self, text: str) -> Image:
        prefix = _PREFIX.fullmatch(text)
        found = [image for image in self.all() if prefix and image.id.hex.startswith(prefix[1])]
        if len(found) > 1:
            raise InvalidInput(f"multiple images found with id prefix {text}: give more digits of the id")
        if not found:
            raise NotFound("image", _shown(text))
        return found[0]


def now() -> str:
    """Return the time as RFC 3339 with nanoseconds, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def _repository(name: str) -> str:
    return Reference.parse(name).repository


def _knows(image: Image, reference: Reference) -> bool:
    """Tell whether *image* has any name in the repository of *reference*."""
    return any(_repository(name) == reference.repository for name in image.references)


def _shown(text: str) -> str:
    """Return *text* as the message names it: with the tag that was looked for."""
    return text if text.startswith("sha256:") or _FULL.fullmatch(text) else Reference.parse(text).familiar
