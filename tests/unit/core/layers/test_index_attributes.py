"""What becomes of extended attributes when no kernel looks at them."""

import stat
import struct

import pytest

from corten.core.layers.index_attributes import settle
from corten.errors import DataCorrupted

ACCESS, DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"
FILE, FOLDER, LINK, FIFO = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK, stat.S_IFIFO


def rights(*entries: tuple[int, int, int]) -> bytes:
    """Return a list of access rights."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


FULL = rights((1, 7, 0), (2, 5, 1000), (4, 4, 0), (16, 5, 0), (32, 0, 0))
STORED = rights((1, 7, 2**32 - 1), (2, 5, 1000), (4, 4, 2**32 - 1), (16, 5, 2**32 - 1), (32, 0, 2**32 - 1))


def test_a_full_list_keeps_its_mask_in_the_mode() -> None:
    """The group bits are the mask, and the list is stored without meaningless ids."""
    mode, kept = settle(b"a", FILE | stat.S_ISUID, {ACCESS: FULL})

    assert mode == stat.S_IFREG | stat.S_ISUID | 0o750
    assert kept == {ACCESS: STORED}


def test_a_list_that_is_a_mode_becomes_the_mode() -> None:
    """Three entries say what a mode says, and nothing is stored."""
    assert settle(b"a", FILE, {ACCESS: rights((1, 6, 0), (4, 4, 0), (32, 0, 0))}) == (
        stat.S_IFREG | 0o640,
        {},
    )


def test_default_lists_are_for_folders() -> None:
    """A folder keeps its list for new files, its own mode stays; a file with one is refused."""
    assert settle(b"d", FOLDER, {DEFAULT: FULL}) == (FOLDER, {DEFAULT: STORED})
    with pytest.raises(DataCorrupted):
        settle(b"a", FILE, {DEFAULT: FULL})


def test_what_a_file_cannot_have_is_left_out() -> None:
    """Links have no lists, links and FIFOs no user attributes, nothing has what steers the host."""
    given = {b"user.a": b"1", ACCESS: FULL, b"trusted.overlay.opaque": b"y", b"security.selinux": b"x"}

    assert settle(b"l", LINK, given) == (LINK, {})
    assert settle(b"p", FIFO | 0o600, {b"user.a": b"1"}) == (FIFO | 0o600, {})
    assert settle(b"f", FILE, {b"user.a": b"1", b"trusted.x": b"1"}) == (FILE, {b"user.a": b"1"})
    assert settle(b"f", FILE, {ACCESS: b"\1\0\0\0"}) == (FILE, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"user.", b"x"),
        (b"user." + b"n" * 251, b"x"),
        (b"user.a", b"x" * 65536),
        (b"user.a", b"x" * 65530),
        (b"security.capability", b"\0\0\0\2" + bytes(15)),
        (b"security.capability", b"\0\0\0\1" + bytes(8)),
        (ACCESS, b""),
        (ACCESS, b"\2\0\0\0123"),
        (ACCESS, rights((1, 6, 0), (4, 4, 0), (32, 8, 0))),
        (ACCESS, rights((1, 6, 0), (4, 4, 0), (64, 0, 0))),
        (ACCESS, rights((4, 6, 0), (1, 4, 0), (32, 0, 0))),
        (ACCESS, rights((1, 6, 0), (1, 6, 0), (4, 4, 0), (32, 0, 0))),
        (ACCESS, rights((1, 6, 0), (8, 6, 7), (4, 4, 0), (32, 0, 0))),
        (ACCESS, rights((1, 6, 0), (2, 6, 2**32 - 1), (4, 4, 0), (16, 7, 0), (32, 0, 0))),
    ],
)
def test_what_the_kernel_would_refuse_is_refused(name: bytes, value: bytes) -> None:
    """Names and values that setxattr refuses, or that an index cannot hold, make a bad layer."""
    with pytest.raises(DataCorrupted, match="attribute"):
        settle(b"a", FILE, {name: value})
