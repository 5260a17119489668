"""Which handler answers a request: two dictionary look-ups instead of a list of patterns.

Every path of the API is either fixed, or a noun, one name and at most one
verb (``/containers/{id}/start``). What Docker does not have lies below
``/corten``: there a noun has two parts. A name may hold slashes only where the
noun is images or distribution. A prefix ``/v1.NN`` is optional.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from corten.errors import InvalidInput, NotFound
from corten.serve.api import reply
from corten.serve.api.request import Handler

_PREFIX = re.compile(r"/v(\d+)\.(\d+)(?=/)")
_OWN = "corten/"  # begins the nouns that are not Docker's
_SLASHES = frozenset({"images", "distribution"})  # nouns whose names are those of images
_DEFAULT_VERSION = tuple(int(part) for part in reply.API_VERSION.split("."))


class Route(NamedTuple):
    """One operation.

    ``finishes``: once begun it is carried through, even if its client goes
    away. ``hijacks``: it takes the connection away from HTTP.
    """

    method: str
    path: str
    handler: Handler
    finishes: bool = False
    hijacks: bool = False


class Match(NamedTuple):
    """The route of a request, the name in its path, and the API version it speaks."""

    route: Route
    name: str
    version: tuple[int, int]


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """Return the API version that *path* asks for, and the rest of it.

    Raises:
        InvalidInput: the version is not served; Docker's wording.
    """
    prefix = _PREFIX.match(path)
    if prefix is None:
        return (_DEFAULT_VERSION[0], _DEFAULT_VERSION[1]), path
    version = int(prefix[1]), int(prefix[2])
    asked = f"client version {prefix[1]}.{prefix[2]}"
    if version < reply.OLDEST_SERVED:
        least = reply.MIN_API_VERSION
        raise InvalidInput(
            f"{asked} is too old. Minimum supported API version is {least}, please upgrade your client to a newer version"
        )
    if version > reply.NEWEST_SERVED:
        raise InvalidInput(f"{asked} is too new. Maximum supported API version is {reply.API_VERSION}")
    return version, path[prefix.end() :]


class Router:
    """Finds routes; immutable once made."""

    def __init__(self, routes: list[Route]) -> None:
        self._fixed = {(r.method, r.path): r for r in routes if "{" not in r.path}
        self._named = {self._key(r): r for r in routes if "{" in r.path}

    @staticmethod
    def _key(route: Route) -> tuple[str, str, str]:
        """Return method, noun and verb of a path with a name in it; the verb may be empty."""
        noun, named = _noun(route.path)
        return route.method, noun, named.partition("/")[2]

    def find(self, method: str, path: str) -> Match:
        """Return what answers *method* on *path* (still percent-encoded, without a query).

        Raises:
            InvalidInput: the API version is not served.
            NotFound: there is no such page.
        """
        version, path = split_version(path)
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return Match(fixed, "", version)
        noun, named = _noun(path)
        name, _, verb = named.rpartition("/")
        for candidate, key in ((name, (method, noun, verb)), (named, (method, noun, ""))):
            route = self._named.get(key)
            if route is not None and candidate and (noun in _SLASHES or "/" not in candidate):
                return Match(route, unquote(candidate), version)
        raise NotFound("page", path)


def _noun(path: str) -> tuple[str, str]:
    """Return the noun that *path* begins with, and what follows it."""
    _, _, rest = path.partition("/")
    own = _OWN if rest.startswith(_OWN) else ""
    noun, _, named = rest[len(own) :].partition("/")
    return own + noun, named
