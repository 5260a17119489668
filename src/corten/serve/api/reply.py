"""Responses, made with the headers that every answer of this door carries."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from corten.__about__ import VERSION
from corten.serve.api.failures import message_of, status_of

API_VERSION = "1.51"
MIN_API_VERSION = "1.24"
NEWEST_SERVED = (1, 55)
OLDEST_SERVED = (1, 24)
COMMON = {
    "Api-Version": API_VERSION,
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Docker/{VERSION} (linux)",
}
_JSON = COMMON | {"Content-Type": "application/json"}


def _plain(value: object) -> str:
    """Encode what is a text by another type, such as a digest."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: object) -> bytes:
    """Return one line of JSON, with its line feed, as Docker's own encoder writes."""
    return _encoder.encode(value) + b"\n"


def json(value: object, status: int = 200) -> web.Response:
    """Return *value* as a JSON response."""
    return web.Response(body=encode(value), status=status, headers=_JSON)


def empty(status: int = 204) -> web.Response:
    """Return a response without a body."""
    return web.Response(status=status, headers=COMMON)


def failed(failure: Exception) -> web.Response:
    """Return the JSON error for *failure*."""
    status = status_of(failure)
    return empty(status) if status == 304 else json({"message": message_of(failure)}, status)


def stream(content_type: str, headers: Mapping[str, Any] | None = None) -> web.StreamResponse:
    """Return a response whose body is written piece by piece; its headers leave on ``prepare``."""
    return web.StreamResponse(headers=COMMON | {"Content-Type": content_type} | dict(headers or {}))
