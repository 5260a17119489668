"""pull: from a name in a registry to a recorded image.

Manifest and configuration are small and come first; they say which layers
there are. All layers then arrive and are unpacked at once, each in one pass by
a thread of its own, and are stacked at the end. One insert into the records
makes the image exist; until then everything is under a lease, and what has
arrived stays for the next try.

Of two pulls that need the same layer the second waits for the first, after it
has fetched what is its own. So a pull waits only for those that began before
it, and nobody waits in a circle; should the first fail, the second fetches the
layer itself.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import msgspec

from corten.core.distribution.failures import Missing
from corten.core.distribution.manifests import Received
from corten.core.distribution.repository import Repository
from corten.engine.images import receive
from corten.engine.images.grow import drop
from corten.engine.images.stores import Stores
from corten.engine.images.transfer.incoming import Feed
from corten.engine.images.unpack import Progress
from corten.engine.records.images import Image
from corten.engine.threads import finished
from corten.errors import DataCorrupted, NotFound, Unsupported
from corten.oci import codec
from corten.oci.descriptor import CONFIGS, INDEXES, LAYERS, MANIFESTS, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import ImageConfig, Index, Layer, Manifest, chain_ids, layers_of
from corten.oci.platform import Platform, choose, host, matches
from corten.oci.reference import Reference

_MAX_DEPTH = 4  # indexes within indexes
_REFERENCE_TYPE = "vnd.docker.reference.type"  # marks attestations beside an image
_SHORT = 12  # digits of a digest that people see


class Remote(NamedTuple):
    """What a name in a registry stands for on one platform, before its layers are here.

    ``documents`` are the indexes on the way to the manifest, the outermost first.
    """

    received: Received
    documents: tuple[Received, ...]
    manifest: Manifest
    config: ImageConfig


async def look_up(name: str, repository: Repository, shown: str, platform: Platform | None) -> Remote:
    """Find the image that *name*, a tag or digest, means on *platform* (None: this machine).

    Args:
        name: A tag or digest.
        repository: Where it is.
        shown: The name as people write it, for messages.
        platform: What it must run on; None: this machine, if there is a choice.

    Raises:
        NotFound: no such name, or nothing for *platform*.
        Unsupported: an artifact that is no image, or of another system.
        DataCorrupted: what came is not what was named.
    """
    received = await repository.resolve(name)
    documents: list[Received] = []
    found = received
    while found.descriptor.media_type in INDEXES:
        documents.append(found)
        if len(documents) > _MAX_DEPTH:
            raise DataCorrupted(f"invalid index {found.descriptor.digest}: indexes nested too deeply")
        found = await _chosen(Index.parse(found.raw), repository, shown, platform or host())
    manifest = Manifest.parse(found.raw)
    check_image(manifest, shown)
    config = ImageConfig.parse(await document(manifest.fields.config, repository))
    _check_platform(config, shown, platform)
    return Remote(received, tuple(documents), manifest, config)


async def _chosen(index: Index, repository: Repository, shown: str, platform: Platform) -> Received:
    """Fetch the entry of *index* that runs on *platform*."""
    entries = [entry for entry in index.fields.manifests if is_image(entry)]
    position = choose(platform, (entry.platform for entry in entries))
    if position is None:
        raise Missing(
            "image",
            str(platform),
            f"no matching manifest for {platform} in the manifest list entries of {shown}",
        )
    entry = entries[position]
    found = await repository.resolve(entry.digest)
    if found.descriptor.size != entry.size or found.descriptor.media_type != entry.media_type:
        raise DataCorrupted(f"manifest {entry.digest} is not what the index says it is: report this registry")
    return found


def is_image(entry: Descriptor) -> bool:
    """Tell whether an entry of an index stands for an image, not for something said about one."""
    known = entry.media_type in INDEXES or entry.media_type in MANIFESTS
    return known and _REFERENCE_TYPE not in (entry.annotations or {})


def check_image(manifest: Manifest, shown: str) -> None:
    """Refuse a manifest of something that is no image (Unsupported)."""
    config = manifest.fields.config.media_type
    if config not in CONFIGS:
        kind = manifest.fields.artifact_type or config
        raise Unsupported(
            f"{shown} is not an image but an artifact of type {kind}: use the tool that made it"
        )
    for layer in manifest.fields.layers:
        if layer.media_type not in LAYERS:
            raise Unsupported(
                f"{shown} has a layer of type {layer.media_type}, which cannot be unpacked here"
            )


def _check_platform(config: ImageConfig, shown: str, platform: Platform | None) -> None:
    offered = config.platform
    if offered.os != "linux":
        raise Unsupported(
            f"{shown} is made for {offered.os or 'no known system'}: only linux images run here"
        )
    if platform is not None and not matches(platform, offered):
        raise Missing(
            "image",
            shown,
            f"{shown} was found but does not match the specified platform: wanted {platform}, actual {offered}",
        )


async def document(entry: Descriptor, repository: Repository) -> bytes:
    """Fetch a small blob whole.

    Raises:
        DataCorrupted: too large, or not the bytes that its digest names.
    """
    if entry.size > codec.MAX_DOCUMENT:
        raise DataCorrupted(f"blob {entry.digest} has {entry.size} bytes, too many for a document")
    raw = b"".join([piece async for piece in repository.blob(entry)])
    if len(raw) != entry.size or (entry.digest.algorithm == "sha256" and Digest.of(raw) != entry.digest):
        raise DataCorrupted(
            f"expected {entry.digest}, received other bytes: pull again, or report this registry"
        )
    return raw


class Puller:
    """Pulls images into *stores*; lives in one event loop.

    Args:
        stores: Where they go.
        threads: Runs the work on layers.
    """

    def __init__(self, stores: Stores, threads: Executor) -> None:
        self._stores = stores
        self._threads = threads
        self._under_way: dict[Digest, asyncio.Future[None]] = {}

    async def pull(
        self, reference: Reference, repository: Repository, platform: Platform | None, progress: Progress
    ) -> tuple[Image, bool]:
        """Fetch the image *reference*, a tag or a digest.

        Returns:
            The image, and whether the name stands for another one than before.

        Raises:
            CortenError: as for ``look_up``; OutOfSpace, LimitExceeded, and whatever the registry says.
        """
        name = reference.digest or reference.tag
        with self._stores.lease():
            remote = await look_up(name, repository, reference.familiar, platform)
            shown = str(reference) if reference.digest else name
            progress({"status": f"Pulling from {reference.path}", "id": shown})
            image = self._known(remote) or await self._fetch(remote, repository, progress)
            names = _names(reference, remote.received.descriptor.digest)
            old = self._stores.images.named(names[0])
            image = await finished(partial(self._record, image, remote, names), self._threads)
        progress({"status": f"Digest: {remote.received.descriptor.digest}"})
        return image, old is None or old.id != image.id

    def _known(self, remote: Remote) -> Image | None:
        """Return the image if it is recorded already, from wherever it came."""
        try:
            return self._stores.images.get(remote.config.digest)
        except NotFound:
            return None

    async def _fetch(self, remote: Remote, repository: Repository, progress: Progress) -> Image:
        """Bring in layers, lay them on each other, and return the image that is to be recorded."""
        layers = layers_of(remote.manifest, remote.config)
        work = _Work(layers, self._stores, self._threads, progress)
        work.announce()
        feed = Feed(repository)
        async with self._claimed(layers, work, feed):
            sizes = await work.stack()
        for layer in layers:
            self._stores.content.partials.drop(layer.descriptor.digest)
        return Image(
            id=remote.config.digest,
            manifest=remote.manifest.digest,
            manifest_size=len(remote.manifest.raw),
            manifest_type=remote.manifest.media_type,
            layers=tuple(layer.descriptor.digest for layer in layers),
            diff_ids=remote.config.diff_ids,
            layer_sizes=sizes,
            created=remote.config.fields.created or "",
            labels=remote.config.defaults.labels or {},
        )

    @asynccontextmanager
    async def _claimed(self, layers: Sequence[Layer], work: "_Work", feed: Feed) -> AsyncIterator[None]:
        """Have all layers here for the block; others who want those fetched here wait until it is left."""
        wanted = {layer.descriptor.digest: layer for layer in layers if work.is_wanted(layer)}
        others = {digest: self._under_way[digest] for digest in wanted if digest in self._under_way}
        own = [layer for digest, layer in wanted.items() if digest not in others]
        done = asyncio.get_running_loop().create_future()
        self._under_way.update(dict.fromkeys((layer.descriptor.digest for layer in own), done))
        try:
            await work.receive(own, feed)
            if others:
                await asyncio.wait(others.values())
                left = [wanted[digest] for digest in others if not self._stores.content.exists(digest)]
                await work.receive(left, feed)
            yield
        except BaseException:
            work.undo()
            blobs = [layer.descriptor.digest for layer in own]
            self._stores.discard(blobs, chain_ids([layer.diff_id for layer in layers]))
            raise
        finally:
            done.set_result(None)
            for layer in own:
                del self._under_way[layer.descriptor.digest]

    def _record(self, image: Image, remote: Remote, names: Sequence[Reference]) -> Image:
        """Store the documents and insert the image: *from here it exists*."""
        stores = self._stores
        documents = {stores.write(each.raw) for each in (remote.received, *remote.documents)}
        documents |= {stores.write(remote.manifest.raw), stores.write(remote.config.raw)}
        try:
            kept = tuple(sorted(documents - {image.id, image.manifest}))
            return stores.images.put(msgspec.structs.replace(image, documents=kept), names)
        finally:
            stores.discard([*documents, *image.layers], chain_ids(image.diff_ids))


def _check_size(entry: Descriptor, stores: Stores) -> None:
    """Refuse a manifest whose size for a blob that was here already is not the blob's."""
    size = stores.content.info(entry.digest).size
    if size != entry.size:
        raise DataCorrupted(f"blob {entry.digest} has {size} bytes, the manifest says {entry.size}")


def _names(reference: Reference, digest: Digest) -> tuple[Reference, ...]:
    """Return the names that a pull gives: the tag, if one was asked for, and the digest behind it."""
    pinned = Reference(reference.domain, reference.path, "", digest)
    return (pinned,) if reference.digest else (reference, pinned)


class _Work:
    """What is done about the layers of one image."""

    def __init__(
        self, layers: Sequence[Layer], stores: Stores, threads: Executor, progress: Progress
    ) -> None:
        self._layers = layers
        self._stores = stores
        self._threads = threads
        self._progress = progress
        self._keys: dict[Digest, str] = {}
        names = chain_ids([layer.diff_id for layer in layers])
        there = [stores.is_unpacked(name) for name in names]
        pairs = zip(layers, there, strict=True)
        self._coming = [layer for layer, is_there in pairs if not is_there or self.is_wanted(layer)]

    def is_wanted(self, layer: Layer) -> bool:
        """Tell whether the bytes of *layer* are not here yet."""
        return not self._stores.content.exists(layer.descriptor.digest)

    def announce(self) -> None:
        """Say of each layer whether it is here or will come."""
        for layer in self._layers:
            self._say(layer, "Pulling fs layer" if layer in self._coming else "Already exists")

    def _say(self, layer: Layer, status: str) -> None:
        self._progress({"status": status, "progressDetail": {}, "id": short(layer.descriptor.digest)})

    async def receive(self, layers: Sequence[Layer], feed: Feed) -> None:
        """Fetch and unpack *layers*, all at once; the first failure ends them all."""
        tasks = [asyncio.create_task(self._receive(layer, feed)) for layer in layers]
        if not tasks:
            return
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            if not all(task.done() for task in tasks):
                await feed.end()
            await _all(tasks)

    async def _receive(self, layer: Layer, feed: Feed) -> None:
        source = partial(feed.open, layer.descriptor)
        work = partial(receive.receive, layer, source, self._stores, self._progress)
        key = await finished(work, self._threads)
        if key is not None:
            self._keys[layer.descriptor.digest] = key

    async def stack(self) -> tuple[int, ...]:
        """Lay the layers on each other; return the bytes that each takes."""
        for layer in self._layers:
            _check_size(layer.descriptor, self._stores)
        keys = [self._keys.pop(layer.descriptor.digest, None) for layer in self._layers]
        work = partial(receive.stack, self._layers, keys, self._stores, self._progress)
        sizes = await finished(work, self._threads)
        for layer in dict.fromkeys(self._coming):
            self._say(layer, "Pull complete")
        return sizes

    def undo(self) -> None:
        """Remove the trees that were made."""
        for key in self._keys.values():
            drop(key, self._stores)
        self._keys.clear()


async def _all(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Wait for the end of *tasks*, however they end, even when cancelled meanwhile."""
    waiting = asyncio.gather(*tasks, return_exceptions=True)
    try:
        await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await waiting
        raise


def short(digest: Digest) -> str:
    """Return the digits by which progress names a layer."""
    return digest.hex[:_SHORT]


def parse(name: str, tag: str) -> Reference:
    """Return the reference of the two parts that the API takes.

    It has a digest or a tag, never both: a digest wins, then *tag*. One without either means all tags.

    Raises:
        InvalidInput: not the name of an image.
    """
    base = Reference.parse(name, default_tag="")
    if tag and not base.digest:
        base = Reference.parse(f"{base.repository}@{tag}" if ":" in tag else f"{base.repository}:{tag}")
    return msgspec.structs.replace(base, tag="") if base.digest else base
