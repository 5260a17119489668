"""load: an archive of images becomes images."""

from collections.abc import Sequence
from typing import BinaryIO

from corten.core.layers.compression import decompress
from corten.engine.images.archives import archive, layout
from corten.engine.images.stores import Stores
from corten.engine.images.unpack import Progress, unpack
from corten.engine.records.images import Image
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest
from corten.oci.image import ImageConfig, Manifest, chain_ids, layers_of
from corten.oci.platform import Platform
from corten.oci.reference import Reference


def load(
    stream: BinaryIO, stores: Stores, platform: Platform, progress: Progress, only: bool = False
) -> list[Image]:
    """Take in every image of a Docker archive or OCI layout, compressed or not.

    Each image is complete or absent; those before a failing one stay. With
    *only*, images for other platforms are left out.

    Raises:
        InvalidInput: no such archive, or no image in it for *platform*.
        DataCorrupted: damaged, or its parts contradict each other.
        LimitExceeded: it asks for too much.
        OutOfSpace: the disk is full.
    """
    loaded = []
    with stores.lease():
        taken = archive.take_in(decompress(stream), stores)
        try:
            for found in layout.images(taken, stores, platform, only):
                keys = taken.claim(layers_of(found.manifest, found.config), stores)
                image = record(found.manifest, found.config, found.references, stores, progress, keys)
                loaded.append(image)
                _announce(image, found.references, progress)
        finally:
            archive.discard(taken, stores)
    return loaded


def record(
    manifest: Manifest,
    config: ImageConfig,
    references: tuple[Reference, ...],
    stores: Stores,
    progress: Progress,
    keys: Sequence[str | None] = (),
    parent: Digest | None = None,
) -> Image:
    """Unpack and record an image whose blobs are stored, under a lease of the caller.

    Args:
        manifest: Names the layers' blobs.
        config: Its digest will be the image's id.
        references: Names that the image gets.
        stores: Where all is kept.
        progress: Told how far it is.
        keys: Trees of the layers that were made before, as ``unpack`` takes them.
        parent: The image here that this one was made from.

    Raises:
        DataCorrupted: manifest, configuration and layers do not belong together.
    """
    layers = layers_of(manifest, config)
    blobs = [config.digest, manifest.digest, *(layer.descriptor.digest for layer in layers)]
    try:
        sizes = unpack(layers, stores, progress, keys)
        image = Image(
            id=config.digest,
            manifest=stores.write(manifest.raw),
            manifest_size=len(manifest.raw),
            manifest_type=manifest.media_type,
            layers=tuple(layer.descriptor.digest for layer in layers),
            diff_ids=config.diff_ids,
            layer_sizes=sizes,
            created=config.fields.created or "",
            labels=config.defaults.labels or {},
            parent=parent,
        )
        for reference in references:
            _announce_move(reference, image, stores, progress)
        return stores.images.put(image, references)
    finally:
        stores.discard(blobs, chain_ids(config.diff_ids))


def descriptor(image: Image) -> Descriptor:
    """Return the descriptor of an image's manifest."""
    return Descriptor(media_type=image.manifest_type, digest=image.manifest, size=image.manifest_size)


def _announce(image: Image, references: tuple[Reference, ...], progress: Progress) -> None:
    for reference in references:
        progress({"stream": f"Loaded image: {reference.familiar}\n"})
    if not references:
        progress({"stream": f"Loaded image ID: {image.id}\n"})


def _announce_move(reference: Reference, image: Image, stores: Stores, progress: Progress) -> None:
    """Say that a name will leave the image that it had."""
    old = stores.images.named(reference)
    if old is not None and old.id != image.id:
        progress(
            {"stream": f"The image {reference.familiar} is now another one; the old one keeps ID {old.id}\n"}
        )
