"""Inheriting: what a layer does not say of a folder is for the layers below to say.

An archive may name ``srv/data/file`` and neither ``srv`` nor ``srv/data``. In the
tree of that layer alone both have to be made, and the kernel's overlay shows
the attributes of the uppermost folder: a private folder of the layer below
would stand open. So such folders are given what they cover, once it is known.

Source: overlayfs.rst, "Directories", "whiteouts and opaque directories".
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from corten.linux.files import open_folder
from corten.linux.xattrs import get_at, read_at, set_at

_OPAQUE = b"trusted.overlay.opaque"
_TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def inherit(upper: str, lower: Sequence[str], folders: Iterable[bytes]) -> None:
    """Give *folders* of the tree *upper* owner, mode, time and attributes of those that they cover.

    Args:
        upper: The tree of a layer, as overlay wants it.
        lower: The trees below, the youngest first.
        folders: Clean paths in *upper*; one that is no folder there, or covers
            nothing, stays as it is.
    """
    with ExitStack() as stack:
        below = [_opened(path, stack) for path in lower]
        top = _opened(upper, stack)
        for path in folders:
            with suppress(FileNotFoundError, NotADirectoryError), _found(top, below, path) as (here, covered):
                _dress(here, covered)


def _opened(path: str, stack: ExitStack) -> int:
    descriptor = os.open(path, _TOP)
    stack.callback(os.close, descriptor)
    return descriptor


@contextmanager
def _found(top: int, below: Sequence[int], path: bytes) -> Iterator[tuple[int, int]]:
    """Give the folder *path* in the tree *top*, and the first that it covers in the trees *below*.

    Raises:
        FileNotFoundError: it covers none.
        OSError: as open(2), when it is no folder in *top*.
    """
    with ExitStack() as stack:
        for name in path.split(b"/"):
            top = open_folder(name, top)
            stack.callback(os.close, top)
            if get_at(top, b".", _OPAQUE):
                raise FileNotFoundError
            below = _descend(below, name, stack)
        yield top, below[0]


def _descend(trees: Sequence[int], name: bytes, stack: ExitStack) -> list[int]:
    """Return the folders called *name* in *trees* that are merged into one, the youngest first."""
    merged: list[int] = []
    for tree in trees:
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(name, dir_fd=tree).st_mode):
                break  # a whiteout, or another file, hides what is below
            merged.append(open_folder(name, tree))
            stack.callback(os.close, merged[-1])
            if get_at(merged[-1], b".", _OPAQUE):
                break
    if not merged:
        raise FileNotFoundError
    return merged


def _dress(here: int, covered: int) -> None:
    """Give the open folder *here* the attributes of *covered*; owner first, since it clears others."""
    found = os.fstat(covered)
    os.fchown(here, found.st_uid, found.st_gid)
    os.fchmod(here, stat.S_IMODE(found.st_mode))
    for attribute, value in read_at(covered, b".").items():
        if not attribute.startswith(b"trusted.overlay."):
            set_at(here, b".", attribute, value)
    os.utime(here, ns=(found.st_atime_ns, found.st_mtime_ns))
