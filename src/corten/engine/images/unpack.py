"""Unpacking: from layer blobs to committed snapshots, so that a start pays nothing.

The snapshot after each layer is named by its chain id. One that is there is
used, so images share what they have in common; of two that need the same one
at once, one makes it and the other waits.
"""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, cast

from corten.core.layers.compression import decompress
from corten.core.layers.limits import Limits
from corten.core.layers.unpack import apply
from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.errors import DataCorrupted, LimitExceeded, NotFound
from corten.oci.digest import Digest
from corten.oci.image import Layer, chain_ids

Progress = Callable[[dict[str, Any]], None]
"""Takes one message in Docker's progress form; may be called from any thread."""

_REPORT_EVERY = 4 << 20  # bytes


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
            detail = {"current": self._done, "total": self._total}
            self._progress({"status": self._what, "progressDetail": detail, "id": self._name})
        return data


def unpack(layers: Sequence[Layer], stores: Stores, progress: Progress = silent) -> tuple[int, ...]:
    """Make the snapshots of *layers*, lowest first, under a lease of the caller; idempotent.

    Returns:
        The bytes that each layer takes on disk.

    Raises:
        DataCorrupted: a blob is damaged or not the layer that the configuration names.
        LimitExceeded: a layer asks for too much.
        OutOfSpace: the disk is full.
    """
    names = chain_ids([layer.diff_id for layer in layers])
    parents = (None, *names[:-1])
    for layer, name, parent in zip(layers, names, parents, strict=False):
        with stores.making(name):
            present = is_unpacked(name, stores)
            if not present:
                add_layer(layer.descriptor.digest, layer.diff_id, parent, stores, progress)
        if present:
            _verify(layer, stores)
    return tuple(stores.snapshots.usage(name).bytes for name in names)


def is_unpacked(name: str, stores: Stores) -> bool:
    """Tell whether the committed snapshot *name* is there."""
    try:
        return stores.snapshots.info(name).kind == "committed"
    except NotFound:
        return False


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
    key = f"unpack-{uuid.uuid4().hex}"
    snapshot = stores.snapshots.prepare(key, parent)
    try:
        size = stores.content.info(blob).size
        with stores.content.open(blob) as file:
            shown = (expected or blob).hex[:12]
            counted = cast("BinaryIO", Counted(file, size, what, shown, progress))
            applied = apply(decompress(counted), snapshot.directory, Limits(), stores.snapshots.form)
        _check(blob, expected, applied.diff_id)
        _commit(_chain(parent, applied.diff_id), key, stores)
    except BaseException:
        stores.snapshots.remove(key)
        raise
    return applied.diff_id


def _commit(name: Digest, key: str, stores: Stores) -> None:
    """Commit *key*, unless the same tree is there under that name."""
    with stores.making(name):
        if is_unpacked(name, stores):
            stores.snapshots.remove(key)
        else:
            stores.snapshots.commit(name, key)


def _chain(parent: Digest | None, diff_id: Digest) -> Digest:
    return Digest.of(f"{parent} {diff_id}".encode()) if parent else diff_id


def _check(blob: Digest, expected: Digest | None, found: Digest) -> None:
    if expected is not None and found != expected:
        raise DataCorrupted(f"layer {blob} holds {found}, but the image says {expected}: fetch it again")


def _verify(layer: Layer, stores: Stores) -> None:
    """Make sure that a blob is the layer whose tree is there already.

    Otherwise an archive could pair a known tree with bytes of its own, which
    would be handed on by the next save. A pair that some image already has
    was compared before.
    """
    pair = (layer.descriptor.digest, layer.diff_id)
    if pair[0] == pair[1] or any(pair in zip(i.layers, i.diff_ids, strict=True) for i in stores.images.all()):
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
    _check(pair[0], pair[1], Digest(f"sha256:{digest.hexdigest()}"))
