"""Folders with a tar and its index, without mounting them."""

import os
import struct
from pathlib import Path

import pytest

from corten.core.snapshots import erofs_layers
from corten.core.snapshots.erofs_layers import Attributes
from corten.errors import DataCorrupted


def image(path: Path, base: int = 0) -> Path:
    """Write what matters of an index: the superblock's fields and the root's inode, at nid 48 from block *base*."""
    data = bytearray(8192)
    struct.pack_into("<I", data, 1024, 0xE0F5E1E2)
    data[1036] = 9
    struct.pack_into("<H", data, 1038, 48)
    struct.pack_into("<I", data, 1064, base)
    struct.pack_into("<H", data, base * 512 + 48 * 32 + 4, 0o40755)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("base", [0, 3])
def test_the_root_is_changed_in_place(tmp_path: Path, base: int) -> None:
    """Mode, owner and time are the new ones, the type stays, and nothing else is touched."""
    path = image(tmp_path / "image", base)
    before = path.read_bytes()
    erofs_layers.set_root(str(path), Attributes(0o1711, 12, 2**32 - 2, -1))
    after = path.read_bytes()
    at = base * 512 + 48 * 32

    assert struct.unpack_from("<H", after, at + 4)[0] == 0o41711
    assert struct.unpack_from("<IIqI", after, at + 24) == (12, 2**32 - 2, -1, 999_999_999)
    assert after[: at + 4] + after[at + 6 : at + 24] + after[at + 44 :] == (
        before[: at + 4] + before[at + 6 : at + 24] + before[at + 44 :]
    )


@pytest.mark.parametrize("data", [b"", b"short" * 300, bytes(2000)])
def test_what_is_no_index_is_left_alone(tmp_path: Path, data: bytes) -> None:
    """A file without the magic number is refused and not changed."""
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(DataCorrupted, match="fetch"):
        erofs_layers.set_root(str(path), Attributes(0o755, 0, 0, 0))

    assert path.read_bytes() == data


def test_folders_without_a_mark(tmp_path: Path) -> None:
    """A folder that is absent, or has no mark, holds no layer, and has nothing to be made durable."""
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert erofs_layers.mark(str(tmp_path)) == ""
        assert erofs_layers.mark(str(tmp_path / "absent")) == ""
        assert not erofs_layers.sync(folder)
    finally:
        os.close(folder)
