"""Channel: authenticated calls to one server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientResponse
from yarl import URL

from corten.core.distribution.access.authority import Authority
from corten.core.distribution.addresses import origin_of
from corten.core.distribution.endpoints import Endpoint
from corten.core.distribution.failures import Broken, Unreachable
from corten.core.distribution.http import answers
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.http.hops import Arrived, travel
from corten.core.distribution.http.pace import Again, Attempts
from corten.core.distribution.http.transport import CLIENT_ERRORS, Transport
from corten.core.distribution.http.wire import Answer, Call
from corten.core.distribution.settings import Patience

SMALL = 4 << 20  # bytes of an answer that is read whole


@dataclass
class Known:
    """What is known of one server, as long as the daemon lives.

    Attributes:
        scheme: What it speaks, where that had to be found out; "" to find it out again.
        reached: It answered before, so that a missing connection may be a passing failure.
        resting: When it is worth a try again, on the clock of ``time.monotonic``.
        probe: Held while the scheme is found out.
    """

    scheme: str = ""
    reached: bool = False
    resting: float = 0.0
    probe: asyncio.Lock = field(default_factory=asyncio.Lock)


class Channel:
    """Calls to one server with one credential."""

    def __init__(
        self,
        transport: Transport,
        authority: Authority,
        base: URL,
        endpoint: Endpoint,
        patience: Patience,
        known: Known,
    ) -> None:
        self._transport, self._authority, self._known = transport, authority, known
        self.base, self.endpoint, self.patience = base, endpoint, patience

    def url(self, path: str, **query: str) -> URL:
        """Return the address of *path* below ``/v2/``."""
        return (self.base.join(URL(path, encoded=True))).with_query(query or None)

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[ClientResponse]:
        """Send *call*; the response's body is still to be read inside the ``with``.

        Raises:
            CortenError: no answer, or no credential that is accepted; other
                answers, also of failure, are responses.
        """
        try:
            arrived = await self._authorised(call)
        except Unreachable:
            self._known.scheme = ""
            raise
        self._known.reached = True
        try:
            yield arrived.response
        except CLIENT_ERRORS as error:
            raise self._transport.failure(error, arrived.response.url) from error
        finally:
            arrived.response.release()

    async def _authorised(self, call: Call) -> Arrived:
        """Send *call*, answering one challenge if it comes from the registry itself."""
        ours = origin_of(call.url) == self._authority.origin
        sent = await self._authority.header(call.scopes) if ours else None
        arrived = await travel(self._transport, call, sent)
        if arrived.response.status != 401 or not ours or not arrived.home:
            return arrived
        try:
            answer = await self._authority.learn(
                arrived.response.headers.getall("WWW-Authenticate", []), call.scopes, sent
            )
        except BaseException:
            arrived.response.release()
            raise
        if answer is None:
            return arrived
        arrived.response.release()
        again = await travel(self._transport, call, answer)
        if again.response.status == 401 and again.home and answer.startswith("Basic "):
            again.response.release()
            raise self._authority.wrong_password()
        return again

    async def once(self, call: Call, limit: int = SMALL) -> Answer:
        """Send *call* and read the whole answer of at most *limit* bytes."""
        async with self.open(call) as response:
            return await self._transport.read(response, limit)

    async def fetch(self, call: Call, asked: Asked, limit: int = SMALL) -> Answer:
        """Send *call* and read the whole answer of at most *limit* bytes; passing failures are tried again.

        Raises:
            CortenError: no answer after all tries; an answer of failure that does not pass is returned.
        """
        attempts = Attempts(self.patience)
        while True:
            try:
                answer = await self.once(call, limit)
            except Broken as broken:
                await attempts.again(broken)
                continue
            except Unreachable as unreachable:
                if not self._known.reached:
                    raise
                await attempts.again(unreachable)
                continue
            if not answers.is_passing(answer.status, answer.headers):
                return answer
            failure = answers.failure(answer.status, answer.headers, answer.body, asked)
            await attempts.again(Again(failure, answers.retry_after(answer.headers)))

    async def login(self, asked: Asked) -> str:
        """Have the credential checked; returns an identity token or ""."""
        call = Call("GET", self.base)
        response, home = await travel(self._transport, call, None)
        answer, identity = await self._transport.read(response, SMALL), ""
        if answer.status == 401 and home:
            authorization, identity = await self._authority.login(
                answer.headers.getall("WWW-Authenticate", [])
            )
            response, _ = await travel(self._transport, call, authorization)
            answer = await self._transport.read(response, SMALL)
        if not answer.ok:
            raise answers.failure(answer.status, answer.headers, answer.body, asked)
        return identity
