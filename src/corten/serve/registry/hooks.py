"""What others may hang into the registry's door: rights, figures, a cache behind it, pages beside it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from aiohttp import web

from corten.oci.digest import Digest

Action = Literal["pull", "push", "delete", "catalog"]
Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Denied(Exception):
    """The gate's refusal.

    With a *challenge* it is answered 401 and ``WWW-Authenticate: challenge``:
    who asks is not known. Without, 403: who asks is known and may not.
    """

    def __init__(self, message: str, challenge: str = "") -> None:
        super().__init__(message)
        self.challenge = challenge


class Gate(Protocol):
    """Decides who may do what."""

    async def check(self, request: web.BaseRequest, repository: str, actions: frozenset[Action]) -> None:
        """Let the request pass, or refuse it.

        Called for each request before anything else is done; for a mount once
        more for the repository that the blob comes from. *repository* is empty
        for ``/v2/`` (no actions) and the catalog ({"catalog"}).

        Raises:
            Denied: the caller may not do all of *actions* there.
        """
        ...


class Finished(NamedTuple):
    """A request that was answered.

    *route* is one of a few fixed words (``manifest``, ``blob``, ``upload``,
    ``uploads``, ``tags``, ``catalog``, ``referrers``, ``base``, ``health``,
    ``page``, ``unknown``), *received* and *sent* are bytes of bodies.
    """

    method: str
    route: str
    code: int
    seconds: float
    received: int
    sent: int


class Observer(Protocol):
    """Counts requests."""

    def finished(self, request: Finished) -> None:
        """Take note of an answered request; must not block nor raise."""
        ...


class Passing(NamedTuple):
    """A blob that is on its way: *size* bytes in all, to be passed on to the client as they come."""

    size: int
    pieces: AsyncIterator[bytes]


class Fallback(Protocol):
    """Another registry behind this one, asked when something is not here (a pull-through cache)."""

    async def manifest(self, repository: str, reference: str, held: Digest | None) -> None:
        """Bring a manifest in, or leave things as they are; the door looks again afterwards.

        Called for a tag each time (*held* is what it points to here; it may
        have moved over there), and for a digest that is not here.

        Raises:
            CortenError: told to the client, unless something is held: that is served then.
        """
        ...

    async def blob(self, repository: str, digest: Digest) -> Passing | None:
        """Bring a blob in that is not here.

        Returns:
            The blob while it arrives, or None: the door then looks once more
            whether it is here.
        """
        ...


class OpenGate:
    """Lets everybody do everything."""

    async def check(self, request: web.BaseRequest, repository: str, actions: frozenset[Action]) -> None:
        """Let the request pass."""


class NoObserver:
    """Counts nothing."""

    def finished(self, request: Finished) -> None:
        """Take no note."""


@dataclass(frozen=True)
class Hooks:
    """All that may be hung in. *pages* are further paths (``/metrics``, ``/token``), outside of the gate."""

    gate: Gate = field(default_factory=OpenGate)
    observer: Observer = field(default_factory=NoObserver)
    fallback: Fallback | None = None
    pages: Mapping[str, Page] = field(default_factory=dict)
