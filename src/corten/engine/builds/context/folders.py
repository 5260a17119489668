"""Descriptors of the folders of a context, each entered name by name from the root, never through a link."""

import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD = 48  # descriptors, besides the root's


class Folders:
    """The folders below *root*, a descriptor that stays the caller's; a few of them stay open.

    However deep a context is, no more than 50 descriptors are in use.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._held: dict[str, int] = {}

    def open(self, path: str) -> int:
        """Return a descriptor of the folder *path*, which must be clean; valid until the next call.

        Raises:
            OSError: it is not there, or it or a folder above it is something else, such as a link.
        """
        above, missing = path, list[str]()
        while above and above not in self._held:
            above, _, name = above.rpartition("/")
            missing.append(name)
        here = self._held.get(above, self._root)
        while missing:
            above = f"{above}/{missing[-1]}" if above else missing[-1]
            here = self._held[above] = os.open(missing.pop(), _FOLDER, dir_fd=here)
            if len(self._held) > _HELD:
                os.close(self._held.pop(next(iter(self._held))))
        if above:
            self._held[above] = self._held.pop(above)  # the last to go
        return here

    def close(self) -> None:
        """Close all of them; the root's stays open."""
        while self._held:
            os.close(self._held.popitem()[1])
