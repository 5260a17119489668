"""A connection that can leave HTTP without losing a byte.

A client may send its input right behind the request that asks for a raw
stream, and may close its half of the connection behind that. The HTTP parser
reads ahead: what follows a request with an ``Upgrade`` it does not know is
dropped, what follows one without is taken for the next request, and an end of
input closes the connection although the request has not been answered.

So the parser is given one whole request at a time. From the end of one request
on, bytes are remembered as they are passed on; when they make up a request,
what is behind it is held back until that request is answered. If it takes the
connection, what is held is its input; if not, it is the next request. A
request whose handler runs before its body is complete (an upload) takes no
connection and is passed on as it comes. Where the boundaries cannot be told,
as behind an upload with a further request in the same packet, taking the
connection is refused, never guessed.

The alternative, reading the first request before the HTTP server sees the
connection, fails for clients that reuse a connection, as docker-py does.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Any

from aiohttp import web

from corten.errors import InvalidInput

MEMORY = 1 << 20  # bytes remembered or held at most; the parser allows less for a request head

_UNCERTAIN = "cannot take over this connection: send this request alone, on a connection of its own"


def end_of_request(data: bytes) -> int | None:
    """Return where the request that *data* begins with ends; None while it is incomplete.

    Source: RFC 9112, sections 6 and 7. *data* has passed, or will pass, the
    HTTP parser; what that refuses need not be told apart here.

    Raises:
        ValueError: a length is malformed.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = 0
    for line in data[:end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = _number(value, 10)
        elif name.lower() == b"transfer-encoding":
            return _end_of_chunks(data, end + 4)
    end += 4 + length
    return end if end <= len(data) else None


def _end_of_chunks(data: bytes, position: int) -> int | None:
    """Return where a chunked body ends that begins at *position*; None while it is incomplete."""
    last = False
    while (end := data.find(b"\r\n", position)) >= 0:
        line, position = data[position:end], end + 2
        if last and not line:
            return position
        if not last:
            size = _number(line.partition(b";")[0], 16)
            last = size == 0
            position += size + 2 if size else 0
    return None


def _number(text: bytes, base: int) -> int:
    """Return a length; unlike ``int`` this takes no sign and no underscore."""
    digits = text.strip()
    if not digits.isalnum():
        raise ValueError(f"not a length: {digits!r}")
    return int(digits, base)


class Connection(web.RequestHandler):
    """The protocol of one client connection."""

    __slots__ = ("_held", "_is_open", "_memory", "_request", "_whole", "half_closed")

    def __init__(self, manager: web.Server, is_open: Callable[[], bool], **options: Any) -> None:
        super().__init__(manager, **options)
        self._is_open = is_open
        self._memory: bytearray | None = bytearray()  # of the request that is coming in; None: not tracked
        self._whole = False  # _memory is a whole request
        self._held = b""  # what came behind it
        self._request: web.BaseRequest | None = None
        self.half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the door was closed while this connection was being accepted."""
        super().connection_made(transport)
        if not self._is_open() and isinstance(transport, asyncio.Transport):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass *data* on to the parser, up to the end of a request."""
        if self._whole:
            self._held += data
            if len(self._held) > MEMORY:
                self._release()
            return
        if self._memory is not None:
            data = self._up_to_the_end(data)
        super().data_received(data)

    def _up_to_the_end(self, data: bytes) -> bytes:
        """Remember *data*; return what belongs to the request that is coming in, hold the rest."""
        assert self._memory is not None
        before = len(self._memory)
        self._memory += data
        try:
            end = end_of_request(bytes(self._memory))
        except ValueError:  # the parser will refuse it
            self._memory = None
            return data
        if end is None:
            if len(self._memory) > MEMORY:
                self._memory = None
            return data
        self._whole, self._held = True, data[end - before :]
        del self._memory[end:]
        return data[: end - before]

    def _release(self) -> None:
        """Leave it to the parser where requests end."""
        held, self._held = self._held, b""
        self._memory, self._whole = None, False
        super().data_received(held)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # the base promises None; asyncio takes either
        """Keep the way back open while a complete request is to be answered."""
        if self.transport is None or _gone(self.transport.get_extra_info("socket").fileno()):
            return None
        complete = self._request.content.is_eof() if self._request is not None else self._whole
        self.half_closed = complete
        return complete

    def begin(self, request: web.BaseRequest) -> None:
        """Note that *request* is answered now."""
        self._request = request
        if self._whole and not request.content.is_eof():  # the cut was wrong
            self._release()

    def forget(self) -> None:
        """Note that the request which is answered does not take the connection."""
        if not self._whole:
            self._memory = None

    def finish(self, response: web.StreamResponse) -> None:
        """Note that *response* answers the request; the next one is passed on."""
        known = self._whole or (self._request is not None and self._request.content.is_eof())
        held, self._held = self._held, b""
        self._memory, self._whole, self._request = bytearray() if known else None, False, None
        if held:
            self.data_received(held)
        if self.half_closed and not self._whole:
            response.force_close()

    def behind(self, request: web.BaseRequest) -> bytes:
        """Return what was received after *request*, whose body has been read.

        Raises:
            InvalidInput: it cannot be told where the request ends.
        """
        line = f"{request.method} {request.raw_path} HTTP/".encode("utf-8", "surrogateescape")
        if not self._whole or self._memory is None or not self._memory.lstrip(b"\r\n").startswith(line):
            raise InvalidInput(_UNCERTAIN)
        return self._held


def _gone(descriptor: int) -> bool:
    """Tell whether the other side has closed both ways, not only its own."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))
