"""Packing: layers that are stored as plain tar are compressed before they travel.

Images that were bootstrapped, imported or loaded hold their layers as plain
tar. The first push compresses these, and records the manifest that names the
compressed blobs in place of the old one: so each further push has the same
digest and finds the layers in the registry. What is made depends on the tar
alone, so equal layers of two images are the same blob.
"""

import importlib
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from corten.engine.images.stores import Stores
from corten.engine.images.tar import CHUNK
from corten.engine.images.unpack import Counted, Progress
from corten.engine.records.images import Image
from corten.engine.threads import finished, together
from corten.errors import InvalidInput
from corten.oci import codec
from corten.oci.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
)
from corten.oci.digest import Digest
from corten.oci.image import Layer, Manifest, layers_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_isal: Any
try:
    _isal = importlib.import_module("isal.isal_zlib")
except ImportError:  # wheels exist for the common machines only
    _isal = None

_ISAL_LEVEL, _ZLIB_LEVEL, _ZSTD_LEVEL = 2, 6, 3
_GZIP = 31  # wbits: with a header that carries neither name nor time
_PLAIN = frozenset({OCI_LAYER, DOCKER_LAYER})
_TYPES = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
_OCI = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP}
KINDS = tuple(_TYPES)


class _Compressor(Protocol):
    """As in the zlib module."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _compressor(kind: str) -> _Compressor:
    if kind == "zstd":
        made: _Compressor = zstd.ZstdCompressor(level=_ZSTD_LEVEL)
    elif _isal is not None:
        made = _isal.compressobj(_ISAL_LEVEL, _isal.DEFLATED, _GZIP)
    else:
        made = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP)
    return made


def compressed(stream: BinaryIO, kind: str) -> Iterator[bytes]:
    """Yield *stream* compressed; equal bytes give equal bytes.

    Args:
        stream: Read to its end.
        kind: ``gzip`` or ``zstd``.
    """
    work = _compressor(kind)
    while data := stream.read(CHUNK):
        if out := work.compress(data):
            yield out
    yield work.flush()


async def pack(image: Image, kind: str, stores: Stores, threads: Executor, progress: Progress) -> Image:
    """Return *image* as it can travel, its plain layers compressed; under a lease of the caller.

    One that has no plain layers is returned as it is.

    Raises:
        InvalidInput: *kind* is not known.
        NotFound: the image is gone.
    """
    if kind not in _TYPES:
        raise InvalidInput(f'unknown compression "{kind}": choose {" or ".join(KINDS)}')
    manifest = stores.manifest(image.manifest)
    if _PLAIN.isdisjoint(layer.media_type for layer in manifest.fields.layers):
        return image
    layers = layers_of(manifest, stores.config(image.id))
    work = [partial(_packed, layer, kind, stores, progress) for layer in layers]
    new = await together(*(finished(each, threads) for each in work))
    return await finished(partial(_record, image, manifest, new, stores), threads)


def _record(image: Image, manifest: Manifest, new: Sequence[Descriptor], stores: Stores) -> Image:
    """Record *image* with the layers *new* instead of those in *manifest*."""
    fields = msgspec.structs.replace(
        manifest.fields,
        media_type=OCI_MANIFEST,
        config=msgspec.structs.replace(manifest.fields.config, media_type=OCI_CONFIG),
        layers=tuple(new),
    )
    packed = Manifest(codec.encode(fields), fields)
    try:
        return stores.images.repack(
            msgspec.structs.replace(
                image,
                manifest=stores.write(packed.raw),
                manifest_size=len(packed.raw),
                manifest_type=OCI_MANIFEST,
                layers=tuple(layer.digest for layer in new),
            )
        )
    finally:
        stores.discard([manifest.digest, packed.digest, *image.layers, *(layer.digest for layer in new)])


def _packed(layer: Layer, kind: str, stores: Stores, progress: Progress) -> Descriptor:
    """Return the descriptor of *layer* in its compressed form, which is stored."""
    entry = layer.descriptor
    if entry.media_type not in _PLAIN:
        return msgspec.structs.replace(entry, media_type=_OCI.get(entry.media_type, entry.media_type))
    with stores.making(f"{kind} {layer.diff_id}"):
        digest = _elsewhere(layer.diff_id, kind, stores) or _compress(layer, kind, stores, progress)
    size = stores.content.info(digest).size
    return msgspec.structs.replace(entry, media_type=_TYPES[kind], digest=digest, size=size)


def _elsewhere(diff_id: Digest, kind: str, stores: Stores) -> Digest | None:
    """Return the compressed form of a layer that another image has already."""
    for image in stores.images.all():
        if diff_id in image.diff_ids:
            entry = stores.manifest(image.manifest).fields.layers[image.diff_ids.index(diff_id)]
            if _OCI.get(entry.media_type, entry.media_type) == _TYPES[kind]:
                return entry.digest
    return None


def _compress(layer: Layer, kind: str, stores: Stores, progress: Progress) -> Digest:
    entry = layer.descriptor
    with stores.content.open(entry.digest) as file, stores.content.ingest() as ingest:
        counted = Counted(file, entry.size, "Compressing", layer.diff_id.hex[:12], progress)
        for data in compressed(cast("BinaryIO", counted), kind):
            ingest.write(data)
    return ingest.digest
