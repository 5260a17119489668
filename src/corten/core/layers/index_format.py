"""The erofs format, as far as an index of a tar needs it: superblock, inodes, names, attributes.

Theory. An erofs image is a superblock at byte 1024, and inodes anywhere: the
*nid* of an inode is its offset in units of 32 bytes. An inode says how large
its data is and in which block it begins; blocks are numbered through the image
and on through further files, called devices. A tar is made of units of 512
bytes, so with blocks of that size each file of a tar is a range of blocks as
it lies, and the tar can be such a device. A folder's data is its names: blocks
that each begin with a table of 12 bytes per name and end with the text, all in
the order of their bytes, which the kernel searches by halves.

Everything is little-endian. Source: linux/Documentation/filesystems/erofs.rst;
linux/fs/erofs/erofs_fs.h.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping

BLOCK = 512
SUPERBLOCK = 1024  # where it begins
FIRST = 1536  # where anything else may
SLOT = 32  # bytes that a nid counts
INODE = 64  # bytes of an extended inode
MOST_SHARED = 255  # attributes of one inode in the shared area

FILE, FOLDER, CHARACTER, BLOCK_DEVICE, FIFO, LINK = 1, 2, 3, 4, 5, 7  # types in a folder's table

PLAIN, INLINE = 1, 1 | 2 << 1  # extended inodes whose data is in blocks, or follows at once

_MAGIC = 0xE0F5E1E2
_HAS_CHECKSUM, _HAS_TIMES = 1, 2
_HAS_DEVICES = 8
_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHH38x")
_DEVICE = struct.Struct("<64sII56x")
_INODE = struct.Struct("<HHHHQIIIIqIIQQ")
_NAME = struct.Struct("<QHBB")
_ATTRIBUTE = struct.Struct("<BBH")
_DEVICE_SLOT = 128  # bytes
_BODY = 12  # bytes before the attributes of an inode
# Lists of access rights are named by the prefix alone.
_PREFIXES = (
    (b"user.", 1), (b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3), (b"trusted.", 4),
    (b"security.", 6),
)  # fmt: skip


def superblock(root: int, inodes: int, size: int, shared: int, device: tuple[int, int], uuid: bytes) -> bytes:
    """Return the bytes from ``SUPERBLOCK`` to ``FIRST``: the superblock and the one device.

    Args:
        root: Nid of the root; below 65536.
        inodes: How many there are.
        size: Of the image in bytes, whole blocks.
        shared: Block where the shared attributes begin.
        device: Blocks that it has, and the number of its first.
        uuid: 16 bytes.
    """
    blocks, first = device
    fields = (
        _HAS_CHECKSUM | _HAS_TIMES, BLOCK.bit_length() - 1, 0, root, inodes, 0, 0, size // BLOCK, 0, shared, uuid,
        bytes(16), _HAS_DEVICES, 0, 1, (SUPERBLOCK + _SUPERBLOCK.size) // _DEVICE_SLOT,
    )  # fmt: skip
    rest = _DEVICE.pack(b"layer.tar", blocks, first).ljust(FIRST - SUPERBLOCK - _SUPERBLOCK.size, b"\0")
    checksum = crc32c(_SUPERBLOCK.pack(_MAGIC, 0, *fields) + rest)
    return _SUPERBLOCK.pack(_MAGIC, checksum, *fields) + rest


def inode(
    number: int, layout: int, mode: int, uid: int, gid: int, mtime: int, size: int = 0, where: int = 0,
    body: bytes = b"", links: int = 1,
) -> bytes:  # fmt: skip
    """Return an inode with its attributes.

    Args:
        number: For what asks for a number of 32 bits.
        layout: ``PLAIN`` or ``INLINE``.
        mode: With the bits of the type.
        uid: Owner.
        gid: Group.
        mtime: In nanoseconds since 1970.
        size: Of its data in bytes.
        where: Its first block; or the number of a device, see ``device``.
        body: What ``attributes`` returned.
        links: How many names it has.
    """
    seconds, part = divmod(mtime, 1_000_000_000)
    count = (len(body) - _BODY) // 4 + 1 if body else 0
    return _INODE.pack(
        layout, count, mode, 0, size, where, number & 0xFFFFFFFF, uid, gid, seconds, part, links, 0, 0
    ) + body  # fmt: skip


def links_at(nid: int) -> int:
    """Return where in the image the link count of an inode lies; 32 bits."""
    return nid * SLOT + 44


def data_of(head: bytes, nid: int) -> tuple[int, int]:
    """Return (length, offset) of the data of the inode *nid*, whose first ``INODE`` bytes are *head*."""
    layout, count, _, _, size, where, *_ = _INODE.unpack(head)
    if layout == PLAIN:
        return size, where * BLOCK
    return size, nid * SLOT + INODE + (_BODY + 4 * (count - 1) if count else 0)


def device(major: int, minor: int) -> int:
    """Return the number of a device as an inode holds it; see linux/kdev_t.h, new_encode_dev."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def attribute(name: bytes, value: bytes) -> bytes:
    """Return one extended attribute; *name* has one of the known prefixes, *value* at most 65535 bytes."""
    prefix, number = next(pair for pair in _PREFIXES if name.startswith(pair[0]))
    rest = name[len(prefix) :]
    return _padded(_ATTRIBUTE.pack(len(rest), number, len(value)) + rest + value, 4)


def attributes(own: Mapping[bytes, bytes], shared: Iterable[int] = ()) -> bytes:
    """Return the attributes of an inode: a header, numbers of shared ones, then its own; empty for none.

    Args:
        own: Value by name.
        shared: Places in the shared area, in units of four bytes.
    """
    numbers = list(shared)
    if not own and not numbers:
        return b""
    head = struct.pack("<IB7x", 0, len(numbers)) + b"".join(struct.pack("<I", number) for number in numbers)
    return head + b"".join(attribute(name, value) for name, value in own.items())


def folder_blocks(names: Iterable[tuple[bytes, int, int]]) -> Iterator[bytes]:
    """Yield the data of a folder from its (name, nid, type), sorted and with ``.`` and ``..``.

    Every piece but the last is one whole block.
    """
    waiting: list[tuple[bytes, int, int]] = []
    room = BLOCK
    for each in names:
        need = _NAME.size + len(each[0])
        if need > room:
            yield _folder_block(waiting).ljust(BLOCK, b"\0")
            waiting, room = [], BLOCK
        waiting.append(each)
        room -= need
    yield _folder_block(waiting)


def _folder_block(names: list[tuple[bytes, int, int]]) -> bytes:
    table = bytearray()
    at = _NAME.size * len(names)
    for name, nid, kind in names:
        table += _NAME.pack(nid, at, kind, 0)
        at += len(name)
    return bytes(table) + b"".join([name for name, _, _ in names])


def padded(data: bytes) -> bytes:
    """Fill *data* with zeros up to where an inode may begin."""
    return _padded(data, SLOT)


def _padded(data: bytes, unit: int) -> bytes:
    return data + bytes(-len(data) % unit)


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 a register is shifted
        table.append(value)
    return table


_CRC = _table()


def crc32c(data: bytes) -> int:
    """Return the checksum of *data* as erofs has it: CRC-32C without the inversion at the end."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value
