"""usage: what images take on disk, alone and together.

An image holds pieces: blobs in the content store, and the trees of its layers.
A piece that several images hold is there once, and shared.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from corten.engine.images.stores import Stores
from corten.engine.records.images import Image
from corten.errors import NotFound
from corten.oci.digest import Digest


class Piece(NamedTuple):
    """A blob by its digest, or the tree of a layer by its chain id."""

    kind: str
    name: Digest


class Share(NamedTuple):
    """What an image takes in bytes: all of it, and what of that other images have too."""

    size: int
    shared: int


def pieces(image: Image) -> frozenset[Piece]:
    """Return all that *image* holds."""
    blobs = (Piece("blob", blob) for blob in image.blobs)
    return frozenset((*blobs, *(Piece("tree", chain) for chain in image.chain_ids)))


def sizes(wanted: Iterable[Piece], stores: Stores) -> dict[Piece, int]:
    """Return the bytes of each piece that is there; what two of them are one file of counts for the blob."""
    same = _same_files(stores)
    found = {}
    for piece in wanted:
        with suppress(NotFound):
            found[piece] = _size(piece, same.get(piece.name), stores)
    return found


def _size(piece: Piece, blob: Digest | None, stores: Stores) -> int:
    """Return the bytes of *piece*, where it is a tree without those of its *blob*."""
    if piece.kind == "blob":
        return stores.content.info(piece.name).size
    own = stores.snapshots.usage(piece.name).bytes
    if blob is not None and stores.content.exists(blob):
        own -= stores.content.info(blob).size
    return max(own, 0)


def _same_files(stores: Stores) -> dict[Digest, Digest]:
    """Return, by chain id, the blobs of layers that are kept as the tars they came as."""
    if stores.snapshots.form != "index":
        return {}
    return {
        chain: blob
        for image in stores.images.all()
        for chain, blob, diff_id in zip(image.chain_ids, image.layers, image.diff_ids, strict=True)
        if blob == diff_id
    }


def shares(images: Iterable[Image], known: Mapping[Piece, int]) -> dict[Digest, Share]:
    """Return the share of each image, by its id, where each piece has its *known* size."""
    held = {image.id: pieces(image) for image in images}
    owners = Counter(piece for each in held.values() for piece in each)
    return {
        identifier: Share(
            sum(known.get(piece, 0) for piece in each),
            sum(known.get(piece, 0) for piece in each if owners[piece] > 1),
        )
        for identifier, each in held.items()
    }


def trees(images: Iterable[Image]) -> dict[Piece, int]:
    """Return the size of each layer's tree as it is recorded; no I/O."""
    return {
        Piece("tree", chain): size
        for image in images
        for chain, size in zip(image.chain_ids, image.layer_sizes, strict=True)
    }
