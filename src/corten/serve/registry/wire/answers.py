"""Answers: JSON bodies, lists in pages, and failures in the form of the specification.

Source: OCI distribution-spec 1.1, "Error Codes" and "Listing Tags" (RFC 5988 for Link).
"""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from corten.errors import CortenError, InvalidInput
from corten.oci import codec
from corten.serve.registry.hooks import Denied
from corten.serve.registry.refusal import Code, Refusal, refusal_of

VERSION = {"Docker-Distribution-Api-Version": "registry/2.0", "Server": "corten"}

log = logging.getLogger(__name__)


def empty(status: int, headers: Mapping[str, str]) -> web.Response:
    """Return an answer without a body."""
    return web.Response(status=status, headers={**VERSION, **headers, "Content-Length": "0"})


def json(
    value: Any, headers: Mapping[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    """Return an answer with *value* as its body."""
    return web.Response(
        body=codec.encode(value), content_type=content_type, headers={**VERSION, **(headers or {})}
    )


def failed(failure: Exception) -> web.Response:
    """Return the answer that tells of *failure*; one line, never a traceback."""
    refusal = _refusal(failure)
    if refusal.status == 304:
        return empty(304, refusal.headers)
    error = {"code": refusal.code.value, "message": str(refusal)}
    if refusal.detail is not None:
        error["detail"] = refusal.detail
    return web.Response(
        status=refusal.status,
        body=codec.encode({"errors": [error]}),
        content_type="application/json",
        headers={**VERSION, **refusal.headers},
    )


def _refusal(failure: Exception) -> Refusal:
    match failure:
        case Refusal():
            return failure
        case Denied() if failure.challenge:
            challenge = {"WWW-Authenticate": failure.challenge}
            return Refusal(Code.UNAUTHORIZED, str(failure), headers=challenge)
        case Denied():
            return Refusal(Code.DENIED, str(failure))
        case CortenError():
            return refusal_of(failure)
        case OSError():
            log.error("the storage failed: %s", failure)
            return Refusal(Code.UNKNOWN, f"the registry's storage failed: {failure.strerror or failure}")
    log.error("a request failed", exc_info=failure)
    return Refusal(Code.UNKNOWN, f"internal error ({type(failure).__name__}): see the registry's log")


def asked(query: Mapping[str, str], most: int) -> int:
    """Return how many entries of a list to send: the parameter ``n``, at most *most*.

    Raises:
        InvalidInput: ``n`` is no number, or negative.
    """
    text = query.get("n", "")
    if not text:
        return most
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"n={text[:30]} is no number of entries: give 0 or more")
    return min(int(text[:9]), most)


def link(path: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the header that leads to the next page of a list."""
    return {"Link": f'<{path}?{urlencode(parameters)}>; rel="next"'}
