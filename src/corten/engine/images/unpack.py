"""Unpacking: from layer blobs to committed snapshots, so that a start pays nothing.

The snapshot after each layer is named by its chain id. One that is there is
used, so images share what they have in common; of two that need the same one
at once, one makes it and the other waits.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, BinaryIO, NamedTuple, cast

from corten.core.layers.compression import decompress
from corten.core.layers.limits import Limits
from corten.engine.images.grow import Grown, check, check_pair, drop, grow, place
from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.errors import LimitExceeded
from corten.oci.digest import Digest
from corten.oci.image import Layer, chain_ids

Progress = Callable[[dict[str, Any]], None]
"""Takes one message in Docker's progress form; may be called from any thread."""

PARALLEL = 2  # layers unpacked at once
_REPORT_EVERY = 4 << 20  # bytes


class Words(NamedTuple):
    """How it is told that a layer is unpacked: the status, and the digest that names the layer."""

    status: str
    name: Callable[[Layer], Digest]


LOADING = Words("Loading layer", lambda layer: layer.diff_id)
PULLING = Words("Extracting", lambda layer: layer.descriptor.digest)


def silent(_: dict[str, Any]) -> None:
    """Report nothing."""


class Counted:
    """A file that reports how much of it was read.

    Args:
        file: What to read.
        total: Its length in bytes.
        what: The status text, such as ``Loading layer``.
        name: The id under which a terminal shows the bar.
        progress: Takes the reports.
    """

    def __init__(self, file: BinaryIO, total: int, what: str, name: str, progress: Progress) -> None:
        self._file = file
        self._total, self._what, self._name, self._progress = total, what, name, progress
        self._done = self._reported = 0

    def read(self, size: int = -1) -> bytes:
        """Read from the file, reporting now and then and at the end."""
        data = self._file.read(size)
        self._done += len(data)
        if self._done - self._reported >= _REPORT_EVERY or (self._done >= self._total and data):
            self._reported = self._done
            self._progress(bar(self._what, self._name, self._done, self._total))
        return data


def bar(what: str, name: str, done: int, total: int) -> dict[str, Any]:
    """Return the message that draws a bar under the id *name*."""
    return {"status": what, "progressDetail": {"current": done, "total": total}, "id": name}


def unpack(
    layers: Sequence[Layer],
    stores: Stores,
    progress: Progress = silent,
    keys: Sequence[str | None] = (),
    words: Words = LOADING,
) -> tuple[int, ...]:
    """Make the snapshots of *layers*, lowest first, under a lease of the caller; idempotent.

    Args:
        layers: Their blobs are stored.
        stores: Where all is kept.
        progress: Told how far it is.
        keys: Trees of these layers that were made before, None where there is
            none; whatever happens, they are placed or thrown away.
        words: How to tell it.

    Returns:
        The bytes that each layer takes on disk.

    Raises:
        DataCorrupted: a blob is damaged or not the layer that the configuration names.
        LimitExceeded: a layer asks for too much.
        OutOfSpace: the disk is full.
    """
    keys = keys or (None,) * len(layers)
    with ExitStack() as stack:
        for key in filter(None, keys):
            stack.callback(drop, key, stores)
        job = _Job(layers, stores, progress, words)
        # All names are held at once, lowest first: who needs the same ones waits, and never in a circle.
        for name in job.names:
            stack.enter_context(stores.making(name))
        job.run(keys)
    return tuple(stores.snapshots.usage(name).bytes for name in job.names)


class _Job:
    """The layers of one image, while their snapshots are made."""

    def __init__(self, layers: Sequence[Layer], stores: Stores, progress: Progress, words: Words) -> None:
        self.names = chain_ids([layer.diff_id for layer in layers])
        self._layers = layers
        self._stores = stores
        self._progress = progress
        self._words = words

    def run(self, keys: Sequence[str | None]) -> None:
        """Make what is missing, several at once where the snapshotter allows it, and place all in order."""
        absent = [not self._stores.is_unpacked(name) for name in self.names]
        with ThreadPoolExecutor(PARALLEL, "unpack") as pool:
            growing: dict[int, Future[str]] = {}
            if self._stores.snapshots.late_parent:
                wanted = [at for at, key in enumerate(keys) if absent[at] and key is None]
                growing = {at: pool.submit(self._grow, at, None) for at in wanted}
            try:
                for at, key in enumerate(keys):
                    self._settle(at, key, absent[at], growing.pop(at, None))
            finally:
                self._abandon(growing.values())

    def _settle(self, at: int, key: str | None, absent: bool, growing: Future[str] | None) -> None:
        """Have the snapshot of one layer, whose parent is there."""
        layer = self._layers[at]
        if not absent:
            _verify(layer, self._stores)
        else:
            parent = self.names[at - 1] if at else None
            tree = key or (growing.result() if growing else self._grow(at, parent))
            place(self.names[at], tree, parent, self._stores)
            if key:
                size = layer.descriptor.size
                self._progress(bar(self._words.status, self._name(layer), size, size))

    def _grow(self, at: int, parent: str | None) -> str:
        """Make the tree of one layer out of its blob; return its key."""
        layer = self._layers[at]
        blob = layer.descriptor.digest
        with self._stores.content.open(blob) as file:
            size = self._stores.content.info(blob).size
            counted = Counted(file, size, self._words.status, self._name(layer), self._progress)
            grown = grow(cast("BinaryIO", counted), self._stores, parent)
        return check(blob, layer.diff_id, grown, self._stores)

    def _name(self, layer: Layer) -> str:
        return self._words.name(layer).hex[:12]

    def _abandon(self, growing: Iterable[Future[str]]) -> None:
        """Throw away what was begun for nothing."""
        left = [future for future in growing if not future.cancel()]
        for future in left:
            if future.exception() is None:
                drop(future.result(), self._stores)


def is_unpacked(name: str, stores: Stores) -> bool:
    """Tell whether the committed snapshot *name* is there."""
    return stores.is_unpacked(name)


def add_layer(
    blob: Digest,
    expected: Digest | None,
    parent: Digest | None,
    stores: Stores,
    progress: Progress = silent,
    what: str = "Loading layer",
) -> Digest:
    """Apply one layer on top of *parent* and commit the result under its chain id.

    Args:
        blob: The stored layer, compressed or not.
        expected: Diff id that it must have; None to learn it, for a lowest layer.
        parent: Chain id of what is below; None for nothing.
        stores: Where all is kept.
        progress: Told how far it is.
        what: The status text of these reports.

    Returns:
        The diff id.

    Raises:
        CortenError: as for ``unpack``; nothing is left then.
    """
    size = stores.content.info(blob).size
    with stores.content.open(blob) as file:
        counted = Counted(file, size, what, (expected or blob).hex[:12], progress)
        grown = grow(cast("BinaryIO", counted), stores, parent)
    return add_tree(blob, expected or grown.applied.diff_id, parent, grown, stores)


def add_tree(blob: Digest, expected: Digest, parent: Digest | None, grown: Grown, stores: Stores) -> Digest:
    """Commit a tree that was made of *blob* on top of *parent*, as ``add_layer`` does; return its diff id."""
    key = check(blob, expected, grown, stores)
    try:
        name = Digest.of(f"{parent} {expected}".encode()) if parent else expected
        place(name, key, parent, stores)
    except BaseException:
        drop(key, stores)
        raise
    return expected


def _verify(layer: Layer, stores: Stores) -> None:
    """Make sure that a blob is the layer whose tree is there already.

    Otherwise an archive could pair a known tree with bytes of its own, which
    would be handed on by the next save. A pair that some image already has, or
    that was found right before, is not compared again.
    """
    pair = (layer.descriptor.digest, layer.diff_id)
    if pair[0] == pair[1] or pair in stores.proven:
        return
    if any(pair in zip(i.layers, i.diff_ids, strict=True) for i in stores.images.all()):
        return
    limits = Limits()
    digest, size = hashlib.sha256(), 0
    with stores.content.open(pair[0]) as file:
        source = decompress(file, limits)
        while data := source.read(CHUNK):
            digest.update(data)
            size += len(data)
            if size > limits.bytes:
                raise LimitExceeded(f"layer {pair[0]} holds more than {limits.bytes} bytes")
    check_pair(*pair, Digest(f"sha256:{digest.hexdigest()}"), stores)
