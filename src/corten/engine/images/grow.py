"""Growing: the tree of one layer is made while, or after, its blob comes in.

Theory. A layer's bytes are wanted by four: the disk, the hash of the blob, the
hash of what it inflates to, and the tree. One thread takes them in and hashes
them; another reads what has been written so far, out of the page cache, inflates
and hashes it; a third unpacks. So the network is never held up by the disk nor
the other way round, no memory is needed for what waits between them, and an
attempt that begins in the middle gives the tree its first bytes without a word.
Nothing is believed before both digests are right: until then the tree is an
active snapshot with a random key that nobody knows.

A tree can be made before the one that it belongs on is there, where the
snapshotter takes parents late: layers then grow at the same time.
"""

import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from typing import BinaryIO, NamedTuple, cast

from corten.core.content.store import Ingest
from corten.core.layers.compression import decompress, is_plain
from corten.core.layers.index import index, share
from corten.core.layers.index_tree import TooLarge
from corten.core.layers.limits import Limits
from corten.core.layers.readahead import Hashed
from corten.core.layers.unpack import Applied, apply
from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine.images.stores import Stores
from corten.errors import DataCorrupted, InvalidInput, NotFound
from corten.oci.digest import Digest


class Grown(NamedTuple):
    """A finished tree: the key of its active snapshot, and what the layer was."""

    key: str
    applied: Applied


def grow(
    stream: BinaryIO,
    stores: Stores,
    parent: str | None = None,
    digest: Callable[[], Digest] | None = None,
    keep: bool = True,
) -> Grown:
    """Make the tree of the layer *stream*, in a snapshot that the caller owns.

    Args:
        stream: Has ``read``; compressed or not.
        stores: Where the tree goes.
        parent: Name of the committed snapshot below; None for a late parent, or none.
        digest: Tells the digest of all of *stream*, where somebody hashes it anyway.
        keep: False where *stream* is being stored, to be there when the tree is placed.

    Raises:
        DataCorrupted: the layer is damaged.
        LimitExceeded: it asks for too much.
        OutOfSpace: the disk is full.
        TooLarge: not to be kept, though it cannot do without.
    """
    key = f"unpack-{uuid.uuid4().hex}"
    directory = stores.snapshots.prepare(key, parent).directory
    try:
        return Grown(key, _apply(stream, directory, stores.snapshots, digest, keep))
    except BaseException:
        stores.snapshots.remove(key)
        raise


def follow(
    ingest: Ingest, stores: Stores, stopped: Callable[[], bool] = lambda: False
) -> Callable[[], Grown]:
    """Return what makes the tree of a layer while it is written to *ingest*; for another thread, once.

    Call this before the ingest ends, and run the result however long after,
    always: it does nothing but close a file when *stopped*.
    """
    stream, again = ingest.follow(), ingest.follow()

    def run() -> Grown:
        with closing(stream), closing(again):
            if stopped():
                raise InvalidInput("the layer is not wanted any more")
            if ingest.digest.algorithm != "sha256":
                return grow(stream, stores)
            try:
                return grow(stream, stores, digest=lambda: ingest.digest, keep=False)
            except TooLarge:
                return grow(again, stores)

    return run


def _apply(
    stream: BinaryIO,
    directory: str,
    snapshots: Snapshotter,
    digest: Callable[[], Digest] | None,
    keep: bool,
) -> Applied:
    """Apply a layer in the form that *snapshots* wants."""
    limits = Limits()
    tar = decompress(stream, limits)
    plain = is_plain(tar)
    if digest is not None and plain:
        tar = cast("BinaryIO", Hashed(tar, digest))
    if snapshots.form == "index":
        return index(tar, directory, limits, keep=keep or not plain)
    return apply(tar, directory, limits, snapshots.form)


def check(blob: Digest, expected: Digest, grown: Grown, stores: Stores) -> str:
    """Return the key of a tree that is the layer *expected*, made of *blob*; remove any other.

    Raises:
        DataCorrupted: it is not that layer.
    """
    try:
        check_pair(blob, expected, grown.applied.diff_id, stores)
    except DataCorrupted:
        stores.snapshots.remove(grown.key)
        raise
    stores.grown[grown.key] = grown.applied
    return grown.key


def check_pair(blob: Digest, expected: Digest, found: Digest, stores: Stores) -> None:
    """Compare the tar that a stored blob holds with the one that an image says it does; remember that it is.

    Raises:
        DataCorrupted: they differ.
    """
    if found != expected:
        raise DataCorrupted(f"layer {blob} holds {found}, but the image says {expected}: fetch it again")
    stores.proven[blob, expected] = None


def place(name: str, key: str, parent: str | None, stores: Stores) -> None:
    """Commit the tree *key* under *name* on *parent*, unless that is there, when the tree is thrown away."""
    with stores.making(name):
        if stores.is_unpacked(name):
            drop(key, stores)
            return
        applied = stores.grown[key]
        if stores.snapshots.form == "index":
            _share(key, applied.diff_id, stores)
        if parent is not None and applied.implied:
            stores.snapshots.inherit(key, parent, applied.implied)
        if stores.snapshots.late_parent:
            stores.snapshots.commit(name, key, parent, applied.own_root)
        else:
            stores.snapshots.commit(name, key)
        del stores.grown[key]


def _share(key: str, diff_id: Digest, stores: Stores) -> None:
    """Let a tree that is a tar use the blob that has the same bytes, where there is one."""
    with suppress(NotFound), stores.content.open(diff_id) as blob:
        share(stores.snapshots.info(key).directory, blob)


def drop(key: str, stores: Stores) -> None:
    """Throw away a tree that will not be placed; one that is gone is fine."""
    stores.grown.pop(key, None)
    stores.snapshots.remove(key)
