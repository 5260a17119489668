"""What every ContentStore must do; a new store joins by one line in STORES."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from corten.core.content.local import LocalContentStore
from corten.core.content.store import ContentStore, Info, Ingest
from corten.errors import DataCorrupted, LimitExceeded, NotFound, OutOfSpace
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


def broken_off(store: ContentStore, data: bytes, failure: Exception, size: int = 5) -> None:
    """Begin to store the blob, and fail after *data*."""
    with pytest.raises(type(failure)), store.ingest(HELLO_DIGEST, size, resume=True) as ingest:
        fail_after(ingest, data, failure)


def fail_after(ingest: Ingest, data: bytes, failure: Exception) -> None:
    """Write *data*, and fail."""
    ingest.write(data)
    raise failure


def test_goes_on_where_it_was_broken_off(store: ContentStore) -> None:
    """The next ingest of a digest has what came before the failure, and no blob shows until it is whole."""
    broken_off(store, b"hel", ConnectionError())
    assert list(store.walk()) == []
    assert list(store.partials.walk()) == [Info(HELLO_DIGEST, 3)]
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        assert (ingest.offset, ingest.size) == (3, 3)
        ingest.write(b"lo")

    with store.open(HELLO_DIGEST) as file:
        assert file.read() == HELLO


def test_without_resume_nothing_is_kept_or_used(store: ContentStore) -> None:
    """A caller that does not ask for it begins at 0, and leaves nothing when it fails."""
    broken_off(store, b"hel", ConnectionError())
    with pytest.raises(ConnectionError), store.ingest(HELLO_DIGEST, 5) as ingest:
        fail_after(ingest, b"h", ConnectionError())

    assert ingest.offset == 0
    assert list(store.partials.walk()) == [Info(HELLO_DIGEST, 3)]


@pytest.mark.parametrize("failure", [DataCorrupted("x"), LimitExceeded("x"), OutOfSpace("x")])
def test_what_is_of_no_use_is_not_kept(store: ContentStore, failure: Exception) -> None:
    """After bytes that are wrong, too many, or too much for the disk, the next ingest begins at 0."""
    broken_off(store, b"hel", failure)

    assert list(store.partials.walk()) == []


def test_a_wrong_beginning_is_found_out_and_forgotten(store: ContentStore) -> None:
    """When the whole does not have its digest, nothing of it is kept: the next try works."""
    broken_off(store, b"hal", ConnectionError())
    with pytest.raises(DataCorrupted), store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        ingest.write(b"lo")
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        assert ingest.offset == 0
        ingest.write(HELLO)

    assert store.exists(HELLO_DIGEST)


@pytest.mark.parametrize("begun", [b"helloo", b"hallo"])
def test_a_beginning_that_cannot_be_right_is_not_used(store: ContentStore, begun: bytes) -> None:
    """One that is too long, or complete and wrong, is thrown away at once."""
    broken_off(store, begun, ConnectionError(), len(begun) + 1)
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        assert ingest.offset == 0
        ingest.write(HELLO)

    assert store.exists(HELLO_DIGEST)


def test_one_of_two_resumes(store: ContentStore) -> None:
    """Two at once for the same blob do not write to the same place; both end well."""
    broken_off(store, b"hel", ConnectionError())
    with (
        store.ingest(HELLO_DIGEST, 5, resume=True) as one,
        store.ingest(HELLO_DIGEST, 5, resume=True) as two,
    ):
        assert (one.offset, two.offset) == (3, 0)
        store.partials.drop(HELLO_DIGEST)
        one.write(b"lo")
        two.write(HELLO)

    assert list(store.walk()) == [Info(HELLO_DIGEST, 5)]


def test_a_deleted_blob_comes_back_until_its_remains_are_dropped(store: ContentStore) -> None:
    """What was ingested with resume costs nothing beside the blob, and outlives its deletion."""
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        ingest.write(HELLO)
    assert list(store.partials.walk()) == [Info(HELLO_DIGEST, 0)]
    store.delete(HELLO_DIGEST)
    assert list(store.partials.walk()) == [Info(HELLO_DIGEST, 5)]
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        assert ingest.offset == 5
    assert store.exists(HELLO_DIGEST)
    store.partials.drop(HELLO_DIGEST)
    store.partials.drop(HELLO_DIGEST)

    assert list(store.partials.walk()) == []
    store.verify(HELLO_DIGEST)


def test_a_stored_blob_never_grows(store: ContentStore) -> None:
    """A lie about the size adds nothing to the blob that is there."""
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        ingest.write(HELLO)
    broken_off(store, b"x" * 20, ConnectionError(), 100)

    store.verify(HELLO_DIGEST)


def test_another_thread_follows_what_is_written(store: ContentStore) -> None:
    """A follower gets every byte in order, also those of an earlier attempt, and the end."""
    broken_off(store, b"he", ConnectionError())
    seen: list[bytes] = []
    with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        reader = ingest.follow()

        def read() -> None:
            while data := reader.read(2):
                seen.append(data)
            reader.close()

        thread = threading.Thread(target=read)
        thread.start()
        ingest.write(b"ll")
        ingest.write(b"o")
        ingest.end()
        thread.join()

    assert b"".join(seen) == HELLO


def test_a_failure_ends_those_who_follow(store: ContentStore) -> None:
    """A follower is not left waiting for bytes that will not come."""
    rest: list[bytes] = []

    def work(ingest: Ingest) -> None:
        reader = ingest.follow()
        undo.callback(reader.close)
        thread = threading.Thread(target=lambda: rest.extend([reader.read(9), reader.read(9)]))
        ingest.write(b"he")
        thread.start()
        undo.callback(thread.join)
        raise ConnectionError

    with ExitStack() as undo, pytest.raises(ConnectionError), store.ingest(HELLO_DIGEST, 5) as ingest:
        work(ingest)

    assert rest == [b"he", b""]
