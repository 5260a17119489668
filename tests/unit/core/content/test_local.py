"""LocalContentStore: what its files promise."""

import errno
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corten.core.content.local import LocalContentStore
from corten.core.content.store import Info
from corten.errors import DataCorrupted, OutOfSpace
from corten.oci.digest import Digest

HELLO = b"hello"
HELLO_DIGEST = Digest.of(HELLO)


@pytest.fixture
def store(tmp_path: Path) -> LocalContentStore:
    """An empty store."""
    return LocalContentStore(tmp_path)


def put(store: LocalContentStore) -> Path:
    """Store the blob; return its file."""
    with store.ingest() as ingest:
        ingest.write(HELLO)
    with store.open(HELLO_DIGEST) as file:
        return Path(str(file.name))


def test_layout_is_that_of_an_image_layout(store: LocalContentStore, tmp_path: Path) -> None:
    """A blob lies where the OCI image layout has it, readable by its owner only."""
    path = put(store)

    assert path == tmp_path / "blobs" / "sha256" / HELLO_DIGEST.hex
    assert path.stat().st_mode & 0o777 == 0o600


def test_sweeps_leftovers_at_start(store: LocalContentStore, tmp_path: Path) -> None:
    """What a killed process had begun is gone after the next start; blobs stay."""
    put(store)
    (tmp_path / "ingest" / "half").write_bytes(b"hel")
    again = LocalContentStore(tmp_path)

    assert list((tmp_path / "ingest").iterdir()) == []
    assert again.exists(HELLO_DIGEST)


def test_failure_leaves_no_file(store: LocalContentStore, tmp_path: Path) -> None:
    """A refused blob leaves nothing behind on disk."""
    with pytest.raises(DataCorrupted), store.ingest(HELLO_DIGEST) as ingest:
        ingest.write(b"hullo")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_verify_finds_a_flipped_bit(store: LocalContentStore) -> None:
    """Bytes that changed on disk are found out."""
    put(store).write_bytes(b"hellp")

    with pytest.raises(DataCorrupted, match="damaged on disk"):
        store.verify(HELLO_DIGEST)


def test_strangers_in_the_folder_are_no_blobs(store: LocalContentStore) -> None:
    """Files with other names are not listed."""
    put(store).with_name("notes").write_bytes(b"")

    assert [info.digest for info in store.walk()] == [HELLO_DIGEST]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_out_of_space(
    store: LocalContentStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The kernel's word for a full disk becomes the user's, and no blob appears."""

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace), store.ingest() as ingest:
        ingest.write(HELLO)

    assert not store.exists(HELLO_DIGEST)


def test_bytes_are_durable_before_they_have_a_name(
    store: LocalContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced, then linked, then its folder is synced."""
    steps: list[str] = []
    link, fsync = os.link, os.fsync

    def record_link(source: str, target: str) -> None:
        steps.append("link")
        link(source, target)

    def record_fsync(descriptor: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "link", record_link)
    monkeypatch.setattr(os, "fsync", record_fsync)
    put(store)

    assert steps == ["file", "link", "folder"]


def test_what_was_begun_survives_a_kill(store: LocalContentStore, tmp_path: Path) -> None:
    """A process that dies without a word leaves what had arrived to the next one, for a day."""
    pid = os.fork()
    if not pid:
        with store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
            ingest.write(b"hel")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    again = LocalContentStore(tmp_path)
    assert list(again.partials.walk()) == [Info(HELLO_DIGEST, 3)]
    (partial,) = (tmp_path / "partial").iterdir()
    os.utime(partial, (1, 1))

    assert list(LocalContentStore(tmp_path).partials.walk()) == []


def test_strange_partials_go_too(store: LocalContentStore, tmp_path: Path) -> None:
    """A file that no digest names is not listed, and goes when it is old."""
    stranger = tmp_path / "partial" / "notes"
    stranger.write_bytes(b"x")
    assert list(store.partials.walk()) == []
    os.utime(stranger, (1, 1))
    store.recover()

    assert not stranger.exists()


def test_a_full_disk_is_given_its_space_back(
    store: LocalContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full what had arrived is not kept."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace), store.ingest(HELLO_DIGEST, 5, resume=True) as ingest:
        ingest.write(HELLO)

    assert list(store.partials.walk()) == []


def test_space_is_freed_in_the_background(tmp_path: Path) -> None:
    """Deleting only renames; the executor unlinks."""
    with ThreadPoolExecutor(1) as executor:
        held = threading.Event()
        executor.submit(held.wait)
        store = LocalContentStore(tmp_path, executor)
        put(store)
        store.delete(HELLO_DIGEST)
        waiting = len(list((tmp_path / "trash").iterdir()))
        gone = not store.exists(HELLO_DIGEST)
        held.set()

    assert (waiting, gone) == (1, True)
    assert list((tmp_path / "trash").iterdir()) == []


def test_what_cannot_fit_is_refused_at_once(store: LocalContentStore) -> None:
    """A blob larger than the free space is refused before a byte of it is fetched."""
    with pytest.raises(OutOfSpace, match="are free"), store.ingest(HELLO_DIGEST, 1 << 60, resume=True):
        pytest.fail("began")
