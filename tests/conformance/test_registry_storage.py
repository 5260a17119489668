"""What every registry Storage must do; a new one joins by one line in STORAGES."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corten.errors import Conflict, DataCorrupted, NotFound
from corten.oci.digest import Digest
from corten.serve.registry.storage.folder import FolderStorage
from corten.serve.registry.storage.store import Note, Storage, Stored
from tests import object_store

STORAGES: dict[str, Callable[[Path], Storage]] = {
    "folder": FolderStorage,
    "s3": object_store.storage,
}
HELLO = b"hello, registry"
HELLO_DIGEST = Digest.of(HELLO)
ABSENT = Digest.of(b"absent")


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage of each kind in turn."""
    made = STORAGES[request.param](tmp_path / "storage")
    yield made
    made.close()


@pytest.fixture
def again(request: pytest.FixtureRequest, tmp_path: Path, storage: Storage) -> Callable[[], Storage]:
    """A way to open the same place again, as a later process would."""

    def reopen() -> Storage:
        storage.close()
        made = STORAGES[request.node.callspec.params["storage"]](tmp_path / "storage")
        request.addfinalizer(made.close)
        return made

    return reopen


def upload(storage: Storage, *pieces: bytes) -> str:
    """Begin an upload of *pieces*."""
    made = storage.uploads.begin()
    size = 0
    for piece in pieces:
        size = storage.uploads.append(made, size, piece)
    return made


def push(storage: Storage, data: bytes) -> Digest:
    """Store *data* by way of an upload."""
    digest = Digest.of(data)
    assert storage.uploads.finish(upload(storage, data), digest) == len(data)
    return digest


def test_an_upload_becomes_a_blob(storage: Storage) -> None:
    """Pieces appended in order read back as one blob of their digest, and the upload is gone."""
    made = upload(storage, HELLO[:5], HELLO[5:])

    assert storage.uploads.size(made) == len(HELLO)
    assert storage.uploads.finish(made, HELLO_DIGEST) == len(HELLO)
    assert storage.blobs.size(HELLO_DIGEST) == len(HELLO)
    assert b"".join(storage.blobs.read(HELLO_DIGEST)) == HELLO
    with pytest.raises(NotFound):
        storage.uploads.size(made)


def test_an_upload_has_a_uuid(storage: Storage) -> None:
    """Ids are unique and cannot be guessed."""
    first, second = storage.uploads.begin(), storage.uploads.begin()
    assert first != second
    assert str(uuid.UUID(first)) == first


def test_an_empty_upload_is_a_blob_too(storage: Storage) -> None:
    """No byte at all has a digest as well."""
    assert storage.uploads.finish(upload(storage), Digest.of(b"")) == 0
    assert b"".join(storage.blobs.read(Digest.of(b""))) == b""


def test_sha512_names_blobs_too(storage: Storage) -> None:
    """The digest that ends the upload decides the algorithm."""
    digest = Digest(f"sha512:{hashlib.sha512(HELLO).hexdigest()}")
    storage.uploads.finish(upload(storage, HELLO), digest)
    assert b"".join(storage.blobs.read(digest)) == HELLO


def test_refuses_other_bytes(storage: Storage) -> None:
    """Bytes with another digest never become visible; the upload is gone."""
    made = upload(storage, b"hullo")
    with pytest.raises(DataCorrupted):
        storage.uploads.finish(made, HELLO_DIGEST)
    with pytest.raises(NotFound):
        storage.blobs.size(HELLO_DIGEST)
    with pytest.raises(NotFound):
        storage.uploads.size(made)


def test_appends_only_at_the_end(storage: Storage) -> None:
    """A piece for another place than the end changes nothing."""
    made = upload(storage, HELLO[:5])
    for offset in (0, 4, 6):
        with pytest.raises(Conflict):
            storage.uploads.append(made, offset, b"x")
    storage.uploads.append(made, 5, HELLO[5:])
    storage.uploads.finish(made, HELLO_DIGEST)


def test_the_caller_may_reuse_its_buffer(storage: Storage) -> None:
    """Bytes are taken when append returns."""
    buffer = bytearray(HELLO)
    made = upload(storage)
    storage.uploads.append(made, 0, memoryview(buffer)[:5])
    size = storage.uploads.append(made, 5, memoryview(buffer)[5:])
    buffer[:] = bytes(size)
    storage.uploads.finish(made, HELLO_DIGEST)
    assert b"".join(storage.blobs.read(HELLO_DIGEST)) == HELLO


def test_an_upload_outlives_its_process(storage: Storage, again: Callable[[], Storage]) -> None:
    """Another process finds what had arrived, and can finish it."""
    made = upload(storage, HELLO[:5])
    later = again()
    assert [(found.upload, found.size) for found in later.uploads.walk()] == [(made, 5)]
    later.uploads.append(made, later.uploads.size(made), HELLO[5:])
    later.uploads.finish(made, HELLO_DIGEST)
    assert b"".join(later.blobs.read(HELLO_DIGEST)) == HELLO


def test_all_outlives_its_process(storage: Storage, again: Callable[[], Storage]) -> None:
    """Blobs and notes are there for the next process."""
    storage.blobs.put(HELLO_DIGEST, HELLO)
    storage.notes.put("repositories/a/_tags/x", "text")
    later = again()
    assert list(later.blobs.walk()) == [Stored(HELLO_DIGEST, len(HELLO))]
    assert list(later.notes.walk()) == [Note("repositories/a/_tags/x", "text")]


def test_cancel_forgets(storage: Storage) -> None:
    """A cancelled upload is unknown to every call."""
    made = upload(storage, HELLO)
    storage.uploads.cancel(made)
    assert list(storage.uploads.walk()) == []
    for call in (storage.uploads.size, storage.uploads.cancel):
        with pytest.raises(NotFound):
            call(made)
    with pytest.raises(NotFound):
        storage.uploads.append(made, 0, b"x")
    with pytest.raises(NotFound):
        storage.uploads.finish(made, HELLO_DIGEST)


@pytest.mark.parametrize("name", ["", "..", "../blobs", "a/b", str(uuid.uuid4()), str(uuid.uuid4()).upper()])
def test_unknown_uploads_are_told_as_such(storage: Storage, name: str) -> None:
    """What is no id of an upload is not there; it is never a path."""
    with pytest.raises(NotFound):
        storage.uploads.size(name)


def test_reads_ranges(storage: Storage) -> None:
    """A range gives exactly its bytes, in pieces that fit in memory."""
    data = bytes(range(256)) * 10_000
    digest = push(storage, data)
    pieces = list(storage.blobs.read(digest, 1000, 2_000_000))
    assert b"".join(pieces) == data[1000:2_001_000]
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(storage.blobs.read(digest, len(data) - 3)) == data[-3:]
    assert b"".join(storage.blobs.read(digest, 7, 0)) == b""


def test_the_path_leads_to_the_bytes(storage: Storage) -> None:
    """Where blobs are files, the file named holds the blob and nothing else."""
    push(storage, HELLO)
    path = storage.blobs.path(HELLO_DIGEST)
    if path is not None:
        assert Path(path).read_bytes() == HELLO


def test_put_is_idempotent(storage: Storage) -> None:
    """The same small blob may be put again."""
    for _ in range(2):
        storage.blobs.put(HELLO_DIGEST, HELLO)
    assert b"".join(storage.blobs.read(HELLO_DIGEST)) == HELLO


def test_the_same_blob_may_be_finished_twice(storage: Storage) -> None:
    """Two uploads of the same bytes both succeed."""
    first, second = upload(storage, HELLO), upload(storage, HELLO)
    storage.uploads.finish(first, HELLO_DIGEST)
    storage.uploads.finish(second, HELLO_DIGEST)
    assert list(storage.blobs.walk()) == [Stored(HELLO_DIGEST, len(HELLO))]


def test_deletes(storage: Storage) -> None:
    """A deleted blob is gone; deleting it again is fine; it can come back."""
    push(storage, HELLO)
    for _ in range(2):
        storage.blobs.delete(HELLO_DIGEST)
    with pytest.raises(NotFound):
        storage.blobs.size(HELLO_DIGEST)
    assert push(storage, HELLO) == HELLO_DIGEST


def test_a_reader_keeps_its_blob(storage: Storage) -> None:
    """Deleting a blob does not disturb who has begun to read it."""
    digest = push(storage, bytes(3 << 20))
    reader = storage.blobs.read(digest)
    first = next(reader)
    storage.blobs.delete(digest)
    assert len(first) + sum(map(len, reader)) == 3 << 20


def test_absent_blobs_are_told(storage: Storage) -> None:
    """Size and read name the blob that is not there."""
    with pytest.raises(NotFound, match=ABSENT):
        storage.blobs.size(ABSENT)
    with pytest.raises(NotFound, match=ABSENT):
        list(storage.blobs.read(ABSENT))


def test_walks_all_blobs(storage: Storage) -> None:
    """The walk tells every blob with its size."""
    expected = {push(storage, bytes(size)): size for size in range(1, 20)}
    assert {found.digest: found.size for found in storage.blobs.walk()} == expected


def test_notes_are_replaced_and_removed(storage: Storage) -> None:
    """A note has the last text; removed it is None, twice is fine, and its folder can be used again."""
    name = "repositories/library/debian/_tags/v1.0-rc_1"
    assert storage.notes.get(name) is None
    for text in ("one", "", "déjà vu"):
        storage.notes.put(name, text)
        assert storage.notes.get(name) == text
    for _ in range(2):
        storage.notes.delete(name)
    assert storage.notes.get(name) is None
    storage.notes.put(name, "back")
    assert storage.notes.get(name) == "back"


def test_notes_walk_a_folder(storage: Storage) -> None:
    """The walk gives the notes below a folder, not those of its namesakes."""
    for name in ("a/b/_tags/x", "a/b/c/_tags/y", "a/bb/_tags/z", "q/_tags/x"):
        storage.notes.put(name, name.upper())
    assert {note.name for note in storage.notes.walk("a/b")} == {"a/b/_tags/x", "a/b/c/_tags/y"}
    assert len(list(storage.notes.walk())) == 4
    assert list(storage.notes.walk("none")) == []


def test_many_threads_at_once(storage: Storage) -> None:
    """Uploads, notes in one folder and their removal go on at the same time."""

    def work(number: int) -> Digest:
        digest = push(storage, bytes([number]) * 5000)
        storage.notes.put(f"repositories/r/_tags/t{number}", digest)
        storage.notes.delete(f"repositories/r/_tags/t{number}")
        storage.notes.put(f"repositories/r/_blobs/{digest.hex}", "")
        return digest

    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(work, range(24)))
    assert {found.digest for found in storage.blobs.walk()} == digests
    assert len(list(storage.notes.walk())) == len(digests)
