"""Sources of COPY and ADD: where a literal path ends and patterns begin.

Source: Docker's reference, "COPY" and "ADD"; Go's path/filepath "Match".
"""

import posixpath
from typing import NamedTuple

from corten.engine.builds.context.glob import Sieve, parse
from corten.errors import InvalidInput


class Source(NamedTuple):
    """A source in its two parts: *folder* is literal, each of *patterns* matches one name."""

    folder: str
    patterns: tuple[str, ...]


class Pivoted(NamedTuple):
    """A source of ``COPY --parents``: what *pattern* matches below *folder* keeps its path from there on."""

    folder: str
    pattern: str


def has_wildcard(name: str) -> bool:
    """Tell whether *name* is a pattern: whether a ``*``, ``?`` or ``[`` in it is not escaped."""
    at = 0
    while at < len(name):
        if name[at] in "*?[":
            return True
        at += 2 if name[at] == "\\" else 1
    return False


def normal(path: str) -> str:
    """Return *path* as seen from the root of its context; ``..`` stops there. The root is empty."""
    return posixpath.normpath("/" + path.lstrip("/"))[1:]


def split(source: str) -> Source:
    """Take a source apart at the first name that is a pattern."""
    names = [name for name in normal(source).split("/") if name]
    first = next((at for at, name in enumerate(names) if has_wildcard(name)), len(names))
    return Source("/".join(names[:first]), tuple(names[first:]))


def pivot(source: str) -> Pivoted:
    """Take a source of ``--parents`` apart at ``/./``; without it, paths are kept from the root on."""
    path = source.lstrip("/")
    folder, found, pattern = path.partition("/./")
    return Pivoted(normal(folder), normal(pattern)) if found else Pivoted("", normal(path))


class Name:
    """A pattern for one name.

    Raises:
        InvalidInput: it is not well formed; the message names *source*.
    """

    def __init__(self, pattern: str, source: str) -> None:
        self._sieve = _sieve(pattern, source, deep=False)

    def matches(self, name: str) -> bool:
        """Tell whether *name*, in which there is no slash, matches."""
        return self._sieve.advance(self._sieve.start, name).kept


def below(pattern: str, source: str) -> Sieve:
    """Return what keeps the paths that match *pattern*, in which ``**`` crosses folders, and all below them.

    Raises:
        InvalidInput: it is not well formed; the message names *source*.
    """
    return _sieve(pattern, source, deep=True)


def _sieve(pattern: str, source: str, *, deep: bool) -> Sieve:
    try:
        return Sieve([parse(pattern, deep=deep)], [True], default=False)
    except ValueError as failure:
        raise InvalidInput(f"bad pattern in the source {source!r}: {failure}") from None
