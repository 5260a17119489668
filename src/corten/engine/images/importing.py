"""import: a plain file tree in a tar becomes an image of one layer."""

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from corten.engine.images.archives.layout import describe_layer
from corten.engine.images.changes import apply_changes
from corten.engine.images.load import record
from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.engine.images.unpack import Progress, add_layer
from corten.engine.records.images import Image, now
from corten.oci.descriptor import OCI_CONFIG, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Defaults, History, ImageConfig, ImageConfigFields, Manifest, RootFs
from corten.oci.platform import Platform
from corten.oci.reference import Reference


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration of an imported image says besides its layer.

    ``created`` is RFC 3339; empty means now.
    """

    platform: Platform
    defaults: Defaults = Defaults()
    created: str = ""
    created_by: str = ""
    comment: str = ""


def import_tree(
    stream: BinaryIO,
    references: Sequence[Reference],
    origin: Origin,
    stores: Stores,
    progress: Progress,
) -> Image:
    """Make an image of the tar *stream*, compressed or not, and name it.

    Raises:
        DataCorrupted: not tar, or damaged.
        LimitExceeded: it asks for too much.
        OutOfSpace: the disk is full.
    """
    with stores.lease():
        with stores.content.ingest() as ingest:
            while data := stream.read(CHUNK):
                ingest.write(data)
        made = [ingest.digest]
        try:
            diff_id = add_layer(ingest.digest, None, None, stores, progress, "Importing")
            config = _config(diff_id, origin)
            made.append(stores.write(config.raw))
            layer = describe_layer(ingest.digest, ingest.size, stores)
            manifest = Manifest.make(
                Descriptor(media_type=OCI_CONFIG, digest=config.digest, size=len(config.raw)), [layer]
            )
            return record(manifest, config, tuple(references), stores, progress)
        finally:
            stores.discard(made)


def changed(changes: Sequence[str]) -> Defaults:
    """Return the execution defaults that *changes*, Dockerfile instructions, make of nothing."""
    return apply_changes(Defaults(), changes)


def _config(diff_id: Digest, origin: Origin) -> ImageConfig:
    created = origin.created or now()
    history = History(created=created, created_by=origin.created_by or None, comment=origin.comment or None)
    fields = ImageConfigFields(
        architecture=origin.platform.architecture,
        os=origin.platform.os,
        variant=origin.platform.variant or None,
        created=created,
        config=origin.defaults,
        rootfs=RootFs("layers", (diff_id,)),
        history=(history,),
    )
    return ImageConfig.make(fields)
