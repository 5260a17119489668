"""Decompression of layers, in this process, with a ceiling.

The format is told by the first bytes, never by a name or a media type. Any
number of frames (gzip members, zstd frames) may follow each other. isal
inflates more than twice as fast as zlib and is used where it is installed.

Source: RFC 1952 (gzip), RFC 8878 (zstd), image-spec media-types.md.
"""

import bz2
import importlib
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from corten.core.layers.limits import DEFAULT, Limits
from corten.errors import DataCorrupted, LimitExceeded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_isal: Any
try:
    _isal = importlib.import_module("isal.igzip_lib")
except ImportError:  # wheels exist for the common machines only
    _isal = None

_BLOCK = 1 << 18
_WINDOW_LOG = 27  # 128 MiB, the most that zstd itself takes unasked
_MEMORY = 128 << 20  # bytes of dictionary that an xz stream may ask for


class _Frame(Protocol):
    """One frame being decompressed, as in the bz2 module."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflate:
    """A gzip member through zlib, in the form of ``_Frame``."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self.needs_input = not self._inflate.unconsumed_tail and len(out) < max_length
        return out


def _gzip() -> _Frame:
    if _isal is None:
        return cast("_Frame", _Inflate())
    return cast("_Frame", _isal.IgzipDecompressor(flag=_isal.DECOMP_GZIP))


def _zstd() -> _Frame:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return cast("_Frame", zstd.ZstdDecompressor(options=options))


def _bzip2() -> _Frame:
    return cast("_Frame", bz2.BZ2Decompressor())


def _xz() -> _Frame:
    return cast("_Frame", lzma.LZMADecompressor(memlimit=_MEMORY))


_MAGIC: tuple[tuple[bytes, Callable[[], _Frame]], ...] = (
    (b"\x1f\x8b\x08", _gzip),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"BZh", _bzip2),
    (b"\xfd7zXZ\0", _xz),
)
_HEAD = 6  # bytes that tell all formats apart
_FAILURES: tuple[type[Exception], ...] = (zlib.error, zstd.ZstdError, lzma.LZMAError, OSError, EOFError)
if _isal is not None:
    _FAILURES += (_isal.error,)


class _Raw(io.RawIOBase):
    """*head* followed by the rest of *stream*, unchanged."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read up to *size* bytes (all for -1); empty at the end."""
        if not self._head:
            return self._stream.read(size)
        if size < 0:
            head, self._head = self._head, b""
            return head + self._stream.read()
        taken, self._head = self._head[:size], self._head[size:]
        return taken


class _Decompressed(io.RawIOBase):
    """The frames of *source*, decompressed one after the other.

    Raises:
        DataCorrupted: by ``read``, for bytes that are no such frame or end too soon.
        LimitExceeded: by ``read``, when the ratio passes the limits.
    """

    def __init__(self, source: BinaryIO, make: Callable[[], _Frame], limits: Limits) -> None:
        self._source = source
        self._make = make
        self._limits = limits
        self._frame = make()
        self._rest = b""  # read from the source, not yet given to a frame
        self._taken = self._given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read at most *size* bytes (all for -1), possibly fewer; empty at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        while size:
            if self._frame.eof and not self._next_frame():
                break
            if data := self._step(size):
                self._count(len(data))
                return data
        return b""

    def _step(self, size: int) -> bytes:
        """Return the next bytes of the current frame; may be none."""
        block = self._fetch() if self._frame.needs_input else b""
        if self._frame.needs_input and not block:
            raise DataCorrupted("the compressed layer ends too soon: fetch it again")
        return self._decompress(block, size)

    def _decompress(self, block: bytes, size: int) -> bytes:
        try:
            return self._frame.decompress(block, size)
        except _FAILURES as failure:
            raise DataCorrupted(f"the compressed layer is damaged: {failure}") from None

    def _fetch(self) -> bytes:
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        block = self._source.read(_BLOCK)
        self._taken += len(block)
        return block

    def _next_frame(self) -> bool:
        """Begin the frame that follows; False at the end. Zeros after a frame are padding."""
        rest = self._frame.unused_data.lstrip(b"\0")
        while not rest:
            block = self._fetch()
            if not block:
                return False
            rest = block.lstrip(b"\0")
        self._frame, self._rest = self._make(), rest
        return True

    def _count(self, more: int) -> None:
        self._given += more
        if self._given > max(self._limits.ratio_floor, self._limits.ratio * self._taken):
            raise LimitExceeded(
                f"the layer inflates more than {self._limits.ratio} times, past {self._limits.ratio_floor} bytes"
            )


def is_plain(stream: BinaryIO) -> bool:
    """Tell whether ``decompress`` returned *stream* because there was nothing to decompress."""
    return isinstance(stream, _Raw)


def decompress(stream: BinaryIO, limits: Limits = DEFAULT) -> BinaryIO:
    """Return *stream* decompressed: gzip, zstd, bzip2, xz, or anything else as it is.

    The result has ``read``; short reads may happen before the end. Closing it
    does not close *stream*.
    """
    head = b""
    while len(head) < _HEAD and (more := stream.read(_HEAD - len(head))):
        head += more
    source = cast("BinaryIO", _Raw(head, stream))
    for magic, make in _MAGIC:
        if head.startswith(magic):
            return cast("BinaryIO", _Decompressed(source, make, limits))
    return source
