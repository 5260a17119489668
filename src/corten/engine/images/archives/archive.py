"""Archive: what ``load`` was given, taken apart into blobs.

Every file of the archive goes into the content store as it passes by, whatever
its name: what a file *is* follows later from the manifests, by name and digest.
So one pass suffices for any order of members, and a hostile name reaches no
path. What no recorded image claims in the end is discarded.

What looks like a layer is unpacked while it passes, where the snapshotter can
put a tree on its parent later; a tree that no image of the archive claims is
thrown away. A blob that is here already is not even read.
"""

import posixpath
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

from corten.core.content.store import Info, Ingest
from corten.core.layers import tar
from corten.core.layers.limits import Limits
from corten.engine.images.grow import Grown, check, drop, follow
from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.engine.images.unpack import PARALLEL
from corten.errors import DataCorrupted, LimitExceeded, NotFound
from corten.oci.codec import MAX_DOCUMENT
from corten.oci.digest import Digest
from corten.oci.image import Layer

_DOCUMENTS = frozenset({"manifest.json", "index.json", "oci-layout", "repositories"})
_IGNORED = re.compile(r"[a-f0-9]{64}/(?:VERSION|json)")  # written for Docker before 1.10
_BLOB = re.compile(r"blobs/(sha256|sha512)/([a-f0-9]+)")
_LAYER = re.compile(r"blobs/sha(256|512)/[a-f0-9]+|.+\.(tar|tgz)(\.\w+)?")
_COMPRESSED = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")
_USTAR = slice(257, 262)
_HEAD = 512  # bytes that tell whether a file may be a layer
_MAX_LINKS = 8
_LIMITS = Limits(entries=200_000)
_MAX_NAMES = 16 << 20  # bytes of all names and links of an archive
_FILE, _HARD_LINK, _SYMLINK = b"0", b"1", b"2"
_LINKS = (_HARD_LINK, _SYMLINK)


class Archive(NamedTuple):
    """The files of an archive: small *documents* by name, *blobs* by name, *links* to other names.

    ``stored`` lists every blob that was written, also one whose name came again;
    ``trees`` are those of blobs that may be layers, in the making or failed.
    """

    documents: dict[str, bytes]
    blobs: dict[str, Info]
    links: dict[str, str]
    stored: list[Digest]
    trees: dict[Digest, Future[Grown]]

    def document(self, name: str) -> bytes | None:
        """Return a document at the top of the archive, or None."""
        return self.documents.get(name)

    def blob(self, name: str) -> Info:
        """Return what was stored for *name*, through links.

        Raises:
            DataCorrupted: the archive does not hold it.
        """
        for _ in range(_MAX_LINKS):
            if name in self.blobs:
                return self.blobs[name]
            name = self.links.get(name, "")
        raise DataCorrupted(f"the archive does not contain {name or 'a file that it names'}: save it again")

    def by_digest(self, digest: Digest, stores: Stores) -> Info:
        """Return the blob *digest*, from the archive or, as image-layout.md allows, stored before."""
        name = f"blobs/{digest.algorithm}/{digest.hex}"
        if name in self.blobs:
            return self.blobs[name]
        try:
            return stores.content.info(digest)
        except NotFound:
            raise DataCorrupted(f"the archive does not contain blob {digest}: save it again") from None

    def claim(self, layers: Sequence[Layer], stores: Stores) -> list[str | None]:
        """Hand over the keys of the trees of *layers*, None for one that has none; the caller owns them.

        Raises:
            CortenError: a layer could not be unpacked, or is not the one that the image says.
        """
        keys: list[str | None] = []
        try:
            for layer in layers:
                blob = layer.descriptor.digest
                tree = self.trees.pop(blob, None)
                keys.append(None if tree is None else check(blob, layer.diff_id, tree.result(), stores))
        except BaseException:
            for key in filter(None, keys):
                drop(key, stores)
            raise
        return keys


def take_in(stream: BinaryIO, stores: Stores) -> Archive:
    """Store every file of the tar *stream*, under a lease of the caller.

    Raises:
        DataCorrupted: not tar, damaged, or a blob that does not have the digest in its name.
        LimitExceeded: it claims more than is allowed.
        OutOfSpace: the disk is full.
    """
    taken = Archive({}, {}, {}, [], {})
    try:
        with ThreadPoolExecutor(PARALLEL, "tree") as pool:
            _Taking(tar.Archive(lambda: stream.read(CHUNK), _LIMITS), taken, stores, pool).run()
    except DataCorrupted as error:
        discard(taken, stores)
        raise DataCorrupted(f"cannot read the archive: {error}") from None
    except BaseException:
        discard(taken, stores)
        raise
    return taken


def discard(archive: Archive, stores: Stores) -> None:
    """Free the blobs of *archive* that no image claims, and its trees."""
    while archive.trees:
        _throw_away(archive.trees.popitem()[1], stores)
    stores.discard(archive.stored)


def _throw_away(tree: Future[Grown], stores: Stores) -> None:
    if tree.exception() is None:
        drop(tree.result().key, stores)


class _Taking:
    """The *members* of an archive on their way into *taken*; *pool* makes trees."""

    def __init__(
        self, members: tar.Archive, taken: Archive, stores: Stores, pool: ThreadPoolExecutor
    ) -> None:
        self._members = members
        self._taken = taken
        self._stores = stores
        self._pool = pool
        self._stopped = False
        self._names = 0

    def run(self) -> None:
        """Take all; trees that are not begun when something fails are left alone."""
        try:
            for member in self._members:
                self._take(member)
        except BaseException:
            self._stopped = True
            raise

    def _take(self, member: tar.Entry) -> None:
        """Keep one member, if it is a file or a link with a name inside the archive."""
        self._names += len(member.name) + len(member.link)
        if self._names > _MAX_NAMES:
            raise LimitExceeded(f"the names in the archive take more than {_MAX_NAMES} bytes")
        name, taken = _inside(_text(member.name)), self._taken
        if name and member.kind in _LINKS:
            above = posixpath.dirname(name) if member.kind == _SYMLINK else ""
            taken.links[name] = _inside(posixpath.join(above, _text(member.link)))
        elif name in _DOCUMENTS and member.kind == _FILE:
            taken.documents[name] = _document(member, self._members)
        elif name and member.kind == _FILE and not _IGNORED.fullmatch(name):
            if member.pieces is not None:
                raise DataCorrupted(
                    f"{name} is stored as a sparse file: make the archive without that option"
                )
            named = _BLOB.fullmatch(name)
            expected = Digest(f"{named[1]}:{named[2]}") if named else None
            known = self._known(expected, member.size)
            taken.blobs[name] = known or self._store(name, expected, member.size)

    def _known(self, expected: Digest | None, size: int) -> Info | None:
        """Return what is stored under *expected*, if anything."""
        if expected is None or not self._stores.content.exists(expected):
            return None
        info = self._stores.content.info(expected)
        if info.size != size:
            raise DataCorrupted(f"blob {expected} has {size} bytes there, but {info.size} by its digest")
        return info

    def _store(self, name: str, expected: Digest | None, size: int) -> Info:
        """Write the blob that comes next, and have its tree made meanwhile if it may be a layer."""
        tree: Future[Grown] | None = None
        try:
            with self._stores.content.ingest(expected, size) as ingest:
                head = b""
                for data in self._members.chunks(size):
                    ingest.write(data)
                    if len(head) < _HEAD:
                        head += data[:_HEAD]
                        if len(head) >= _HEAD or ingest.size == size:
                            tree = self._begin(name, head, ingest)
        except BaseException:
            self._stopped = True
            if tree is not None:
                _throw_away(tree, self._stores)
            raise
        self._taken.stored.append(ingest.digest)
        if tree is not None and self._taken.trees.setdefault(ingest.digest, tree) is not tree:
            _throw_away(tree, self._stores)  # the same layer came before, under another name
        return Info(ingest.digest, ingest.size)

    def _begin(self, name: str, head: bytes, ingest: Ingest) -> Future[Grown] | None:
        """Have the tree of the blob *name* made, which begins with *head*, if it may be a layer."""
        if not (self._stores.snapshots.late_parent and _LAYER.fullmatch(name)):
            return None
        if head.startswith(_COMPRESSED) or head[_USTAR] == b"ustar":
            return self._pool.submit(follow(ingest, self._stores, lambda: self._stopped))
        return None


def _document(member: tar.Entry, members: tar.Archive) -> bytes:
    if member.size > MAX_DOCUMENT:
        raise LimitExceeded(f"{_text(member.name)} has {member.size} bytes, too many for a document")
    return b"".join(bytes(data) for data in members.chunks(member.size))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _inside(name: str) -> str:
    """Return *name* normalised, or empty when it leads out of the archive."""
    path = posixpath.normpath(name)
    return "" if path.startswith(("/", "..")) or path == "." else path
