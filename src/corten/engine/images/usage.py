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
    """Return the bytes of each piece that is there."""
    found = {}
    for piece in wanted:
        with suppress(NotFound):
            found[piece] = (
                stores.content.info(piece.name).size
                if piece.kind == "blob"
                else stores.snapshots.usage(piece.name).bytes
            )
    return found


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
