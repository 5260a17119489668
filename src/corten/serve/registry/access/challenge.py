"""What a registry says to whoever has to log in, and how it reads what they answer with.

Sources: RFC 7617 (Basic), RFC 6750 (Bearer); distribution.github.io/distribution/spec/auth/token and /scope.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import NamedTuple

from aiohttp import web

from corten.errors import InvalidInput
from corten.serve.registry.access.tokens import Grant

TOKEN_PATH = "/token"  # noqa: S105 - the page of tokens, no secret
_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_MOST_SCOPES = 64


class Login(NamedTuple):
    """A name and a password as they were sent."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


def basic(header: str) -> Login | None:
    """Return what an ``Authorization: Basic`` header says; None for one of another scheme.

    Raises:
        InvalidInput: not base64, or without a colon.
    """
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the Authorization header is not base64: log in again") from None
    name, colon, password = _decoded(raw).partition(":")
    if not colon:
        raise InvalidInput("the Authorization header holds no password: log in again")
    return Login(name, password)


def _decoded(raw: bytes) -> str:
    """Return *raw* as text: UTF-8, or else Latin-1, which older clients send."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def bearer(header: str) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header; None for one of another scheme."""
    scheme, _, text = header.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def realm(request: web.BaseRequest, url: str) -> str:
    """Return where tokens are given out: below *url*, or below the address that the client used."""
    if url:
        return url.rstrip("/") + TOKEN_PATH
    scheme = "https" if request.secure else "http"
    host = request.headers.get("Host", "")
    if not _HOST.fullmatch(host):
        raise InvalidInput("the Host header is missing or not the name of a host")
    return f"{scheme}://{host}{TOKEN_PATH}"


def scope_of(repository: str, actions: Iterable[str]) -> str:
    """Return the scope that allows *actions*; empty where none is needed."""
    wanted = sorted(actions)
    if not wanted:
        return ""
    if "catalog" in wanted:
        return "registry:catalog:*"
    return f"repository:{repository}:{','.join(wanted)}"


def challenge(realm: str, service: str, scope: str = "", error: str = "") -> str:
    """Return the value of ``WWW-Authenticate``."""
    fields = [("realm", realm), ("service", service), ("scope", scope), ("error", error)]
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in fields if value)


def scopes(texts: Iterable[str]) -> list[Grant]:
    """Return what is asked for in *texts*, each of one or more scopes divided by blanks.

    Raises:
        InvalidInput: one is not ``type:name:actions``, or there are too many.
    """
    words = [word for text in texts for word in text.split()]
    if len(words) > _MOST_SCOPES:
        raise InvalidInput(f"more than {_MOST_SCOPES} scopes in one request: ask for fewer")
    return [_scope(word) for word in words]


def _scope(word: str) -> Grant:
    kind, first, rest = word.partition(":")
    name, last, actions = rest.rpartition(":")
    if not (kind and first and name and last):
        raise InvalidInput(f"invalid scope {word[:200]!r}: expected type:name:actions")
    return Grant(kind.partition("(")[0], name, tuple(part for part in actions.split(",") if part))
