"""Archive: what ``load`` was given, taken apart into blobs.

Every file of the archive goes into the content store as it passes by, whatever
its name: what a file *is* follows later from the manifests, by name and digest.
So one pass suffices for any order of members, and a hostile name reaches no
path. What no recorded image claims in the end is discarded.
"""

import posixpath
import re
from typing import BinaryIO, NamedTuple

from corten.core.content.store import Info
from corten.core.layers import tar
from corten.core.layers.limits import Limits
from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.errors import DataCorrupted, LimitExceeded, NotFound
from corten.oci.codec import MAX_DOCUMENT
from corten.oci.digest import Digest

_DOCUMENTS = frozenset({"manifest.json", "index.json", "oci-layout", "repositories"})
_IGNORED = re.compile(r"[a-f0-9]{64}/(?:VERSION|json)")  # written for Docker before 1.10
_BLOB = re.compile(r"blobs/(sha256|sha512)/([a-f0-9]+)")
_MAX_LINKS = 8
_LIMITS = Limits(entries=200_000)
_FILE, _HARD_LINK, _SYMLINK = b"0", b"1", b"2"
_LINKS = (_HARD_LINK, _SYMLINK)


class Archive(NamedTuple):
    """The files of an archive: small *documents* by name, *blobs* by name, *links* to other names.

    ``stored`` lists every blob that was written, also one whose name came again.
    """

    documents: dict[str, bytes]
    blobs: dict[str, Info]
    links: dict[str, str]
    stored: list[Digest]

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


def take_in(stream: BinaryIO, stores: Stores) -> Archive:
    """Store every file of the tar *stream*, under a lease of the caller.

    Raises:
        DataCorrupted: not tar, damaged, or a blob that does not have the digest in its name.
        LimitExceeded: it claims more than is allowed.
        OutOfSpace: the disk is full.
    """
    taken = Archive({}, {}, {}, [])
    try:
        members = tar.Archive(lambda: stream.read(CHUNK), _LIMITS)
        for member in members:
            _take(member, members, taken, stores)
    except DataCorrupted as error:
        discard(taken, stores)
        raise DataCorrupted(f"cannot read the archive: {error}") from None
    except BaseException:
        discard(taken, stores)
        raise
    return taken


def discard(archive: Archive, stores: Stores) -> None:
    """Free the blobs of *archive* that no image claims."""
    stores.discard(archive.stored)


def _take(member: tar.Entry, members: tar.Archive, taken: Archive, stores: Stores) -> None:
    """Keep one member, if it is a file or a link with a name inside the archive."""
    name = _inside(_text(member.name))
    if name and member.kind in _LINKS:
        above = posixpath.dirname(name) if member.kind == _SYMLINK else ""
        taken.links[name] = _inside(posixpath.join(above, _text(member.link)))
    elif name in _DOCUMENTS and member.kind == _FILE:
        taken.documents[name] = _document(member, members)
    elif name and member.kind == _FILE and not _IGNORED.fullmatch(name):
        if member.pieces is not None:
            raise DataCorrupted(f"{name} is stored as a sparse file: make the archive without that option")
        named = _BLOB.fullmatch(name)
        expected = Digest(f"{named[1]}:{named[2]}") if named else None
        with stores.content.ingest(expected, member.size) as ingest:
            for data in members.chunks(member.size):
                ingest.write(data)
        taken.stored.append(ingest.digest)
        taken.blobs[name] = Info(ingest.digest, ingest.size)


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
