"""What is particular to the object store: no crash leaves parts that nobody knows of, and none takes a blob's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.errors import NotFound, Unavailable
from corten.oci.digest import Digest
from corten.serve.registry.storage.bucket import Bucket, BucketSettings
from corten.serve.registry.storage.s3 import PART, S3Storage
from tests import object_store

pytestmark = pytest.mark.slow
DATA = b"some bytes of a blob"
DIGEST = Digest.of(DATA)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    """End the server that these tests use."""
    yield
    object_store.stop()


@pytest.fixture
def place(tmp_path: Path) -> BucketSettings:
    """A corner of the bucket of its own."""
    return object_store.server().settings(tmp_path.name)


@pytest.fixture
def bucket(place: BucketSettings) -> Bucket:
    """The same corner, as objects."""
    return Bucket(place)


def begun(storage: S3Storage) -> str:
    """Begin an upload of the data, in two parts."""
    upload = storage.uploads.begin()
    storage.uploads.append(upload, 0, DATA[:5])
    storage.uploads.append(upload, 5, DATA[5:])
    return upload


def names(bucket: Bucket) -> set[str]:
    """Return the folders in which there are objects."""
    return {found.name.split("/")[0] for found in bucket.walk("")}


def killed_at(storage: S3Storage, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Have the process end at its *step*th change of the bucket from now on."""
    left = [step]

    def counted(name: str) -> None:
        real = getattr(Bucket, name)

        def change(self: Bucket, *args: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            real(self, *args)

        monkeypatch.setattr(Bucket, name, change)

    counted("put")
    counted("delete")


@pytest.mark.parametrize("step", range(3))
def test_a_kill_while_finishing(
    place: BucketSettings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """After each step the upload can be finished once more, or cancelled without harm to a finished blob."""
    storage = S3Storage(place)
    upload = begun(storage)
    with monkeypatch.context() as patched:
        killed_at(storage, patched, step)
        with pytest.raises(Killed):
            storage.uploads.finish(upload, DIGEST)
    later = S3Storage(place)
    done = step == 2
    assert [found.upload for found in later.uploads.walk()] == [upload]
    if done:
        later.uploads.cancel(upload)
        assert b"".join(later.blobs.read(DIGEST)) == DATA
    assert later.uploads.finish(upload, DIGEST) == len(DATA) if not done else True
    assert b"".join(later.blobs.read(DIGEST)) == DATA
    assert names(bucket) == {"blobs", "parts"}


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_deleting(
    place: BucketSettings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """After each step the next process either still has the blob, whole, or drops all of it."""
    storage = S3Storage(place)
    storage.uploads.finish(begun(storage), DIGEST)
    with monkeypatch.context() as patched:
        killed_at(storage, patched, step)
        with pytest.raises(Killed):
            storage.blobs.delete(DIGEST)
    later = S3Storage(place)
    try:
        assert b"".join(later.blobs.read(DIGEST)) == DATA
        assert names(bucket) == {"blobs", "parts"}
    except NotFound:
        assert names(bucket) == set()


def test_a_kill_between_parts(place: BucketSettings, bucket: Bucket) -> None:
    """A part that is there counts, one after a gap does not; both are overwritten or removed in the end."""
    storage = S3Storage(place)
    upload = begun(storage)
    bucket.put(f"parts/{upload}/{100:016}", b"beyond a gap")
    later = S3Storage(place)
    assert later.uploads.size(upload) == len(DATA)
    later.uploads.cancel(upload)
    assert names(bucket) == set()


def test_the_second_of_two_uploads_leaves_nothing(place: BucketSettings, bucket: Bucket) -> None:
    """Parts of bytes that are there already are removed."""
    storage = S3Storage(place)
    for _ in range(2):
        storage.uploads.finish(begun(storage), DIGEST)
    assert len(list(bucket.walk("parts/"))) == 2
    assert names(bucket) == {"blobs", "parts"}


def test_parts_are_bounded(place: BucketSettings, bucket: Bucket) -> None:
    """A large piece becomes several objects, and reads back over their borders."""
    storage = S3Storage(place)
    data = bytes(range(256)) * (PART // 256) + b"the end"
    upload = storage.uploads.begin()
    assert storage.uploads.append(upload, 0, data) == len(data)
    storage.uploads.finish(upload, Digest.of(data))
    assert sorted(found.size for found in bucket.walk("parts/")) == [7, PART]
    assert b"".join(storage.blobs.read(Digest.of(data), PART - 3, 6)) == data[PART - 3 : PART + 3]


def test_a_small_blob_is_one_object(place: BucketSettings, bucket: Bucket) -> None:
    """A manifest stands in its entry, also one that is too large to be kept in memory."""
    storage = S3Storage(place)
    for data in (DATA, b"line\n" * 20_000):
        storage.blobs.put(Digest.of(data), data)
        for _ in range(2):
            assert b"".join(storage.blobs.read(Digest.of(data), 2, 3)) == data[2:5]
            assert storage.blobs.size(Digest.of(data)) == len(data)
    assert names(bucket) == {"blobs"}


def test_failures_of_the_service_are_told(place: BucketSettings) -> None:
    """A wrong key and a service that is not there are one line each."""
    for settings in (
        place._replace(secret_key="wrong"),
        place._replace(endpoint="http://127.0.0.1:9", bucket="b"),
    ):
        with pytest.raises(Unavailable, match="cannot be used") as told:
            Bucket(settings).get("x")
        assert "\n" not in str(told.value)
        assert "test-secret" not in repr(settings)
