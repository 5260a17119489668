"""Tokens: short-lived rights, fetched from the token service that a registry names, and kept until they expire.

Source: "Docker Registry v2 authentication via central service" (GET with
Basic) and "Docker Registry v2 OAuth2" (POST with an identity token).
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from yarl import URL

from corten.core.distribution.addresses import Origin
from corten.core.distribution.credentials import Credential
from corten.errors import DataCorrupted

CLIENT_ID = "corten"
_SHORTEST = 60  # seconds; what a token lives that does not say, and at least
_MARGIN = 0.9  # of its life, then it is renewed: it shall not expire under way
_MAX_TOKENS = 1000


class Service(NamedTuple):
    """A token service as a challenge names it, and who asked for it: *origin*, the registry."""

    origin: Origin
    realm: URL
    service: str


class Wanted(NamedTuple):
    """A token: for which registry and service, which rights, and whom."""

    service: Service
    scopes: tuple[str, ...]
    credential: Credential | None


class Token(msgspec.Struct, frozen=True):
    """The answer of a token service; ``refresh_token`` is an identity token."""

    token: str | None = ""
    access_token: str | None = ""
    expires_in: float | None = 0
    refresh_token: str | None = ""

    @classmethod
    def parse(cls, raw: bytes, place: str) -> "Token":
        """Read the answer of *place*.

        Raises:
            DataCorrupted: it holds no token, or one that is no header's value.
        """
        try:
            token = msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise DataCorrupted(f"the token service {place} answered something else than a token") from None
        if not token.value.isascii() or not token.value.isprintable() or not token.value:
            raise DataCorrupted(f"the token service {place} gave no usable token")
        return token

    @property
    def value(self) -> str:
        """Return the token itself, whichever member holds it."""
        return self.token or self.access_token or ""


def merge(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return all scopes once each, actions on the same repository joined, sorted."""
    rights: dict[str, set[str]] = {}
    for scope in (scope for group in groups for scope in group if scope):
        resource, colon, actions = scope.rpartition(":")
        rights.setdefault(resource + colon, set()).update(actions.split(","))
    return tuple(sorted(resource + ",".join(sorted(actions)) for resource, actions in rights.items()))


class Tokens:
    """Tokens by what they are for; many who want the same one cause one request."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Wanted, tuple[str, float]] = {}
        self._locks: dict[Wanted, asyncio.Lock] = {}

    def lock(self, wanted: Wanted) -> asyncio.Lock:
        """Return what to hold while fetching *wanted*."""
        if len(self._locks) >= _MAX_TOKENS:
            self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(wanted, asyncio.Lock())

    def find(self, wanted: Wanted) -> str | None:
        """Return a token that is still good."""
        value, until = self._kept.get(wanted, ("", 0.0))
        return value if value and self._clock() < until else None

    def keep(self, wanted: Wanted, token: Token) -> str:
        """Keep a token for its life; returns its value."""
        if len(self._kept) >= _MAX_TOKENS:
            self._kept.clear()
        life = max(token.expires_in or 0, _SHORTEST) * _MARGIN
        self._kept[wanted] = (token.value, self._clock() + life)
        return token.value

    def drop(self, value: str) -> None:
        """Forget a token that a registry refused, whatever it was kept for."""
        self._kept = {wanted: kept for wanted, kept in self._kept.items() if kept[0] != value}
