"""Headers: what is written reads back, here and in the standard library."""

import io
import stat
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.layers.headers import Member, encode
from tests.unit.core.layers.archives import read_all

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120)
    .filter(lambda part: part not in (".", "..")),
    min_size=1,
    max_size=4,
).map(lambda parts: "/".join(parts).encode())  # fmt: skip


@given(
    NAMES,
    NAMES,
    st.integers(0, 2**31),
    st.integers(0, 2**40),
    st.integers(-(2**31) * 10**9, 2**34 * 10**9 - 1),
    st.dictionaries(st.sampled_from([b"user.a", b"user.b"]), st.binary()),
)
def test_reads_back(
    name: bytes, link: bytes, owner: int, size: int, mtime: int, xattrs: dict[bytes, bytes]
) -> None:
    """Any name, owner, time and attributes survive being written and read."""
    written = Member(name, stat.S_IFLNK | 0o777, owner, owner, 0, mtime, link, xattrs=xattrs)
    ((entry, _),) = read_all(encode(written, fractions=True))

    assert (entry.name, entry.link, entry.uid, entry.gid) == (name, link, owner, owner)
    assert (entry.mtime, entry.xattrs, entry.kind) == (mtime, xattrs, b"2")


@given(NAMES, st.integers(0, 2**40))
def test_the_standard_library_agrees(name: bytes, size: int) -> None:
    """Python's tarfile reads the same name and size."""
    data = encode(Member(name, stat.S_IFREG | 0o640, size=size, mtime=5 * 10**9))
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        info = other.next()

    assert info is not None
    assert (info.name.encode("utf-8", "surrogateescape"), info.size) == (name, size)
    assert (info.mode, info.mtime) == (0o640, 5)


def test_plain_members_are_one_block() -> None:
    """What ustar can say needs no pax header, also with a long path that it can split."""
    assert len(encode(Member(b"a" * 90 + b"/" + b"b" * 100, stat.S_IFREG))) == 512
    assert len(encode(Member(b"a" * 90, stat.S_IFDIR, mtime=1_500_000_000))) == 512
    assert len(encode(Member(b"a" * 101, stat.S_IFREG))) == 1536


@pytest.mark.parametrize("length", range(80, 130))
def test_record_lengths_count_their_own_digits(length: int) -> None:
    """The length of a pax record is right where it gains a digit."""
    ((entry, _),) = read_all(encode(Member(b"n" * length, stat.S_IFREG, xattrs={b"user.x": b"v" * length})))

    assert entry.name == b"n" * length
    assert entry.xattrs == {b"user.x": b"v" * length}
