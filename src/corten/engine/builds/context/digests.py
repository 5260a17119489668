"""Digests of what a build takes from its context: the content key of COPY and ADD.

A digest covers names, types, permission bits, link targets, content, and the
extended attributes that a layer may have; not times, owners, or how often a
file is linked. Two checkouts of one commit have the same.

Files of a few kilobytes are opened, read and closed in less time than it takes
to hand them to a thread; larger ones are hashed side by side, as hashing leaves
the interpreter's lock.
"""

import os
import stat
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256

from corten.engine.builds.context.known import KnownDigests, Seen
from corten.engine.builds.context.tree import Entry, Tree
from corten.oci.digest import Digest

_SMALL = 128 << 10  # bytes; up to here a file is hashed at once (measured)
_PIECE = 1 << 18
_THREADS = min(4, os.cpu_count() or 1)
_AHEAD = 16  # files open at once for the threads

_HEAD = struct.Struct(
    ">IIQI"
)  # length of the name, type and permission bits, device number, length of what follows
_ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_access")


def digest_of(tree: Tree, named: Iterable[tuple[str, Entry]], known: KnownDigests) -> Digest:
    """Return the digest of entries of *tree* under the names given to them, in whatever order.

    Args:
        tree: Where the entries are from.
        named: Each entry with the name that counts, once.
        known: Entered; files that it knows are not read.

    Raises:
        Conflict: the context has changed since it was listed.
    """
    chosen = list(named)
    contents = _contents(tree, (entry for _, entry in chosen if entry.is_file), known)
    rows = sorted(_row(os.fsencode(name), entry, contents) for name, entry in chosen)
    return Digest.of(b"".join(rows))


def digest_below(tree: Tree, path: str, known: KnownDigests) -> Digest:
    """Return the digest of the file or folder *path* and all below it; its own name does not count.

    Raises:
        NotFound: there is nothing.
        Conflict: the context changed meanwhile.
    """
    entry = tree.entry(path)
    if entry is None:
        raise tree.missing(path, path)
    below = tree.walk(path) if entry.is_folder else ()
    return digest_of(tree, [("", entry), *below], known)


def _row(name: bytes, entry: Entry, contents: dict[str, bytes]) -> bytes:
    content = contents[entry.path] if entry.is_file else os.fsencode(entry.target)
    special = entry.special if stat.S_ISBLK(entry.mode) or stat.S_ISCHR(entry.mode) else 0
    return b"".join((_HEAD.pack(len(name), entry.mode, special, len(content)), name, content))


def _contents(tree: Tree, files: Iterable[Entry], known: KnownDigests) -> dict[str, bytes]:
    """Return what stands for the content of each of *files*, by path."""
    found: dict[str, bytes] = {}
    large: dict[str, Entry] = {}
    for entry in files:
        digest = known.get(_seen(entry))
        if digest is not None:
            found[entry.path] = digest
        elif entry.size > _SMALL:
            large[entry.path] = entry
        else:
            found[entry.path] = _hash(tree, entry, tree.open(entry))
            known.add(_seen(entry), found[entry.path])
    for entry, digest in _side_by_side(tree, large.values()):
        found[entry.path] = digest
        known.add(_seen(entry), digest)
    return found


def _side_by_side(tree: Tree, files: Iterable[Entry]) -> Iterator[tuple[Entry, bytes]]:
    waiting: list[tuple[Entry, Future[bytes]]] = []
    with ThreadPoolExecutor(_THREADS, "context") as threads:
        try:
            for entry in files:
                waiting.append((entry, threads.submit(_open_and_hash, tree, entry)))
                if len(waiting) >= _AHEAD:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            for entry, future in waiting:
                yield entry, future.result()
        finally:
            threads.shutdown(cancel_futures=True)


def _open_and_hash(tree: Tree, entry: Entry) -> bytes:
    return _hash(tree, entry, tree.open(entry))


def _hash(tree: Tree, entry: Entry, descriptor: int) -> bytes:
    """Return the digest of an open file; close it."""
    try:
        digest = sha256()
        if entry.size <= _SMALL:
            while data := os.read(descriptor, _SMALL + 1):
                digest.update(data)
        else:
            buffer = memoryview(bytearray(_PIECE))
            while got := os.readv(descriptor, [buffer]):
                digest.update(buffer[:got])
        attributes = _attributes(descriptor)
        tree.check(entry, descriptor)
    finally:
        os.close(descriptor)
    return sha256(digest.digest() + attributes).digest() if attributes else digest.digest()


def _attributes(descriptor: int) -> bytes:
    """Return the extended attributes of an open file that a layer may have; empty when there are none."""
    found = b""
    with suppress(OSError):  # not supported by this file system, or removed since it was listed
        for name in sorted(os.listxattr(descriptor)):
            if name.startswith(_ATTRIBUTES):
                value = os.getxattr(descriptor, name)
                label = os.fsencode(name)
                found += struct.pack(">II", len(label), len(value)) + label + value
    return found


def _seen(entry: Entry) -> Seen:
    return Seen(entry.device, entry.inode, entry.size, entry.mtime, entry.ctime)
