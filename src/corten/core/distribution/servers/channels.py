"""Channels: the way to a channel for each server, and what is known of servers.

An insecure registry is asked by HTTPS first, and by plain HTTP only where
nothing answers HTTPS, as Docker does; what worked is remembered until the
registry cannot be reached. A mirror that does not work is left alone for a
while.
"""

import time
from collections.abc import Callable

import msgspec
from yarl import URL

from corten.core.distribution.access.authority import Authority
from corten.core.distribution.access.tokens import Tokens
from corten.core.distribution.credentials import Credential
from corten.core.distribution.endpoints import Endpoint
from corten.core.distribution.failures import Broken, Unreachable
from corten.core.distribution.http.transport import Transport
from corten.core.distribution.servers.channel import Channel, Known
from corten.core.distribution.settings import RegistrySettings
from corten.errors import CortenError

_MIRROR_ATTEMPTS = 2
_REST = 60.0  # seconds that a mirror which does not work is left alone
_MAX_AUTHORITIES = 500


class Channels:
    """Makes channels; keeps what is known of servers: scheme, challenge, whether a mirror is down."""

    def __init__(
        self, settings: RegistrySettings, transport: Transport, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._transport, self._clock = settings, transport, clock
        self._tokens = Tokens()
        self._authorities: dict[tuple[URL, Credential | None], Authority] = {}
        self._known: dict[str, Known] = {}

    async def open(self, endpoint: Endpoint, credential: Credential | None, label: str) -> Channel:
        """Return a channel to *endpoint*; a mirror's has no credential, whatever is given.

        Raises:
            CortenError: an insecure registry answers neither HTTPS nor HTTP.
        """
        base = endpoint.base(await self._scheme(endpoint))
        credential = None if endpoint.mirror else credential
        key = (base, credential)
        if key not in self._authorities:
            if len(self._authorities) >= _MAX_AUTHORITIES:
                self._authorities.clear()
            insecure = endpoint.plain or self._settings.is_insecure(endpoint.host)
            self._authorities[key] = Authority(
                self._transport, self._tokens, base, credential, insecure, label
            )
        patience = self._settings.patience
        if endpoint.mirror:
            attempts = min(patience.attempts, _MIRROR_ATTEMPTS)
            patience = msgspec.structs.replace(patience, attempts=attempts)
        return Channel(self._transport, self._authorities[key], base, endpoint, patience, self._of(endpoint))

    def rests(self, endpoint: Endpoint) -> bool:
        """Tell whether a mirror failed so lately that it is not worth a try."""
        return endpoint.mirror and self._clock() < self._of(endpoint).resting

    def note(self, endpoint: Endpoint, failure: CortenError) -> None:
        """Remember that *endpoint* failed, if it is a mirror that does not work at all."""
        if endpoint.mirror and isinstance(failure, (Unreachable, Broken)):
            self._of(endpoint).resting = self._clock() + _REST

    async def _scheme(self, endpoint: Endpoint) -> str:
        """Return ``https``, or ``http`` where that is allowed and HTTPS does not answer."""
        if endpoint.plain:
            return "http"
        if not self._settings.is_insecure(endpoint.host):
            return "https"
        known = self._of(endpoint)
        async with known.probe:
            known.scheme = known.scheme or await self._probe(endpoint)
            return known.scheme

    def _of(self, endpoint: Endpoint) -> Known:
        """Return what is known of *endpoint*."""
        return self._known.setdefault(endpoint.host, Known())

    async def _probe(self, endpoint: Endpoint) -> str:
        """Find out what *endpoint* speaks; nothing secret is sent."""
        try:
            await self._knock(endpoint.base("https"))
        except (Unreachable, Broken):
            await self._knock(endpoint.base("http"))
            return "http"
        return "https"

    async def _knock(self, url: URL) -> None:
        """Send a request to which any answer will do."""
        response = await self._transport.send("GET", url, {})
        response.release()
