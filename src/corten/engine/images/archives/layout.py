"""What an archive says about its images: an OCI layout, a Docker archive, or both at once.

Where both are present the OCI side gives the manifests, as they were made, and
Docker's ``manifest.json`` adds names and images that the index lacks.
Source: OCI image-spec 1.1 image-layout.md; Docker Image Specification v1.2,
"Combined Image JSON + Filesystem Changeset Format".
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from corten.engine.images.archives.archive import Archive
from corten.engine.images.stores import Stores
from corten.errors import DataCorrupted, InvalidInput
from corten.oci import codec
from corten.oci.descriptor import (
    CONFIGS,
    INDEXES,
    LAYERS,
    MANIFESTS,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
)
from corten.oci.digest import Digest
from corten.oci.image import ImageConfig, Index, Manifest
from corten.oci.platform import Platform, choose, matches
from corten.oci.reference import Reference

NAME_ANNOTATION = "io.containerd.image.name"
REF_ANNOTATION = "org.opencontainers.image.ref.name"
_REFERENCE_TYPE = "vnd.docker.reference.type"  # marks attestations beside an image
_MAX_DEPTH = 4


class Found(NamedTuple):
    """One image of an archive: its manifest, configuration, and names."""

    manifest: Manifest
    config: ImageConfig
    references: tuple[Reference, ...]


class DockerItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """One entry of ``manifest.json``."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    layer_sources: dict[str, Descriptor] | None = None


def images(archive: Archive, stores: Stores, platform: Platform, only: bool = False) -> list[Found]:
    """Return the images of *archive*, of those for several platforms what runs on *platform*.

    Args:
        archive: What was given.
        stores: Where its blobs are.
        platform: The choice where there is one.
        only: Leave out images for one other platform, too.

    Raises:
        InvalidInput: it is no archive of images, or has none for *platform*.
        DataCorrupted: parts are missing or contradict each other.
    """
    index, items = archive.document("index.json"), archive.document("manifest.json")
    if index is None and items is None:
        raise InvalidInput(
            "the archive has neither manifest.json nor index.json: to make an image of a plain file tree use import"
        )
    found: dict[Digest, Found] = {}
    docker = codec.decode(items, tuple[DockerItem, ...], "manifest.json") if items is not None else ()
    for each in _oci(Index.parse(index), archive, stores, platform) if index is not None else ():
        _merge(found, each)
    for item in docker:
        _merge(found, _docker(item, archive, stores, found))
    chosen = [each for each in found.values() if not only or matches(platform, each.config.platform)]
    if not chosen:
        raise InvalidInput(f"the archive holds no image for {platform}")
    return chosen


def _merge(found: dict[Digest, Found], one: Found) -> None:
    """Add *one*; the first manifest of a configuration stays, names come together."""
    first = found.get(one.config.digest, one)
    names = dict.fromkeys(first.references + one.references)
    found[one.config.digest] = first._replace(references=tuple(names))


def _oci(index: Index, archive: Archive, stores: Stores, platform: Platform) -> Iterator[Found]:
    """Yield the images of ``index.json``; each of its entries is an image, not a choice."""
    for entry in index.fields.manifests:
        manifest = _manifest(entry, archive, stores, platform)
        if manifest is None:
            continue
        config = ImageConfig.parse(_checked(manifest.fields.config, archive, stores))
        for layer in manifest.fields.layers:
            _check_size(layer, archive, stores)
        yield Found(manifest, config, tuple(_names(entry)))


def _manifest(
    entry: Descriptor, archive: Archive, stores: Stores, platform: Platform, depth: int = 0
) -> Manifest | None:
    """Return the manifest that *entry* means on *platform*; None for what is no image."""
    if entry.media_type in INDEXES:
        if depth >= _MAX_DEPTH:
            raise DataCorrupted("invalid index: indexes nested too deeply")
        inner = Index.parse(_checked(entry, archive, stores)).fields.manifests
        inner = tuple(each for each in inner if _is_image(each))
        position = choose(platform, (each.platform for each in inner))
        if position is None:
            return None
        return _manifest(inner[position], archive, stores, platform, depth + 1)
    if not _is_image(entry):
        return None
    manifest = Manifest.parse(_checked(entry, archive, stores))
    types = {layer.media_type for layer in manifest.fields.layers}
    if manifest.fields.config.media_type not in CONFIGS or not types <= LAYERS:
        return None  # an artifact, such as a chart or a signature
    return manifest


def _is_image(entry: Descriptor) -> bool:
    return (entry.media_type in INDEXES or entry.media_type in MANIFESTS) and _REFERENCE_TYPE not in (
        entry.annotations or {}
    )


def _check_size(entry: Descriptor, archive: Archive, stores: Stores) -> None:
    """Refuse a descriptor whose size is not that of the blob."""
    size = archive.by_digest(entry.digest, stores).size
    if size != entry.size:
        raise DataCorrupted(f"blob {entry.digest} has {size} bytes, its descriptor says {entry.size}")


def _checked(entry: Descriptor, archive: Archive, stores: Stores) -> bytes:
    """Return the bytes of a document that *entry* describes, compared with its size and digest."""
    _check_size(entry, archive, stores)
    if entry.size > codec.MAX_DOCUMENT:
        raise DataCorrupted(f"blob {entry.digest} has {entry.size} bytes, too many for a document")
    raw = stores.read(entry.digest)
    if entry.digest.algorithm == "sha256" and Digest.of(raw) != entry.digest:
        raise DataCorrupted(f"blob {entry.digest} is damaged on disk: remove it and load again")
    return raw


def _names(entry: Descriptor) -> Iterator[Reference]:
    """Yield the full names that an entry of an index carries; a bare tag is none."""
    annotations = entry.annotations or {}
    if NAME_ANNOTATION in annotations:
        yield Reference.parse(annotations[NAME_ANNOTATION])
    elif any(mark in annotations.get(REF_ANNOTATION, "") for mark in ":/"):
        yield Reference.parse(annotations[REF_ANNOTATION])


def _docker(item: DockerItem, archive: Archive, stores: Stores, found: dict[Digest, Found]) -> Found:
    """Return the image of one entry of ``manifest.json``; OCI's manifest is taken where there is one."""
    names = tuple(Reference.parse(name) for name in item.repo_tags or ())
    place = archive.blob(item.config)
    if place.digest in found:
        return found[place.digest]._replace(references=names)
    if place.size > codec.MAX_DOCUMENT:
        raise DataCorrupted(f"{item.config} in the archive has {place.size} bytes, too many for a document")
    config = ImageConfig.parse(stores.read(place.digest))
    layers = [archive.blob(name) for name in item.layers or ()]
    manifest = Manifest.make(
        Descriptor(media_type=OCI_CONFIG, digest=place.digest, size=place.size),
        [describe_layer(layer.digest, layer.size, stores) for layer in layers],
    )
    return Found(manifest, config, names)


def describe_layer(digest: Digest, size: int, stores: Stores) -> Descriptor:
    """Return the descriptor of a stored layer; its first bytes tell how it is compressed.

    Raises:
        InvalidInput: compressed in a way that no image may use.
    """
    with stores.content.open(digest) as file:
        head = file.read(6)
    media_type = OCI_LAYER
    if head.startswith(b"\x1f\x8b"):
        media_type = OCI_LAYER_GZIP
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        media_type = OCI_LAYER_ZSTD
    elif head.startswith((b"BZh", b"\xfd7zXZ\0")):
        raise InvalidInput("a layer is compressed with bzip2 or xz: images take plain tar, gzip or zstd")
    return Descriptor(media_type=media_type, digest=digest, size=size)
