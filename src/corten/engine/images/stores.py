"""Stores: where the pieces of an image are kept, and the lease that protects pieces in the making.

An image becomes visible by one insert into the records; its blobs and
snapshots are there before that, claimed by nobody. Whoever adds pieces does so
under a lease, and pieces are only collected while no lease is held: what is
freed meanwhile waits. So no lock is held over I/O of a transfer, and a piece
found present under a lease stays present until the lease ends.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from corten.core.content.store import ContentStore
from corten.core.layers.unpack import Applied
from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine.records.images import ImageRepository
from corten.errors import Conflict, NotFound
from corten.oci.digest import Digest
from corten.oci.image import ImageConfig, Manifest


class Stores:
    """Content, snapshots and records of all images; usable from any thread.

    Attributes:
        proven: Pairs of a blob and the diff id that it was found to hold; as many
            as one engine meets, a hundred bytes each.
        grown: What the layers were that are trees already but not yet committed, by their key.
    """

    def __init__(self, content: ContentStore, snapshots: Snapshotter, images: ImageRepository) -> None:
        self.content = content
        self.snapshots = snapshots
        self.images = images
        self.proven: dict[tuple[Digest, Digest], None] = {}
        self.grown: dict[str, Applied] = {}
        self._lock = threading.Lock()
        self._leases = 0
        self._blobs: set[Digest] = set()
        self._chains: set[Digest] = set()
        self._makers: dict[str, tuple[threading.RLock, set[object]]] = {}

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Be the only one to make the snapshot *name* in this block; others wait. Reentrant."""
        ticket = object()
        with self._lock:
            lock, waiting = self._makers.setdefault(name, (threading.RLock(), set()))
            waiting.add(ticket)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                waiting.remove(ticket)
                if not waiting:
                    del self._makers[name]

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Nothing is collected within this block; may be left in another thread than entered."""
        with self._lock:
            self._leases += 1
        try:
            yield
        finally:
            with self._lock:
                self._leases -= 1
                self._collect()

    def discard(self, blobs: Iterable[Digest], chains: Iterable[Digest] = ()) -> None:
        """Free these pieces as soon as no lease is held, except what a recorded image claims."""
        with self._lock:
            self._blobs.update(blobs)
            self._chains.update(chains)
            self._collect()

    def _collect(self) -> None:
        """Delete the discarded pieces that nobody claims; the lock is held."""
        if self._leases or not (self._blobs or self._chains):
            return
        images = self.images.all()
        for blob in self._blobs.difference(*(image.blobs for image in images)):
            self.content.delete(blob)
        self._remove_chains(self._chains.difference(*(image.chain_ids for image in images)))
        self._blobs, self._chains = set(), set()

    def _remove_chains(self, chains: set[Digest]) -> None:
        """Remove snapshots, children first; one that a container builds on stays until that is gone."""
        for snapshot in reversed(list(self.snapshots.walk())):
            if snapshot.key in chains:
                with suppress(Conflict):
                    self.snapshots.remove(snapshot.key)

    def collect(self) -> None:
        """Free every piece that no image claims; call it at start and after removing containers.

        Active snapshots are left alone: their owners claim them. Nothing is
        freed while records are known to be lost, since what they claimed may
        still be wanted.
        """
        if not self.images.complete:
            return
        blobs = {info.digest for info in self.content.walk()}
        walked = [snapshot.key for snapshot in self.snapshots.walk() if snapshot.kind == "committed"]
        self.discard(blobs, [Digest(key) for key in walked if key.startswith("sha256:")])

    def is_unpacked(self, name: str) -> bool:
        """Tell whether the committed snapshot *name* is there."""
        try:
            return self.snapshots.info(name).kind == "committed"
        except NotFound:
            return False

    def config(self, identifier: Digest) -> ImageConfig:
        """Read the configuration of an image; NotFound or DataCorrupted."""
        return ImageConfig.parse(self.read(identifier))

    def manifest(self, digest: Digest) -> Manifest:
        """Read a manifest; NotFound or DataCorrupted."""
        return Manifest.parse(self.read(digest))

    def read(self, digest: Digest) -> bytes:
        """Read a small blob whole; NotFound if absent."""
        with self.content.open(digest) as file:
            return file.read()

    def write(self, data: bytes) -> Digest:
        """Store a small blob; return its digest."""
        with self.content.ingest(Digest.of(data), len(data)) as ingest:
            ingest.write(data)
        return ingest.digest
