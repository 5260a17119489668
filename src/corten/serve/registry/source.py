"""Source: what can be pulled from, whoever keeps it.

The door reads through this interface alone, so that anything of this shape
can be served: the registry's own shelves (shelves.py), or the images of an
engine.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from corten.oci.digest import Digest


class Found(NamedTuple):
    """A blob of a repository; *size* in bytes, *path* a file that holds it, for sendfile(2), or None."""

    digest: Digest
    size: int
    path: str | None


class Held(NamedTuple):
    """A manifest of a repository, with its bytes."""

    digest: Digest
    media_type: str
    raw: bytes


class Referrer(NamedTuple):
    """A manifest with a subject, as a list of referrers shows it."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str
    annotations: Mapping[str, str]


class Source(Protocol):
    """Repositories to pull from. All methods block and are called from many threads.

    *promise* says that the client is told of the object so that it need not
    send it: it must then stay for a while even if nothing refers to it.
    """

    def repositories(self, last: str, count: int) -> list[str]:
        """Return at most *count* names in order, those after *last*."""
        ...

    def tags(self, repository: str, last: str, count: int) -> list[str]:
        """Return at most *count* tags in lexical order (letters without regard to case), those after *last*.

        Raises:
            NotFound: no such repository.
        """
        ...

    def manifest(self, repository: str, reference: str, *, promise: bool = False) -> Held:
        """Return the manifest that a tag or a digest (which has a colon) stands for.

        Raises:
            NotFound: no such repository, tag or manifest.
        """
        ...

    def blob(self, repository: str, digest: Digest, *, promise: bool = False) -> Found:
        """Return where a blob is; NotFound if the repository does not hold it."""
        ...

    def read(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        """Yield a range, which lies inside the blob, of a blob that ``blob`` returned; NotFound if it went."""
        ...

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """Return the manifests of the repository whose subject this is; empty also if there is no such thing."""
        ...
