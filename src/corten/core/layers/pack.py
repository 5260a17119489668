"""A tree becomes a tar stream: whole trees, and what changed in one.

The same tree gives the same bytes: entries are sorted, owners are numbers,
times are whole seconds unless asked for, and access times are not kept. Names
are relative and have no ``./``; the root has an entry only where it differs from
a plain folder of root. Sockets are left out. A file that shrinks or grows while
it is read is padded with zeros or cut at the size that its header gave.

Source: image-spec layer.md; overlayfs.rst, "whiteouts and opaque directories".
"""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from corten.core.layers import names
from corten.core.layers.folders import is_whiteout
from corten.core.layers.headers import BLOCK, Member, encode, has_kind
from corten.linux.files import Node, data_pieces, list_folder, open_folder, walk
from corten.linux.xattrs import get_at, read_at

Out = Callable[[bytes], object]

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HOLES = 64 << 20  # bytes of holes from which a file is written as sparse
_END = bytes(2 * BLOCK)
_PLAIN_ROOT = (stat.S_IFDIR | 0o755, 0, 0)


def write_tree(directory: str | int, out: Out, fractions: bool = False) -> None:
    """Write the whole tree in *directory* as a tar archive.

    Args:
        directory: Path, or an open folder, which stays open.
        out: Called with the bytes, piece by piece.
        fractions: Keep times to the nanosecond.

    Raises:
        LimitExceeded: folders are nested too deep.
    """
    with _opened(directory) as top:
        writer = _Writer(out, fractions)
        writer.add_root(top)
        for node in walk(top):
            writer.add(node)
        out(_END)


def write_diff(
    directory: str | int,
    out: Out,
    lower: str | int | None = None,
    fractions: bool = False,
    places: Collection[bytes] = (),
) -> None:
    """Write the layer that *directory* is on top of what lies below it.

    Args:
        directory: The upper folder of an overlay; or with *lower* a whole tree.
        out: Called with the bytes, piece by piece.
        lower: The tree that *directory* began as a copy of: the layer is what
            differs, by type, owner, mode, size, time to the nanosecond, and
            extended attributes.
        fractions: Keep times to the nanosecond.
        places: Paths that are left out where they are no more than a place to
            mount on: a folder or an empty file.

    Raises:
        LimitExceeded: folders are nested too deep.
    """
    with _opened(directory) as top:
        writer = _Writer(out, fractions, frozenset(places))
        if lower is None:
            _write_upper(writer, top)
        else:
            with _opened(lower) as below:
                _Comparison(writer).run(below, top)
        out(_END)


def _write_upper(writer: "_Writer", top: int) -> None:
    writer.add_root(top)
    if get_at(top, b".", names.OVERLAY_OPAQUE):
        writer.add_mark(names.OPAQUE)
    for node in walk(top):
        if is_whiteout(node.found):
            writer.add_mark(_beside(node.path, names.WHITEOUT + node.name))
            continue
        writer.add(node)
        if stat.S_ISDIR(node.found.st_mode) and get_at(node.folder, node.name, names.OVERLAY_OPAQUE) == b"y":
            writer.add_mark(node.path + b"/" + names.OPAQUE)


class _Writer:
    """Writes members to *out*, and remembers inodes with several names."""

    def __init__(self, out: Out, fractions: bool, places: frozenset[bytes] = frozenset()) -> None:
        self._out = out
        self._places = places
        self._fractions = fractions
        self._links: dict[tuple[int, int], bytes] = {}

    def add_root(self, top: int) -> None:
        """Write the root where it is not as every root is."""
        found = os.fstat(top)
        if (found.st_mode, found.st_uid, found.st_gid) != _PLAIN_ROOT:
            self._write(_member(b".", found, {}))

    def add_mark(self, path: bytes) -> None:
        """Write a whiteout: an empty file with a reserved name."""
        self._write(Member(path, stat.S_IFREG | 0o600))

    def add(self, node: Node) -> None:
        """Write one file of a tree; one that has vanished is left out."""
        if node.path in self._places and is_place(node.found):
            return
        with suppress(FileNotFoundError):
            if stat.S_ISREG(node.found.st_mode):
                self._add_file(node)
            elif has_kind(node.found.st_mode):
                member = _member(node.path, node.found, _xattrs(node))
                if stat.S_ISLNK(node.found.st_mode):
                    member = member._replace(link=os.readlink(node.name, dir_fd=node.folder))
                self._write(member)

    def _write(self, member: Member) -> None:
        self._out(encode(member, self._fractions))

    def _add_file(self, node: Node) -> None:
        first = self._links.get((node.found.st_dev, node.found.st_ino))
        if first is not None:
            self._write(_member(node.path, node.found, {})._replace(link=first))
            return
        file = os.open(node.name, _READ, dir_fd=node.folder)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):  # swapped since it was looked at
                return
            if found.st_nlink > 1:
                self._links[found.st_dev, found.st_ino] = node.path
            member = _member(node.path, found, _xattrs(node))._replace(size=found.st_size)
            if found.st_size - found.st_blocks * 512 >= _HOLES:
                self._add_sparse(file, member)
            else:
                self._write(member)
                self._copy(file, 0, found.st_size)
                self._pad(found.st_size)
        finally:
            os.close(file)

    def _add_sparse(self, file: int, member: Member) -> None:
        """Write the pieces with data only: GNU sparse format 1.0 in pax."""
        pieces = list(data_pieces(file, member.size))
        text = b"%d\n%b%d\n0\n" % (
            len(pieces) + 1, b"".join(b"%d\n%d\n" % piece for piece in pieces), member.size,
        )  # fmt: skip
        text += bytes(-len(text) % BLOCK)
        stored = len(text) + sum(length for _, length in pieces)
        records = {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": member.name,
            b"GNU.sparse.realsize": b"%d" % member.size,
        }
        above, _, name = member.name.rpartition(b"/")
        inner = (above + b"/" if above else b"") + b"GNUSparseFile.0/" + name
        self._write(member._replace(name=inner, size=stored, pax=records))
        self._out(text)
        for offset, length in pieces:
            self._copy(file, offset, length)
        self._pad(stored)

    def _copy(self, file: int, offset: int, length: int) -> None:
        while length:
            data = os.pread(file, min(length, _CHUNK), offset) or bytes(min(length, _CHUNK))
            self._out(data)
            offset += len(data)
            length -= len(data)

    def _pad(self, size: int) -> None:
        if size % BLOCK:
            self._out(bytes(-size % BLOCK))


class _Comparison:
    """Writes how a tree differs from the one that it was a copy of."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._above: list[Node] = []  # folders that are the same, written once something below is not

    def run(self, lower: int, upper: int) -> None:
        """Compare two open folders."""
        if differs(Node(b"", lower, b".", os.fstat(lower)), Node(b"", upper, b".", os.fstat(upper))):
            self._writer.add_root(upper)
        self._folder(lower, upper, b"")

    def _folder(self, lower: int, upper: int, above: bytes) -> None:
        here = list_folder(upper)
        for name in sorted(set(list_folder(lower)) - set(here)):
            self._flush()
            self._writer.add_mark(above + names.WHITEOUT + name)
        for name in here:
            self._name(lower, Node(above + name, upper, name, os.lstat(name, dir_fd=upper)))

    def _name(self, lower: int, node: Node) -> None:
        old: Node | None = None
        with suppress(FileNotFoundError):
            old = Node(node.path, lower, node.name, os.lstat(node.name, dir_fd=lower))
        same = old is not None and not differs(old, node)
        if not stat.S_ISDIR(node.found.st_mode):
            if not same:
                self._emit(node)
            return
        if same:
            self._above.append(node)
        else:
            self._emit(node)
        below = open_folder(node.name, node.folder)
        try:
            if old is not None and stat.S_ISDIR(old.found.st_mode):
                self._descend(old, below, node.path + b"/")
            else:
                self._all_new(below, node.path + b"/")
        finally:
            os.close(below)
        if self._above and self._above[-1] is node:
            self._above.pop()

    def _descend(self, old: Node, below: int, above: bytes) -> None:
        lower = open_folder(old.name, old.folder)
        try:
            self._folder(lower, below, above)
        finally:
            os.close(lower)

    def _all_new(self, below: int, above: bytes) -> None:
        for node in walk(below):
            self._writer.add(node._replace(path=above + node.path))

    def _emit(self, node: Node) -> None:
        self._flush()
        self._writer.add(node)

    def _flush(self) -> None:
        for node in self._above:
            self._writer.add(node)
        self._above.clear()


def is_place(found: os.stat_result) -> bool:
    """Tell whether this can be no more than a place to mount on."""
    return stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and not found.st_size)


def differs(old: Node, new: Node) -> bool:
    """Tell whether a layer must say something of *new*; the time of a folder alone does not count."""
    a, b = old.found, new.found
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev):
        return True
    if not stat.S_ISDIR(b.st_mode) and (a.st_size, a.st_mtime_ns) != (b.st_size, b.st_mtime_ns):
        return True
    if stat.S_ISLNK(b.st_mode):
        return os.readlink(old.name, dir_fd=old.folder) != os.readlink(new.name, dir_fd=new.folder)
    return _xattrs(old) != _xattrs(new)


def _member(path: bytes, found: os.stat_result, xattrs: dict[bytes, bytes]) -> Member:
    device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    return Member(
        path,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        mtime=found.st_mtime_ns,
        major=os.major(found.st_rdev) if device else 0,
        minor=os.minor(found.st_rdev) if device else 0,
        xattrs=xattrs,
    )


def _xattrs(node: Node) -> dict[bytes, bytes]:
    """Return the attributes of a node that a layer carries."""
    found = read_at(node.folder, node.name)
    return {key: value for key, value in found.items() if names.is_allowed_xattr(key)}


def _beside(path: bytes, name: bytes) -> bytes:
    above, slash, _ = path.rpartition(b"/")
    return above + slash + name


@contextmanager
def _opened(directory: str | int) -> Iterator[int]:
    """Open a folder; one that is open already stays open."""
    if isinstance(directory, int):
        yield directory
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
