"""Referrers: what points to a manifest (signatures, lists of contents, provenance).

Source: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag
Schema": where a registry has no such list, clients keep one under a tag that
is made of the digest. Two clients that write it at the same moment can lose an
entry; the specification leaves that so.
"""

from collections.abc import Iterable

import msgspec

from corten.core.distribution import manifests
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.wire import Answer, Call
from corten.core.distribution.servers.channel import Channel
from corten.core.distribution.servers.links import pages
from corten.errors import CortenError, DataCorrupted
from corten.oci import codec
from corten.oci.descriptor import OCI_INDEX, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index

_NO_LIST = frozenset({404, 405, 501})
_MAX_REFERRERS = 10_000


class _Config(msgspec.Struct, rename="camel"):
    media_type: str = ""


class _Subject(msgspec.Struct, rename="camel"):
    digest: Digest


class _Artifact(msgspec.Struct, rename="camel"):
    """What a referrer says of itself, be it a manifest or an index."""

    artifact_type: str = ""
    config: _Config | None = None
    subject: _Subject | None = None
    annotations: dict[str, str] | None = None


def subject_of(raw: bytes) -> Digest | None:
    """Return what the manifest *raw* refers to; None if nothing, or if it is no manifest."""
    try:
        subject = codec.decode(raw, _Artifact, "manifest").subject
    except DataCorrupted:
        return None
    return subject.digest if subject else None


def entry(raw: bytes, media_type: str) -> Descriptor:
    """Return what a list of referrers says of the manifest *raw*."""
    artifact = codec.decode(raw, _Artifact, "manifest")
    return Descriptor(
        media_type=media_type,
        digest=Digest.of(raw),
        size=len(raw),
        artifact_type=artifact.artifact_type or (artifact.config.media_type if artifact.config else ""),
        annotations=artifact.annotations,
    )


def fallback_tag(digest: Digest) -> str:
    """Return the tag of the list that clients keep."""
    return f"{digest.algorithm}-{digest.hex[:64]}"


class Referrers:
    """The lists of one repository; *path* is its path below ``/v2/``."""

    def __init__(self, channel: Channel, path: str, scopes: tuple[str, ...], asked: Asked) -> None:
        self._channel, self._path, self._scopes, self._asked = channel, path, scopes, asked

    async def find(self, digest: Digest, artifact_type: str) -> Index:
        """Return the referrers of *digest*, of *artifact_type* if one is given."""
        found = await self._listed(digest, artifact_type)
        if found is None:
            try:
                found = await self._kept(digest)
            except DataCorrupted:
                found = []  # the specification: what is under the tag is no list, so there is none
        if artifact_type:
            found = [one for one in found if one.artifact_type == artifact_type]
        return Index.make(found)

    async def record(self, digest: Digest, added: Descriptor) -> None:
        """Enter *added* in the list under the fallback tag of *digest*."""
        kept = await self._kept(digest)
        if all(one.digest != added.digest for one in kept):
            await self._keep(digest, [*kept, added])

    async def forget(self, digest: Digest, removed: Digest) -> None:
        """Take *removed* off the list under the fallback tag of *digest*, if the registry has no list itself."""
        if await self._listed(digest, "") is not None:
            return
        kept = await self._kept(digest)
        left = [one for one in kept if one.digest != removed]
        if len(left) < len(kept):
            await self._keep(digest, left)

    async def _listed(self, digest: Digest, artifact_type: str) -> list[Descriptor] | None:
        """Return what the registry lists; None if it keeps no lists."""
        query = {"artifactType": artifact_type} if artifact_type else {}
        url = self._channel.url(f"{self._path}/referrers/{digest}", **query)
        call = Call("GET", url, self._scopes, {"Accept": OCI_INDEX})
        first = await self._channel.fetch(call, self._asked)
        if first.status in _NO_LIST:
            return None
        found: list[Descriptor] = []
        async for answer in pages(self._channel, call, self._asked, first):
            found += _index(answer).fields.manifests
            if len(found) > _MAX_REFERRERS:
                raise DataCorrupted(
                    f"{self._asked.host} lists more than {_MAX_REFERRERS} referrers of {digest}"
                )
        return found

    async def _kept(self, digest: Digest) -> list[Descriptor]:
        """Return the list that clients keep; empty if there is none."""
        url = self._channel.url(f"{self._path}/manifests/{fallback_tag(digest)}")
        answer = await self._channel.fetch(Call("GET", url, self._scopes, {"Accept": OCI_INDEX}), self._asked)
        if answer.status == 404:
            return []
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, self._asked)
        return list(_index(answer).fields.manifests)

    async def _keep(self, digest: Digest, entries: Iterable[Descriptor]) -> None:
        """Replace the list that clients keep."""
        raw = Index.make(list(entries)).raw
        url = self._channel.url(f"{self._path}/manifests/{fallback_tag(digest)}")
        call = Call("PUT", url, self._scopes, {"Content-Type": OCI_INDEX}, raw)
        answer = await self._channel.fetch(call, self._asked)
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, self._asked)


def _index(answer: Answer) -> Index:
    """Read a list of referrers.

    Raises:
        DataCorrupted: it is something else.
    """
    if len(answer.body) > manifests.MAX_MANIFEST:
        raise DataCorrupted("a list of referrers is larger than 4 MiB: refused")
    try:
        return Index.parse(answer.body)
    except CortenError as error:
        raise DataCorrupted(f"the registry's list of referrers is none: {error}") from None
