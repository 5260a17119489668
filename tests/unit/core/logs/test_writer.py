"""The writer: what it stores where, rotation, recovery of half done states, full disks."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.core.logs import writer
from corten.core.logs.writer import RECORD, STDERR, STDOUT, LogWriter, recover


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The directory of a log that does not exist yet."""
    return tmp_path / "deep" / "log"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, (read end, write end), closed at the end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def records(log: Path, number: int = 1) -> list[tuple[int, int, int]]:
    """Return the index of a segment as (time, length, stream)."""
    return list(RECORD.iter_unpack((log / f"{number:08}.idx").read_bytes()))


def names(log: Path) -> list[str]:
    """Return the files of a log."""
    return sorted(path.name for path in log.iterdir())


def test_a_silent_container_costs_no_file(log: Path, pipe: tuple[int, int]) -> None:
    """Nothing is made before the first byte, nor for the stream that is silent."""
    store = LogWriter(str(log))
    assert store.take(STDOUT, pipe[0]) is None
    assert not log.exists()
    os.write(pipe[1], b"hello")
    store.take(STDOUT, pipe[0])
    assert store.take(STDERR, pipe[0]) is None
    assert names(log) == ["00000001.idx", "00000001.out"]
    store.close()


def test_takes_what_waits(log: Path, pipe: tuple[int, int]) -> None:
    """Bytes move to the end of the stream's file, the index tells when, and the extent where."""
    store = LogWriter(str(log))
    os.write(pipe[1], b"one\n")
    store.take(STDOUT, pipe[0], now_ns=1)
    os.write(pipe[1], b"oops\n")
    store.take(STDERR, pipe[0], now_ns=2)
    os.write(pipe[1], b"two\n")
    extent = store.take(STDOUT, pipe[0], now_ns=3)
    assert extent is not None
    assert (extent.offset, extent.length) == (4, 4)
    assert os.pread(extent.file.fileno(), extent.length, extent.offset) == b"two\n"
    assert (log / "00000001.out").read_bytes() == b"one\ntwo\n"
    assert (log / "00000001.err").read_bytes() == b"oops\n"
    assert records(log) == [(1, 4, 1), (2, 5, 2), (3, 4, 1)]
    assert store.take(STDOUT, pipe[0]) is None
    store.close()


def test_takes_no_more_than_the_limit(log: Path, pipe: tuple[int, int]) -> None:
    """The limit splits what waits; the rest stays."""
    store = LogWriter(str(log))
    os.write(pipe[1], b"abcdef")
    lengths = [extent.length for _ in range(3) if (extent := store.take(STDOUT, pipe[0], 4))]
    assert lengths == [4, 2]
    store.close()


def test_an_extent_outlives_its_segment(log: Path, pipe: tuple[int, int]) -> None:
    """A follower can read what it was told of after rotation, closing and removal."""
    store = LogWriter(str(log), max_size=64, max_files=1)
    os.write(pipe[1], b"first")
    extent = store.take(STDOUT, pipe[0])
    for _ in range(5):
        store.append(STDOUT, bytes(60))
    store.close()
    assert "00000001.out" not in names(log)
    assert extent is not None
    assert os.pread(extent.file.fileno(), extent.length, extent.offset) == b"first"


def test_rotation_bounds_the_log(log: Path, pipe: tuple[int, int]) -> None:
    """No segment passes its size, index included, and only the newest ones are kept."""
    store = LogWriter(str(log), max_size=1000, max_files=2)
    data = os.urandom(20_000)
    os.write(pipe[1], data)
    while store.take(STDOUT, pipe[0], 300):
        pass
    store.close()
    numbers = writer.segments(str(log))
    assert len(numbers) == 2
    sizes = [sum(path.stat().st_size for path in log.glob(f"{number:08}.*")) for number in numbers]
    assert max(sizes) <= 1000
    kept = b"".join((log / f"{number:08}.out").read_bytes() for number in numbers)
    assert data.endswith(kept)


def test_tiny_segments_work(log: Path, pipe: tuple[int, int]) -> None:
    """A size smaller than a record still stores every byte in turn."""
    store = LogWriter(str(log), max_size=3, max_files=100)
    os.write(pipe[1], b"abcdefgh")
    while store.take(STDOUT, pipe[0]):
        pass
    stored = [(log / f"{number:08}.out").read_bytes() for number in writer.segments(str(log))]
    assert stored == [b"abc", b"def", b"gh"]
    store.close()


def test_keeping_nothing(log: Path, pipe: tuple[int, int]) -> None:
    """Without files to keep only the segment in use exists, and in the end not even the directory."""
    store = LogWriter(str(log), max_size=100, max_files=0)
    for _ in range(10):
        os.write(pipe[1], bytes(80))
        store.take(STDOUT, pipe[0])
        assert len(writer.segments(str(log))) == 1
    store.close()
    assert not log.exists()
    store.close()


def test_a_next_writer_goes_on(log: Path, pipe: tuple[int, int]) -> None:
    """A writer on an existing log appends to its newest segment."""
    for text in (b"one", b"two"):
        store = LogWriter(str(log))
        os.write(pipe[1], text)
        store.take(STDOUT, pipe[0])
        store.close()
    assert (log / "00000001.out").read_bytes() == b"onetwo"
    assert [length for _, length, _ in records(log)] == [3, 3]


def test_reads_what_cannot_be_spliced(log: Path, tmp_path: Path) -> None:
    """A source that is no pipe is read instead."""
    (tmp_path / "plain").write_bytes(b"text")
    source = os.open(tmp_path / "plain", os.O_RDONLY)
    store = LogWriter(str(log))
    extent = store.take(STDOUT, source)
    assert extent is not None
    assert (extent.offset, extent.length) == (0, 4)
    assert store.take(STDOUT, source) is None
    assert (log / "00000001.out").read_bytes() == b"text"
    store.close()
    os.close(source)


HALF_DONE = {
    "bytes without record": (b"one\ntwo\n", b"", [(1, 4, 1)], b"", [(1, 4, 1), (0, 4, 1)]),
    "bytes of both streams": (b"one\n", b"err", [], b"", [(0, 4, 1), (0, 3, 2)]),
    "torn record": (b"one\n", b"", [(1, 4, 1)], b"\7" * 9, [(1, 4, 1)]),
    "torn record and its bytes": (b"one\ntwo\n", b"", [(1, 4, 1)], b"\7", [(1, 4, 1), (0, 4, 1)]),
    "bytes that were lost": (b"one\ntw", b"e", [(1, 4, 1), (2, 4, 1), (3, 1, 2)], b"", [(1, 4, 1), (0, 2, 1), (0, 1, 2)]),
    "index of zeros": (b"one\n", b"", [(1, 4, 1), (0, 0, 0), (0, 0, 0)], b"", [(1, 4, 1)]),
    "no data at all": (b"", b"", [(1, 4, 1)], b"", []),
    "all is well": (b"one\n", b"e", [(1, 4, 1), (2, 1, 2)], b"", [(1, 4, 1), (2, 1, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("case", HALF_DONE)
@pytest.mark.parametrize("by_writer", [False, True])
def test_recovery(log: Path, case: str, by_writer: bool) -> None:
    """Whatever a kill or power loss left, index and data agree afterwards; doing it again changes nothing."""
    out, err, index, torn, expected = HALF_DONE[case]
    log.mkdir(parents=True)
    (log / "00000001.out").write_bytes(out)
    (log / "00000001.err").write_bytes(err)
    (log / "00000001.idx").write_bytes(b"".join(RECORD.pack(*record) for record in index) + torn)
    changed = {1: (log / "00000001.out").stat().st_mtime_ns, 2: (log / "00000001.err").stat().st_mtime_ns}
    for _ in range(2):
        if by_writer:
            LogWriter(str(log)).close()
        else:
            recover(str(log))
        assert records(log) == [(time or changed[stream], size, stream) for time, size, stream in expected]


def test_recovery_makes_a_missing_index(log: Path) -> None:
    """A segment whose first record was never written gets its index."""
    log.mkdir(parents=True)
    (log / "00000007.out").write_bytes(b"one")
    LogWriter(str(log)).close()
    assert [(length, stream) for _, length, stream in records(log, 7)] == [(3, 1)]


def test_segments_that_a_kill_left_are_removed(log: Path) -> None:
    """A writer that starts removes what the last one had not come to remove."""
    log.mkdir(parents=True)
    for number in (1, 2, 3, 4):
        (log / f"{number:08}.out").write_bytes(b"x")
    store = LogWriter(str(log), max_files=2)
    store.append(STDOUT, b"y")
    store.close()
    assert writer.segments(str(log)) == [3, 4]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Make pwrite fail as on a full disk while the list is not empty."""
    state: list[bool] = []
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if state:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    yield state
    monkeypatch.undo()


def test_a_record_without_room_is_owed(log: Path, pipe: tuple[int, int], full: list[bool]) -> None:
    """If only the record found no room, its bytes count as stored, and it is written before anything else."""
    store = LogWriter(str(log))
    full.append(True)
    os.write(pipe[1], b"one")
    extent = store.take(STDOUT, pipe[0], now_ns=1)
    assert extent is not None
    os.write(pipe[1], b"two")
    with pytest.raises(OSError, match="No space"):
        store.take(STDOUT, pipe[0], now_ns=2)
    full.clear()
    store.take(STDOUT, pipe[0], now_ns=3)
    assert records(log) == [(1, 3, 1), (3, 3, 1)]
    assert (log / "00000001.out").read_bytes() == b"onetwo"
    store.close()


def test_an_owed_record_outlives_a_kill(log: Path, pipe: tuple[int, int], full: list[bool]) -> None:
    """Bytes whose record never found room are accounted for by the next writer."""
    store = LogWriter(str(log))
    full.append(True)
    os.write(pipe[1], b"one")
    store.take(STDOUT, pipe[0])
    store.close()
    full.clear()
    LogWriter(str(log)).close()
    assert [(length, stream) for _, length, stream in records(log)] == [(3, 1)]


def test_appending_without_room_stores_nothing(log: Path, full: list[bool]) -> None:
    """Append is all or nothing, so that the caller can try again with the same bytes."""
    store = LogWriter(str(log))
    store.append(STDOUT, b"one", 1)
    full.append(True)
    with pytest.raises(OSError, match="No space"):
        store.append(STDOUT, b"two", 2)
    full.clear()
    store.append(STDOUT, b"two", 3)
    assert (log / "00000001.out").read_bytes() == b"onetwo"
    assert records(log) == [(1, 3, 1), (3, 3, 1)]
    store.close()


def test_reading_without_room_loses_nothing(log: Path, tmp_path: Path, full: list[bool]) -> None:
    """Bytes that had to be read and found no room are stored by a later call."""
    (tmp_path / "plain").write_bytes(b"text")
    source = os.open(tmp_path / "plain", os.O_RDONLY)
    store = LogWriter(str(log))
    full.append(True)
    with pytest.raises(OSError, match="No space"):
        store.take(STDOUT, source)
    full.clear()
    store.take(STDOUT, source)
    store.take(STDOUT, source)
    assert (log / "00000001.out").read_bytes() == b"text"
    store.close()
    os.close(source)


@pytest.mark.root
def test_a_full_disk_holds_the_container_back(tmp_path: Path, pipe: tuple[int, int]) -> None:
    """On a file system without room bytes stay in the pipe; after room was made they follow, in order."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=True)
    try:
        (mount / "fill").write_bytes(bytes(32 << 10))
        store = LogWriter(str(mount / "log"))
        data = os.urandom(48 << 10)
        os.write(pipe[1], data)
        extent = store.take(STDOUT, pipe[0])
        assert extent is not None
        stored = extent.length
        assert 0 < stored < len(data)
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
            store.take(STDOUT, pipe[0])
        (mount / "fill").unlink()
        while extent := store.take(STDOUT, pipe[0]):
            stored += extent.length
        assert (mount / "log/00000001.out").read_bytes() == data
        assert sum(length for _, length, _ in records(mount / "log")) == stored == len(data)
        store.close()
        del store, extent
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_imports_next_to_nothing() -> None:
    """The supervisor loads this module: it brings no other module of ours and no heavy one."""
    source = Path(writer.__file__)
    code = (
        "import sys, os, struct, errno, select, time; before = set(sys.modules);"
        f"exec(compile(open({str(source)!r}).read(), 'writer', 'exec'), {{'__name__': 'w'}});"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
