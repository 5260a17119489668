"""Making archives for tests, by the standard library and by hand."""

import io
import tarfile
from collections.abc import Iterable
from typing import Literal

from corten.core.layers.limits import DEFAULT, Limits
from corten.core.layers.tar import Archive, Entry

KINDS = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def member(
    name: str,
    kind: str = "file",
    data: bytes = b"",
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: float = 0,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    pax: dict[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """Return one member and its data."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.mtime = KINDS[kind], mode, uid, gid, mtime
    info.linkname, (info.devmajor, info.devminor) = link, device
    info.size, info.pax_headers = len(data), pax or {}
    return info, data


Form = Literal[0, 1, 2]


def archive(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], form: Form = tarfile.PAX_FORMAT, end: bool = True
) -> bytes:
    """Return a tar archive of *members* in one of the forms of the standard library."""
    out = io.BytesIO()
    for info, data in members:
        out.write(info.tobuf(form, "utf-8", "surrogateescape"))
        out.write(data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024 if end else 0)


def header(name: bytes, kind: bytes = b"0", size: bytes = b"00000000000\0", **fields: bytes) -> bytes:
    """Return a header made by hand, with a right checksum; *fields* are given by offset (``at124=...``)."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for offset, value in fields.items():
        at = int(offset.removeprefix("at"))
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class BlockSource:
    """Hands out bytes block by block, as ReadAhead does."""

    def __init__(self, data: bytes, size: int) -> None:
        self._file = io.BytesIO(data)
        self._size = size

    def __call__(self) -> bytes:
        """Return the next block; empty at the end."""
        return self._file.read(self._size)


def read_all(data: bytes, size: int = 1 << 20, limits: Limits = DEFAULT) -> list[tuple[Entry, bytes]]:
    """Read an archive in blocks of *size*; return its entries with their data."""
    reader = Archive(BlockSource(data, size), limits)
    found = []
    for entry in reader:
        stored = sum(n for _, n in entry.pieces) if entry.pieces is not None else entry.size
        found.append((entry, b"".join(bytes(chunk) for chunk in reader.chunks(stored))))
    return found
