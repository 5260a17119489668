"""What COPY and ADD take from a context, and what it is called in the image.

The destination's own file system is not seen here: that an existing folder
there takes a file into it, and that links there lead elsewhere, is the matter
of whoever writes the layer.

Source: Docker's reference, "COPY" and "ADD".
"""

import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from corten.engine.builds.context.glob import Sieve
from corten.engine.builds.context.ignore import Ignore
from corten.engine.builds.context.tree import Entry, Tree
from corten.engine.builds.context.wildcard import Name, below, pivot, split
from corten.errors import InvalidInput


class Options(NamedTuple):
    """Flags of COPY and ADD that choose files."""

    parents: bool = False
    exclude: tuple[str, ...] = ()
    into: bool = False
    """Whether the destination is known to be a folder, though it does not end with a slash."""


PLAIN = Options()

_META = frozenset("*?[\\")


class Pick(NamedTuple):
    """One entry of the context under its path in the image."""

    entry: Entry
    destination: str
    """Absolute and clean."""
    twin: str
    """Destination of an earlier pick that is the same file by a hard link; otherwise empty."""


class Selection(NamedTuple):
    """What one instruction copies."""

    folder: str
    """Made, as a folder that no source has, where it is missing; so are those above it."""
    picks: tuple[Pick, ...]
    """Sorted by destination, so that folders come before what is in them."""


class _Hit(NamedTuple):
    """What a source leads to, and the name by which it was reached."""

    name: str
    entry: Entry


def select(tree: Tree, sources: Sequence[str], destination: str, options: Options = PLAIN) -> Selection:
    """Choose what ``COPY sources destination`` copies.

    Args:
        tree: The context.
        sources: As written, variables expanded: paths from the root of the context, or patterns.
        destination: Path in the image, from its root; at its end a slash, ``.`` or ``..`` says that it
            is a folder.
        options: Flags.

    Raises:
        NotFound: a source, or what a pattern asks for, is not there.
        InvalidInput: a bad pattern; several sources for one file; one's folder is another one's file.
        Conflict: the context changed meanwhile.
        LimitExceeded: the context is too large.
    """
    exclude = Ignore.of(options.exclude, "--exclude").sieve
    is_folder = options.into or options.parents or destination.rpartition("/")[2] in ("", ".", "..")
    target = posixpath.normpath("/" + destination.lstrip("/"))
    if options.parents:
        found = [pair for source in sources for pair in _with_parents(tree, source, exclude)]
        return _selection(target, target, found)
    hits = [hit for source in sources for hit in _hits(tree, source)]
    if len(hits) > 1 and not is_folder:
        raise InvalidInput(
            f"several files are copied to {destination!r}: end it with a slash to make it a folder"
        )
    folder = target if is_folder or any(hit.entry.is_folder for hit in hits) else posixpath.dirname(target)
    found = [pair for hit in hits for pair in _content(tree, hit, "" if is_folder else target, exclude)]
    return _selection(folder, target, found)


def _hits(tree: Tree, source: str) -> list[_Hit]:
    """Return what *source* leads to; a link that it names is followed, one inside a folder is not."""
    folder, patterns = split(source)
    if not patterns:
        return [_Hit(posixpath.basename(folder), tree.resolve(folder, source))]
    found = [tree.resolve(folder, source)]
    for at, pattern in enumerate(patterns):
        last = at == len(patterns) - 1
        found = [
            entry for above in found if above.is_folder for entry in _matching(tree, above, pattern, source)
        ]
        if not last:
            found = [entry for entry in found if entry.is_folder]
    there = [entry for entry in found if tree.entry(entry.path)]
    if not there:
        raise tree.missing(source, "/".join((folder, *patterns)).lstrip("/"))
    return [_Hit(posixpath.basename(entry.path), tree.resolve(entry.path, source)) for entry in there]


def _matching(tree: Tree, folder: Entry, pattern: str, source: str) -> list[Entry]:
    inside = tree.children(folder.path)
    if not _META.intersection(pattern):
        return [inside[pattern]] if pattern in inside else []
    wanted = Name(pattern, source)
    return [entry for name, entry in inside.items() if wanted.matches(name)]


def _content(tree: Tree, hit: _Hit, target: str, exclude: Sieve) -> Iterator[tuple[str, Entry]]:
    """Yield what *hit* brings, with its path below the destination; a file becomes *target* if that is given."""
    if hit.entry.is_folder:
        yield from tree.walk(hit.entry.path, (exclude,))
    elif exclude.advance(exclude.start, hit.name).kept:
        yield ("" if target else hit.name), hit.entry


def _with_parents(tree: Tree, source: str, exclude: Sieve) -> Iterator[tuple[str, Entry]]:
    """Yield what a source of ``--parents`` matches, with the path that it keeps."""
    folder, pattern = pivot(source)
    top = tree.resolve(folder, source)
    wanted = (below(pattern, source),) if pattern else ()
    if not top.is_folder or (wanted and next(tree.walk(top.path, wanted), None) is None):
        raise tree.missing(source, f"{folder}/{pattern}".strip("/"))
    yield from tree.walk(top.path, (*wanted, exclude))


def _selection(folder: str, target: str, found: Sequence[tuple[str, Entry]]) -> Selection:
    chosen: dict[str, Entry] = {}
    for path, entry in found:
        destination = posixpath.join(target, path) if path else target
        before = chosen.get(destination, entry)
        if before.is_folder != entry.is_folder:
            raise InvalidInput(
                f"{destination} would be a folder and a file: {before.path!r} and {entry.path!r} both lead there"
            )
        chosen[destination] = entry
    firsts: dict[tuple[int, int], tuple[str, str]] = {}
    picks: list[Pick] = []
    for destination, entry in sorted(chosen.items()):
        linked = entry.links > 1 and not entry.is_folder
        first = firsts.setdefault((entry.device, entry.inode), (entry.path, destination)) if linked else None
        picks.append(Pick(entry, destination, first[1] if first and first[0] != entry.path else ""))
    return Selection(folder, tuple(picks))
