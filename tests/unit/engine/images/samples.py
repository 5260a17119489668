"""Images small enough to read: layers, archives of both kinds, and stores to put them into."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from corten.core.content.local import LocalContentStore
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.engine.images.stores import Stores
from corten.engine.records.database import Database
from corten.engine.records.images import Image, ImageRepository
from corten.oci.digest import Digest
from corten.oci.platform import host

Files = Mapping[str, bytes]


def tar(files: Files, links: Mapping[str, str] | None = None) -> bytes:
    """Return a tar with *files*, and symbolic *links*, that belong to whoever runs the test."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            archive.addfile(_owned(tarfile.TarInfo(name), len(data)), io.BytesIO(data))
        for name, target in (links or {}).items():
            info = _owned(tarfile.TarInfo(name), 0)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def _owned(info: tarfile.TarInfo, size: int) -> tarfile.TarInfo:
    info.size, info.uid, info.gid, info.mode = size, os.getuid(), os.getgid(), 0o644
    return info


class Made(NamedTuple):
    """An image in the making: its configuration, layers (uncompressed), and their diff ids."""

    config: bytes
    layers: tuple[bytes, ...]

    @property
    def id(self) -> Digest:
        """Return the image's id."""
        return Digest.of(self.config)


def make(layers: Sequence[Files], **more: Any) -> Made:
    """Return an image whose layers hold these files."""
    tars = tuple(tar(files) for files in layers)
    body: dict[str, Any] = {
        "architecture": host().architecture,
        "os": "linux",
        "created": "2020-01-02T03:04:05.123456789Z",
        "config": {"Cmd": ["sh"], "Labels": {"stage": "test"}},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(layer) for layer in tars]},
        "history": [{"created": "2020-01-02T03:04:05Z", "created_by": f"step {n}"} for n in range(len(tars))],
    }
    return Made(json.dumps(body | more).encode(), tars)


def docker_archive(images: Mapping[str, Made]) -> bytes:
    """Return a Docker archive as version 1.13 wrote it: one folder for each layer; names by comma."""
    files: dict[str, bytes] = {}
    items = []
    for names, made in images.items():
        paths = []
        for layer in made.layers:
            folder = Digest.of(made.config + layer).hex
            files |= {f"{folder}/VERSION": b"1.0", f"{folder}/json": b"{}", f"{folder}/layer.tar": layer}
            paths.append(f"{folder}/layer.tar")
        files[f"{made.id.hex}.json"] = made.config
        tags = [name for name in names.split(",") if name]
        items.append({"Config": f"{made.id.hex}.json", "RepoTags": tags or None, "Layers": paths})
    return tar(files | {"manifest.json": json.dumps(items).encode()})


class Layout:
    """An OCI layout that grows: blobs, and the entries of its index."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.entries: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """Add a blob; return its descriptor."""
        digest = Digest.of(data)
        self.files[f"blobs/sha256/{digest.hex}"] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def manifest(self, made: Made, compress: bool = True, **more: Any) -> dict[str, Any]:
        """Add the blobs and the manifest of an image; return the manifest's descriptor."""
        kind = "application/vnd.oci.image"
        layers = [
            self.blob(gzip.compress(layer, mtime=0), f"{kind}.layer.v1.tar+gzip")
            if compress
            else self.blob(layer, f"{kind}.layer.v1.tar")
            for layer in made.layers
        ]
        config = self.blob(made.config, f"{kind}.config.v1+json")
        body = {"schemaVersion": 2, "config": config, "layers": layers, "annotations": {"kept": "yes"}}
        return self.blob(json.dumps(body).encode(), f"{kind}.manifest.v1+json", **more)

    def tar(self, **documents: bytes) -> bytes:
        """Return the archive; *documents* are further files at its top, with ``_`` for the dot."""
        index = json.dumps({"schemaVersion": 2, "manifests": self.entries}).encode()
        more = {name.replace("_", "."): data for name, data in documents.items()}
        return tar(self.files | {"index.json": index} | more)


def open_stores(folder: str) -> Stores:
    """Return the stores in *folder*, as a daemon opens them."""
    os.makedirs(folder, exist_ok=True)
    database = Database(f"{folder}/records")
    return Stores(
        LocalContentStore(f"{folder}/content"),
        OverlaySnapshotter(f"{folder}/snapshots"),
        ImageRepository(database),
    )


def kept(stores: Stores) -> tuple[set[str], set[str]]:
    """Return the blobs and the snapshots that are there."""
    blobs = {str(info.digest) for info in stores.content.walk()}
    return blobs, {snapshot.key for snapshot in stores.snapshots.walk()}


def claimed(*images: Image) -> tuple[set[str], set[str]]:
    """Return the blobs and the snapshots that *images* need, in the form of ``kept``."""
    blobs = {str(blob) for image in images for blob in image.blobs}
    return blobs, {str(chain) for image in images for chain in image.chain_ids}


def read(stores: Stores, image: Image, path: str) -> bytes:
    """Return a file of an image's uppermost layer."""
    assert image.chain_id is not None
    with open(os.path.join(stores.snapshots.info(image.chain_id).directory, path), "rb") as file:
        return file.read()


class Told:
    """A progress callable that remembers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def __call__(self, message: dict[str, Any]) -> None:
        """Take one message."""
        self.messages.append(message)

    @property
    def lines(self) -> list[str]:
        """Return the lines of text among the messages."""
        return [message["stream"] for message in self.messages if "stream" in message]
