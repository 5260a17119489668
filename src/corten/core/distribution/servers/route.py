"""Route: from a reference to the servers that have it, in the order to ask them.

Pulling asks the mirrors first, in order, and the registry itself last; a
mirror's failure is noted in the log and otherwise only means that the next one
is asked. Pushing and deleting concern the registry itself.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from corten.core.distribution.credentials import Credential
from corten.core.distribution.endpoints import Endpoint
from corten.core.distribution.http.answers import Asked
from corten.core.distribution.servers.channel import Channel
from corten.core.distribution.servers.channels import Channels
from corten.errors import CortenError, Unavailable
from corten.oci.reference import Reference

_Result = TypeVar("_Result")

log = logging.getLogger("corten.distribution")


class Route:
    """The servers of one repository, with the names that it has there.

    Args:
        reference: Names the repository; tag and digest do not matter.
        credential: For the registry itself, never for a mirror.
        servers: Mirrors, then the registry itself.
        channels: Opens the way to a server.
    """

    def __init__(
        self,
        reference: Reference,
        credential: Credential | None,
        servers: list[Endpoint],
        channels: Channels,
    ) -> None:
        self._reference, self._credential = reference, credential
        self._endpoints, self._channels = servers, channels

    @property
    def servers(self) -> list[Endpoint]:
        """Return who to ask, without mirrors that failed lately."""
        return [one for one in self._endpoints if not self._channels.rests(one)]

    async def first(self, attempt: Callable[[Channel], Awaitable[_Result]]) -> _Result:
        """Return the first answer of mirrors and registry."""
        for endpoint in self.servers:
            try:
                return await attempt(await self.channel(endpoint))
            except CortenError as failure:
                self.pass_over(endpoint, failure)
        raise Unavailable(f"no server is known for {self._reference.domain}")

    def pass_over(self, endpoint: Endpoint, failure: CortenError) -> None:
        """Go on to the next server after a mirror's failure; the registry's own is raised."""
        self._channels.note(endpoint, failure)
        if not endpoint.mirror:
            raise failure
        log.info("mirror %s of %s: %s", endpoint.host, self._reference.domain, failure)

    async def channel(self, endpoint: Endpoint) -> Channel:
        """Return the way to one server."""
        return await self._channels.open(endpoint, self._credential, self._reference.domain)

    async def home(self) -> Channel:
        """Return the way to the registry itself."""
        return await self.channel(self._endpoints[-1])

    def path(self, endpoint: Endpoint, *parts: str) -> str:
        """Return a path below ``/v2/`` at *endpoint*."""
        return "/".join((endpoint.namespace + self._reference.path, *parts))

    def scopes(self, endpoint: Endpoint, actions: str) -> tuple[str, ...]:
        """Return the rights on this repository at *endpoint*."""
        return (f"repository:{self.path(endpoint)}:{actions}",)

    def asked(self, action: str, name: str = "", blob: str = "") -> Asked:
        """Return the words for a failure."""
        repository = self._reference.name
        image = f"{repository}{'@' if ':' in name else ':'}{name}" if name else ""
        return Asked(self._reference.domain, repository, action, image, blob)
