"""What this door needs of an engine's images: shapes only, as in ``interface``."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO, Protocol

from corten.engine.images.remote import Credential
from corten.oci.platform import Platform
from corten.serve.api.interface_values import Filters, Progress


class ImageTransfer(Protocol):
    """The verbs that move images in and out."""

    async def load(self, stream: BinaryIO, progress: Progress, platform: Platform | None, /) -> object:
        """Load every image of the archive *stream*, or those for *platform*."""
        ...

    async def import_(
        self,
        stream: BinaryIO,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
        /,
    ) -> str:
        """Make an image of the tar *stream*; reports its id last, and returns it."""
        ...

    async def import_url(
        self,
        address: str,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
        /,
    ) -> str:
        """Do what ``import_`` does with the tar at *address*."""
        ...

    def save(self, names: Sequence[str], platforms: Sequence[Platform], /) -> AsyncIterator[bytes]:
        """Yield one archive of the images, which are for one of *platforms*, or any."""
        ...

    async def bootstrap(
        self, suite: str | None, includes: Sequence[str], variant: str, progress: Progress, /
    ) -> str:
        """Make a Debian base image; returns its id."""
        ...


class ImageNames(Protocol):
    """The verbs on images that are here."""

    async def tag(self, name: str, reference: str, /) -> object:
        """Give an image one more reference."""
        ...

    async def remove(
        self, name: str, force: bool, noprune: bool, platforms: Sequence[Platform], /
    ) -> Sequence[dict[str, Any]]:
        """Take a reference away, and the image with its last one; returns what went."""
        ...

    async def list(
        self, filters: Filters, all_images: bool, extras: Sequence[str], /
    ) -> Sequence[dict[str, Any]]:
        """Return summaries in Docker's form, with *extras* of ``layers``, ``manifests``, ``shared-size``."""
        ...

    async def inspect(
        self, name: str, platform: Platform | None = None, manifests: bool = False, /
    ) -> dict[str, Any]:
        """Return an image in Docker's form; NotFound if it is not for *platform*."""
        ...

    async def history(self, name: str, platform: Platform | None, /) -> Sequence[dict[str, Any]]:
        """Return its history in Docker's form; NotFound if it is not for *platform*."""
        ...

    async def prune(self, filters: Filters, /) -> tuple[Sequence[dict[str, Any]], int]:
        """Remove those that nothing uses; returns what went, and the bytes that this frees."""
        ...


class Remote(Protocol):
    """The verbs on images in registries; a *credential* is None for who is nobody there."""

    async def pull(
        self,
        name: str,
        tag: str,
        platform: str | None,
        credential: Credential | None,
        progress: Progress,
        /,
    ) -> object:
        """Bring the tag or digest *tag* of *name* here, that in *name* where empty, all tags where there is none."""
        ...

    async def push(
        self,
        name: str,
        tag: str,
        platform: Platform | None,
        compression: str,
        credential: Credential | None,
        progress: Progress,
        /,
    ) -> object:
        """Send the tag *tag* of *name*, or all tags; *compression* is for layers stored without."""
        ...

    async def inspect(self, name: str, credential: Credential | None, /) -> dict[str, Any]:
        """Return what a registry has, in Docker's form."""
        ...

    async def image(
        self, name: str, platform: str | None, credential: Credential | None, /
    ) -> dict[str, Any]:
        """Return an image that a registry has, in the form of ``inspect``."""
        ...

    async def manifest(self, name: str, credential: Credential | None, /) -> tuple[str, str, bytes]:
        """Return media type, digest and bytes of a manifest or index in a registry."""
        ...

    async def login(self, server: str, credential: Credential, /) -> str:
        """Have *credential* checked; returns the token to keep instead of the password, or nothing."""
        ...

    async def search(
        self, term: str, limit: int | None, filters: Filters, credential: Credential | None, /
    ) -> Sequence[dict[str, Any]]:
        """Return repositories that match, in Docker's form."""
        ...


class Images(ImageNames, ImageTransfer, Protocol):
    """The verbs on images."""

    @property
    def remote(self) -> Remote:
        """The verbs on images in registries."""
        ...
