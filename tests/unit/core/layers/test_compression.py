"""Decompression by content: formats, frames, damage, ceilings."""

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest

from corten.core.layers import compression
from corten.core.layers.compression import decompress
from corten.core.layers.limits import Limits
from corten.errors import DataCorrupted, LimitExceeded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"".join(b"%d," % number for number in range(100_000))
FORMATS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time, as a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most seven bytes."""
        return super().read(7 if size is None or size < 0 else min(7, size))


def read(data: bytes, limits: Limits = Limits()) -> bytes:  # noqa: B008 a frozen value
    """Return *data* decompressed."""
    return decompress(io.BytesIO(data), limits).read()


@pytest.fixture(params=["isal", "zlib"])
def inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Inflate with isal, then as on machines without it."""
    if request.param == "zlib":
        monkeypatch.setattr(compression, "_isal", None)
    return str(request.param)


@pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)
def test_formats_are_told_by_content(compress: Callable[[bytes], bytes]) -> None:
    """Each format is recognised and gives the bytes that went in."""
    assert read(compress(TEXT)) == TEXT


@pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)
def test_frames_follow_each_other(compress: Callable[[bytes], bytes]) -> None:
    """Several frames are one stream, with zeros between and after them as padding."""
    data = compress(b"one") + compress(b"") + bytes(1000) + compress(b"two") + bytes(600_000)

    assert read(data) == b"onetwo"


@pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)
def test_short_reads_of_the_source(compress: Callable[[bytes], bytes]) -> None:
    """A source that gives few bytes at a time makes no difference."""
    data = compress(TEXT[:5000]) + compress(TEXT[5000:6000])

    assert decompress(cast("BinaryIO", Trickle(data))).read() == TEXT[:6000]


@pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)
def test_a_stream_cut_short_is_damage(compress: Callable[[bytes], bytes]) -> None:
    """Wherever the stream ends too soon, it is said and nothing hangs."""
    data = compress(TEXT[:20_000])
    for length in (len(data) - 1, len(data) // 2, 12):
        with pytest.raises(DataCorrupted, match=r"fetch it again|damaged"):
            read(data[:length])


@pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)
def test_changed_bytes_are_damage(compress: Callable[[bytes], bytes]) -> None:
    """A changed byte, or garbage after a frame, is damage in one line."""
    good = compress(TEXT[:20_000])
    bad = good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 0xFF]) + good[len(good) // 2 + 1 :]
    for data in (bad, good + b"garbage"):
        with pytest.raises(DataCorrupted) as caught:
            read(data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 10, 4096])
def test_gzip_in_pieces(inflater: str, size: int) -> None:
    """Reads return no more than asked for, and the pieces are the whole; also across members."""
    data = gzip.compress(TEXT[:3000]) + gzip.compress(TEXT[3000:9000])
    stream = decompress(io.BytesIO(data))
    pieces = list(iter(lambda: stream.read(size), b""))

    assert b"".join(pieces) == TEXT[:9000]
    assert max(map(len, pieces)) <= size


def test_gzip_checks_its_sum(inflater: str) -> None:
    """A wrong checksum at the end of a member is damage."""
    data = bytearray(gzip.compress(TEXT))
    data[-6] ^= 1
    with pytest.raises(DataCorrupted):
        read(bytes(data))


@pytest.mark.parametrize("data", [b"", b"x", b"plain text that is longer", b"\x1f\x8b", bytes(1024)])
def test_anything_else_is_as_it_is(data: bytes) -> None:
    """Bytes of no known format come out unchanged, however few."""
    assert read(data) == data
    stream = decompress(io.BytesIO(data))
    assert b"".join(iter(lambda: stream.read(3), b"")) == data


@pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)
def test_a_bomb_is_stopped(compress: Callable[[bytes], bytes]) -> None:
    """Beyond the floor the ratio counts, and reading stops soon after it is passed."""
    stream = decompress(io.BytesIO(compress(bytes(10_000_000))), Limits(ratio=100, ratio_floor=1_000_000))
    blocks: list[int] = []
    with pytest.raises(LimitExceeded, match="more than 100 times"):
        blocks.extend(map(len, iter(lambda: stream.read(1 << 16), b"")))

    assert sum(blocks) <= 1_100_000


def test_below_the_floor_any_ratio_is_fine() -> None:
    """Small layers of zeros are no bombs."""
    assert read(gzip.compress(bytes(500_000)), Limits(ratio=2, ratio_floor=1_000_000)) == bytes(500_000)


def test_zstd_frames_to_skip() -> None:
    """A frame of notes, as chunked zstd layers have at their end, gives no bytes."""
    note = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"

    assert read(zstd.compress(b"one") + note + zstd.compress(b"two") + note) == b"onetwo"


def test_zstd_windows_beyond_the_limit_are_refused() -> None:
    """A frame that asks for a gigabyte of memory is refused before it gets any."""
    window = (30 - 10) << 3  # of the frame header: exponent 30, mantissa 0
    with pytest.raises(DataCorrupted):
        read(b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + b"\x01\x00\x00")
