"""What every ContentStore must do; a new store joins by one line in STORES."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.core.content.local import LocalContentStore
from corten.core.content.store import ContentStore, Info
from corten.errors import DataCorrupted, NotFound
from corten.oci.digest import Digest
from tests.fakes.content import MemoryContentStore

STORES: dict[str, Callable[[Path], ContentStore]] = {
    "local": LocalContentStore,
    "memory": lambda _: MemoryContentStore(),
}
HELLO = b"hello"
HELLO_DIGEST = Digest.of(HELLO)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    """An empty store of each kind in turn."""
    return STORES[request.param](tmp_path)


def put(store: ContentStore, data: bytes) -> Digest:
    """Store *data*."""
    with store.ingest() as ingest:
        ingest.write(data)
    return ingest.digest


def test_returns_what_was_written(store: ContentStore) -> None:
    """A blob reads back byte for byte, under its digest, with its size."""
    with store.ingest(HELLO_DIGEST, 5) as ingest:
        ingest.write(b"hel")
        ingest.write(memoryview(b"lo"))

    with store.open(HELLO_DIGEST) as file:
        assert file.read() == HELLO
    assert (ingest.digest, ingest.size) == (HELLO_DIGEST, 5)
    assert store.info(HELLO_DIGEST) == Info(HELLO_DIGEST, 5)
    assert store.exists(HELLO_DIGEST)


def test_learns_the_digest(store: ContentStore) -> None:
    """Without an expectation the digest is that of the bytes."""
    assert put(store, HELLO) == HELLO_DIGEST
    assert store.exists(HELLO_DIGEST)


def test_stores_by_sha512_too(store: ContentStore) -> None:
    """An expected digest decides the algorithm."""
    digest = Digest(f"sha512:{hashlib.sha512(HELLO).hexdigest()}")
    with store.ingest(digest) as ingest:
        ingest.write(HELLO)

    assert store.exists(digest)
    assert not store.exists(HELLO_DIGEST)


def test_refuses_bytes_that_do_not_match(store: ContentStore) -> None:
    """A digest mismatch stores nothing and says so."""
    with pytest.raises(DataCorrupted, match="expected sha256"), store.ingest(HELLO_DIGEST) as ingest:
        ingest.write(b"hullo")

    with pytest.raises(NotFound):
        store.open(HELLO_DIGEST)
    assert list(store.walk()) == []


def test_refuses_a_short_blob(store: ContentStore) -> None:
    """Fewer bytes than announced store nothing."""
    with pytest.raises(DataCorrupted, match="4 of 5"), store.ingest(HELLO_DIGEST, 5) as ingest:
        ingest.write(b"hell")

    assert list(store.walk()) == []


def test_stops_a_long_blob_at_once(store: ContentStore) -> None:
    """The write that passes the announced size fails, before anything else arrives."""
    written: list[int] = []
    with pytest.raises(DataCorrupted, match="longer"), store.ingest(HELLO_DIGEST, 4) as ingest:
        written.extend(ingest.write(part) for part in (b"hel", b"lo", b"and more"))

    assert written == [3]


def test_an_exception_stores_nothing(store: ContentStore) -> None:
    """Whatever goes wrong inside the block, no blob appears, and the failure is passed on."""
    with pytest.raises(ZeroDivisionError), store.ingest() as ingest:
        ingest.write(HELLO[: 1 // 0])

    assert not store.exists(HELLO_DIGEST)


def test_storing_twice_is_fine(store: ContentStore) -> None:
    """The same bytes again change nothing."""
    put(store, HELLO)
    put(store, HELLO)

    assert list(store.walk()) == [Info(HELLO_DIGEST, 5)]


def test_two_writers_of_one_blob_both_succeed(store: ContentStore) -> None:
    """Two open ingests of the same bytes both end well."""
    with store.ingest(HELLO_DIGEST) as one, store.ingest(HELLO_DIGEST) as two:
        one.write(HELLO)
        two.write(HELLO)

    assert list(store.walk()) == [Info(HELLO_DIGEST, 5)]


def test_many_threads_at_once(store: ContentStore) -> None:
    """Threads that store the same few blobs leave each of them whole."""
    threads = [threading.Thread(target=put, args=(store, b"%d" % (n % 3))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {info.digest for info in store.walk()} == {Digest.of(b"%d" % n) for n in range(3)}


def test_a_blob_shows_only_when_complete(store: ContentStore) -> None:
    """While it is written a blob is not there."""
    with store.ingest(HELLO_DIGEST) as ingest:
        ingest.write(HELLO)
        assert not store.exists(HELLO_DIGEST)
        assert list(store.walk()) == []


def test_absent_blobs_are_not_found(store: ContentStore) -> None:
    """Every question about an absent blob says so."""
    assert not store.exists(HELLO_DIGEST)
    for ask in (store.open, store.info, store.verify):
        with pytest.raises(NotFound, match="no such blob"):
            ask(HELLO_DIGEST)


def test_delete_is_idempotent(store: ContentStore) -> None:
    """Deleting removes the blob; doing it again is no failure."""
    put(store, HELLO)
    store.delete(HELLO_DIGEST)
    store.delete(HELLO_DIGEST)

    assert not store.exists(HELLO_DIGEST)


def test_readers_outlive_deletion(store: ContentStore) -> None:
    """A blob that is open can be read to its end after it was deleted."""
    put(store, HELLO)
    with store.open(HELLO_DIGEST) as file:
        store.delete(HELLO_DIGEST)
        assert file.read() == HELLO


def test_verify_accepts_sound_blobs(store: ContentStore) -> None:
    """A blob that is as it was stored passes."""
    store.verify(put(store, HELLO))


def test_the_empty_blob(store: ContentStore) -> None:
    """No bytes at all are a blob too."""
    assert store.info(put(store, b"")).size == 0
