"""Remote: the verbs on images that live in registries, for the doors."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from corten.core.distribution.credentials import Credential
from corten.core.distribution.manifests import Received
from corten.core.distribution.registries import Registries
from corten.engine.images.show import unpulled
from corten.engine.images.stores import Stores
from corten.engine.images.transfer.pull import Puller, document, look_up, parse
from corten.engine.images.transfer.push import Pusher, chosen
from corten.engine.images.unpack import Progress
from corten.engine.records.images import Image
from corten.errors import InvalidInput
from corten.oci import codec
from corten.oci.descriptor import CONFIGS, INDEXES
from corten.oci.image import ImageConfig, Index, Manifest
from corten.oci.platform import Platform
from corten.oci.reference import DEFAULT_DOMAIN, Reference

__all__ = ["Credential", "Publish", "Remote", "host_of"]

_THREADS = 16  # layers worked on at the same time; most of them wait for the network
_LIMIT = 25  # results of a search, unless said
_MOST = 100

Publish = Callable[[str, str, str, Mapping[str, str]], object]
"""Takes type, action, id and attributes of an event; called in the event loop."""


class Remote:
    """The verbs on images in registries; lives in one event loop.

    Args:
        stores: Where images come to and go from.
        registries: The way to registries.
        publish: Takes events.
    """

    def __init__(self, stores: Stores, registries: Registries, publish: Publish) -> None:
        self._stores = stores
        self._registries = registries
        self._publish = publish
        self._threads = ThreadPoolExecutor(_THREADS, "transfer")
        self._puller = Puller(stores, self._threads)
        self._pusher = Pusher(stores, self._threads)

    def close(self) -> None:
        """End the threads; nothing may be under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def pull(
        self, name: str, tag: str, platform: str | None, credential: Credential | None, progress: Progress
    ) -> None:
        """Bring an image here, or all tags of a repository.

        Args:
            name: Of the image, possibly with a tag or digest.
            tag: A tag or a digest; empty for that in *name*, or all tags if there is none.
            platform: ``os[/architecture[/variant]]``; None for this machine.
            credential: Who we are to the registry.
            progress: Told how far it is.

        Raises:
            NotFound: no such repository or tag, or nothing for the platform.
            CortenError: whatever the registry says, the disk is full, the image is damaged or no image.
        """
        reference = parse(name, tag)
        wanted = Platform.parse(platform) if platform else None
        repository = self._registries.repository(reference, credential)
        if reference.tag or reference.digest:
            references = [reference]
        else:
            tags = await repository.tags()
            references = [Reference(reference.domain, reference.path, each) for each in tags]
        news = False
        for each in references:
            image, moved = await self._puller.pull(each, repository, wanted, progress)
            news = news or moved
            self._tell("pull", each, image)
        text = "Downloaded newer image for" if news else "Image is up to date for"
        progress({"status": f"Status: {text} {reference.familiar}"})

    async def push(
        self,
        name: str,
        tag: str,
        platform: Platform | None,
        compression: str,
        credential: Credential | None,
        progress: Progress,
    ) -> None:
        """Send an image, or all tags of a repository, to the registry that its name says.

        Args:
            name: Of the repository; a tag in it counts when *tag* is empty.
            tag: One tag; empty for all.
            platform: What the image must be made for; None for anything.
            compression: For layers that are stored without: ``gzip``, ``zstd``, or empty for gzip.
            credential: Who we are to the registry.
            progress: Told how far it is.

        Raises:
            NotFound: no such image here.
            CortenError: whatever the registry says.
        """
        reference = parse(name, tag)
        progress({"status": f"The push refers to repository [{reference.repository}]"})
        repository = self._registries.repository(reference, credential)
        with self._stores.lease():
            found = chosen(reference, platform, self._stores)
        for each, image in found:
            pushed = await self._pusher.push(each, image, repository, compression or "gzip", progress)
            self._tell("push", each, pushed)

    def _tell(self, action: str, reference: Reference, image: Image) -> None:
        self._publish("image", action, reference.familiar, {**image.labels, "name": reference.name})

    async def inspect(self, name: str, credential: Credential | None) -> dict[str, Any]:
        """Return what a registry has under *name*, as Docker's DistributionInspect.

        Raises:
            NotFound: nothing.
        """
        reference = Reference.parse(name)
        repository = self._registries.repository(reference, credential)
        received = await self._resolve(reference, credential)
        if received.descriptor.media_type in INDEXES:
            entries = Index.parse(received.raw).fields.manifests
            platforms = [entry.platform for entry in entries if entry.platform is not None]
        else:
            config = Manifest.parse(received.raw).fields.config
            known = config.media_type in CONFIGS
            raw = await document(config, repository) if known else None
            platforms = [ImageConfig.parse(raw).platform] if raw else []
        return {
            "Descriptor": msgspec.json.decode(codec.encode(received.descriptor)),
            "Platforms": [msgspec.json.decode(codec.encode(platform)) for platform in platforms],
        }

    async def image(self, name: str, platform: str | None, credential: Credential | None) -> dict[str, Any]:
        """Return what can be known of an image in a registry without pulling it; see ``show.unpulled``.

        Raises:
            NotFound: nothing, or nothing for *platform* (None: this machine).
            Unsupported: it is no image.
        """
        reference = Reference.parse(name)
        repository = self._registries.repository(reference, credential)
        wanted = Platform.parse(platform) if platform else None
        found = await look_up(reference.digest or reference.tag, repository, reference.familiar, wanted)
        return unpulled(reference, found.received.descriptor, found.manifest, found.config)

    async def manifest(self, name: str, credential: Credential | None) -> tuple[str, str, bytes]:
        """Return media type, digest and the bytes of the manifest or index that a registry has under *name*.

        Raises:
            NotFound: nothing.
        """
        received = await self._resolve(Reference.parse(name), credential)
        return received.descriptor.media_type, received.descriptor.digest, received.raw

    async def _resolve(self, reference: Reference, credential: Credential | None) -> Received:
        repository = self._registries.repository(reference, credential)
        return await repository.resolve(reference.digest or reference.tag)

    async def login(self, server: str, credential: Credential) -> str:
        """Have a registry check *credential*; return the token to keep instead of the password, or nothing.

        Args:
            server: A host, or a URL whose host counts; empty for Docker's registry.
            credential: Name and password, or a token.

        Raises:
            Forbidden: wrong name or password.
            Unavailable: no registry answers there.
        """
        return await self._registries.login(host_of(server), credential)

    async def search(
        self, term: str, limit: int | None, filters: Mapping[str, list[str]], credential: Credential | None
    ) -> list[dict[str, Any]]:
        """Return repositories that match *term*, as Docker's ImageSearchResponseItem.

        Args:
            term: Words; those before a slash may be a registry.
            limit: At most that many; None for the usual number.
            filters: ``is-official``, ``is-automated`` and ``stars``.
            credential: Who we are to the registry.

        Raises:
            InvalidInput: a limit or a filter that makes no sense.
            Unsupported: the registry offers no search.
        """
        count = _LIMIT if limit is None else limit
        if not 1 <= count <= _MOST:
            raise InvalidInput(f"Limit {count} is outside the range of [1, {_MOST}]")
        tests = _tests(filters)
        domain, _, words = term.partition("/")
        named = words and (any(mark in domain for mark in ".:") or domain == "localhost")
        host, words = (domain, words) if named else (DEFAULT_DOMAIN, term)
        found = await self._registries.search(host, words.removeprefix("library/"), count, credential)
        shown = [_row(each, domain if named else "") for each in found]
        return [row for row in shown if all(test(row) for test in tests)]


def host_of(server: str) -> str:
    """Return ``host[:port]`` of what a login names."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0].lower()
    return DEFAULT_DOMAIN if host in ("", "index.docker.io", "registry-1.docker.io") else host


def _row(found: dict[str, Any], domain: str) -> dict[str, Any]:
    name = str(found.get("name") or "")
    return {
        "name": f"{domain}/{name}" if domain else name,
        "description": str(found.get("description") or ""),
        "star_count": int(found.get("star_count") or 0),
        "is_official": bool(found.get("is_official")),
        "is_automated": False,
    }


def _tests(filters: Mapping[str, list[str]]) -> list[Callable[[dict[str, Any]], bool]]:
    """Return what *filters* ask of a result (InvalidInput)."""
    tests: list[Callable[[dict[str, Any]], bool]] = []
    for key, values in filters.items():
        if key == "stars":
            least = max((_stars(value) for value in values), default=0)
            tests.append(lambda row, least=least: row["star_count"] >= least)  # type: ignore[misc]
        elif key in ("is-official", "is-automated"):
            member = key.replace("-", "_")
            allowed = {_truth(key, value) for value in values}
            tests.append(lambda row, member=member, allowed=allowed: row[member] in allowed)  # type: ignore[misc]
        else:
            raise InvalidInput(f"invalid filter '{key}'")
    return tests


def _stars(value: str) -> int:
    if not value.isdecimal():
        raise InvalidInput(f"invalid filter 'stars={value}': give a whole number")
    return int(value)


def _truth(key: str, value: str) -> bool:
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise InvalidInput(f"invalid filter '{key}={value}': say true or false")
