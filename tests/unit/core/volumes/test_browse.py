"""Finding files in a volume by a path."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.core.volumes.browse import files, folder
from corten.errors import InvalidInput, NotFound


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A volume with a few files, beside a file that is none of its."""
    volume = tmp_path / "volume"
    (volume / "data/deep").mkdir(parents=True)
    (volume / "data/a").write_text("A")
    (volume / "data/deep/b").write_text("B")
    (volume / "out").symlink_to(tmp_path)
    (volume / "up").symlink_to("../outside")
    (volume / "data/absolute").symlink_to("/data/deep")
    (tmp_path / "outside").write_text("secret")
    descriptor = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def found(root: int, path: str) -> dict[str, str]:
    """Return what an archive of *path* holds: content of files, where links lead, nothing for folders."""
    held = {}
    for each in files(root, path):
        text = os.pread(each.file, 100, 0) if each.file >= 0 else each.link
        held[os.fsdecode(each.path)] = text.decode()
    return held


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("/data/deep", {"deep": "", "deep/b": "B"}),
        ("data/a", {"a": "A"}),
        ("/data/deep/", {".": "", "./b": "B"}),
        ("/data/deep/.", {".": "", "./b": "B"}),
        ("/data/absolute", {"absolute": "/data/deep"}),
        ("/data/absolute/", {".": "", "./b": "B"}),
        ("/data/absolute/b", {"b": "B"}),
        ("/../../data/a", {"a": "A"}),
        ("up", {"up": "../outside"}),
    ],
)
def test_names_begin_with_the_last_part(root: int, path: str, held: dict[str, str]) -> None:
    """A link at the end is a link, one on the way is followed beneath the root."""
    assert found(root, path) == held


@pytest.mark.parametrize("path", ["/nothing", "/out/outside", "/up/", "/data/a/b", "/data/a/"])
def test_what_is_not_there_is_told(root: int, path: str) -> None:
    """Nothing, something below a file, and what a link would lead to outside."""
    with pytest.raises((NotFound, InvalidInput)):
        found(root, path)


def test_a_folder_to_write_into(root: int) -> None:
    """It must be there, and be one."""
    with folder(root, "/data/absolute") as opened:
        assert os.listdir(opened) == ["b"]
    with pytest.raises(InvalidInput, match="not a folder"), folder(root, "/data/a"):
        pass
    with pytest.raises(NotFound, match="no such file in the volume: /x"), folder(root, "/x"):
        pass
