"""A context as a build has it: all of it for the builder, and what COPY and ADD see.

Source: Docker's reference, ".dockerignore file".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from corten.engine.builds.context.ignore import MOST_TEXT, NOTHING, Ignore
from corten.engine.builds.context.tree import DEFAULT, Limits, Tree
from corten.engine.builds.context.wildcard import normal
from corten.errors import InvalidInput, NotFound

IGNORE_FILE = ".dockerignore"


class Context(NamedTuple):
    """One folder, seen in two ways."""

    everything: Tree
    """For the builder, which reads the Dockerfile here even where rules leave it out."""
    visible: Tree
    """What the ignore file leaves: what instructions can copy or mount."""


@contextmanager
def open_context(root: int, dockerfile: str = "", limits: Limits = DEFAULT) -> Iterator[Context]:
    """Give the context in the open folder *root*, which stays the caller's.

    The rules are those of ``<dockerfile>.dockerignore``, if there is one beside
    the Dockerfile, or else of ``.dockerignore`` at the top.

    Args:
        root: Descriptor of the folder.
        dockerfile: Path of the Dockerfile in the context; empty when it comes from elsewhere.
        limits: What the context may ask of the machine.

    Raises:
        InvalidInput: the ignore file has a bad pattern, or is no file in the context.
        LimitExceeded: the ignore file is too long.
    """
    with (
        Tree(root, NOTHING, limits) as everything,
        Tree(root, _rules(everything, dockerfile), limits) as visible,
    ):
        yield Context(everything, visible)


def _rules(tree: Tree, dockerfile: str) -> Ignore:
    for name in (f"{dockerfile}{IGNORE_FILE}" if dockerfile else IGNORE_FILE, IGNORE_FILE):
        try:
            text = tree.read(name, 4 * MOST_TEXT)
        except NotFound:
            if tree.entry(normal(name)):
                raise InvalidInput(f"{name} is a link out of the build context: put a file there") from None
            continue
        return Ignore.parse(text.decode("utf-8", "surrogateescape"), name)
    return NOTHING
