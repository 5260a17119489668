"""What was unpacked in private is put into a volume."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corten.core.volumes.merge import merge


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Give a descriptor of a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["rename", "copy"])
def between(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: within a file system, and as between two, where renaming is impossible."""
    if request.param == "copy":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr("os.rename", refuse)


@pytest.mark.usefixtures("between")
def test_files_replace_and_folders_are_united(tmp_path: Path) -> None:
    """New files come, files of the same name are replaced, others in the same folder stay."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "both").mkdir(parents=True, mode=0o750)
    (source / "new").mkdir()
    (source / "both/a").write_text("new")
    (source / "new/b").write_text("b")
    (target / "both").mkdir(parents=True)
    (target / "both/a").write_text("old")
    (target / "both/c").write_text("c")
    with opened(source) as old, opened(target) as new:
        merge(old, new)
    assert (target / "both/a").read_text() == "new"
    assert (target / "both/c").read_text() == "c"
    assert (target / "new/b").read_text() == "b"
    assert (target / "both").stat().st_mode & 0o777 == 0o750


@pytest.mark.usefixtures("between")
def test_kinds_give_way_to_each_other(tmp_path: Path) -> None:
    """A file takes the place of a folder with all in it, a folder that of a file, a link that of either."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder").mkdir(parents=True)
    (source / "folder/x").write_text("x")
    (source / "file").write_text("file")
    (source / "link").symlink_to("nowhere")
    (target / "file/deep").mkdir(parents=True)
    (target / "link/deep").mkdir(parents=True)
    (target / "folder").write_text("was a file")
    with opened(source) as old, opened(target) as new:
        merge(old, new)
    assert (target / "folder/x").read_text() == "x"
    assert (target / "file").read_text() == "file"
    assert (target / "link").readlink() == Path("nowhere")


@pytest.mark.usefixtures("between")
def test_links_in_the_volume_lead_nothing_astray(tmp_path: Path) -> None:
    """A folder that the volume has as a link to elsewhere replaces the link; elsewhere nothing changes."""
    source, target, outside = tmp_path / "source", tmp_path / "target", tmp_path / "outside"
    (source / "etc").mkdir(parents=True)
    (source / "etc/passwd").write_text("ours")
    outside.mkdir()
    (outside / "passwd").write_text("theirs")
    target.mkdir()
    (target / "etc").symlink_to(outside)
    with opened(source) as old, opened(target) as new:
        merge(old, new)
    assert (outside / "passwd").read_text() == "theirs"
    assert (target / "etc/passwd").read_text() == "ours"
    assert not (target / "etc").is_symlink()
