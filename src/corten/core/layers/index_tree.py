"""The tree of an index: what unpack.apply makes on a disk, made in memory.

Theory. The rules are those of unpack.py, folders.py and whiteouts.py, and what
the kernel adds to them there: a name longer than 255 bytes is refused, a link
in place of a folder is followed as if the layer were ``/``, what exists is
removed before something else takes its name. Tests compare the two. No entry
ever touches the disk by its name, so an entry that leads elsewhere has nowhere
to lead to.

What an entry costs in memory is counted, and so are the steps that links make
necessary: a layer that passes either budget is no layer for an index.
"""

import stat
from collections.abc import Callable, Mapping

from corten.core.layers import index_format as erofs
from corten.core.layers import names
from corten.core.layers.index_attributes import settle
from corten.core.layers.index_image import HIDDEN, Folder, Image
from corten.core.layers.limits import Limits
from corten.core.layers.tar import Entry
from corten.errors import DataCorrupted, LimitExceeded

_NOBODY = (1 << 32) - 1  # no owner, to chown(2)
_LONGEST = 255  # bytes of a name
_LONGEST_TARGET = 4095  # bytes
_MOST_LINKS = 40  # in one path, path_resolution(7)
_KNOWN = 1024  # paths remembered
_NODES = {
    b"3": (stat.S_IFCHR, erofs.CHARACTER),
    b"4": (stat.S_IFBLK, erofs.BLOCK_DEVICE),
    b"6": (stat.S_IFIFO, erofs.FIFO),
}

NAME_COST, FOLDER_COST = 140, 400  # bytes of memory, without the text of the name
MOST_STEPS = 20_000_000


class TooLarge(Exception):
    """The layer would take too much memory, or too long, to index; it needs another form."""


class Tree:
    """The tree that the entries make; files go to *image* at once.

    Args:
        image: Takes the inodes.
        place: Called once for each file that has data; returns its first block.
        limits: Budgets for names and sizes.
        memory: Bytes that the names may take, about.
    """

    def __init__(self, image: Image, place: Callable[[Entry], int], limits: Limits, memory: int) -> None:
        self.root = Folder()
        self.size = 0  # of all files, in bytes
        self.own_root = False
        self.implied: dict[bytes, None] = {}  # folders that were needed but not named
        self._image = image
        self._place_data = place
        self._limits = limits
        self._memory = memory
        self._steps = MOST_STEPS
        self._known: dict[bytes, Folder] = {}

    def add(self, entry: Entry) -> None:
        """Put *entry* into the tree.

        Raises:
            DataCorrupted: as ``unpack.apply``.
            LimitExceeded: as ``unpack.apply``.
            TooLarge: over a budget of this module.
        """
        path = names.clean(entry.name)
        names.check(path, self._limits)
        above, _, name = path.rpartition(b"/")
        if name.startswith(names.WHITEOUT):
            self._hide(above, name)
            return
        if entry.uid >= _NOBODY or entry.gid >= _NOBODY or entry.uid < 0 or entry.gid < 0:
            raise DataCorrupted(f"the layer gives {names.shown(path)} to user {entry.uid}:{entry.gid}")
        if not path:
            self._set_root(entry)
            return
        folder = self._open(above)
        kind = entry.kind
        if kind == b"0":
            self._file(folder, name, path, entry)
        elif kind == b"5":
            self._dress(self._folder(folder, name), path, entry)
        elif kind == b"1":
            self._hard_link(folder, name, path, entry)
        elif kind == b"2":
            self._link(folder, name, path, entry)
        elif kind in _NODES:
            self._node(folder, name, path, entry)
        else:
            raise DataCorrupted(f"the layer has an entry of unknown kind {kind!r}: {names.shown(path)}")

    def _set_root(self, entry: Entry) -> None:
        if entry.kind != b"5":
            raise DataCorrupted("the layer replaces its root by something that is no folder")
        self.own_root = True
        self._dress(self.root, b"", entry)
        if len(self.root.xattrs) >= erofs.MOST_SHARED:
            raise DataCorrupted("the layer has too many extended attributes for its root")

    def _hide(self, above: bytes, name: bytes) -> None:
        """Take a whiteout; one for what the layer itself has only concerns what is below that."""
        if name == names.OPAQUE:
            self._open(above).opaque = True
        elif not name.startswith(names.RESERVED):
            folder, hidden = self._open(above), names.hidden_name(name)
            found = folder.names.get(hidden)
            if found is None:
                self._place(folder, hidden, self._image.add(stat.S_IFCHR, 0, 0, 0) << 3 | HIDDEN)
            elif isinstance(found, Folder):
                found.opaque = True

    def _file(self, folder: Folder, name: bytes, path: bytes, entry: Entry) -> None:
        self.size += entry.size
        if self.size > self._limits.bytes:
            raise LimitExceeded(f"the files of the layer take more than {self._limits.bytes} bytes")
        where = self._place_data(entry) if entry.size else 0
        mode, xattrs = stat.S_IFREG | entry.mode, None
        if entry.xattrs:
            mode, xattrs = settle(path, mode, entry.xattrs)
        nid = self._image.add(mode, entry.uid, entry.gid, entry.mtime, entry.size, where, xattrs)
        self._place(folder, name, nid << 3 | erofs.FILE)

    def _folder(self, above: Folder, name: bytes) -> Folder:
        """Return the folder *name*, made if need be; what it replaces hides what lies below."""
        found = above.names.get(name)
        if isinstance(found, Folder):
            return found
        folder = Folder()
        folder.opaque = found is not None
        self._place(above, name, folder)
        return folder

    def _dress(self, folder: Folder, path: bytes, entry: Entry) -> None:
        """Give a folder the attributes of its entry, of which the last one counts."""
        self.implied.pop(path, None)
        folder.uid, folder.gid, folder.mtime = entry.uid, entry.gid, entry.mtime
        xattrs: Mapping[bytes, bytes] = {}
        mode = stat.S_IFDIR | entry.mode
        if entry.xattrs:
            mode, xattrs = settle(path, mode, entry.xattrs)
            self._take(sum(len(name) + len(value) + 200 for name, value in xattrs.items()))
        folder.mode, folder.xattrs = mode, xattrs

    def _hard_link(self, folder: Folder, name: bytes, path: bytes, entry: Entry) -> None:
        target = names.clean(entry.link)
        found = self._linked(target, path)
        old = folder.names.get(name)
        if old is not None:
            if not isinstance(old, Folder) and old >> 3 == found >> 3:
                return
            self._remove(folder, name)
            self._linked(target, path)  # it may have gone with the folder that was in the way
        self._image.link(found >> 3)
        self._place(folder, name, found)

    def _linked(self, target: bytes, path: bytes) -> int:
        """Return what a hard link leads to: anything but a folder."""
        above, _, name = target.rpartition(b"/")
        source = self._find(above)
        found = source.names.get(name) if source is not None else None
        if found is None or isinstance(found, Folder):
            raise DataCorrupted(
                f"the layer links {names.shown(path)} to {names.shown(target)}, which is no file of it"
            )
        return found

    def _link(self, folder: Folder, name: bytes, path: bytes, entry: Entry) -> None:
        if not 0 < len(entry.link) <= _LONGEST_TARGET:
            raise DataCorrupted(f"the layer has a link without a usable target: {names.shown(path)}")
        _, xattrs = settle(path, stat.S_IFLNK, entry.xattrs)
        nid = self._image.add_link(entry.uid, entry.gid, entry.mtime, entry.link, xattrs)
        self._place(folder, name, nid << 3 | erofs.LINK)

    def _node(self, folder: Folder, name: bytes, path: bytes, entry: Entry) -> None:
        """Make a device or a FIFO; the device 0:0 is a whiteout to the kernel."""
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise DataCorrupted(f"the layer has an impossible device number for {names.shown(path)}")
        bits, kind = _NODES[entry.kind]
        number = erofs.device(entry.major, entry.minor)
        mode, xattrs = settle(path, bits | entry.mode, entry.xattrs)
        nid = self._image.add(mode, entry.uid, entry.gid, entry.mtime, 0, number, xattrs)
        self._place(folder, name, nid << 3 | (kind if number or kind != erofs.CHARACTER else HIDDEN))

    def _place(self, folder: Folder, name: bytes, value: Folder | int) -> None:
        """Give *value* its name; what had it before goes."""
        if name in folder.names:
            self._remove(folder, name)
        if len(name) > _LONGEST:
            raise DataCorrupted(f"the layer has a name of {len(name)} bytes; {_LONGEST} are allowed")
        self._take(len(name) + (FOLDER_COST if isinstance(value, Folder) else NAME_COST))
        folder.names[name] = value

    def _remove(self, folder: Folder, name: bytes) -> None:
        """Take a name out, with all that is below it, and forget paths that may have led through it."""
        waiting = [folder.names.pop(name)]
        if isinstance(waiting[0], Folder) or waiting[0] & 7 == erofs.LINK:
            self._known.clear()
        while waiting:
            gone = waiting.pop()
            if isinstance(gone, Folder):
                waiting += gone.names.values()
            else:
                self._image.unlink(gone >> 3)

    def _open(self, path: bytes) -> Folder:
        """Return the folder *path*; what is missing of it is made."""
        if not path:
            return self.root
        known = self._known.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition(b"/")
        parent = self._open(above)
        found = parent.names.get(name)
        if isinstance(found, Folder):
            folder = found
        elif found is None or found & 7 == HIDDEN:
            folder = self._folder(parent, name)
            self._take(len(path))
            self.implied[path] = None
        else:
            folder = self._other(path, found)
        return self._know(path, folder)

    def _find(self, path: bytes) -> Folder | None:
        """Return the folder *path*, or None where nothing has that name."""
        if not path:
            return self.root
        known = self._known.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition(b"/")
        parent = self._find(above)
        found = parent.names.get(name) if parent is not None else None
        if found is None:
            return None
        return self._know(path, found if isinstance(found, Folder) else self._other(path, found))

    def _know(self, path: bytes, folder: Folder) -> Folder:
        self._step(1)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[path] = folder
        return folder

    def _other(self, path: bytes, found: int) -> Folder:
        """Return the folder that a link in place of one leads to."""
        if found & 7 != erofs.LINK:
            raise DataCorrupted(f"the layer writes below {names.shown(path)}, which is no folder")
        folder = self._resolve(path)
        if folder is None:
            raise DataCorrupted(f"the layer writes through the dangling link {names.shown(path)}")
        return folder

    def _resolve(self, path: bytes) -> Folder | None:
        """Follow *path* and the links in it with the layer as ``/``; see path_resolution(7)."""
        trail = [self.root]
        ahead = path.split(b"/")[::-1]
        links = 0
        while ahead:
            part = ahead.pop()
            found = trail[-1].names.get(part)
            if part in (b"", b"."):
                continue
            if part == b"..":
                del trail[max(1, len(trail) - 1) :]
            elif isinstance(found, Folder):
                trail.append(found)
            elif found is not None and found & 7 == erofs.LINK and links < _MOST_LINKS:
                links += 1
                target = self._image.read_link(found >> 3)
                self._step(100 + target.count(b"/"))
                if target.startswith(b"/"):
                    del trail[1:]
                ahead += target.split(b"/")[::-1]
            else:
                return None
        return trail[-1]

    def _take(self, memory: int) -> None:
        self._memory -= memory
        if self._memory < 0:
            raise TooLarge

    def _step(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise TooLarge
