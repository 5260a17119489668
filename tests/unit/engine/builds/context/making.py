"""Contexts for tests."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from corten.engine.builds.context.ignore import NOTHING, Ignore
from corten.engine.builds.context.tree import DEFAULT, Limits, Tree


def write(top: Path, files: Mapping[str, str | None]) -> Path:
    """Make *files* below *top*: None is a folder, ``-> x`` a link to x, anything else content."""
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    return top


@contextmanager
def opened(top: Path, *rules: str, limits: Limits = DEFAULT) -> Iterator[Tree]:
    """Give the tree of *top* without what *rules* leave out."""
    root = os.open(top, os.O_RDONLY)
    try:
        ignore = Ignore.parse("\n".join(rules), ".dockerignore") if rules else NOTHING
        with Tree(root, ignore, limits) as tree:
            yield tree
    finally:
        os.close(root)


def paths(tree: Tree, folder: str = "") -> list[str]:
    """Return all paths below *folder*."""
    return [path for path, _ in tree.walk(folder)]
