"""known: digests of unchanged files, over builds and through damage."""

import os
from pathlib import Path

import pytest

from corten.engine.builds.context import known as module
from corten.engine.builds.context.known import KnownDigests, Seen

NOW = 2_000_000_000_000_000_000
OLD = NOW - 60_000_000_000 + 1
FILE = Seen(device=1, inode=2, size=3, mtime=-4, ctime=OLD)
DIGEST = bytes(range(32))


def digests(path: Path) -> KnownDigests:
    """Return what *path* keeps, at a time when FILE is a minute old."""
    return KnownDigests(str(path), lambda: NOW)


def test_remembers_from_one_build_to_the_next(tmp_path: Path) -> None:
    """What one run adds the next one knows."""
    with digests(tmp_path / "cache") as known:
        known.add(FILE, DIGEST)
    with digests(tmp_path / "cache") as known:
        assert known.get(FILE) == DIGEST
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("field", Seen._fields)
def test_any_difference_is_another_file(tmp_path: Path, field: str) -> None:
    """A file with another device, inode, size, mtime or ctime is not the one that was read."""
    with digests(tmp_path / "cache") as known:
        known.add(FILE, DIGEST)
    with digests(tmp_path / "cache") as known:
        assert known.get(FILE._replace(**{field: getattr(FILE, field) + 1})) is None


def test_a_changed_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """There is one row for each file, with its last state."""
    changed = FILE._replace(size=4)
    for seen in (FILE, changed):
        with digests(tmp_path / "cache") as known:
            known.add(seen, DIGEST)
    with digests(tmp_path / "cache") as known:
        assert known.get(FILE) is None
        assert known.get(changed) == DIGEST


@pytest.mark.parametrize("age", [0, 5_000_000, -1_000_000_000])
def test_forgets_what_was_written_just_now(tmp_path: Path, age: int) -> None:
    """A file written to within the clock's last tick may change again and look the same."""
    with digests(tmp_path / "cache") as known:
        known.add(FILE._replace(ctime=NOW - age + 1), DIGEST)
    assert not (tmp_path / "cache").exists()


def test_waits_longer_where_times_are_whole_seconds(tmp_path: Path) -> None:
    """A file system without fractions of a second needs two of them."""
    recent = FILE._replace(ctime=NOW - 1_000_000_000)
    settled = FILE._replace(inode=7, ctime=NOW - 3_000_000_000)
    with digests(tmp_path / "cache") as known:
        known.add(recent, DIGEST)
        known.add(settled, DIGEST)
    with digests(tmp_path / "cache") as known:
        assert known.get(recent) is None
        assert known.get(settled) == DIGEST


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_file_is_forgotten(tmp_path: Path, damage: str) -> None:
    """Half a file, a flipped bit, nothing or something else: no digest is believed, and the file is made anew."""
    path = tmp_path / "cache"
    with digests(path) as known:
        known.add(FILE, DIGEST)
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[60] ^= 1
    path.write_bytes({"cut": data[:-1], "flip": bytes(flipped), "empty": b"", "other": b"x" * 200}[damage])
    with digests(path) as known:
        assert known.get(FILE) is None
        known.add(FILE, DIGEST)
    with digests(path) as known:
        assert known.get(FILE) == DIGEST


def test_keeps_what_another_build_wrote_meanwhile(tmp_path: Path) -> None:
    """Two builds at the same time both leave what they read."""
    other = FILE._replace(inode=9)
    with digests(tmp_path / "cache") as first, digests(tmp_path / "cache") as second:
        first.add(FILE, DIGEST)
        second.add(other, DIGEST)
    with digests(tmp_path / "cache") as known:
        assert known.get(FILE) == known.get(other) == DIGEST


def test_the_oldest_rows_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a ceiling."""
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    for inode in range(5):
        with digests(tmp_path / "cache") as known:
            known.add(FILE._replace(inode=inode), DIGEST)
    with digests(tmp_path / "cache") as known:
        assert [inode for inode in range(5) if known.get(FILE._replace(inode=inode))] == [2, 3, 4]


def test_a_build_does_not_fail_for_it(tmp_path: Path) -> None:
    """Where it cannot be written, the next build reads the files again."""
    with digests(tmp_path / "missing" / "cache") as known:
        known.add(FILE, DIGEST)
    assert os.listdir(tmp_path) == []


def test_is_written_only_when_something_is_new(tmp_path: Path) -> None:
    """A build that has read no file leaves it as it is."""
    with digests(tmp_path / "cache") as known:
        known.add(FILE, DIGEST)
    before = (tmp_path / "cache").stat().st_ino
    with digests(tmp_path / "cache") as known:
        known.get(FILE)
    assert (tmp_path / "cache").stat().st_ino == before
