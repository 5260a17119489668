"""What a request's path is about.

A repository's name may hold slashes and any of the words that follow it, so a
path is read from its end. Names are taken as they stand: an encoded one is
refused, so that nobody who looks at the path before (a proxy, a log, a rule)
sees another name. Only the last part may be encoded (``sha256%3A...``).
Source: OCI distribution-spec 1.1, table of endpoints.
"""

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from corten.errors import InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.serve.registry import naming
from corten.serve.registry.refusal import Code, Refusal

HEALTH = "/healthz"
BASE = "/v2/"


class Target(NamedTuple):
    """*route* is a word of ``hooks.Finished.route``; *reference* a tag, digest or id, as far as there is one."""

    route: str
    repository: str = ""
    reference: str = ""

    @property
    def digest(self) -> Digest:
        """Return the reference as a digest; DIGEST_INVALID if it is none."""
        return digest_of(self.reference)


def parse(path: str) -> Target:
    """Read a path as it was sent.

    Raises:
        Refusal: NAME_INVALID.
        NotFound: there is no such page.
    """
    if path == HEALTH:
        return Target("health")
    if path in {"/v2", BASE}:
        return Target("base")
    if path == "/v2/_catalog":
        return Target("catalog")
    route, name, reference = _split(path)
    if not naming.is_repository(name):
        raise Refusal(
            Code.NAME_INVALID,
            f"{name[:300]!r} is no name of a repository: use lower-case letters, digits and ._-/ between them",
        )
    return Target(route, name, unquote(reference))


def _split(path: str) -> tuple[str, str, str]:
    """Return route, name and reference of a path below ``/v2/``."""
    name, _, last = path.removeprefix(BASE).rpartition("/")
    if not path.startswith(BASE) or not name:
        raise NotFound("page", path[:300])
    name, _, word = name.rpartition("/")
    if word == "uploads" and name.endswith("/blobs"):
        return ("upload" if last else "uploads"), name.removesuffix("/blobs"), last
    if word == "blobs" and last == "uploads":
        return "uploads", name, ""
    if word == "tags" and last == "list":
        return "tags", name, ""
    if word in {"manifests", "blobs", "referrers"}:
        return {"manifests": "manifest", "blobs": "blob"}.get(word, word), name, last
    raise NotFound("page", path[:300])


def digest_of(text: str) -> Digest:
    """Return *text* as a digest.

    Raises:
        Refusal: DIGEST_INVALID.
    """
    try:
        return Digest(text)
    except InvalidInput:
        raise Refusal(
            Code.DIGEST_INVALID, f"{text[:200]!r} is no digest: expected sha256: and 64 hex digits"
        ) from None


def query_of(text: str) -> dict[str, str]:
    """Read the query of a path.

    Raises:
        InvalidInput: a name is given twice, and who reads first or last would see another request.
    """
    pairs = parse_qsl(text, keep_blank_values=True)
    query = dict(pairs)
    if len(query) != len(pairs):
        raise InvalidInput("a parameter is given more than once: give each one time")
    return query
