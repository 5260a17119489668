"""Upload: a blob into a repository, in one request where that works, through breaks.

Source: OCI distribution-spec 1.1, "Pushing blobs". A session is opened (POST),
the bytes go in one closing request (PUT), or in chunks (PATCH) before it: when
the settings say so, when the registry finds one request too large (413, often
a proxy's word), or when a break left a part there that need not be sent again.
Each answer's Location is where the session goes on; it may be another host,
which never sees a credential.
"""

import re
from collections.abc import Callable
from typing import BinaryIO

from multidict import CIMultiDictProxy
from yarl import URL

from corten.core.distribution.addresses import follow
from corten.core.distribution.failures import Broken, Unreachable
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.pace import Again, Attempts
from corten.core.distribution.http.wire import Answer, Call, Part
from corten.core.distribution.servers.channel import Channel
from corten.errors import CortenError, Unavailable
from corten.oci.descriptor import Descriptor

_CHUNK = 16 << 20  # bytes of a request after one that was too large
_SMALLEST = 256 << 10  # bytes; a registry that finds this too large is told so
_MAX_MINIMUM = 1 << 30  # bytes; the most that OCI-Chunk-Min-Length is believed
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")


class Upload:
    """One blob on its way; *location* is a session that exists already."""

    def __init__(
        self,
        channel: Channel,
        repository: str,
        scopes: tuple[str, ...],
        descriptor: Descriptor,
        source: Callable[[], BinaryIO],
        sent: Callable[[int], None],
        chunk: int,
        asked: Asked,
        location: URL | None,
    ) -> None:
        self._channel, self._repository, self._scopes = channel, repository, scopes
        self._digest, self._size = descriptor.digest, descriptor.size
        self._source, self._sent, self._asked = source, sent, asked
        self._chunk, self._minimum = chunk, 1
        self._location, self._offset = location, 0
        self._done, self._unsure = False, False

    async def run(self) -> None:
        """Send the blob; returns when the registry has it whole.

        Raises:
            CortenError: refused, or no progress in many tries.
        """
        attempts = Attempts(self._channel.patience)
        best = 0  # what is sent twice is no progress
        while not self._done:
            try:
                await (self._ask() if self._unsure else self._advance())
                attempts.progressed(max(self._offset - best, 0))
                best = max(self._offset, best)
            except (Again, Broken, Unreachable) as failure:
                self._unsure = self._location is not None
                await attempts.again(failure)
        self._sent(self._size)

    async def _advance(self) -> None:
        """Take the next step of the session."""
        if self._location is None:
            await self._start()
        elif self._offset < self._size and (self._chunk or self._offset):
            await self._patch()
        else:
            await self._put()

    async def _start(self) -> None:
        """Open a session."""
        call = Call("POST", self._channel.url(f"{self._repository}/blobs/uploads/"), self._scopes)
        answer = await self._channel.fetch(call, self._asked)
        if not answer.ok:
            raise self._failure(answer)
        minimum = answer.headers.get("OCI-Chunk-Min-Length", "")
        if minimum.isascii() and minimum.isdigit():
            self._minimum = min(max(int(minimum[:19]), 1), _MAX_MINIMUM)
        self._offset = 0
        self._go_on(answer)

    async def _put(self) -> None:
        """Close the session, with all the bytes if none were sent yet."""
        assert self._location is not None
        start = self._offset
        answer = await self._send(
            "PUT", self._location.extend_query(digest=self._digest), start, self._size, {}
        )
        if answer.ok:
            self._done = True
        elif answer.status == 413 and start < self._size:
            self._shrink(answer, self._size - start)
        else:
            self._refused(answer)

    async def _patch(self) -> None:
        """Send the next chunk: all the rest, unless chunks are asked for."""
        assert self._location is not None
        left = self._size - self._offset
        end = self._offset + min(max(self._chunk, self._minimum) if self._chunk else left, left)
        headers = {"Content-Range": f"{self._offset}-{end - 1}"}
        answer = await self._send("PATCH", self._location, self._offset, end, headers)
        if answer.ok:
            last = _last(answer.headers)
            reached = end if last is None else min(last + 1, end)
            if reached <= self._offset:
                raise Broken(f"{self._asked.host} takes no more of an upload: try again")
            self._offset = reached
            self._go_on(answer)
        elif answer.status == 413:
            self._shrink(answer, end - self._offset)
        elif answer.status == 416:
            raise Broken(f"{self._asked.host} lost count of an upload: try again")
        else:
            self._refused(answer)

    async def _send(self, method: str, url: URL, start: int, end: int, headers: dict[str, str]) -> Answer:
        """Send the bytes from *start* to *end*; once, because what is sent next depends on the answer."""
        silence = self._channel.patience.silence
        body = Part(self._source, start, end - start, self._sent, silence)
        return await self._channel.once(Call(method, url, self._scopes, headers, body))

    def _shrink(self, answer: Answer, length: int) -> None:
        """Send less at once from now on; the session is a new one, since the refused one may be spoilt."""
        if length <= max(_SMALLEST, self._minimum):
            raise self._failure(answer)
        self._chunk = min(_CHUNK, max(length // 2, _SMALLEST))
        self._location, self._offset = None, 0

    def _refused(self, answer: Answer) -> None:
        """Act on an answer of failure: a lost session is begun anew, the rest is raised."""
        if answer.status == 404:
            raise Broken(f"{self._asked.host} forgot an upload: try again")
        raise self._failure(answer)

    def _failure(self, answer: Answer) -> CortenError | Again:
        """Return the failure for *answer*; one that passes is worth another try."""
        failure = answers.failure(answer.status, answer.headers, answer.body, self._asked)
        if answers.is_passing(answer.status, answer.headers):
            return Again(failure, answers.retry_after(answer.headers))
        return failure

    def _go_on(self, answer: Answer) -> None:
        """Take the address where the session goes on."""
        location = answer.headers.get("Location", "")
        if location:
            self._location = follow(answer.url, location)
        elif self._location is None:
            raise Unavailable(f"{self._asked.host} opens no upload (no Location): is it a registry?")

    async def _ask(self) -> None:
        """After a failure, learn from the registry how much it has; begin anew if it does not know."""
        assert self._location is not None
        answer = await self._channel.once(Call("GET", self._location, self._scopes))
        if answer.ok and "Range" in answer.headers:
            last = _last(answer.headers)
            self._offset = min(last + 1, self._size) if last else 0  # 0-0 is what some say for nothing
            self._go_on(answer)
        else:
            self._location, self._offset = None, 0
            self._done = await self._is_there()
        self._unsure = False
        self._sent(self._offset)

    async def _is_there(self) -> bool:
        """Tell whether the blob arrived, although we did not hear so."""
        url = self._channel.url(f"{self._repository}/blobs/{self._digest}")
        return (await self._channel.once(Call("HEAD", url, self._scopes))).ok


def _last(headers: CIMultiDictProxy[str]) -> int | None:
    """Return the position of the last byte that a registry says it has; None if it does not say."""
    found = _RANGE.fullmatch(headers.get("Range", ""))
    return int(found[1]) if found else None
