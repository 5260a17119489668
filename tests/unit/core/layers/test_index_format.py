"""The erofs format, without a kernel."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from corten.core.layers import index_format as erofs

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


def read_folder(data: bytes) -> list[tuple[bytes, int, int]]:
    """Read the blocks of a folder as the kernel does."""
    found = []
    for at in range(0, len(data), erofs.BLOCK):
        block = data[at : at + erofs.BLOCK]
        count = struct.unpack_from("<H", block, 8)[0] // 12
        table = [struct.unpack_from("<QHBB", block, 12 * n) for n in range(count)]
        ends = [entry[1] for entry in table[1:]] + [len(block)]
        found += [
            (block[start:end].rstrip(b"\0"), nid, kind)
            for (nid, start, kind, _), end in zip(table, ends, strict=True)
        ]
    return found


@given(st.sets(NAMES, max_size=200))
def test_folders_read_as_they_were_written(names: set[bytes]) -> None:
    """Names of any length come back in order with what they stand for; only the last block is short."""
    wanted = sorted((name, number, number % 7 + 1) for number, name in enumerate({*names, b".", b".."}))
    blocks = list(erofs.folder_blocks(wanted))

    assert all(len(block) == erofs.BLOCK for block in blocks[:-1])
    assert len(blocks[-1]) <= erofs.BLOCK
    assert read_folder(b"".join(blocks)) == wanted


def test_the_checksum_is_crc32c() -> None:
    """The known value of the polynomial, without the inversion that erofs leaves out."""
    assert erofs.crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


def test_a_superblock_is_where_the_kernel_looks() -> None:
    """Magic number, block size, root, device table and checksum lie at their offsets."""
    head = erofs.superblock(48, 7, 4096, 6, (99, 1 << 31), b"u" * 16)

    assert len(head) == erofs.FIRST - erofs.SUPERBLOCK
    assert struct.unpack_from("<I", head)[0] == 0xE0F5E1E2
    assert (head[12], struct.unpack_from("<H", head, 14)[0]) == (9, 48)
    assert struct.unpack_from("<IIII", head, 32) == (0, 8, 0, 6)
    assert struct.unpack_from("<HH", head, 86) == (1, 9)
    assert struct.unpack_from("<II", head, 9 * 128 - erofs.SUPERBLOCK + 64) == (99, 1 << 31)
    zeroed = head[:4] + bytes(4) + head[8:]
    assert struct.unpack_from("<I", head, 4)[0] == erofs.crc32c(zeroed)


def test_an_inode_says_what_it_was_told() -> None:
    """Mode, owner, time before 1970, and attributes are at their offsets; places are found again."""
    body = erofs.attributes({b"user.a": b"value"})
    made = erofs.inode(3, erofs.INLINE, 0o120777, 1, 2, -1, size=10, body=body, links=4)

    assert len(made) == erofs.INODE + len(body)
    assert struct.unpack_from("<H", made, 4)[0] == 0o120777
    assert struct.unpack_from("<IIqII", made, 24) == (1, 2, -1, 999_999_999, 4)
    assert struct.unpack_from("<I", made, erofs.links_at(0))[0] == 4
    assert erofs.data_of(made[: erofs.INODE], 5) == (10, 5 * 32 + len(made))
    assert erofs.data_of(erofs.inode(1, erofs.PLAIN, 0, 0, 0, 0, 10, 7), 5) == (10, 7 * 512)


def test_attributes_are_named_by_number() -> None:
    """Prefixes shrink to a number, entries are whole words, and nothing at all takes no room."""
    assert erofs.attributes({}) == b""
    assert erofs.attribute(b"user.ab", b"c") == b"\x02\x01\x01\x00abc\0"
    assert erofs.attribute(b"system.posix_acl_default", b"1234") == b"\x00\x03\x04\x001234"
    assert erofs.attribute(b"trusted.overlay.opaque", b"y")[:2] == b"\x0e\x04"
    shared = erofs.attributes({}, [1, 9])
    assert (len(shared), shared[4]) == (20, 2)
    assert struct.unpack_from("<II", shared, 12) == (1, 9)


def test_device_numbers() -> None:
    """A device is encoded as Linux does it for disks: the minor's low byte, the major, the rest."""
    assert erofs.device(1, 3) == 0x103
    assert erofs.device(8, 0x12345) == 0x12300845
