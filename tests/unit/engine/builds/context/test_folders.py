"""folders: descriptors, held within bounds and never through a link."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.engine.builds.context.folders import Folders


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the folder that paths start from."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def opened() -> int:
    """Return how many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def test_opens_the_folder_that_is_named(root: int, tmp_path: Path) -> None:
    """A path leads to its folder, the empty one to the root, again and again."""
    (tmp_path / "a/b").mkdir(parents=True)
    folders = Folders(root)
    for _ in range(2):
        assert os.path.samestat(os.fstat(folders.open("a/b")), (tmp_path / "a/b").stat())
        assert folders.open("") == root
    folders.close()


def test_holds_few_however_many_there_are(root: int, tmp_path: Path) -> None:
    """Hundreds of folders, one in the other and side by side, need some dozens of descriptors."""
    deep = "/".join(["d"] * 300)
    (tmp_path / deep).mkdir(parents=True)
    for number in range(100):
        (tmp_path / f"w{number}").mkdir()
    before, folders = opened(), Folders(root)
    for path in [deep, *(f"w{number}" for number in range(100)), deep[:-2], deep]:
        assert os.path.samestat(os.fstat(folders.open(path)), (tmp_path / path).stat())
        assert opened() - before <= 50
    folders.close()
    assert opened() == before


@pytest.mark.parametrize("path", ["link", "link/b", "a/link", "file", "missing", "missing/b"])
def test_enters_no_link(root: int, tmp_path: Path, path: str) -> None:
    """A link, a file or nothing where a folder should be is a failure, at the end of a path or within."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a/link").symlink_to("/")
    (tmp_path / "file").touch()
    folders = Folders(root)
    with pytest.raises(OSError, match=r"No such file|Not a directory|Too many levels"):
        folders.open(path)
    folders.close()
