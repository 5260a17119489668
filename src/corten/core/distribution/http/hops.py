"""Hops: one call through its redirects, followed by hand because each hop decides who sees the credentials.

The rule: an ``Authorization`` header belongs to one origin (scheme, host and
port in one spelling). The first hop to any other origin loses it, and it does
not come back, even if the chain returns. Bodies follow only 307 and 308, as
RFC 9110 section 15.4 asks; other redirects of anything but GET and HEAD are
the final answer.
"""

from typing import NamedTuple

from aiohttp import ClientResponse

from corten.core.distribution.addresses import follow, origin_of
from corten.core.distribution.http.transport import Transport
from corten.core.distribution.http.wire import Call
from corten.errors import Unavailable

_MAX_HOPS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})


class Arrived(NamedTuple):
    """The last response of a call, to be released, and whether only the first origin was seen on the way."""

    response: ClientResponse
    home: bool


async def travel(transport: Transport, call: Call, authorization: str | None) -> Arrived:
    """Send *call* and follow where it is sent on to; *authorization* goes to the origin of its URL only.

    Raises:
        Forbidden: a redirect leads to an address that is never contacted.
        Unavailable: too many redirects, or one that is not followed.
    """
    url, home = call.url, True
    for _ in range(_MAX_HOPS):
        headers = call.head()
        if authorization and home:
            headers["Authorization"] = authorization
        response = await transport.send(call.method, url, headers, call.body)
        if not _leads_on(call.method, response):
            return Arrived(response, home)
        location = response.headers.get("Location", "")
        response.release()
        url = follow(url, location)
        home = home and origin_of(url) == origin_of(call.url)
    raise Unavailable(f"{origin_of(call.url)} redirects more than {_MAX_HOPS} times: refused")


def _leads_on(method: str, response: ClientResponse) -> bool:
    """Tell whether *response* is a redirect to follow."""
    if response.status not in _REDIRECTS or "Location" not in response.headers:
        return False
    return method in ("GET", "HEAD") or response.status in _SAME_METHOD
