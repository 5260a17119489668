"""Receiving: a layer comes in over the network, in one pass, and layers are put on each other.

What has arrived when the pass is broken off, by the network, by the user or
by the end of the engine, stays in the content store: the next pass begins with
it (``ContentStore.ingest``, *resume*). What turns out wrong is forgotten.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import BinaryIO

from corten.core.content.store import Ingest
from corten.core.layers.limits import Limits
from corten.engine.images.grow import Grown, check, drop, follow
from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.engine.images.unpack import PULLING, Progress, bar, unpack
from corten.errors import DataCorrupted, LimitExceeded, Unavailable
from corten.oci.digest import Digest
from corten.oci.image import Layer

Source = Callable[[int], BinaryIO]
"""Opens the bytes of a blob from an offset on; short reads may happen, the reader closes it."""

_REPORTS = 100  # at most, for one layer
_REPORT_EVERY = 256 << 10  # bytes, at least


def receive(layer: Layer, source: Source, stores: Stores, progress: Progress) -> str | None:
    """Take in one layer in one pass, under a lease of the caller: written, hashed, inflated, hashed, unpacked.

    Whoever else wants the same layer waits, and finds it.

    Args:
        layer: What is wanted.
        source: Opens its blob at a byte offset; not called when nothing is missing.
        stores: Where it goes.
        progress: Told how far it is, under the first twelve digits of the blob's digest.

    Returns:
        The key of an active snapshot that holds its tree, without a parent yet,
        for ``stack``; None when nothing had to be fetched, or the tree must
        wait for its parent.

    Raises:
        DataCorrupted: the bytes are not that blob, or not that layer. Nothing of them stays.
        LimitExceeded: the layer asks for too much. Nothing stays.
        OutOfSpace: the disk is full. Nothing stays.
        OSError, CortenError: what reading *source* raised; what has come stays for the next pass.
    """
    blob, size = layer.descriptor.digest, layer.descriptor.size
    if size > Limits().bytes:
        raise LimitExceeded(f"layer {blob.hex[:12]} has {size} bytes; {Limits().bytes} are allowed")
    with stores.making(f"blob {blob}"):
        if stores.content.exists(blob):
            _check_size(blob, size, stores)
            return None
        pass_ = _Pass(layer, stores, progress)
        try:
            return pass_.run(source)
        except DataCorrupted:
            if not pass_.resumed:
                raise
        return _Pass(layer, stores, progress).run(source)  # the old bytes may have been the wrong ones


def _check_size(blob: Digest, size: int, stores: Stores) -> None:
    """Refuse a description that does not fit what is here (DataCorrupted)."""
    found = stores.content.info(blob).size
    if found != size:
        raise DataCorrupted(f"blob {blob} has {found} bytes, but the image says {size}: report this image")


def stack(
    layers: Sequence[Layer], keys: Sequence[str | None], stores: Stores, progress: Progress
) -> tuple[int, ...]:
    """Commit the trees that ``receive`` made, lowest first, each on top of the one before.

    Missing ones are made from their blobs. Whatever happens, no key is left.

    Returns:
        The bytes that each layer takes on disk.

    Raises:
        CortenError: as ``unpack``.
    """
    return unpack(layers, stores, progress, keys, PULLING)


class _Pass:
    """One attempt to take in a layer; ``resumed`` tells whether it began with bytes of an earlier one."""

    def __init__(self, layer: Layer, stores: Stores, progress: Progress) -> None:
        self.resumed = False
        self._layer = layer
        self._stores = stores
        self._progress = progress
        self._name = layer.descriptor.digest.hex[:12]
        self._grown: Future[Grown] | None = None

    def run(self, source: Source) -> str | None:
        """Do it; on failure no tree is left."""
        entry = self._layer.descriptor
        key = None
        with ThreadPoolExecutor(1, "tree") as pool:
            try:
                with self._stores.content.ingest(entry.digest, entry.size, resume=True) as ingest:
                    self.resumed = ingest.offset > 0
                    if self._stores.snapshots.late_parent:
                        self._grown = pool.submit(follow(ingest, self._stores))
                    self._fetch(ingest, source)
                    ingest.end()
                    key = self._finish()
            except BaseException:
                self._undo()
                raise
        return key

    def _fetch(self, ingest: Ingest, source: Source) -> None:
        """Write what is missing, as long as the tree can be made of it."""
        total = self._layer.descriptor.size
        step = max(_REPORT_EVERY, total // _REPORTS)
        reported = ingest.size
        if ingest.size < total:
            with closing(source(ingest.size)) as stream:
                while data := stream.read(CHUNK):
                    if self._grown is not None and self._grown.done():
                        self._grown.result()
                    ingest.write(data)
                    if ingest.size - reported >= step:
                        reported = ingest.size
                        self._progress(bar("Downloading", self._name, reported, total))
        if ingest.size < total:
            raise Unavailable(
                f"layer {self._name} ended after {ingest.size} of {total} bytes: try again, it goes on from there"
            )
        self._progress({"status": "Download complete", "progressDetail": {}, "id": self._name})

    def _finish(self) -> str | None:
        """Wait for the tree; return its key."""
        if self._grown is None:
            return None
        layer = self._layer
        return check(layer.descriptor.digest, layer.diff_id, self._grown.result(), self._stores)

    def _undo(self) -> None:
        """Throw the tree away, once it can be; it ends since its blob has."""
        if self._grown is not None and self._grown.exception() is None:
            drop(self._grown.result().key, self._stores)
