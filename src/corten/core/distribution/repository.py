"""Repository: one repository of one registry, its verbs. Which server is asked is ``route``'s."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import BinaryIO, NamedTuple

import msgspec
from yarl import URL

from corten.core.distribution import manifests, referrers
from corten.core.distribution.addresses import follow
from corten.core.distribution.credentials import Credential
from corten.core.distribution.download import Wanted, download
from corten.core.distribution.endpoints import endpoints
from corten.core.distribution.failures import Missing
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.pace import Rate
from corten.core.distribution.http.wire import Answer, Call
from corten.core.distribution.manifests import ACCEPT, MAX_MANIFEST, Received
from corten.core.distribution.referrers import Referrers
from corten.core.distribution.servers.channel import Channel
from corten.core.distribution.servers.channels import Channels
from corten.core.distribution.servers.links import pages
from corten.core.distribution.servers.route import Route
from corten.core.distribution.settings import RegistrySettings
from corten.core.distribution.upload import Upload
from corten.errors import CortenError, DataCorrupted, InvalidInput, LimitExceeded, Unsupported
from corten.oci import codec
from corten.oci.descriptor import INDEXES, MANIFESTS, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index
from corten.oci.reference import Reference

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MAX_TAGS = 1_000_000


class Flow(NamedTuple):
    """What all repositories share: how much goes on at once, and how fast."""

    downloads: asyncio.Semaphore
    uploads: asyncio.Semaphore
    rate: Rate


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class Repository:
    """One repository; made by ``Registries.repository``. Its methods may run side by side."""

    def __init__(
        self,
        reference: Reference,
        credential: Credential | None,
        settings: RegistrySettings,
        channels: Channels,
        flow: Flow,
    ) -> None:
        servers = endpoints(reference.domain, settings)
        self._route = Route(reference, credential, servers, channels)
        self._push = self._route.scopes(servers[-1], "pull,push")
        self._chunk, self._flow = settings.chunk, flow
        self._sessions: dict[Digest, URL] = {}  # opened by a mount that did not work

    async def resolve(self, name: str) -> Received:
        """Fetch the manifest or index of a tag or digest; digest, media type and shape are verified.

        Raises:
            NotFound: no such repository or name, or no right to see it.
            DataCorrupted: the bytes are not what was asked for, or not what they say.
            Unsupported: it is of Docker's old schema 1, or no image.
        """
        asked = self._route.asked("pull", name)

        return await self._route.first(lambda channel: self._resolve_at(channel, name, asked))

    async def head(self, name: str) -> Descriptor | None:
        """Return what a tag or digest names, without fetching it; None if there is no such thing.

        It is what the registry says, not verified.
        """
        asked = self._route.asked("pull", name)

        async def attempt(channel: Channel) -> Descriptor:
            answer = await self._manifest("HEAD", channel, name, asked)
            if answer.status != 200:
                raise answers.failure(answer.status, answer.headers, answer.body, asked)
            return _described(answer, name) or (await self._resolve_at(channel, name, asked)).descriptor

        try:
            return await self._route.first(attempt)
        except Missing as missing:
            if missing.denied:
                raise
            return None

    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes]:
        """Yield the bytes of a blob from *offset* on; resumes by itself after a break.

        Close the iterator (``aclosing``) when leaving early. The consumer
        verifies the digest; never more than ``size - offset`` bytes come. The
        foreign ``urls`` of a descriptor are never used.

        Raises:
            NotFound, Forbidden, Unavailable, LimitExceeded: told after all tries failed.
            DataCorrupted: the registry's blob has another size.
        """
        asked = self._route.asked("pull", blob=descriptor.digest)
        async with self._flow.downloads:
            for endpoint in self._route.servers:
                try:
                    channel = await self._route.channel(endpoint)
                    path, scopes = (
                        self._route.path(endpoint, "blobs", descriptor.digest),
                        self._route.scopes(endpoint, "pull"),
                    )
                    wanted = Wanted(path, scopes, descriptor.size, asked)
                    async with aclosing(download(channel, wanted, offset, self._flow.rate)) as pieces:
                        async for piece in pieces:
                            offset += len(piece)
                            yield piece
                except CortenError as failure:
                    self._route.pass_over(endpoint, failure)
                else:
                    return

    async def exists(self, digest: Digest) -> bool:
        """Tell whether the registry has this blob in this repository."""
        channel, asked = await self._route.home(), self._route.asked("push", blob=digest)
        url = channel.url(self._route.path(channel.endpoint, "blobs", digest))
        answer = await channel.fetch(Call("HEAD", url, self._push), asked)
        if not answer.ok and answer.status != 404:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        return answer.ok

    async def mount(self, digest: Digest, source: str) -> bool:
        """Have the registry take a blob from its repository *source*; False if it does not, then upload it."""
        channel, asked = await self._route.home(), self._route.asked("push", blob=digest)
        query = {"mount": str(digest), "from": source}
        url = channel.url(self._route.path(channel.endpoint, "blobs", "uploads/"), **query)
        answer = await channel.fetch(Call("POST", url, (*self._push, f"repository:{source}:pull")), asked)
        if answer.status == 202 and "Location" in answer.headers:
            self._sessions[digest] = follow(answer.url, answer.headers["Location"])
        return answer.status == 201

    async def upload(
        self,
        descriptor: Descriptor,
        open: Callable[[], BinaryIO],  # noqa: A002 - what it does
        sent: Callable[[int], None],
    ) -> None:
        """Send a blob; resumes by itself after a break. Ask ``exists`` and ``mount`` before.

        Args:
            descriptor: Digest and size of the blob.
            open: Opens its bytes, seekable, from the start, in a thread; called again for each try, closed here.
            sent: Told how many bytes of the blob are sent so far (a total, which a break can set back).

        Raises:
            Forbidden: no right to push here.
            DataCorrupted: the registry received other bytes than the digest says, or *open* has too few.
            Unavailable, LimitExceeded: told after all tries failed.
        """
        async with self._flow.uploads:
            channel = await self._route.home()
            session = self._sessions.pop(descriptor.digest, None)
            asked = self._route.asked("push", blob=descriptor.digest)
            path = self._route.path(channel.endpoint)
            await Upload(channel, path, self._push, descriptor, open, sent, self._chunk, asked, session).run()

    async def put(self, name: str, media_type: str, raw: bytes) -> Digest:
        """Store a manifest or index under a tag or digest; returns its digest.

        A manifest with a subject is entered in the fallback tag where the registry has no referrers API.

        Raises:
            Forbidden: no right to push here.
            InvalidInput: the registry refuses it, for example because it lacks a blob of it.
        """
        channel, asked, digest = await self._route.home(), self._route.asked("push", name), Digest.of(raw)
        headers = {"Content-Type": media_type}
        answer = await self._manifest("PUT", channel, name, asked, headers, raw)
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        stated = answer.headers.get("Docker-Content-Digest", "")
        if stated.startswith("sha256:") and stated != digest:
            raise DataCorrupted(
                f"{asked.host} stored {asked.name} as {stated[:80]}, not as {digest}: push again"
            )
        subject = referrers.subject_of(raw)
        if subject is not None and "OCI-Subject" not in answer.headers:
            await self._referrers(channel, "push").record(subject, referrers.entry(raw, media_type))
        return digest

    async def tags(self) -> list[str]:
        """Return all tags, in the registry's order.

        Raises:
            NotFound: no such repository, or no right to see it.
        """
        asked = self._route.asked("pull")

        async def attempt(channel: Channel) -> list[str]:
            endpoint = channel.endpoint
            url = channel.url(self._route.path(endpoint, "tags", "list"))
            found: list[str] = []
            async for answer in pages(channel, Call("GET", url, self._route.scopes(endpoint, "pull")), asked):
                found += codec.decode(answer.body, _Tags, "list of tags").tags or []
                if len(found) > _MAX_TAGS:
                    raise LimitExceeded(f"{asked.repository} has more than {_MAX_TAGS} tags: refused")
            return found

        return await self._route.first(attempt)

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Index:
        """Return what refers to *digest* (signatures, lists of contents), by the API or the fallback tag."""
        return await self._route.first(
            lambda channel: self._referrers(channel, "pull").find(digest, artifact_type)
        )

    async def delete(self, name: str) -> None:
        """Delete a tag, or a manifest by digest.

        Raises:
            NotFound: no such name.
            Unsupported: the registry does not allow it.
        """
        channel, asked = await self._route.home(), self._route.asked("delete", name)
        known = await self._manifest("GET", channel, name, asked) if ":" in name else None
        answer = await self._manifest("DELETE", channel, name, asked)
        if answer.status == 400 and ":" not in name:
            raise Unsupported(f"{asked.host} does not delete tags: delete {asked.repository} by digest")
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        subject = referrers.subject_of(known.body) if known and known.ok else None
        if subject is not None:
            await self._referrers(channel, "push").forget(subject, Digest(name))

    def _referrers(self, channel: Channel, action: str) -> Referrers:
        """Return the lists of referrers at one server, to read them (pull) or to write (push)."""
        scopes = self._route.scopes(channel.endpoint, "pull") if action == "pull" else self._push
        return Referrers(channel, self._route.path(channel.endpoint), scopes, self._route.asked(action))

    async def _resolve_at(self, channel: Channel, name: str, asked: Asked) -> Received:
        """Fetch and check a manifest at one server."""
        answer = await self._manifest("GET", channel, name, asked)
        if answer.status != 200:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        kind = answer.headers.get("Content-Type", "")
        stated = answer.headers.get("Docker-Content-Digest", "")
        return manifests.check(answer.body, kind, stated, name, asked.name)

    async def _manifest(
        self,
        method: str,
        channel: Channel,
        name: str,
        asked: Asked,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Send a request about a manifest.

        Raises:
            InvalidInput: *name* is neither tag nor digest.
        """
        if ":" in name:
            Digest(name)
        elif not _TAG.fullmatch(name):
            raise InvalidInput(f"invalid tag {name!r}")
        url = channel.url(self._route.path(channel.endpoint, "manifests", name))
        actions = {"GET": "pull", "HEAD": "pull", "PUT": "pull,push", "DELETE": "delete,pull"}[method]
        scopes = self._route.scopes(channel.endpoint, actions)
        call = Call(method, url, scopes, headers or {"Accept": ACCEPT}, raw)
        return await channel.fetch(call, asked, MAX_MANIFEST)


def _described(answer: Answer, name: str) -> Descriptor | None:
    """Return what the headers of *answer* say of a manifest; None if they do not say all."""
    size, stated = answer.headers.get("Content-Length", ""), answer.headers.get("Docker-Content-Digest", "")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if not size.isdigit() or kind not in INDEXES | MANIFESTS:
        return None
    try:
        digest = Digest(name if ":" in name else stated)
    except InvalidInput:
        return None
    return Descriptor(media_type=kind, digest=digest, size=int(size))
