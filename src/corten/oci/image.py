"""Manifest, Index, ImageConfig: what an image is made of.

Each keeps the bytes as received (``raw``, the truth, which the digest names)
beside a typed view of them (``fields``). Re-encoding would drop unknown
members and change the digest, so storing and sending always use ``raw``.
Source: OCI image-spec 1.1 manifest.md, image-index.md, config.md.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Self

import msgspec

from corten.errors import DataCorrupted
from corten.oci import codec
from corten.oci.descriptor import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.platform import Platform

MAX_LAYERS = 500  # overlay takes that many lower layers; more is a mistake or an attack

Texts = tuple[str, ...] | None
Marks = dict[str, dict[str, Any]] | None  # a set in Go's spelling: the keys count, the values are {}


class ManifestFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The members of an image manifest that the engine reads."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class IndexFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The members of an image index that the engine reads."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class _Shape(msgspec.Struct):
    """What tells a manifest from an index, whatever a document says of itself."""

    config: Any = None
    layers: Any = None
    manifests: Any = None


def _check_shape(raw: bytes, index: bool, what: str) -> None:
    """Refuse a document that two readers could take for two things (CVE-2021-41190)."""
    shape = codec.decode(raw, _Shape, what)
    foreign = (shape.config, shape.layers) if index else (shape.manifests,)
    if any(member is not None for member in foreign):
        raise DataCorrupted(f"invalid {what}: it looks like a manifest and an index at once")


def _check_kind(version: int, media_type: str, known: frozenset[str], what: str) -> None:
    """Refuse other versions and a media type that contradicts the place."""
    if version != 2:
        raise DataCorrupted(f"invalid {what}: schema version {version} is not supported, only 2 is")
    if media_type and media_type not in known:
        raise DataCorrupted(f"invalid {what}: media type {media_type!r} does not belong there")


class Manifest(msgspec.Struct, frozen=True):
    """A manifest as received: ``raw`` is the truth, ``fields`` a view of it."""

    raw: bytes
    fields: ManifestFields

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a manifest.

        Raises:
            DataCorrupted: it is not one, or might be taken for an index.
        """
        fields = codec.decode(raw, ManifestFields, "manifest")
        _check_shape(raw, index=False, what="manifest")
        _check_kind(fields.schema_version, fields.media_type, MANIFESTS, "manifest")
        if len(fields.layers) > MAX_LAYERS:
            raise DataCorrupted(f"invalid manifest: {len(fields.layers)} layers, at most {MAX_LAYERS} work")
        return cls(raw, fields)

    @classmethod
    def make(cls, config: Descriptor, layers: Sequence[Descriptor]) -> Self:
        """Build an OCI manifest; equal arguments give equal bytes."""
        fields = ManifestFields(
            schema_version=2, media_type=OCI_MANIFEST, config=config, layers=tuple(layers)
        )
        return cls(codec.encode(fields), fields)

    @property
    def digest(self) -> Digest:
        """Return the name of these bytes."""
        return Digest(f"sha256:{sha256(self.raw).hexdigest()}")

    @property
    def media_type(self) -> str:
        """Return the media type, which OCI manifests may leave out."""
        return self.fields.media_type or OCI_MANIFEST


class Index(msgspec.Struct, frozen=True):
    """An index (manifest list) as received: ``raw`` is the truth, ``fields`` a view of it."""

    raw: bytes
    fields: IndexFields

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read an index.

        Raises:
            DataCorrupted: it is not one, or might be taken for a manifest.
        """
        fields = codec.decode(raw, IndexFields, "index")
        _check_shape(raw, index=True, what="index")
        _check_kind(fields.schema_version, fields.media_type, INDEXES, "index")
        return cls(raw, fields)

    @classmethod
    def make(cls, manifests: Sequence[Descriptor]) -> Self:
        """Build an OCI index; equal arguments give equal bytes."""
        fields = IndexFields(schema_version=2, media_type=OCI_INDEX, manifests=tuple(manifests))
        return cls(codec.encode(fields), fields)

    @property
    def digest(self) -> Digest:
        """Return the name of these bytes."""
        return Digest(f"sha256:{sha256(self.raw).hexdigest()}")


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """How to find out whether a container is healthy; times in nanoseconds, 0 is the default."""

    test: Texts = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Defaults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """What a container gets unless its creator says otherwise: the ``config`` member."""

    user: str | None = None
    exposed_ports: Marks = None
    env: Texts = None
    entrypoint: Texts = None
    cmd: Texts = None
    volumes: Marks = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    healthcheck: Healthcheck | None = None
    on_build: Texts = None
    shell: Texts = None
    args_escaped: bool | None = None


class RootFs(msgspec.Struct, frozen=True):
    """The layers by the digests of their uncompressed tar, lowest first."""

    type: str
    diff_ids: tuple[Digest, ...] | None = None


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one layer, or one change without a layer, came to be."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class ImageConfigFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of an image configuration that the engine reads; null means absent."""

    architecture: str
    os: str
    variant: str | None = None
    os_version: str | None = msgspec.field(default=None, name="os.version")
    os_features: Texts = msgspec.field(default=None, name="os.features")
    created: str | None = None
    author: str | None = None
    config: Defaults | None = None
    rootfs: RootFs
    history: tuple[History, ...] | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    """An image configuration as received; its digest is the image's id."""

    raw: bytes
    fields: ImageConfigFields

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read an image configuration.

        Raises:
            DataCorrupted: it is not one, or its root file system is not made of layers.
        """
        fields = codec.decode(raw, ImageConfigFields, "image configuration")
        if fields.rootfs.type != "layers":
            raise DataCorrupted(
                f"invalid image configuration: root file system type {fields.rootfs.type!r} is not 'layers'"
            )
        if len(fields.rootfs.diff_ids or ()) > MAX_LAYERS:
            raise DataCorrupted(f"invalid image configuration: more than {MAX_LAYERS} layers")
        return cls(raw, fields)

    @classmethod
    def make(cls, fields: ImageConfigFields) -> Self:
        """Build a configuration; equal fields give equal bytes."""
        return cls(codec.encode(fields), fields)

    @property
    def digest(self) -> Digest:
        """Return the image's id."""
        return Digest(f"sha256:{sha256(self.raw).hexdigest()}")

    @property
    def defaults(self) -> Defaults:
        """Return the execution defaults, empty ones if there are none."""
        return self.fields.config or Defaults()

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Return the digests of the uncompressed layers, lowest first."""
        return self.fields.rootfs.diff_ids or ()

    @property
    def platform(self) -> Platform:
        """Return what the image was made for."""
        fields = self.fields
        return Platform(fields.os, fields.architecture, fields.variant or "", fields.os_version or "")


class Layer(msgspec.Struct, frozen=True):
    """A layer: the bytes as stored (*descriptor*) and the tar that they hold (*diff_id*)."""

    descriptor: Descriptor
    diff_id: Digest


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """Return the name of the file tree after each layer, lowest first.

    Source: OCI image-spec 1.1 config.md, "Layer ChainID".
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """Return the name of the file tree that *diff_ids*, applied in order, make; not for none."""
    return chain_ids(diff_ids)[-1]


def layers_of(manifest: Manifest, config: ImageConfig) -> tuple[Layer, ...]:
    """Pair the blobs of *manifest* with the diff ids of *config*, lowest first.

    Raises:
        DataCorrupted: their numbers differ.
    """
    blobs, diff_ids = manifest.fields.layers, config.diff_ids
    if len(blobs) != len(diff_ids):
        raise DataCorrupted(
            f"invalid image {config.digest}: manifest names {len(blobs)} layers, configuration {len(diff_ids)}"
        )
    return tuple(Layer(blob, diff_id) for blob, diff_id in zip(blobs, diff_ids, strict=True))
