"""Files and trees by descriptor."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.errors import LimitExceeded
from corten.linux.files import data_pieces, read_umask, remove_tree, sync_filesystem, sync_folder, walk
from corten.linux.xattrs import get_at, read_at, set_at
from tests.descriptors import open_descriptors


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    """An open empty folder."""
    (tmp_path / "top").mkdir()
    descriptor = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def nest(top: int, depth: int) -> None:
    """Make folders within folders, deeper than any path can say."""
    here = os.dup(top)
    for _ in range(depth):
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_remove_tree_removes_all_of_it(top: int, tmp_path: Path) -> None:
    """Files, folders, links and FIFOs go; what links point at stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    tree = tmp_path / "top" / "tree"
    for folder in ("a/b", "a/c/d", "e"):
        (tree / folder).mkdir(parents=True)
        (tree / folder / "file").write_text("x")
        (tree / folder / "link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    remove_tree(top, b"tree")

    assert os.listdir(top) == []
    assert (outside / "file").exists()


def test_remove_tree_takes_files_links_and_nothing(top: int, tmp_path: Path) -> None:
    """A name that is a file, a link to a folder, or absent is no special case."""
    (tmp_path / "top" / "file").write_text("x")
    (tmp_path / "top" / "link").symlink_to("/")
    for name in (b"file", b"link", b"absent"):
        remove_tree(top, name)

    assert os.listdir(top) == []


@pytest.mark.slow
def test_remove_tree_knows_no_depth(top: int) -> None:
    """Thousands of nested folders go with a handful of descriptors."""
    nest(top, 5000)
    before = open_descriptors()
    remove_tree(top, b"d")

    assert os.listdir(top) == []
    assert open_descriptors() == before


def test_walk_is_sorted_and_complete(top: int, tmp_path: Path) -> None:
    """Every name appears once, folders before their contents, by the bytes of the names."""
    for path in ("b/x", "a/y", "a-/z"):
        (tmp_path / "top" / path).parent.mkdir()
        (tmp_path / "top" / path).write_text("x")
    (tmp_path / "top" / "link").symlink_to("a")

    assert [node.path for node in walk(top)] == [b"a", b"a/y", b"a-", b"a-/z", b"b", b"b/x", b"link"]


def test_walk_leaves_out_what_is_swapped(top: int, tmp_path: Path) -> None:
    """A folder that becomes a link between look and step is not followed."""
    (tmp_path / "top" / "a").mkdir()
    (tmp_path / "top" / "b").mkdir()
    paths = []
    for node in walk(top):
        paths.append(node.path)
        if node.path == b"a":
            os.rmdir(tmp_path / "top" / "a")
            os.symlink("/", tmp_path / "top" / "a")

    assert paths == [b"a", b"b"]


def test_walk_stops_too_deep(top: int) -> None:
    """Folders nested without end are refused, and no descriptor stays open."""
    nest(top, 450)
    before = open_descriptors()
    with pytest.raises(LimitExceeded, match="nested"):
        list(walk(top))

    assert open_descriptors() == before
    remove_tree(top, b"d")


def test_data_pieces(tmp_path: Path) -> None:
    """Holes at both ends and in between are told from data."""
    with (tmp_path / "file").open("wb") as file:
        for offset in (1 << 20, 3 << 20):
            file.seek(offset)
            file.write(b"x" * 65536)
        file.truncate(5 << 20)
    with (tmp_path / "file").open("rb") as file:
        pieces = list(data_pieces(file.fileno(), 5 << 20))

    assert pieces == [(1 << 20, 65536), (3 << 20, 65536)]


def test_umask_is_read_without_changing_it() -> None:
    """The answer is that of umask(2)."""
    before = os.umask(0o027)
    try:
        assert read_umask() == 0o027
    finally:
        os.umask(before)


def test_syncing(top: int, tmp_path: Path) -> None:
    """Both calls work on real folders, and name what is missing."""
    sync_filesystem(top)
    sync_folder(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync_folder(str(tmp_path / "absent"))


def test_xattrs_do_not_follow_links(top: int, tmp_path: Path) -> None:
    """Attributes are set on the name itself; a link's target keeps its own."""
    (tmp_path / "top" / "file").write_text("x")
    (tmp_path / "top" / "link").symlink_to("file")
    set_at(top, b"file", b"user.x", b"1\0")

    assert read_at(top, b"file") == {b"user.x": b"1\0"}
    assert read_at(top, b"link") == {}
    assert get_at(top, b"file", b"user.x") == b"1\0"
    assert get_at(top, b"file", b"user.y") is None
    with pytest.raises(OSError, match="not permitted"):
        set_at(top, b"link", b"user.x", b"1")
