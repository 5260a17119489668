"""derive: an image and one layer more become a new image, as ``commit`` makes it.

The new image has its parent's layers, the blobs and the trees, under the same
names, so that nothing of them is stored twice. A layer without a single entry
is not added; the history then says that the step made none.
"""

from collections.abc import Callable, Sequence

import msgspec

from corten.engine.images.load import record
from corten.engine.images.remove import Publish
from corten.engine.images.stores import Stores
from corten.engine.images.unpack import silent
from corten.engine.records.images import Image, now
from corten.engine.threads import finished
from corten.errors import InvalidInput
from corten.oci.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    Descriptor,
)
from corten.oci.digest import Digest
from corten.oci.image import Defaults, History, ImageConfig, ImageConfigFields, Manifest, RootFs
from corten.oci.reference import Reference

Write = Callable[[Callable[[bytes], object]], None]
"""Writes a layer, a plain tar, to what it is given, piece by piece."""

_EMPTY = 1024  # bytes of a tar with no entry
_OCI = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP}  # the same bytes by OCI's names


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is new about the image besides its layer."""

    defaults: Defaults
    created_by: str = ""
    author: str = ""
    comment: str = ""


class Deriving:
    """The verb, for other parts of the engine."""

    def __init__(self, stores: Stores, publish: Publish) -> None:
        self._stores, self._publish = stores, publish

    async def derive(self, parent: Image, step: Step, write: Write, name: str | None) -> Image:
        """Make an image of *parent* and the layer that *write* gives in a thread, called *name*; see ``derive``.

        Raises:
            InvalidInput: *name* is none, or has a digest.
        """
        names = [tagged(name)] if name else []
        image = await finished(lambda: derive(parent, step, write, names, self._stores))
        for each in names:
            self._publish("image", "tag", image.id, {"name": each.familiar})
        return image


def tagged(text: str) -> Reference:
    """Read a name that an image is to get.

    Raises:
        InvalidInput: not a name, or one with a digest.
    """
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidInput("refusing to create a tag with a digest reference")
    return reference


def derive(parent: Image, step: Step, write: Write, references: Sequence[Reference], stores: Stores) -> Image:
    """Make an image of *parent* and the layer that *write* gives, and name it.

    Raises:
        NotFound: *parent* is gone.
        DataCorrupted: a part of it is missing.
        OutOfSpace: the disk is full.
    """
    with stores.lease():
        parent = stores.images.get(parent.id)  # gone, or stored in another form since the caller looked
        layer = _store(write, stores)
        made = [layer.digest]
        try:
            added = [layer] if layer.size > _EMPTY else []
            config = _config(stores.config(parent.id), step, [each.digest for each in added])
            made.append(stores.write(config.raw))
            manifest = Manifest.make(
                Descriptor(media_type=OCI_CONFIG, digest=config.digest, size=len(config.raw)),
                [*map(_as_oci, stores.manifest(parent.manifest).fields.layers), *added],
            )
            return record(manifest, config, tuple(references), stores, silent, parent=parent.id)
        finally:
            stores.discard(made)


def _store(write: Write, stores: Stores) -> Descriptor:
    """Store a layer; nothing compresses it, so its digest is its diff id too."""
    with stores.content.ingest() as ingest:
        write(ingest.write)
    return Descriptor(media_type=OCI_LAYER, digest=ingest.digest, size=ingest.size)


def _as_oci(layer: Descriptor) -> Descriptor:
    return msgspec.structs.replace(layer, media_type=_OCI.get(layer.media_type, layer.media_type))


def _config(parent: ImageConfig, step: Step, diff_ids: list[Digest]) -> ImageConfig:
    fields, created = parent.fields, now()
    entry = History(
        created=created,
        created_by=step.created_by or None,
        author=step.author or None,
        comment=step.comment or None,
        empty_layer=None if diff_ids else True,
    )
    made = ImageConfigFields(
        architecture=fields.architecture,
        os=fields.os,
        variant=fields.variant,
        os_version=fields.os_version,
        os_features=fields.os_features,
        created=created,
        author=step.author or None,
        config=step.defaults,
        rootfs=RootFs("layers", (*parent.diff_ids, *diff_ids)),
        history=(*(fields.history or ()), entry),
    )
    return ImageConfig.make(made)
