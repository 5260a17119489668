"""Archive: reading tar by hand, compared with the standard library and with the formats."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.core.layers.limits import Limits
from corten.core.layers.tar import Archive, parse_pax
from corten.errors import DataCorrupted, LimitExceeded
from tests.unit.core.layers.archives import BlockSource, Form, archive, header, member, read_all

FORMS: list[Form] = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 511, 513, 1 << 20])
def test_reads_every_form_at_every_block_size(form: Form, size: int) -> None:
    """The same entries come out however the stream is cut into blocks."""
    data = archive(
        [
            member("folder/", "folder", mode=0o1755, mtime=1_700_000_000),
            member("folder/file", data=b"x" * 1000, mode=0o4711, uid=12, gid=34),
            member("link", "link", link="folder/file"),
            member("hard", "hard", link="folder/file"),
            member("null", "char", device=(1, 3)),
            member("pipe", "fifo"),
        ],
        form,
    )
    found = read_all(data, size)

    assert [entry.kind for entry, _ in found] == [b"5", b"0", b"2", b"1", b"3", b"6"]
    assert found[1][1] == b"x" * 1000
    assert (found[1][0].mode, found[1][0].uid, found[1][0].gid) == (0o4711, 12, 34)
    assert (found[0][0].mode, found[0][0].mtime) == (0o1755, 1_700_000_000 * 10**9)
    assert (found[2][0].link, found[3][0].link) == (b"folder/file", b"folder/file")
    assert (found[4][0].major, found[4][0].minor) == (1, 3)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(form: Form) -> None:
    """Names and link targets beyond a hundred bytes are whole, also outside of ASCII."""
    name, link = "n/" * 70 + "имя" * 50, "l" * 300
    ((entry, _),) = read_all(archive([member(name, "link", link=link)], form))

    assert (entry.name, entry.link) == (name.encode(), link.encode())


def test_ustar_prefix() -> None:
    """A name that ustar splits in two is joined."""
    name = "p" * 100 + "/" + "n" * 90
    ((entry, _),) = read_all(archive([member(name)], tarfile.USTAR_FORMAT))

    assert entry.name == name.encode()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_large_numbers(form: Form) -> None:
    """Owners and times that octal digits cannot hold are read, base-256 or pax."""
    ((entry, _),) = read_all(archive([member("f", uid=3_000_000, gid=2**31, mtime=-5)], form))

    assert (entry.uid, entry.gid, entry.mtime) == (3_000_000, 2**31, -5 * 10**9)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1.5", 1_500_000_000), ("-1.5", -1_500_000_000), ("7", 7 * 10**9), ("0.1234567891", 123_456_789)],
)
def test_fractions_of_seconds(text: str, nanoseconds: int) -> None:
    """A pax time is kept to the nanosecond."""
    ((entry, _),) = read_all(archive([member("f", pax={"mtime": text})]))

    assert entry.mtime == nanoseconds


def test_extended_attributes() -> None:
    """Records of extended attributes are bytes, zeros and newlines included."""
    value = "a\0b\nc"
    ((entry, _),) = read_all(archive([member("f", pax={"SCHILY.xattr.user.x": value})]))

    assert entry.xattrs == {b"user.x": value.encode()}


def test_unread_data_is_skipped() -> None:
    """An entry whose data nobody takes does not disturb the next."""
    data = archive([member("a", data=b"x" * 3000), member("b", data=b"y")])
    reader = Archive(BlockSource(data, 700), Limits())

    assert [entry.name for entry in reader] == [b"a", b"b"]


def test_header_only_kinds_have_no_data() -> None:
    """The size field of links, devices and folders is ignored, as Docker does."""
    size = b"00000001000\0"
    data = b"".join(header(b"n%c" % kind, bytes([kind]), size) for kind in b"123456") + header(b"end")
    names = [entry.name for entry, _ in read_all(data)]

    assert names == [b"n1", b"n2", b"n3", b"n4", b"n5", b"n6", b"end"]


def test_old_folders_end_in_a_slash() -> None:
    """An entry without a kind whose name ends in a slash is a folder."""
    found = read_all(header(b"folder/", b"\0") + header(b"file", b"\0"))

    assert [entry.kind for entry, _ in found] == [b"5", b"0"]


def test_the_end_may_be_missing() -> None:
    """A stream may end between two entries, or after one block of zeros; an empty one is empty."""
    one = archive([member("a", data=b"x")], end=False)

    assert [len(read_all(data)) for data in (b"", one, one + bytes(512))] == [0, 1, 1]


def test_global_headers_say_nothing() -> None:
    """A global pax header, as git writes it, changes no entry; alone it is an empty archive."""
    record = b"20 comment=abcdefgh\n"[:20]
    glob = header(b"pax_global_header", b"g", b"%011o\0" % len(record)) + record.ljust(512, b"\0")

    assert [entry.name for entry, _ in read_all(glob + archive([member("a")]))] == [b"a"]
    assert read_all(glob + bytes(1024)) == []


def test_empty_pax_values_mean_the_header() -> None:
    """A pax record without a value leaves what the header says."""
    record = b"8 path=\n"
    pax = header(b"x", b"x", b"%011o\0" % len(record)) + record.ljust(512, b"\0")

    assert read_all(pax + header(b"name"))[0][0].name == b"name"


def test_signed_checksums() -> None:
    """Sums that old systems made of signed bytes are accepted."""
    block = bytearray(header(b"\xe9t\xe9"))
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % signed

    assert read_all(bytes(block))[0][0].name == b"\xe9t\xe9"


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "gnu"])
def test_sparse_files_of_gnu_tar(tmp_path: Path, version: str) -> None:
    """The four sparse forms give name, size, and pieces whose data lie where they were."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for number in range(40):  # more than the four pieces of one old header and 21 of the next
            file.seek(number * 65536)
            file.write(b"%d" % number * 100)
        file.truncate(40 * 65536 + 12345)
    form = ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
    run = subprocess.run(
        ["/bin/tar", "-cS", *form, "-C", tmp_path, "-f-", "sparse"], check=True, capture_output=True
    )
    ((entry, data),) = read_all(run.stdout)
    content = bytearray(entry.size)
    at = 0
    for offset, length in entry.pieces or ():
        content[offset : offset + length] = data[at : at + length]
        at += length

    assert entry.name == b"sparse"
    assert bytes(content) == path.read_bytes()
    assert at < entry.size // 2


DAMAGED = {
    "no tar": b"x" * 512,
    "half a header": header(b"a")[:300],
    "wrong checksum": header(b"a").replace(b"ustar", b"istar"),
    "data cut short": header(b"a", size=b"00000002000\0") + b"x" * 100,
    "negative size": header(b"a", size=b"\xff" * 12),
    "signed octal": header(b"a", size=b"-0000000001\0"),
    "underscore": header(b"a", size=b"0_000000001\0"),
    "no digit": header(b"a", size=b"0000000000z\0"),
    "extension without entry": header(b"x", b"L", b"00000000003\0") + b"abc".ljust(512, b"\0"),
    "damaged pax": header(b"x", b"x", b"00000000012\0") + b"99 path=ab".ljust(512, b"\0") + header(b"a"),
    "zero byte in a name": archive([member("a", pax={"path": "a\0b"})]),
    "sparse overlap": archive(
        [member("a", data=b"xx", pax={"GNU.sparse.map": "0,1,0,1", "GNU.sparse.size": "9"})]
    ),
    "sparse beyond its end": archive(
        [member("a", data=b"x", pax={"GNU.sparse.map": "9,1", "GNU.sparse.size": "9"})]
    ),
    "sparse sum": archive([member("a", data=b"xx", pax={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"})]),
    "sparse words": archive([member("a", data=b"x", pax={"GNU.sparse.map": "a,b", "GNU.sparse.size": "9"})]),
    "sparse half a pair": archive(
        [member("a", data=b"x", pax={"GNU.sparse.map": "1", "GNU.sparse.size": "9"})]
    ),
    "sparse map without end": archive([member("a", data=b"1" * 2000, pax={"GNU.sparse.major": "1"})]),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_told_in_one_line(data: bytes) -> None:
    """What is no tar, or contradicts itself, is refused with one line."""
    with pytest.raises(DataCorrupted, match=r"^the layer|^the map of a sparse file") as caught:
        read_all(data)

    assert "\n" not in str(caught.value)


def test_too_many_entries() -> None:
    """The entry that passes the budget ends the reading."""
    with pytest.raises(LimitExceeded, match="more than 2 entries"):
        read_all(header(b"a") * 3, limits=Limits(entries=2))


def test_header_of_four_gigabytes() -> None:
    """A pax or long-name header beyond its budget is refused before it is read."""
    for kind in (b"x", b"L", b"K", b"g"):
        with pytest.raises(LimitExceeded, match="extended header of 4294967296 bytes"):
            read_all(header(b"a", kind, b"\x80\0\0\0\0\0\0\x01\0\0\0\0"))


def test_endless_extension_headers() -> None:
    """Many small headers before one entry count together."""
    with pytest.raises(LimitExceeded):
        read_all(header(b"a", b"g") * 10, limits=Limits(header_bytes=4096))


def test_endless_sparse_map() -> None:
    """A map of a sparse file is a header too."""
    old = header(b"a", b"S", at482=b"\1")
    more = bytes(504) + b"\1" + bytes(7)
    with pytest.raises(LimitExceeded, match="too long a map"):
        read_all(old + more * 20, limits=Limits(header_bytes=4096))


@given(st.dictionaries(st.binary(min_size=1).filter(lambda k: b"=" not in k), st.binary(), max_size=5))
def test_pax_records_read_back(records: dict[bytes, bytes]) -> None:
    """Any keys and values survive being written as pax records."""
    data = b""
    for key, value in records.items():
        rest = b" %b=%b\n" % (key, value)
        length = next(n for n in range(len(rest), len(rest) + 20) if n == len(str(n)) + len(rest))
        data += b"%d%b" % (length, rest)

    assert dict(parse_pax(data)) == records


@settings(max_examples=200)
@given(st.data())
def test_a_flipped_byte_is_damage_or_another_archive(data: st.DataObject) -> None:
    """Whatever byte is changed, reading ends with entries or a failure of ours, nothing else."""
    good = archive([member("a" * 120, data=b"x" * 600, uid=2**22), member("b", "link", link="a")])
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] = data.draw(st.integers(0, 255))
    try:
        read_all(bytes(bad))
    except (DataCorrupted, LimitExceeded) as failure:
        assert "\n" not in str(failure)  # noqa: PT017 either outcome is right


@given(st.integers(-(2**62), 2**62))
def test_base_256_numbers(number: int) -> None:
    """Sizes of any magnitude and sign are read as two's complement."""
    field = bytearray(number.to_bytes(12, "big", signed=True))
    field[0] = field[0] | 0x80 if number >= 0 else 0xFF
    data = header(b"a", b"5", at136=bytes(field))
    low, high = -(1 << 31), (1 << 34) - 1

    assert read_all(data)[0][0].mtime == max(low, min(number, high)) * 10**9


def test_agrees_with_the_standard_library(tmp_path: Path) -> None:
    """An archive that GNU tar made of a real folder reads the same both ways."""
    source = Path(os.__file__).parent / "json"
    data = subprocess.run(["/bin/tar", "-c", "-C", source, "."], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        theirs = [(i.name, i.mode, i.size, int(i.mtime)) for i in other]
    ours = [(e.name.decode().rstrip("/"), e.mode, e.size, e.mtime // 10**9) for e, _ in read_all(data)]

    assert ours == theirs
