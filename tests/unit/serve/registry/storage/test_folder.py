"""What FolderStorage does beyond tests/conformance/test_registry_storage.py."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from corten.errors import Conflict, InvalidInput, OutOfSpace
from corten.oci.digest import Digest
from corten.serve.registry.storage.folder import FolderStorage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FolderStorage]:
    """An empty storage."""
    with closing(FolderStorage(tmp_path / "r")) as made:
        yield made


def test_one_registry_owns_a_folder(storage: FolderStorage, tmp_path: Path) -> None:
    """A second one is refused while the first one lives."""
    with pytest.raises(Conflict, match="another registry"):
        FolderStorage(tmp_path / "r")
    storage.close()
    FolderStorage(tmp_path / "r").close()


def test_nobody_else_can_read_it(storage: FolderStorage, tmp_path: Path) -> None:
    """Files and folders are the owner's alone, whatever the umask."""
    storage.blobs.put(Digest.of(b"x"), b"x")
    storage.notes.put("a/_tags/x", "x")
    storage.uploads.begin()
    for folder, _, files in os.walk(tmp_path / "r"):
        assert os.stat(folder).st_mode & 0o077 == 0
        for file in files:
            assert os.stat(Path(folder, file)).st_mode & 0o077 == 0


def test_what_was_being_written_is_swept(storage: FolderStorage, tmp_path: Path) -> None:
    """A killed process leaves half a file under a name of its own, which goes at the next start."""
    storage.close()
    (tmp_path / "r" / "tmp" / "half").write_bytes(b"x")
    FolderStorage(tmp_path / "r").close()
    assert list((tmp_path / "r" / "tmp").iterdir()) == []


def test_a_full_disk_is_told(storage: FolderStorage, tmp_path: Path) -> None:
    """No space is one clear kind of failure."""
    upload = storage.uploads.begin()
    file = tmp_path / "r" / "uploads" / upload
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(OutOfSpace, match="no space left"):
        storage.uploads.append(upload, 0, b"x")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.x", "a/\0", "a b"])
def test_a_note_is_never_a_path_elsewhere(storage: FolderStorage, name: str) -> None:
    """Names that could leave the folder are refused."""
    with pytest.raises(InvalidInput):
        storage.notes.put(name, "x")
    with pytest.raises(InvalidInput):
        storage.notes.get(name)


def test_folders_of_removed_notes_go(storage: FolderStorage, tmp_path: Path) -> None:
    """A repository that is no more leaves no folders behind; its neighbours' stay."""
    storage.notes.put("repositories/a/b/_tags/x", "x")
    storage.notes.put("repositories/a/_tags/x", "x")
    storage.notes.delete("repositories/a/b/_tags/x")
    assert not (tmp_path / "r" / "notes" / "repositories" / "a" / "b").exists()
    storage.notes.delete("repositories/a/_tags/x")
    assert list((tmp_path / "r" / "notes").iterdir()) == []
