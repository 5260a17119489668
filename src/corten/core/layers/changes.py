"""changes: what a tree changes of the one below it, path by path.

What counts is what Docker counts: type, owner, mode, and but for folders size
and time. A folder is listed when something in it is. Of what was deleted only
the uppermost name is, and nothing of what a file or a link has replaced.
Source: Docker Engine API, ContainerChanges.
"""

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

from corten.core.layers import names
from corten.core.layers.folders import is_whiteout
from corten.core.layers.limits import DEFAULT
from corten.core.layers.pack import differs, is_place
from corten.errors import LimitExceeded
from corten.linux.files import Node, list_folder, open_folder
from corten.linux.xattrs import get_at

_TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DEPTH = DEFAULT.depth  # folders open at once in each tree; no layer could hold more


class Kind(IntEnum):
    """What became of a path; the numbers are those of the API."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """One path, absolute, and what became of it."""

    path: bytes
    kind: Kind


def changes(upper: str, lower: str | None, overlay: bool, places: Collection[bytes] = ()) -> list[Change]:
    """Return what *upper* changes of *lower*, sorted by path within each folder.

    Args:
        upper: The upper folder of an overlay, or a whole tree that began as a copy of *lower*.
        lower: The whole tree below; None for nothing.
        overlay: Whether *upper* holds changes alone, with whiteouts.
        places: Relative paths that are not told where all that was added is a
            place to mount on: a folder or an empty file.

    Raises:
        LimitExceeded: folders are nested too deep.
    """
    comparison = _Comparison(overlay, frozenset(places))
    top = os.open(upper, _TOP)
    try:
        below = None if lower is None else os.open(lower, _TOP)
        try:
            comparison.folder(top, below, b"", complete=not overlay or _is_opaque(top, b"."), depth=0)
        finally:
            if below is not None:
                os.close(below)
    finally:
        os.close(top)
    return comparison.found


class _Comparison:
    """Two trees, folder by folder; ``found`` grows in the order of the paths."""

    def __init__(self, overlay: bool, places: frozenset[bytes]) -> None:
        self.found: list[Change] = []
        self._overlay = overlay
        self._places = places

    def folder(self, upper: int, lower: int | None, above: bytes, *, complete: bool, depth: int) -> None:
        """Compare the open folders; where *upper* is *complete* what it does not have is deleted."""
        if depth > _DEPTH:
            raise LimitExceeded(f"folders are nested more than {_DEPTH} deep")
        old = set() if lower is None else set(list_folder(lower))
        for name in sorted(old.union(list_folder(upper)) if complete else list_folder(upper)):
            path = above + name
            new_node, old_node = _node(path, upper, name), None
            if lower is not None and name in old:
                old_node = _node(path, lower, name)
            if new_node is None or (self._overlay and is_whiteout(new_node.found)):
                if old_node is not None:
                    self.found.append(Change(b"/" + path, Kind.DELETED))
            elif old_node is not None or not self._is_place(new_node):
                self._name(new_node, old_node, depth)

    def _is_place(self, node: Node) -> bool:
        return node.path in self._places and is_place(node.found)

    def _name(self, node: Node, old: Node | None, depth: int) -> None:
        """Tell of *node*, and of what is in it."""
        start, path = len(self.found), b"/" + node.path
        if old is None:
            self.found.append(Change(path, Kind.ADDED))
        elif differs(old, node):
            self.found.append(Change(path, Kind.MODIFIED))
        told = len(self.found) > start
        if stat.S_ISDIR(node.found.st_mode):
            with suppress(FileNotFoundError, NotADirectoryError):  # gone or swapped since it was looked at
                self._enter(node, old, depth)
        if not told and len(self.found) > start:
            self.found.insert(start, Change(path, Kind.MODIFIED))

    def _enter(self, node: Node, old: Node | None, depth: int) -> None:
        complete = not self._overlay or _is_opaque(node.folder, node.name)
        upper = open_folder(node.name, node.folder)
        try:
            lower = None
            if old is not None and stat.S_ISDIR(old.found.st_mode):
                lower = open_folder(old.name, old.folder)
            try:
                self.folder(upper, lower, node.path + b"/", complete=complete, depth=depth + 1)
            finally:
                if lower is not None:
                    os.close(lower)
        finally:
            os.close(upper)


def _node(path: bytes, folder: int, name: bytes) -> Node | None:
    with suppress(FileNotFoundError):
        return Node(path, folder, name, os.lstat(name, dir_fd=folder))
    return None


def _is_opaque(folder: int, name: bytes) -> bool:
    return get_at(folder, name, names.OVERLAY_OPAQUE) == b"y"
