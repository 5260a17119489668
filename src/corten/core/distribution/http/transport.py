"""Transport: one request over one connection: TLS, proxy, timeouts, the check of addresses.

No redirect is followed here and nobody is authenticated; no cookie, netrc
file or environment is looked at. Bytes come as they were sent, never
decompressed, because digests are of those.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from corten.core.distribution import failures, proxies
from corten.core.distribution.addresses import make_socket, origin_of
from corten.core.distribution.http.wire import Answer, Part
from corten.core.distribution.settings import HostSettings, RegistrySettings
from corten.errors import CortenError, InvalidInput, LimitExceeded

_BUFFER = 1 << 20  # bytes read ahead of the consumer
_HEADER = 32 << 10  # bytes of one header; signed addresses are long
CLIENT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


class Transport:
    """Owns the HTTP session; its first use binds it to the running loop."""

    def __init__(self, settings: RegistrySettings, resolver: AbstractResolver | None = None) -> None:
        self._settings, self._resolver = settings, resolver
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[tuple[HostSettings, bool], ssl.SSLContext] = {}

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | Part | None = None
    ) -> aiohttp.ClientResponse:
        """Send one request and return the response with its headers read; the caller releases it.

        Raises:
            Unreachable, Broken, Unavailable: no connection, no answer, no trust.
            Forbidden: the address is one that is never contacted.
        """
        try:
            return await self._open().request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                ssl=await self._context(url),
                proxy=proxies.choose(url, self._settings.proxies),
            )
        except CLIENT_ERRORS as error:
            raise self.failure(error, url) from error

    async def read(self, response: aiohttp.ClientResponse, limit: int) -> Answer:
        """Read a whole response of at most *limit* bytes and release it.

        Raises:
            Broken: the connection broke on the way.
            LimitExceeded: it has more bytes.
        """
        pieces, size = [], 0
        try:
            while piece := await response.content.read(limit + 1):
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    place = origin_of(response.url)
                    raise LimitExceeded(f"{place} answers with more than {limit} bytes: refused")
        except CLIENT_ERRORS as error:
            raise self.failure(error, response.url) from error
        finally:
            response.release()
        return Answer(response.status, response.headers, b"".join(pieces), response.url)

    def failure(self, error: Exception, url: URL) -> CortenError:
        """Return the failure for what was raised while talking to *url*."""
        return failures.from_client(error, url, self._settings.patience.connect)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        """Return the session, made when first needed because it belongs to the running loop."""
        if self._session is None:
            patience = self._settings.patience
            connector = aiohttp.TCPConnector(limit=0, resolver=self._resolver, socket_factory=make_socket)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=patience.connect,
                    sock_connect=patience.connect,
                    sock_read=patience.silence,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_BUFFER,
                max_line_size=_HEADER,
                max_field_size=_HEADER,
                headers={"User-Agent": self._settings.user_agent, "Accept-Encoding": "identity"},
            )
        return self._session

    async def _context(self, url: URL) -> ssl.SSLContext | bool:
        """Return how to check and to show certificates at the host of *url*."""
        if url.scheme != "https":
            return True
        name = str(origin_of(url))
        host = self._settings.host(name)
        checked = bool(host.ca_files) or not self._settings.is_insecure(name)
        key = (_tls_part(host), checked)
        if key not in self._contexts:
            self._contexts[key] = await asyncio.to_thread(_make_context, name, host, checked)
        return self._contexts[key]


def _tls_part(host: HostSettings) -> HostSettings:
    """Return the part of *host* that TLS depends on."""
    return HostSettings(ca_files=host.ca_files, certificate=host.certificate, key=host.key)


def _make_context(name: str, host: HostSettings, checked: bool) -> ssl.SSLContext:
    """Build the context for one host.

    Raises:
        InvalidInput: a file that the administrator named cannot be used.
    """
    context = ssl.create_default_context()
    try:
        for path in host.ca_files:
            context.load_verify_locations(path)
        if host.certificate:
            context.load_cert_chain(host.certificate, host.key or None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the certificates for {name} cannot be read: {error}") from None
    if not checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])
    return context
