"""Images: the verbs on images, for the doors and for the other parts of the engine."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO

from corten.core.distribution.registries import Registries
from corten.engine.images import bootstrap, importing, load, save, show
from corten.engine.images.derive import Deriving, tagged
from corten.engine.images.filters import Filters
from corten.engine.images.prune import Pruning
from corten.engine.images.remote import Remote
from corten.engine.images.remove import Publish, Report, Users, publish_report, remove
from corten.engine.images.stores import Stores
from corten.engine.images.transfer.fetching import Fetching
from corten.engine.images.unpack import Progress, unpack
from corten.engine.records.images import Image
from corten.engine.threads import finished
from corten.errors import InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.oci.image import Defaults, ImageConfig, layers_of
from corten.oci.platform import Platform, host
from corten.oci.reference import Reference

Rows = list[dict[str, Any]]

_DAY = 86400  # seconds
_CACHED = 256  # configurations kept in memory


class Images:
    """The verbs on images. Slow work runs in threads; names are those of people or ids.

    Args:
        stores: Content, snapshots and records.
        folder: A private folder for what is in the making; made when absent, emptied by ``recover``.
        users: Names the containers made from an image.
        publish: Takes events.
        machine: What bootstrap may use of this machine.
        registries: The way to registries.

    Attributes:
        remote: The verbs on images in registries.
    """

    def __init__(
        self,
        stores: Stores,
        folder: str,
        users: Users,
        publish: Publish,
        machine: bootstrap.Machine,
        registries: Registries,
    ) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._stores = stores
        self._folder = folder
        self._users = users
        self._publish = publish
        self._machine = machine
        self._configs: dict[Digest, ImageConfig] = {}
        self.remote = Remote(stores, registries, publish)
        self.derive = Deriving(stores, publish).derive
        self.prune = Pruning(stores, users, publish).prune
        self.import_url = Fetching(self.import_, machine.environment).import_url

    def resolve(self, name: str) -> Image:
        """Return the image that *name* means, from memory.

        Raises:
            NotFound: no such image.
            InvalidInput: not a name, or the beginning of several ids.
        """
        return self._stores.images.find(name)

    def config(self, image: Image) -> ImageConfig:
        """Return the configuration of *image*; the second time from memory."""
        if image.id not in self._configs:
            if len(self._configs) >= _CACHED:
                self._configs.pop(next(iter(self._configs)))
            try:
                self._configs[image.id] = self._stores.config(image.id)
            except NotFound:
                self._stores.images.get(image.id)  # removed meanwhile: then this is what to say
                raise
        return self._configs[image.id]

    async def unpack(self, image: Image) -> Digest | None:
        """Make sure that the tree of *image* is there; return the name of its snapshot, None for no layers.

        Raises:
            DataCorrupted: a blob is missing or damaged.
        """
        await asyncio.to_thread(self._unpack, image)
        return image.chain_id

    def _unpack(self, image: Image) -> None:
        with self._stores.lease():
            manifest = self._stores.manifest(image.manifest)
            unpack(layers_of(manifest, self._stores.config(image.id)), self._stores)

    async def load(
        self, stream: BinaryIO, progress: Progress, platform: Platform | None = None
    ) -> Sequence[Image]:
        """Take in the images of an archive, with *platform* those for it alone; see ``load.load``."""
        wanted = platform or host()
        loaded = await finished(
            partial(load.load, stream, self._stores, wanted, progress, only=platform is not None)
        )
        for image in loaded:
            self._publish("image", "load", image.id, {"name": image.id})
        return loaded

    async def import_(
        self,
        stream: BinaryIO,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        """Make an image of the tar *stream*; return its id.

        Args:
            stream: A file tree, compressed or not.
            reference: Name to give it, or None.
            message: Comment of its only history entry; empty for where it came from.
            changes: Dockerfile instructions that set its defaults.
            platform: What it runs on; None for this machine.
            progress: Told how far it is, and the id at the end.

        Raises:
            CortenError: as for ``importing.import_tree``; InvalidInput for a name, change or platform.
        """
        names = [tagged(reference)] if reference else []
        origin = importing.Origin(
            platform=_linux(Platform.parse(platform)) if platform else host(),
            defaults=importing.changed(changes),
            comment=message or "Imported from -",
        )
        image = await self._import(stream, names, origin, progress)
        self._publish("image", "import", image.id, {"name": image.id})
        progress({"status": image.id})
        return image.id

    async def _import(
        self, stream: BinaryIO, names: Sequence[Reference], origin: importing.Origin, progress: Progress
    ) -> Image:
        image = await finished(partial(importing.import_tree, stream, names, origin, self._stores, progress))
        for name in names:
            self._publish("image", "tag", image.id, {"name": name.familiar})
        return image

    async def bootstrap(
        self, suite: str | None, includes: Sequence[str], variant: str, progress: Progress
    ) -> str:
        """Make a Debian base image from this machine's archive; return its id.

        Args:
            suite: Release, such as ``bookworm``; None for that of this machine, then also tagged ``latest``.
            includes: Packages on top of the variant.
            variant: Package set of mmdebstrap(1); empty for ``minbase``.
            progress: Told how far it is.

        Raises:
            CortenError: as for ``bootstrap.make``.
        """
        name = suite or bootstrap.codename(self._machine)
        if not name:
            raise InvalidInput("this machine is not Debian: name a suite, such as bookworm")
        epoch = int(time.time()) // _DAY * _DAY  # the same packages give the same image, all day long
        order = bootstrap.Order(
            suite=name, includes=tuple(includes), variant=variant or "minbase", epoch=epoch
        )
        tags = [name] if suite else [name, "latest"]
        folder = tempfile.mkdtemp(dir=self._folder, prefix="bootstrap-")
        try:
            tar = await bootstrap.make(order, folder, self._machine, progress)
            with open(tar, "rb") as stream:  # noqa: ASYNC230  opening a local file does not block
                names = [Reference.parse(f"debian:{tag}") for tag in tags]
                image = await self._import(stream, names, _debian(name, epoch), progress)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        progress({"stream": f"Loaded image: debian:{tags[-1]}\n"})
        return image.id

    async def save(self, names: Sequence[str], platforms: Sequence[Platform] = ()) -> AsyncIterator[bytes]:
        """Yield one tar of the images *names*; see ``save``. What is missing fails before the first bytes."""
        with self._stores.lease():
            chosen = save.choose(names, self._stores, platforms)
            parts = save.archive(chosen, self._stores)
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                yield part
        for each in chosen:
            self._publish("image", "save", each.image.id, {"name": each.image.id})

    async def tag(self, name: str, reference: str) -> Image:
        """Give the image *name* the further name *reference*, taking it from any other image.

        Raises:
            NotFound: no such image.
            InvalidInput: not a name, or one with a digest.
        """
        target = tagged(reference)
        image = await asyncio.to_thread(self._stores.images.tag, self.resolve(name).id, target)
        self._publish("image", "tag", image.id, {"name": target.familiar})
        return image

    async def remove(
        self, name: str, force: bool, noprune: bool, platforms: Sequence[Platform] = ()
    ) -> Report:
        """Remove a name, or an image, if it is for one of *platforms*; see ``remove.remove``."""
        image = self.resolve(name)
        show.on_platform(image, name, platforms, self._stores)
        known = {each.id for each in self._stores.images.all()}
        report = await finished(partial(remove, name, force, self._stores, self._users, noprune))
        publish_report(report, image, known, self._publish)
        self._configs.pop(image.id, None)
        return report

    async def list(self, filters: Filters, all_images: bool, extras: Collection[str] = ()) -> Rows:
        """Return the images that pass *filters*, as Docker's ImageSummary; see ``show.listed``."""
        with self._stores.lease():
            return show.listed(filters, self._stores, self._users, all_images, extras)

    async def inspect(
        self, name: str, platform: Platform | None = None, manifests: bool = False
    ) -> dict[str, Any]:
        """Return all about one image, as Docker's ImageInspect; NotFound if it is not for *platform*."""
        with self._stores.lease():
            image = self.resolve(name)
            show.on_platform(image, name, [platform] if platform else [], self._stores)
            return show.inspected(image, self._stores, self._users, manifests)

    async def history(self, name: str, platform: Platform | None = None) -> Rows:
        """Return how one image came to be, as Docker's HistoryResponseItem; NotFound if it is not for *platform*."""
        with self._stores.lease():
            image = self.resolve(name)
            show.on_platform(image, name, [platform] if platform else [], self._stores)
            return show.history(image, self._stores)

    async def collect(self) -> None:
        """Free what no image claims; after containers of removed images are gone."""
        await asyncio.to_thread(self._stores.collect)

    def recover(self) -> None:
        """Undo what was half done when the engine ended; call it before any other verb."""
        for entry in os.scandir(self._folder):
            shutil.rmtree(entry.path, ignore_errors=True)
        self._stores.collect()


def _linux(platform: Platform) -> Platform:
    if platform.os != "linux":
        raise InvalidInput(f"operating system {platform.os} is not supported: only linux is")
    return platform


def _debian(suite: str, epoch: int) -> importing.Origin:
    return importing.Origin(
        platform=host(),
        defaults=Defaults(env=(f"PATH={bootstrap.PATH}",), cmd=("bash",)),
        created=datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        created_by=f"corten image bootstrap debian:{suite}",
    )
