"""Writing tar archives whose bytes depend on names and contents alone.

Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic
Tar Format", for files of 8 GiB and more.
"""

import tarfile

CHUNK = 1 << 20  # bytes moved at a time
END = bytes(2 * tarfile.BLOCKSIZE)


def header(name: str, size: int) -> bytes:
    """Return the header of a file of *size* bytes, without owner or time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def folder(name: str) -> bytes:
    """Return the header of a folder."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return what follows *size* bytes of content up to the next block."""
    return bytes(-size % tarfile.BLOCKSIZE)
