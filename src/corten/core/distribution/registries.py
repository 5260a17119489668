"""Registries: the way to every registry; one per daemon.

::

    registries > repository > upload | download | referrers > servers/ > access/ > http/ > the words

    servers/   which server is asked, what is known of it   route > channels > channel; links > channel
    access/    who may see a credential                     authority > tokens | challenge
    http/      one call: hops, bytes, answer, pace          hops > transport > wire | answers | pace
    the words  what all of them speak                       endpoints > settings; failures > addresses;
                                                            credentials, manifests, proxies

Each knows only what stands to its right; ``|`` means that the two do not know
each other. ``access/`` says who may see a credential, ``addresses`` where
nothing is ever sent.
"""

import asyncio
from typing import Any

import msgspec
from aiohttp.abc import AbstractResolver

from corten.core.distribution.credentials import Credential
from corten.core.distribution.endpoints import DOCKER_INDEX, Endpoint, domain_of, server_of
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.pace import Rate
from corten.core.distribution.http.transport import Transport
from corten.core.distribution.http.wire import Call
from corten.core.distribution.repository import Flow, Repository
from corten.core.distribution.servers.channels import Channels
from corten.core.distribution.settings import RegistrySettings
from corten.errors import DataCorrupted
from corten.oci.reference import DEFAULT_DOMAIN, Reference

_MAX_FOUND = 100  # search results; what Docker's registry gives at most


class _Found(msgspec.Struct):
    results: list[dict[str, Any]] | None = None


class Registries:
    """Owns connections, tokens and limits; lives in one event loop.

    Args:
        settings: What the administrator says.
        resolver: Finds addresses for names; None for the system's way.
    """

    def __init__(self, settings: RegistrySettings, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._transport = Transport(settings, resolver)
        self._channels = Channels(settings, self._transport)
        self._flow = Flow(
            asyncio.Semaphore(max(settings.downloads, 1)),
            asyncio.Semaphore(max(settings.uploads, 1)),
            Rate(settings.limit_rate),
        )

    def repository(self, reference: Reference, credential: Credential | None = None) -> Repository:
        """Return the repository of *reference*; nothing is sent yet.

        *credential* is seen by the registry of the reference only, never by a mirror.
        """
        return Repository(reference, credential, self._settings, self._channels, self._flow)

    async def login(self, host: str, credential: Credential) -> str:
        """Have *credential* checked; returns an identity token to keep instead of the password, or "".

        Args:
            host: As people type it: ``host[:port]``, a URL, or a name of Docker's registry.
            credential: What they claim.

        Raises:
            Forbidden: wrong name or password.
            Unavailable: no registry answers there.
        """
        domain = domain_of(host)
        channel = await self._channels.open(server_of(domain), credential, domain)
        return await channel.login(Asked(domain, domain, "login"))

    async def search(
        self, host: str, term: str, limit: int, credential: Credential | None = None
    ) -> list[dict[str, Any]]:
        """Return up to *limit* repositories that match *term*, best first, at most 100.

        Each has ``name``, ``description``, ``star_count``, ``is_official`` and ``is_automated``.

        Raises:
            Unsupported: the registry offers no search.
        """
        domain = domain_of(host)
        endpoint = Endpoint(DOCKER_INDEX) if domain == DEFAULT_DOMAIN else server_of(domain)
        channel = await self._channels.open(endpoint, credential, domain)
        asked = Asked(domain, term, "search")
        url = channel.base.with_path("/v1/search").with_query(q=term, n=str(min(max(limit, 1), _MAX_FOUND)))
        answer = await channel.fetch(Call("GET", url), asked)
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        try:
            found = msgspec.json.decode(answer.body, type=_Found).results or []
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise DataCorrupted(f"{domain} answers a search with something else than results") from None
        return found[:limit]

    async def close(self) -> None:
        """Close all connections; idempotent."""
        await self._transport.close()
