"""Archives of images as folders."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from corten.cli.failure import Failure
from corten.cli.layout import pack, unpack
from tests.unit.cli.commands.test_images import run
from tests.unit.cli.server import Daemon, Reply, corten

BLOB = f"blobs/sha512/{'ab' * 64}"  # longer than a plain tar header can say
FILES = {"oci-layout": b"{}", "index.json": b"[]", BLOB: bytes(700_000), "blobs/sha256/00": b""}


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar of *files*."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def pieces(data: bytes, size: int = 1000) -> list[bytes]:
    """Return *data* in pieces."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def found(folder: Path) -> dict[str, bytes]:
    """Return the files in *folder*."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_what_the_archive_holds(tmp_path: Path) -> None:
    """There and back again, the files are the same, and the same folder gives the same bytes."""
    unpack(pieces(archive(FILES)), f"{tmp_path}/there/")
    assert found(tmp_path / "there") == FILES
    packed = b"".join(pack(str(tmp_path / "there")))
    assert b"".join(pack(str(tmp_path / "there"))) == packed
    (tmp_path / "empty").mkdir()
    unpack([packed], str(tmp_path / "empty"))
    assert found(tmp_path / "empty") == FILES


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "blobs/sha256/..", "blobs/../index.json", "blobs/sha256/a/b", "other"]
)
def test_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    """A name that does not belong there ends it, and nothing is left."""
    with pytest.raises(Failure, match="no part of an archive"):
        unpack([archive({"index.json": b"", name: b"x"})], f"{tmp_path}/there")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """Whether that is a layout or not."""
    (tmp_path / "file").touch()
    for name in (tmp_path, tmp_path / "file"):
        with pytest.raises(Failure, match="not an empty folder: choose another name"):
            unpack([archive(FILES)], str(name))
    assert os.listdir(tmp_path) == ["file"]


def test_a_broken_stream_leaves_nothing(tmp_path: Path) -> None:
    """The folder appears when it is complete."""
    with pytest.raises(tarfile.TarError):
        unpack(pieces(archive(FILES))[:100], f"{tmp_path}/there")
    assert list(tmp_path.iterdir()) == []


def test_links_are_packed_as_links(tmp_path: Path) -> None:
    """What lies outside of the folder is never read."""
    (tmp_path / "manifest.json").write_bytes(b"[]")
    (tmp_path / "layer.tar").symlink_to("/etc/passwd")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(str(tmp_path))))) as tar:
        assert [(member.name, member.issym()) for member in tar] == [
            ("layer.tar", True),
            ("manifest.json", False),
        ]


def test_a_folder_without_images_is_refused(
    tmp_path: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is sent."""
    assert run(daemon, "load", "-i", str(tmp_path)) == 1
    assert "is no OCI layout: it has neither index.json nor manifest.json" in capsys.readouterr().err
    assert daemon.requests == []


def test_save_and_load_by_the_command(tmp_path: Path, daemon: Daemon) -> None:
    """A folder is told by the slash at its end, or by being there."""
    daemon.on("GET", "/images/get", Reply(200, chunks=pieces(archive(FILES), 70_000)))
    daemon.on("POST", "/images/load", Reply(200, chunks=[b'{"stream":"Loaded image: x\\n"}\n']))
    (tmp_path / "there").mkdir()
    for name in (f"{tmp_path}/new/", f"{tmp_path}/there"):
        assert run(daemon, "save", "-o", name, "x") == 0
        assert found(Path(name)) == FILES
    assert corten(daemon, "load", "-i", f"{tmp_path}/new").stdout == b"Loaded image: x\n"
    with tarfile.open(fileobj=io.BytesIO(daemon.requests[-1].body)) as tar:
        assert sorted(tar.getnames()) == sorted(FILES)
