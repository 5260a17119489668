"""A tree copied from one open folder into another; what needs root is in tests/kernel."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corten.core.volumes.copy import copy_tree, explained
from corten.errors import OutOfSpace
from tests.kernel.trees import describe


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Give a descriptor of a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def plant(top: Path) -> Path:
    """Make a tree with a file of each kind that anybody can make."""
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/er/file").write_text("text")
    (top / "deep/hard").hardlink_to(top / "deep/er/file")
    (top / "a link").symlink_to("deep/er")
    (top / "deep/er/link").symlink_to("/nowhere")
    os.mkfifo(top / "pipe", 0o620)
    with (top / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
        file.truncate(3 << 20)
    (top / "deep/er/file").chmod(0o4711)
    os.utime(top / "deep/er/file", ns=(10**9, 1234567890123456789))
    (top / "closed").mkdir(mode=0o700)
    os.utime(top / "closed", ns=(10**9, 5 * 10**9))
    os.utime(top / "deep", ns=(10**9, 6 * 10**9))
    return top


def copied(source: Path, target: Path) -> Path:
    """Copy into a new folder and return it."""
    target.mkdir()
    with opened(source) as old, opened(target) as new:
        copy_tree(old, new)
    return target


def test_a_copy_is_like_the_original(tmp_path: Path) -> None:
    """Types, modes, times, contents, links and the folder itself are the same, and holes stay holes."""
    source = plant(tmp_path / "source")
    target = copied(source, tmp_path / "target")
    assert describe(target) == describe(source)
    assert (target / "holes").stat().st_blocks < 1000


def test_a_copy_between_file_systems_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel can neither share nor copy blocks they go through memory."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.copy_file_range", refuse)
    source = plant(tmp_path / "source")
    assert describe(copied(source, tmp_path / "target")) == describe(source)


def test_a_copy_replaces_what_is_there(tmp_path: Path) -> None:
    """With *replace* files and links give way, folders are united, and the top stays as it is."""
    source, target = plant(tmp_path / "source"), tmp_path / "target"
    (target / "deep/er").mkdir(parents=True)
    (target / "deep/er/file").write_text("old")
    (target / "deep/other").write_text("stays")
    (target / "holes").mkdir()
    (target / "holes/x").write_text("goes")
    target.chmod(0o711)
    with opened(source) as old, opened(target) as new:
        copy_tree(old, new, replace=True, dress=False)
    expected = describe(source, times=False)
    found = describe(target, times=False)
    assert found.pop("deep/other")
    assert target.stat().st_mode & 0o777 == 0o711
    assert {**found, "": None} == {**expected, "": None}


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "volume is full")]
)
def test_a_full_disk_is_told_as_such(number: int, said: str) -> None:
    """The disk and the size of a volume are told apart."""
    with pytest.raises(OutOfSpace, match=said), explained():
        raise OSError(number, "full")
