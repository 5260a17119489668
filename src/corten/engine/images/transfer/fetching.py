"""fetching: the tar that ``import`` is given as an address, by HTTP.

The daemon fetches it, as Docker's does. Redirects are followed a few times,
never from HTTPS to plain HTTP elsewhere, and never to where a cloud keeps the
machine's secrets; see core.distribution.addresses.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Self

import aiohttp
from yarl import URL

from corten.core.distribution.addresses import AddressRefused, follow, is_forbidden, make_socket
from corten.core.distribution.proxies import choose
from corten.core.layers.limits import DEFAULT
from corten.engine.images.transfer.incoming import Feed
from corten.engine.images.unpack import Progress, bar
from corten.errors import Forbidden, InvalidInput, LimitExceeded, NotFound, Unavailable
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest

Import = Callable[
    [BinaryIO, str | None, str, Sequence[str], str | None, Progress], Awaitable[str]
]  # Images.import_

_REDIRECTS = 10
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)  # seconds
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "corten"}
_PIECE = 256 << 10  # bytes
_REPORT_EVERY = 4 << 20  # bytes
_ANY = Descriptor(digest=Digest.of(b""), size=0)


class Fetching:
    """Imports what lies at an address; *proxies* are the usual variables of the environment."""

    def __init__(self, import_: Import, proxies: Mapping[str, str]) -> None:
        self._import, self._proxies = import_, proxies

    async def import_url(
        self,
        address: str,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        """Make an image of the tar at *address*; return its id. The rest is as for ``Images.import_``.

        Raises:
            InvalidInput: no address that begins with http:// or https://.
            NotFound: there is nothing.
            Unavailable: its server does not answer, or breaks off.
            Forbidden: it leads to where secrets are kept.
        """
        url = _parse(address)
        progress({"status": f"Downloading from {_shown(url)}"})
        connector = aiohttp.TCPConnector(socket_factory=make_socket, limit=1)
        async with aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, headers=_HEADERS, auto_decompress=False
        ) as session:
            download = _Download(session, url, self._proxies, progress)
            async with download:
                feed = Feed(download)
                try:
                    stream = await asyncio.to_thread(feed.open, _ANY)
                    said = message or f"Imported from {_shown(url)}"
                    return await self._import(stream, reference, said, changes, platform, progress)
                finally:
                    await feed.end()


class _Download:
    """One response; entering waits for its head, so that what is wrong is told before anything begins."""

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, proxies: Mapping[str, str], progress: Progress
    ) -> None:
        self._session, self._url, self._proxies, self._progress = session, url, proxies, progress
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        for _ in range(_REDIRECTS):
            with _explained(self._url):
                proxy = choose(self._url, self._proxies)
                response = await self._session.get(self._url, proxy=proxy, allow_redirects=False)
            if response.status not in (301, 302, 303, 307, 308):
                self._response = _checked(response, self._url)
                return self
            response.close()
            self._url = follow(self._url.with_user(None), response.headers.get("Location", ""))
        raise Unavailable(f"{_shown(self._url)} redirects more than {_REDIRECTS} times")

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            self._response.close()

    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:  # noqa: ARG002  there is but one
        """Yield the body; bytes beyond the limit end it."""
        assert self._response is not None
        total, done, told = self._response.content_length or 0, 0, 0
        with _explained(self._url):
            async for piece in self._response.content.iter_chunked(_PIECE):
                done += len(piece)
                if done > DEFAULT.bytes:
                    raise LimitExceeded(f"{_shown(self._url)} has more than {DEFAULT.bytes} bytes")
                if done - told >= _REPORT_EVERY or done == total:
                    told = done
                    self._progress(bar("Downloading", "", done, total))
                yield piece


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    """Turn failures of the network into one clear line that names *url*."""
    try:
        yield
    except TimeoutError as failure:
        raise Unavailable(f"{_shown(url)} does not answer: try again later") from failure
    except aiohttp.ClientPayloadError as failure:
        raise Unavailable(f"{_shown(url)} broke off: try again") from failure
    except (aiohttp.ClientError, OSError) as failure:
        cause = getattr(failure, "os_error", failure)
        if isinstance(cause, AddressRefused):
            raise Forbidden(f"{_shown(url)}: {cause.strerror}: refused") from failure
        raise Unavailable(
            f"cannot fetch {_shown(url)}: {getattr(cause, 'strerror', None) or failure}"
        ) from failure


def _checked(response: aiohttp.ClientResponse, url: URL) -> aiohttp.ClientResponse:
    status, length = response.status, response.content_length or 0
    if status == 200 and length <= DEFAULT.bytes:
        return response
    response.close()
    if status == 404:
        raise NotFound("archive", f"{_shown(url)}: check the address")
    if status == 200:
        raise LimitExceeded(f"{_shown(url)} has {length} bytes, more than {DEFAULT.bytes}")
    raise Unavailable(f"{_shown(url)} answers {status} {response.reason or ''}".rstrip())


def _parse(address: str) -> URL:
    try:
        url = URL(address)
        valid = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        valid = False
    if not valid:
        raise InvalidInput("an address to import from begins with http:// or https:// and a host")
    if is_forbidden(url.host or ""):
        raise Forbidden(f"{_shown(url)} is at a link-local or metadata address: refused")
    return url


def _shown(url: URL) -> str:
    """Return *url* without what may be secret: the password, and the query with its signatures."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
