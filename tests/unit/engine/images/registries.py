"""Images in a registry of the test's own, and the engine's verbs on them."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from corten.core.distribution.registries import Registries
from corten.core.distribution.settings import Patience, RegistrySettings
from corten.engine.images.remote import Remote
from corten.engine.images.stores import Stores
from corten.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest
from corten.oci.platform import Platform
from tests.fakes.registry import FakeRegistry
from tests.unit.engine.images.samples import Made

PATIENCE = 30.0  # seconds until a test that hangs fails
HASTE = Patience(attempts=2, pause=0.01, longest=0.02, connect=5.0, silence=5.0)
Reported = list[dict[str, Any]]
T = TypeVar("T")


def offer(registry: FakeRegistry, repository: str, tag: str, made: Made, compress: bool = True) -> Manifest:
    """Put an image into a registry; its manifest says more than the engine reads."""
    config = registry.add_blob(repository, made.config, OCI_CONFIG)
    kind = OCI_LAYER_GZIP if compress else OCI_LAYER
    layers = [
        registry.add_blob(repository, gzip.compress(layer, mtime=0) if compress else layer, kind)
        for layer in made.layers
    ]
    raw = Manifest.make(config, layers).raw[:-1] + b',"unknown": {"kept": 1}}\n'
    registry.add_manifest(repository, tag, raw)
    return Manifest.parse(raw)


def offer_index(
    registry: FakeRegistry, repository: str, tag: str, images: Mapping[str, Manifest], **more: Any
) -> Digest:
    """Put an index of *images*, by platform, into a registry."""
    entries = [
        Descriptor(
            media_type=manifest.media_type,
            digest=manifest.digest,
            size=len(manifest.raw),
            platform=Platform.parse(platform),
            **more,
        )
        for platform, manifest in images.items()
    ]
    return registry.add_manifest(repository, tag, Index.make(entries).raw, OCI_INDEX)


class Told:
    """A progress callable that remembers."""

    def __init__(self) -> None:
        self.messages: Reported = []

    def __call__(self, message: dict[str, Any]) -> None:
        """Take one message."""
        json.dumps(message)
        self.messages.append(message)

    @property
    def lines(self) -> list[str]:
        """Return what a client without a terminal shows, steps left out."""
        return [
            f"{message['id']}: {message['status']}" if message.get("id") else str(message["status"])
            for message in self.messages
            if "status" in message and not message.get("progressDetail")
        ]


def with_remote(
    stores: Stores,
    work: Callable[[Remote], Awaitable[T]],
    publish: Callable[..., object] = lambda *_: None,
    **settings: Any,
) -> T:
    """Run *work* with the verbs on images in registries."""

    async def run() -> T:
        registries = Registries(RegistrySettings(patience=HASTE, **settings))
        remote = Remote(stores, registries, publish)
        try:
            async with asyncio.timeout(PATIENCE):
                return await work(remote)
        finally:
            remote.close()
            await registries.close()

    return asyncio.run(run())


def is_tidy(stores: Stores) -> bool:
    """Tell whether the stores hold what the images claim, all of it and nothing else."""
    images = stores.images.all()
    blobs = set().union(*(image.blobs for image in images))
    chains = set().union(*(image.chain_ids for image in images))
    return {info.digest for info in stores.content.walk()} == blobs and {
        snapshot.key for snapshot in stores.snapshots.walk()
    } == chains


def pull(stores: Stores, name: str, platform: str | None = None, **settings: Any) -> Told:
    """Pull *name* as a client that gives name and tag together."""
    told = Told()
    with_remote(stores, lambda remote: remote.pull(name, "", platform, None, told), **settings)
    return told


def push(stores: Stores, name: str, compression: str = "") -> Told:
    """Push *name*."""
    told = Told()
    with_remote(stores, lambda remote: remote.push(name, "", None, compression, None, told))
    return told
