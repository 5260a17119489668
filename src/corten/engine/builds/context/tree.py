"""A build context: what files it has, found as they are asked for and never outside of it.

A folder is listed when something in it is looked up, and then once: a build
that copies two files of a big checkout does not read the rest. Symbolic links
are kept as what they are. Where a path has to be followed through one, this is
done in the listings, as if the context were the whole file system, so that no
link ever reaches the kernel. What changes while a build reads it is refused:
a step must not be remembered for files that it has not copied.
"""

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple, Self

from corten.engine.builds.context.folders import Folders
from corten.engine.builds.context.glob import Sieve, State
from corten.engine.builds.context.ignore import NOTHING, Ignore, Rule
from corten.errors import Conflict, InvalidInput, LimitExceeded, NotFound

MOST_LINKS = 40  # as the kernel follows at most, path_resolution(7)

# what open(2) and readlink(2) say of a name that is not what it was
_OTHER = (errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Limits(NamedTuple):
    """Budgets for one context; passing one is LimitExceeded."""

    entries: int = 2_000_000
    """Files, folders and links that are looked at."""
    depth: int = 1000
    """Folders above one entry."""


DEFAULT = Limits()


class Entry(NamedTuple):
    """One file, folder or link, as it was when its folder was listed; see inode(7)."""

    path: str
    """From the root of the context, which is the empty path; bytes that are no UTF-8 as os.fsdecode has them."""
    mode: int
    """Type and permission bits."""
    size: int
    mtime: int
    """Nanoseconds since 1970."""
    ctime: int
    """Nanoseconds since 1970."""
    device: int
    inode: int
    links: int
    """Names that the file has, here or elsewhere."""
    special: int
    """Device number of a device node."""
    target: str
    """Where a symbolic link leads; otherwise empty."""

    @property
    def is_folder(self) -> bool:
        """Tell whether this is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Tell whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Tell whether this is a symbolic link."""
        return stat.S_ISLNK(self.mode)


class Tree:
    """The files below *root* that *ignore* does not leave out. Safe to use from several threads.

    A folder that is left out but has something in it that is not, is there:
    ``walk`` gives it, right before the first of these.

    Args:
        root: Descriptor of the context's folder; it stays the caller's and must stay open.
        ignore: What a build does not see.
        limits: What a context may ask of the machine.
    """

    def __init__(self, root: int, ignore: Ignore = NOTHING, limits: Limits = DEFAULT) -> None:
        self._ignore, self._limits = ignore, limits
        self._folders = Folders(root)
        self._root = _entry("", os.fstat(root), "")
        self._states: dict[str, State] = {"": ignore.sieve.start}
        self._listed: dict[str, Mapping[str, Entry]] = {}
        self._passages: set[str] = set()
        self._count = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folders held open; idempotent."""
        with self._lock:
            self._folders.close()

    def rule_for(self, path: str) -> Rule | None:
        """Return the ignore rule that leaves *path* out, if there is one."""
        return self._ignore.rule_for(path)

    def children(self, folder: str) -> Mapping[str, Entry]:
        """Return what is in *folder*, sorted by name.

        Among it may be folders that are there only for what lies deep inside them, or for nothing.

        Raises:
            NotFound: there is no such folder.
            Conflict: it is no folder any more.
            LimitExceeded: the context is too large.
        """
        with self._lock:
            listed = self._listed.get(folder)
            if listed is None:
                if folder not in self._states and (self.entry(folder) is None or folder not in self._states):
                    raise self.missing(folder, folder)
                listed = self._listed[folder] = MappingProxyType(self._list(folder))
        return listed

    def entry(self, path: str) -> Entry | None:
        """Return what is at *path*, which is clean; no link is followed. None when there is nothing."""
        found, above = self._root, ""
        for name in path.split("/") if path else ():
            inside = self.children(above).get(name) if found.is_folder else None
            if inside is None:
                return None
            found, above = inside, inside.path
        if path in self._passages and next(self.walk(path), None) is None:
            return None
        return found

    def resolve(self, path: str, named: str = "") -> Entry:
        """Return what *path* leads to, links followed as if the root of the context were ``/``.

        Raises:
            NotFound: there is nothing; the message calls it what the user has *named*, or else *path*.
            InvalidInput: links lead in a circle.
        """
        waiting, here, followed = deque(path.split("/")), self._root, 0
        while waiting:
            name = waiting.popleft()
            if name == "..":
                here = self._at(here.path.rpartition("/")[0])
            if name in ("", ".", ".."):
                continue
            found = self.children(here.path).get(name) if here.is_folder else None
            if found is None:
                raise self.missing(named or path, f"{here.path}/{name}".lstrip("/"))
            if found.is_link:
                followed += 1
                if followed > MOST_LINKS:
                    raise InvalidInput(f"{named or path}: links in the build context lead in a circle")
                here = self._root if found.target.startswith("/") else here
                waiting.extendleft(reversed(found.target.split("/")))
                continue
            here = found
        if here.path in self._passages and self.entry(here.path) is None:
            raise self.missing(named or path, here.path)
        return here

    def missing(self, named: str, path: str) -> NotFound:
        """Say that there is no *path* for what a user *named*, and which rule leaves it out if one does."""
        rule = self.rule_for(path)
        why = f" (line {rule.line} of {self._ignore.name} leaves it out)" if rule else ""
        return NotFound(f"file or folder in the build context{why}", named)

    def walk(self, folder: str = "", sieves: Sequence[Sieve] = ()) -> Iterator[tuple[str, Entry]]:
        """Yield all that lies below *folder*, with its path from there, sorted, folders first.

        Args:
            folder: Where to begin.
            sieves: What each of them drops is left out too; they read paths from *folder* on.

        Raises:
            NotFound: there is no such folder.
            Conflict: the context changed meanwhile.
            LimitExceeded: the context is too large.
        """
        skip = len(folder) + 1 if folder else 0
        passing: list[Entry] = []  # folders that are to be given only if something in them is
        start = tuple(sieve.start for sieve in sieves)
        open_folders = [(iter(self.children(folder).values()), start)]
        while open_folders:
            entries, states = open_folders[-1]
            entry = next(entries, None)
            if entry is None:
                open_folders.pop()
                continue
            name = entry.path.rpartition("/")[2]
            after = tuple(map(Sieve.advance, sieves, states, (name,) * len(sieves)))
            while passing and not entry.path.startswith(f"{passing[-1].path}/"):
                passing.pop()
            inside = self._inside(entry, sieves, after)
            if entry.path not in self._passages and all(state.kept for state in after):
                yield from ((each.path[skip:], each) for each in passing)
                passing.clear()
                yield entry.path[skip:], entry
            elif inside is not None:
                passing.append(entry)
            if inside is not None:
                open_folders.append((iter(self.children(entry.path).values()), inside))

    @staticmethod
    def _inside(entry: Entry, sieves: Sequence[Sieve], states: tuple[State, ...]) -> tuple[State, ...] | None:
        """Return the states inside the folder *entry*; None where no walk has to go."""
        if not entry.is_folder:
            return None
        inside = tuple(map(Sieve.advance, sieves, states, "/" * len(sieves)))
        return inside if all(state.below for state in inside) else None

    def open(self, entry: Entry) -> int:
        """Open the regular file *entry* for reading; the caller closes the descriptor.

        Raises:
            Conflict: it is not the file that was listed, or was written to since.
        """
        above, _, name = entry.path.rpartition("/")
        with self._lock, _steady(entry.path):
            descriptor = os.open(name, _READ, dir_fd=self._folders.open(above))
        if _entry(entry.path, os.fstat(descriptor), "") != entry:
            os.close(descriptor)
            raise _changed(entry.path)
        return descriptor

    def check(self, entry: Entry, descriptor: int) -> None:
        """Refuse what was read from *descriptor* if the file has changed since ``open``; call it at the end.

        Raises:
            Conflict: it has.
        """
        if _entry(entry.path, os.fstat(descriptor), "") != entry:
            raise _changed(entry.path)

    def read(self, path: str, most: int) -> bytes:
        """Return the content of the file that *path* leads to.

        Raises:
            NotFound: there is none.
            InvalidInput: it is no regular file.
            LimitExceeded: it has more than *most* bytes.
        """
        entry = self.resolve(path)
        if not entry.is_file:
            raise InvalidInput(f"{path} in the build context is not a file: name a file")
        if entry.size > most:
            raise LimitExceeded(f"{path} in the build context has {entry.size} bytes; {most} are allowed")
        with os.fdopen(self.open(entry), "rb") as file:
            data = file.read(most)
            self.check(entry, file.fileno())
        return data

    def _at(self, path: str) -> Entry:
        """Return the folder *path*, which is known to have been listed."""
        above, _, name = path.rpartition("/")
        return self._listed[above][name] if path else self._root

    def _list(self, folder: str) -> dict[str, Entry]:
        before, prefix = self._states[folder], f"{folder}/" if folder else ""
        if not before.below:
            return {}
        if prefix.count("/") > self._limits.depth:
            raise LimitExceeded(f"the build context nests folders more than {self._limits.depth} deep")
        expected = self._at(folder)
        with _steady(folder):
            descriptor = self._folders.open(folder)
            opened = os.fstat(descriptor)
            if (opened.st_dev, opened.st_ino) != (expected.device, expected.inode):
                raise _changed(folder)
            with os.scandir(descriptor) as found:
                looked_at = [self._look(each, prefix + each.name, before, descriptor) for each in found]
        skip = len(prefix)
        return {entry.path[skip:]: entry for entry in sorted(filter(None, looked_at))}

    def _look(self, found: os.DirEntry[str], path: str, before: State, folder: int) -> Entry | None:
        """Return the entry for *found* in the open *folder*; None when it is left out, or gone again."""
        sieve = self._ignore.sieve
        after = sieve.advance(before, found.name)
        try:
            if not after.kept and not found.is_dir(follow_symlinks=False):
                return None
            info = found.stat(follow_symlinks=False)
            target = os.readlink(found.name, dir_fd=folder) if stat.S_ISLNK(info.st_mode) else ""
        except FileNotFoundError:
            return None
        if stat.S_ISSOCK(info.st_mode):  # a socket is its program's; no archive can hold one
            return None
        if stat.S_ISDIR(info.st_mode):
            inside = sieve.advance(after, "/")
            if not after.kept and not inside.below:
                return None
            self._states[path] = inside
            if not after.kept:
                self._passages.add(path)
        self._count += 1
        if self._count > self._limits.entries:
            raise LimitExceeded(
                f"the build context has more than {self._limits.entries} files: leave some out with .dockerignore"
            )
        return _entry(path, info, target)


def _entry(path: str, found: os.stat_result, target: str) -> Entry:
    return Entry(
        path,
        found.st_mode,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_dev,
        found.st_ino,
        found.st_nlink,
        found.st_rdev,
        target,
    )


@contextmanager
def _steady(path: str) -> Iterator[None]:
    """Say that *path* has changed where the kernel says that it is not what it was."""
    try:
        yield
    except OSError as failure:
        if failure.errno not in _OTHER:
            raise
        raise _changed(path) from failure


def _changed(path: str) -> Conflict:
    where = f"{path!r} in the build context" if path else "the build context"
    return Conflict(f"{where} changed while it was read: build again when nothing writes to it")
