"""push: a recorded image goes to a registry, byte for byte as it is recorded.

Only what the registry lacks is sent. A blob that it has elsewhere is mounted:
repositories of the same registry from which an image with that blob came, or
to which one went, are known from the images' digest references.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial

from corten.core.distribution.failures import Missing
from corten.core.distribution.repository import Repository
from corten.engine.images.stores import Stores
from corten.engine.images.transfer.packing import pack
from corten.engine.images.transfer.pull import short
from corten.engine.images.unpack import Progress, silent
from corten.engine.records.images import Image
from corten.engine.threads import finished, together
from corten.errors import DataCorrupted, InvalidInput
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Layer, Manifest, layers_of
from corten.oci.platform import Platform, matches
from corten.oci.reference import Reference

_SOURCES = 3  # repositories that are tried for a mount
_REPORT_EVERY = 0.1  # seconds


def chosen(reference: Reference, platform: Platform | None, stores: Stores) -> list[tuple[Reference, Image]]:
    """Return the images that *reference*, a tag or a whole repository, means, with their tags.

    Raises:
        NotFound: there is none, or it is for another platform.
        InvalidInput: a digest, which names what a registry has already.
    """
    if reference.digest:
        raise InvalidInput("cannot push a digest reference")
    tags = {Reference.parse(name): image for name, image in stores.images.tags(reference.repository).items()}
    found = [(name, image) for name, image in tags.items() if name.tag and reference.tag in ("", name.tag)]
    if not found and not any(name.tag for name in tags):
        said = f"An image does not exist locally with the tag: {reference.name}"
        raise Missing("image", reference.name, said)
    if not found:
        raise Missing("image", reference.familiar, f"tag does not exist: {reference.familiar}")
    for name, image in found:
        offered = stores.config(image.id).platform
        if platform is not None and not matches(platform, offered):
            said = f"{name.familiar} was found but does not provide the specified platform ({platform}), only {offered}"
            raise Missing("image", name.familiar, said)
    return found


class Pusher:
    """Pushes images out of *stores*; lives in one event loop.

    Args:
        stores: Where they are.
        threads: Runs compression and records.
    """

    def __init__(self, stores: Stores, threads: Executor) -> None:
        self._stores = stores
        self._threads = threads

    async def push(
        self, name: Reference, image: Image, repository: Repository, compression: str, progress: Progress
    ) -> Image:
        """Send *image* under the tag *name*; return it as recorded afterwards.

        Args:
            name: A tag.
            image: What it stands for.
            repository: That of *name*.
            compression: For layers that are stored without; ``gzip`` or ``zstd``.
            progress: Told how far it is, and at last the digest.

        Raises:
            CortenError: what the registry says.
            DataCorrupted: a blob is missing or damaged here, or the registry stored another manifest.
        """
        for diff_id in dict.fromkeys(image.diff_ids):
            progress({"status": "Preparing", "progressDetail": {}, "id": short(diff_id)})
        with self._stores.lease():
            image = self._stores.images.get(image.id)  # another push may have packed it meanwhile
            image = await pack(image, compression, self._stores, self._threads, progress)
            manifest = self._stores.manifest(image.manifest)
            layers = layers_of(manifest, self._stores.config(image.id))
            await self._blobs(name, manifest, layers, repository, progress)
            digest = await repository.put(name.tag, manifest.media_type, manifest.raw)
            if digest != manifest.digest:
                raise DataCorrupted(f"the registry stored {digest} instead of {manifest.digest}: report it")
            pinned = Reference(name.domain, name.path, "", digest)
            image = await finished(partial(self._stores.images.tag, image.id, pinned), self._threads)
        size = len(manifest.raw)
        progress({"status": f"{name.tag}: digest: {digest} size: {size}"})
        progress({"progressDetail": {}, "aux": {"Tag": name.tag, "Digest": digest, "Size": size}})
        return image

    async def _blobs(
        self,
        name: Reference,
        manifest: Manifest,
        layers: Sequence[Layer],
        repository: Repository,
        progress: Progress,
    ) -> None:
        """Bring configuration and layers to the registry, all at once; the first failure ends them all."""
        distinct = {layer.descriptor.digest: layer for layer in layers}.values()
        config = manifest.fields.config
        reports = [_Report(short(layer.diff_id), layer.descriptor.size, progress) for layer in distinct]
        blobs = [*zip((layer.descriptor for layer in distinct), reports, strict=True)]
        blobs.append((config, _Report("", config.size, silent)))
        await together(*(self._blob(name, entry, repository, report) for entry, report in blobs))

    async def _blob(
        self, name: Reference, entry: Descriptor, repository: Repository, report: "_Report"
    ) -> None:
        if await repository.exists(entry.digest):
            report.say("Layer already exists")
            return
        for source in self._sources(name, entry.digest):
            if await repository.mount(entry.digest, source):
                report.say(f"Mounted from {source}")
                return
        await repository.upload(entry, partial(self._stores.content.open, entry.digest), report.sent)
        report.say("Pushed")

    def _sources(self, name: Reference, blob: Digest) -> list[str]:
        """Return repositories of the same registry that have *blob*, as far as is known."""
        images = [image for image in self._stores.images.all() if blob in image.blobs]
        paths = {path for image in images for path in _pinned(image.references, name.domain)}
        return sorted(paths - {name.path})[:_SOURCES]


def _pinned(references: Iterable[str], domain: str) -> Iterator[str]:
    """Yield the repositories in the registry *domain* that a digest among *references* names."""
    for text in references:
        reference = Reference.parse(text)
        if reference.digest and reference.domain == domain:
            yield reference.path


class _Report:
    """Says how far one blob is, now and then."""

    def __init__(self, name: str, size: int, progress: Progress) -> None:
        self._name, self._size, self._progress = name, size, progress
        self._next = 0.0

    def say(self, status: str) -> None:
        """Tell where the blob stands."""
        self._progress({"status": status, "progressDetail": {}, "id": self._name})

    def sent(self, count: int) -> None:
        """Tell that *count* bytes have been sent so far."""
        now = time.monotonic()
        if now >= self._next or count >= self._size:
            self._next = now + _REPORT_EVERY
            detail = {"current": count, "total": self._size}
            self._progress({"status": "Pushing", "progressDetail": detail, "id": self._name})
