"""FolderStorage: a registry's bytes in a folder of a local file system.

``blobs/ALGORITHM/xx/HEX`` are blobs (xx: the first two hex digits, so that no
folder grows too large), ``uploads/ID`` the uploads, ``notes/...`` the notes,
``tmp/`` what is being written. Everything is written under another name, made
durable, renamed, and the folder made durable too, so that a name always
stands for complete bytes, also after loss of power.
"""

import errno
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from corten.errors import Conflict, DataCorrupted, InvalidInput, NotFound, OutOfSpace
from corten.oci.digest import Digest
from corten.serve.registry.storage.running import Running
from corten.serve.registry.storage.store import Note, Pending, Stored

_PIECE = 1 << 20  # bytes
_WRITEBACK = 8 << 20  # bytes
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ALGORITHMS = ("sha256", "sha512")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class FolderStorage:
    """All of a registry in *directory*, which one registry at a time may own.

    Raises:
        Conflict: another registry has it open.
        OutOfSpace: the disk is full.
    """

    def __init__(self, directory: str | Path) -> None:
        root = Path(directory)
        with _explained(str(root)):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _own(root)
        try:
            with _explained(str(root)):
                tmp = _Tmp(root / "tmp")
                self.blobs = FolderBlobs(root / "blobs", tmp)
                self.uploads = FolderUploads(root / "uploads", self.blobs)
                self.notes = FolderNotes(root / "notes", tmp)
                _sync_folder(root)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another registry own the folder; idempotent."""
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Tmp:
    """Writes whole files under names of their own, and then gives them their place."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        for leftover in directory.iterdir():
            leftover.unlink()

    def write(self, path: Path, data: bytes) -> None:
        """Write *data* as *path*, all at once and durably; make its folder if need be."""
        name = str(self._directory / uuid.uuid4().hex)
        try:
            with open(name, "xb", buffering=0, opener=_private) as file:
                _write_all(file.fileno(), data)
                os.fsync(file.fileno())
            _place(name, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise


class FolderBlobs:
    """Finished blobs, one file each."""

    def __init__(self, directory: Path, tmp: _Tmp) -> None:
        self._directory = directory
        self._tmp = tmp
        directory.mkdir(mode=0o700, exist_ok=True)
        for algorithm in _ALGORITHMS:
            (directory / algorithm).mkdir(mode=0o700, exist_ok=True)
            for shard in range(256):
                (directory / algorithm / f"{shard:02x}").mkdir(mode=0o700, exist_ok=True)
            _sync_folder(directory / algorithm)
        _sync_folder(directory)

    def path(self, digest: Digest) -> str:
        """Return the file that holds the blob, or would."""
        return f"{self._directory}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def size(self, digest: Digest) -> int:
        """Return the length in bytes; NotFound if absent."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise NotFound("blob", digest) from None

    def read(self, digest: Digest, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield *length* bytes from *offset* in pieces of at most a mebibyte."""
        try:
            file = open(self.path(digest), "rb", buffering=0)  # noqa: SIM115  # closed by the with below
        except FileNotFoundError:
            raise NotFound("blob", digest) from None
        with file:
            file.seek(offset)
            left = os.fstat(file.fileno()).st_size - offset if length is None else length
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                yield piece
                left -= len(piece)

    def put(self, digest: Digest, data: bytes) -> None:
        """Store a small blob; on return it is durable and visible."""
        with _explained(f"blob {digest}"):
            self._tmp.write(Path(self.path(digest)), data)

    def place(self, name: str, digest: Digest) -> None:
        """Move the durable file *name* to where the blob belongs."""
        _place(name, Path(self.path(digest)))

    def delete(self, digest: Digest) -> None:
        """Remove a blob; one that is absent is fine."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def walk(self) -> Iterator[Stored]:
        """Yield every blob, in no order."""
        for algorithm in _ALGORITHMS:
            for shard in os.scandir(self._directory / algorithm):
                for entry in os.scandir(shard):
                    with suppress(InvalidInput, FileNotFoundError):
                        yield Stored(Digest(f"{algorithm}:{entry.name}"), entry.stat().st_size)


class FolderUploads:
    """Uploads, one file each, which becomes the blob by a rename."""

    piece = _PIECE
    least = 0

    def __init__(self, directory: Path, blobs: FolderBlobs) -> None:
        self._directory = directory
        self._blobs = blobs
        self._running = Running()
        directory.mkdir(mode=0o700, exist_ok=True)

    def begin(self) -> str:
        """Open an upload; return its id."""
        upload = str(uuid.uuid4())
        with _explained("an upload"):
            os.close(os.open(self._path(upload), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return upload

    def size(self, upload: str) -> int:
        """Return how many bytes have arrived; NotFound if there is no such upload."""
        try:
            return os.stat(self._path(upload)).st_size
        except FileNotFoundError:
            raise NotFound("upload", upload) from None

    def append(self, upload: str, offset: int, data: bytes | bytearray | memoryview) -> int:
        """Add *data* at *offset*, where the upload must end; return the new size."""
        with self._open(upload, os.O_WRONLY) as descriptor:
            held = os.fstat(descriptor).st_size
            if held != offset:
                raise Conflict(f"upload {upload} holds {held} bytes: go on from there, not from {offset}")
            os.lseek(descriptor, offset, os.SEEK_SET)
            _write_all(descriptor, data)
            size = offset + len(data)
            _begin_writeback(descriptor, offset, size)
        self._running.update(upload, offset, data)
        return size

    def finish(self, upload: str, digest: Digest) -> int:
        """Make the upload the blob *digest*; return its size."""
        with self._open(upload, os.O_RDONLY) as descriptor:
            size = os.fstat(descriptor).st_size
            found = self._running.digest(upload, size, digest.algorithm) or _digest(descriptor, digest)
            if found != digest:
                self.cancel(upload)
                raise DataCorrupted(f"expected {digest}, received {found}: upload the blob again")
            os.fsync(descriptor)
            self._blobs.place(self._path(upload), digest)
        self._running.forget(upload)
        return size

    def cancel(self, upload: str) -> None:
        """Forget an upload; NotFound if there is none."""
        self._running.forget(upload)
        try:
            os.unlink(self._path(upload))
        except FileNotFoundError:
            raise NotFound("upload", upload) from None

    def walk(self) -> Iterator[Pending]:
        """Yield every upload, in no order."""
        for entry in os.scandir(self._directory):
            with suppress(FileNotFoundError):
                facts = entry.stat()
                yield Pending(entry.name, facts.st_size, facts.st_mtime)

    def _path(self, upload: str) -> str:
        if not _UUID.fullmatch(upload):
            raise NotFound("upload", upload)
        return f"{self._directory}/{upload}"

    @contextmanager
    def _open(self, upload: str, flags: int) -> Iterator[int]:
        """Lend a descriptor of the upload's file."""
        with _explained(f"upload {upload}"):
            try:
                descriptor = os.open(self._path(upload), flags | os.O_CLOEXEC)
            except FileNotFoundError:
                raise NotFound("upload", upload) from None
            try:
                yield descriptor
            finally:
                os.close(descriptor)


class FolderNotes:
    """Notes, one file each, at the path that their name is."""

    def __init__(self, directory: Path, tmp: _Tmp) -> None:
        self._directory = directory
        self._tmp = tmp
        directory.mkdir(mode=0o700, exist_ok=True)

    def put(self, name: str, text: str) -> None:
        """Write or replace a note; durable on return."""
        with _explained(f"note {name}"):
            self._tmp.write(self._path(name), text.encode())

    def get(self, name: str) -> str | None:
        """Return the text of a note, None if there is none."""
        try:
            return self._path(name).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def delete(self, name: str) -> None:
        """Remove a note, and the folders that it leaves empty; one that is absent is fine."""
        path = self._path(name)
        try:
            path.unlink()
            _sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        with suppress(OSError):  # a folder that is not empty stays, and so do those above it
            for folder in path.parents[: len(path.parts) - len(self._directory.parts) - 1]:
                folder.rmdir()

    def walk(self, prefix: str = "") -> Iterator[Note]:
        """Yield the notes below the folder *prefix*, in no order."""
        top = self._path(prefix) if prefix else self._directory
        for folder, _, files in os.walk(top):
            for file in files:
                path = Path(folder, file)
                with suppress(FileNotFoundError):
                    yield Note(str(path.relative_to(self._directory)), path.read_text())

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise InvalidInput(f"{name!r} is not a name of a note")
        return self._directory.joinpath(*parts)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _own(root: Path) -> int:
    """Return a descriptor that holds the lock of the folder.

    Raises:
        Conflict: another registry holds it.
    """
    descriptor = _private(str(root / "lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"another registry serves {root}: stop it, or choose another folder") from None
    return descriptor


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn a full disk into its kind of failure; others stay what they are."""
    try:
        yield
    except OSError as failure:
        if failure.errno not in _FULL:
            raise
        raise OutOfSpace(f"no space left to store {what}: free space on the registry's disk") from failure


def _write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _begin_writeback(descriptor: int, start: int, end: int) -> None:
    """Have the disk begin with what was written, so that not all of it waits for the fsync at the end.

    For dirty pages this advice starts writing and drops nothing (mm/fadvise.c).
    """
    first, last = start // _WRITEBACK * _WRITEBACK, end // _WRITEBACK * _WRITEBACK
    if last > first:
        os.posix_fadvise(descriptor, first, last - first, os.POSIX_FADV_DONTNEED)


def _digest(descriptor: int, wanted: Digest) -> Digest:
    """Hash a whole file with the algorithm of *wanted*."""
    with open(descriptor, "rb", closefd=False) as file:
        found = hashlib.file_digest(file, wanted.algorithm)
    return Digest(f"{wanted.algorithm}:{found.hexdigest()}")


def _place(name: str, path: Path) -> None:
    """Rename a durable file to its place, durably; its folder may have to be made, more than once."""
    while True:
        try:
            os.replace(name, path)
            break
        except FileNotFoundError:
            if not os.path.exists(name):
                raise
        _make_folder(path.parent)
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably; another thread may remove them while they are empty."""
    with suppress(FileExistsError, FileNotFoundError):
        if not folder.parent.is_dir():
            _make_folder(folder.parent)
        folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
