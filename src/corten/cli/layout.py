"""Image archives as folders: an OCI layout is written from, or packed into, the tar that the daemon speaks."""

from __future__ import annotations

import io
import os
import shutil
import tarfile

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK = 256 * 1024  # bytes per read
DOCUMENTS = ("index.json", "manifest.json", "oci-layout", "repositories")
HEX = frozenset("0123456789abcdef")


def unpack(chunks: Iterable[bytes], name: str) -> None:
    """Write the archive *chunks* as the folder *name*, which appears when it is complete.

    Raises:
        Failure: there is something in it already.
    """
    name = name.rstrip("/") or "/"
    if os.path.lexists(name) and (not os.path.isdir(name) or os.listdir(name)):
        raise Failure(f"{name} exists and is not an empty folder: choose another name")
    part = f"{name}.part-{os.getpid()}"
    os.mkdir(part)
    try:
        with tarfile.open(fileobj=Stream(chunks), mode="r|", bufsize=BLOCK) as archive:
            for member in archive:
                if member.isreg():
                    _write(archive, member, part)
        os.rename(part, name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> None:
    if not _belongs(member.name):
        raise Failure(f"the daemon sent {member.name!r}, which is no part of an archive of images")
    source = archive.extractfile(member)
    assert source is not None
    path = os.path.join(folder, member.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        shutil.copyfileobj(source, file, BLOCK)


def _belongs(name: str) -> bool:
    """Whether *name* is a document, or ``blobs/ALGORITHM/HEX``."""
    parts = name.split("/")
    return name in DOCUMENTS or (
        len(parts) == 3 and parts[0] == "blobs" and parts[1].isalnum() and HEX.issuperset(parts[2])
    )


class Stream(io.RawIOBase):
    """Chunks as a file for reading."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Read *size* bytes; fewer at the end only."""
        pieces, have = [self._rest], len(self._rest)
        while have < size:
            piece = next(self._chunks, b"")
            if not piece:
                break
            pieces.append(piece)
            have += len(piece)
        whole = b"".join(pieces)
        self._rest = whole[size:]
        return whole[:size]


def pack(name: str) -> Iterator[bytes]:
    """Yield the folder *name* as an archive of images; links are packed as links and never followed.

    Raises:
        Failure: it holds no images.
    """
    if not any(os.path.isfile(os.path.join(name, document)) for document in DOCUMENTS[:2]):
        raise Failure(f"{name} is no OCI layout: it has neither index.json nor manifest.json")
    return _packed(name)


def _packed(name: str) -> Iterator[bytes]:
    for top, folders, files in os.walk(name):
        folders.sort()
        for file in sorted(files):
            path = os.path.join(top, file)
            member = tarfile.TarInfo(os.path.relpath(path, name))
            if os.path.islink(path):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
                yield member.tobuf(tarfile.GNU_FORMAT)
            elif os.path.isfile(path):
                yield from packed_file(member, path)
    yield bytes(2 * tarfile.BLOCKSIZE)


def packed_file(member: tarfile.TarInfo, path: str) -> Iterator[bytes]:
    """Yield the header and the content of a regular file, of as many bytes as it has now."""
    with open(path, "rb") as file:
        member.size = left = os.fstat(file.fileno()).st_size
        yield member.tobuf(tarfile.PAX_FORMAT)
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise OSError(f"{path} became shorter while it was read")
            left -= len(block)
            yield block
    yield bytes(-member.size % tarfile.BLOCKSIZE)
