"""Links: lists that a registry gives in pages (RFC 8288, relation ``next``)."""

import re
from collections.abc import AsyncIterator

from yarl import URL

from corten.core.distribution.addresses import follow, origin_of
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.wire import Answer, Call
from corten.core.distribution.servers.channel import Channel
from corten.errors import LimitExceeded, Unavailable

_MAX_PAGES = 1000
_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s",;]+))*)')
_NEXT = re.compile(r';\s*rel\s*=\s*"?next"?(?:\s|;|$)', re.IGNORECASE)


async def pages(
    channel: Channel, call: Call, asked: Asked, first: Answer | None = None
) -> AsyncIterator[Answer]:
    """Yield the answers to *call* (*first*, if it was sent already) and to those that each names as the next.

    Raises:
        CortenError: an answer of failure.
        Unavailable: the next page is somewhere else, or one that was seen.
        LimitExceeded: there is no end.
    """
    seen: set[URL] = set()
    for _ in range(_MAX_PAGES):
        seen.add(call.url)
        answer = first or await channel.fetch(call, asked)
        first = None
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        yield answer
        target = following(answer.headers.getall("Link", []))
        if target is None:
            return
        url = follow(call.url, target)
        if origin_of(url) != origin_of(call.url) or url in seen:
            raise Unavailable(f"{asked.host} names a next page that is none: tell its owner")
        call = call._replace(url=url)
    raise LimitExceeded(f"{asked.host} lists {asked.repository} on more than {_MAX_PAGES} pages: refused")


def following(headers: list[str]) -> str | None:
    """Return the target of the ``next`` link in Link headers."""
    for header in headers:
        for found in _LINK.finditer(header[: 16 << 10]):
            if _NEXT.search(found[2]):
                return found[1]
    return None
