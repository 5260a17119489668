"""Trees compared: everything a layer can say of a file, as plain values."""

import hashlib
import os
import stat
from pathlib import Path

from corten.linux.files import data_pieces, walk
from corten.linux.xattrs import read_at

Description = dict[str, tuple[object, ...]]


def describe(directory: str | Path, times: bool = True, hidden: bool = False) -> Description:
    """Return type, mode, owner, time, content, target, attributes and links of all that lies in a tree.

    Args:
        directory: The tree; its root is the entry of an empty name.
        times: Whether times count.
        hidden: Whether overlay's own attributes count.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    found: Description = {}
    inodes: dict[tuple[int, int], str] = {}
    try:
        for node in walk(top):
            path, info = os.fsdecode(node.path), node.found
            attributes = {
                key: value
                for key, value in read_at(node.folder, node.name).items()
                if hidden or not key.startswith(b"trusted.overlay.")
            }
            content: object = info.st_rdev
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(node.name, dir_fd=node.folder)
            elif stat.S_ISREG(info.st_mode):
                content = (info.st_size, _hash(Path(directory, path), info.st_size))
            first = (
                path if stat.S_ISDIR(info.st_mode) else inodes.setdefault((info.st_dev, info.st_ino), path)
            )
            time = info.st_mtime_ns if times else None
            found[path] = (oct(info.st_mode), info.st_uid, info.st_gid, time, content, first, attributes)
        root = os.fstat(top)
        found[""] = (oct(root.st_mode), root.st_uid, root.st_gid, root.st_mtime_ns if times else None)
    finally:
        os.close(top)
    return found


def _hash(path: Path, size: int) -> str:
    """Hash the pages of a file that are not all zeros, with their offsets; holes cost nothing."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for start, length in data_pieces(file.fileno(), size):
            for offset in range(start & ~4095, start + length, 4096):
                page = os.pread(file.fileno(), 4096, offset)
                if page.strip(b"\0"):
                    total.update(b"%d" % offset + page)
    return total.hexdigest()
