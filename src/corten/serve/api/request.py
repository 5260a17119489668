"""One request as the handlers of this door see it."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from corten.errors import InvalidInput
from corten.serve.api import reply
from corten.serve.api.interface import Engine
from corten.serve.api.query import Query

BODY_LIMIT = 8 << 20  # bytes of a JSON body

_Body = TypeVar("_Body")


class Request:
    """A request with its path taken apart.

    ``name`` is the ``{id}`` or ``{name}`` of the path, ``version`` the API
    version that the client speaks. ``background`` runs a coroutine that
    outlives the request. ``started`` is the response whose headers have left,
    after which a failure can only break the connection.
    """

    __slots__ = ("background", "name", "query", "raw", "started", "version")

    def __init__(
        self,
        raw: web.BaseRequest,
        name: str,
        query: Query,
        version: tuple[int, int],
        background: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.raw = raw
        self.name = name
        self.query = query
        self.version = version
        self.background = background
        self.started: web.StreamResponse | None = None

    async def stream(self, content_type: str) -> web.StreamResponse:
        """Send status 200 and the headers now; the body follows in pieces."""
        response = reply.stream(content_type)
        self.started = response
        await response.prepare(self.raw)
        return response

    async def decode(self, kind: type[_Body], default: _Body) -> _Body:
        """Return the JSON body as *kind*, or *default* where there is no body.

        Raises:
            InvalidInput: not JSON, or not of that kind.
        """
        body = await self.raw.read()
        if not body.strip():
            return default
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"invalid JSON: {error}") from error


Handler = Callable[[Engine, Request], Awaitable[web.StreamResponse]]
