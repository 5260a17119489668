"""Copying files between a volume and this machine."""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.cli.copying import extract, pack, split
from corten.cli.failure import Failure
from tests.unit.cli.commands.test_images import run
from tests.unit.cli.server import Daemon, Reply, Request, corten

ARCHIVE = "/corten/volumes/data/archive"


def _archive_of(root: Path, path: str) -> Reply:
    """Answer as the daemon does: under the last name, or under a dot."""
    place = root / path.strip("/")
    name = path.rpartition("/")[2]
    if not os.path.lexists(place):
        return Reply(404, {"message": f"No such file in the volume: {path}"})
    if name in ("", ".") and not place.is_dir():
        return Reply(400, {"message": f"{path} is not a folder"})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(place, "." if name in ("", ".") else name)
    return Reply(200, chunks=[buffer.getvalue()])


def _entries(data: bytes) -> list[tarfile.TarInfo]:
    """Return what is in a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


@pytest.fixture
def volume(daemon: Daemon, tmp_path: Path) -> Path:
    """A folder that *daemon* serves as the volume data."""
    root = tmp_path / "volume"
    root.mkdir()

    def put(request: Request) -> Reply:
        with tarfile.open(fileobj=io.BytesIO(request.body)) as archive:
            archive.extractall(root / request.query["path"][0].strip("/"))
        return Reply(204)

    daemon.on("GET", "/volumes/data", Reply(200, {"Name": "data"}))
    daemon.on("GET", ARCHIVE, lambda request: _archive_of(root, request.query["path"][0]))
    daemon.on("POST", ARCHIVE, put)
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def tree(root: Path) -> dict[str, str]:
    """Return what lies below *root*: the text of files, ``/`` for folders, where links lead."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found


def fill(root: Path) -> None:
    """Make a folder with a file, a link and a folder in it."""
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/conf").write_text("1")
    (root / "etc/deep/er").write_text("2")
    (root / "etc/link").symlink_to("/etc/passwd")


FILLED = {"conf": "1", "deep": "/", "deep/er": "2", "link": "-> /etc/passwd"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data:/a/b", ("data", "/a/b")),
        ("data:", ("data", "/")),
        ("data:a:b", ("data", "a:b")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("file", ("", "file")),
    ],
)
def test_tells_volumes_from_paths(text: str, parts: tuple[str, str]) -> None:
    """What begins with a slash or a dot is a path of this machine."""
    assert split(text) == parts


@pytest.mark.parametrize(
    ("source", "destination", "prefix"),
    [
        ("data:/etc", ".", "etc/"),
        ("data:/etc", "new", "new/"),
        ("data:/etc", "of-another-length", "of-another-length/"),
        ("data:/etc/.", "exists", "exists/"),
        ("data:/etc/", "exists", "exists/"),
        ("data:/", "exists", "exists/etc/"),
        ("data:/etc", "exists/", "exists/etc/"),
    ],
)
def test_a_folder_comes_out(
    daemon: Daemon, volume: Path, here: Path, source: str, destination: str, prefix: str
) -> None:
    """Into a folder that is there, or as one that is not; with a dot at its end the content alone."""
    fill(volume)
    (here / "exists").mkdir()
    assert run(daemon, "volume", "cp", source, destination) == 0
    found = tree(here)
    assert {name: found[prefix + name] for name in FILLED} == FILLED


def test_a_file_comes_out(daemon: Daemon, volume: Path, here: Path) -> None:
    """Under its own name, or another; what is there is replaced, a link as well."""
    fill(volume)
    (here / "old").symlink_to("/nonexistent")
    for destination in (".", "new", "old"):
        assert run(daemon, "volume", "cp", "data:/etc/conf", destination) == 0
    assert tree(here) == {"conf": "1", "new": "1", "old": "1"}


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("data:/etc/conf", "gone/", "gone/ is no folder"),
        ("data:/etc/conf", "gone/x", "gone is no folder"),
        ("data:/etc", "file", "cannot copy a folder to the file file"),
        ("data:/gone", ".", "No such file in the volume: /gone"),
        ("file", "other", "must specify at least one volume"),
        ("data:/etc", "data:/new", "copying between volumes is not supported"),
        ("missing", "data:/", "lstat missing: no such file or directory"),
        ("file", "other:/gone/", "Error response from daemon: No such thing"),
        ("file", "data:/gone/", "data:/gone/ is no folder"),
        (".", "data:/etc/conf", "cannot copy a folder to the file data:/etc/conf"),
    ],
)
def test_refuses_what_does_not_fit(
    daemon: Daemon,
    volume: Path,
    here: Path,
    source: str,
    destination: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says why; nothing is written."""
    fill(volume)
    (here / "file").write_text("x")
    assert run(daemon, "volume", "cp", source, destination) == 1
    assert message in capsys.readouterr().err
    assert tree(here) == {"file": "x"}
    assert tree(volume / "etc") == FILLED


@pytest.mark.parametrize(
    ("source", "destination", "prefix"),
    [
        ("etc", "data:/", "etc/"),
        ("etc", "data:/exists", "exists/etc/"),
        ("etc/", "data:/exists/", "exists/etc/"),
        ("etc", "data:/new", "new/"),
        ("etc/.", "data:/exists", "exists/"),
        ("etc/.", "data:/new", "new/"),
    ],
)
def test_a_folder_goes_in(
    daemon: Daemon, volume: Path, here: Path, source: str, destination: str, prefix: str
) -> None:
    """By the same rules."""
    fill(here)
    (volume / "exists").mkdir()
    assert run(daemon, "volume", "cp", source, destination) == 0
    found = tree(volume)
    assert {name: found[prefix + name] for name in FILLED} == FILLED


def test_a_file_goes_in(daemon: Daemon, volume: Path, here: Path) -> None:
    """Under its own name, or another."""
    (here / "file").write_text("x")
    for destination in ("data:/", "data:/new", "data:"):
        assert run(daemon, "volume", "cp", "file", destination) == 0
    assert tree(volume) == {"file": "x", "new": "x"}


@pytest.mark.slow
def test_a_dash_is_a_tar(daemon: Daemon, volume: Path) -> None:
    """On stdout, and on stdin."""
    fill(volume)
    whole = corten(daemon, "volume", "cp", "data:/etc", "-").stdout
    assert [member.name for member in _entries(whole)] == [
        "etc",
        "etc/conf",
        "etc/deep",
        "etc/deep/er",
        "etc/link",
    ]
    (volume / "copy").mkdir()
    assert corten(daemon, "volume", "cp", "-", "data:/copy", stdin=whole).returncode == 0
    assert tree(volume / "copy/etc") == FILLED


def test_what_goes_in_belongs_to_root(here: Path) -> None:
    """Unless owners are kept; modes and times are kept always."""
    file = here / "file"
    file.write_text("x")
    file.chmod(0o4751)
    os.utime(file, (1000, 1000))
    for keep, owner in ((False, 0), (True, os.getuid())):
        data = b"".join(pack(str(file), "n", keep_owner=keep))
        (member,) = _entries(data)
        assert (member.name, member.mode, member.uid, member.mtime) == ("n", 0o4751, owner, 1000)


def test_sockets_stay_behind(here: Path) -> None:
    """They are nothing without their process; pipes go."""
    os.mkfifo(here / "pipe")
    os.mknod(here / "socket", stat.S_IFSOCK | 0o600)
    data = b"".join(pack(str(here), ".", keep_owner=False))
    assert [member.name for member in _entries(data)] == [".", "./pipe"]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """An open folder to extract into, beside one that must stay as it is."""
    (tmp_path / "target").mkdir()
    (tmp_path / "outside").mkdir()
    descriptor = os.open(tmp_path / "target", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.mtime = kind, link, mode, 1000
    return member


def _extract(target: int, *members: tarfile.TarInfo, keep_owner: bool = False) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            archive.addfile(member)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer, mode="r|") as archive:
        for member in archive:
            extract(archive, member, target, keep_owner=keep_owner)


@pytest.mark.parametrize(
    "members",
    [
        [_member("../outside/evil")],
        [_member("a/../../outside/evil")],
        [_member("a", tarfile.SYMTYPE, "../outside"), _member("a/evil")],
        [_member("a", tarfile.SYMTYPE, "../outside"), _member("b", tarfile.LNKTYPE, "a/secret")],
        [_member("a", tarfile.SYMTYPE, "../outside"), _member("a/sub", tarfile.DIRTYPE)],
        [_member("gone/evil")],
    ],
)
def test_no_archive_leads_out(target: int, tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    """Neither by its names nor by links that it brings."""
    (tmp_path / "outside/secret").write_text("s")
    with pytest.raises(Failure):
        _extract(target, *members)
    assert tree(tmp_path / "outside") == {"secret": "s"}


def test_a_link_is_replaced_and_never_written_through(target: int, tmp_path: Path) -> None:
    """A second entry of the same name makes a file of its own."""
    (tmp_path / "outside/file").write_text("s")
    _extract(target, _member("a", tarfile.SYMTYPE, "../outside/file"), _member("a"))
    assert tree(tmp_path) == {"outside": "/", "outside/file": "s", "target": "/", "target/a": ""}


def test_absolute_names_stay_below(target: int, tmp_path: Path) -> None:
    """As tar does it."""
    _extract(target, _member("/d", tarfile.DIRTYPE, mode=0o755), _member("/d/f"))
    assert tree(tmp_path / "target") == {"d": "/", "d/f": ""}


def test_hard_links_stay_links(target: int, tmp_path: Path) -> None:
    """Two names of one file."""
    _extract(
        target,
        _member("d", tarfile.DIRTYPE, mode=0o755),
        _member("d/a"),
        _member("b", tarfile.LNKTYPE, "d/a"),
    )
    assert os.path.samefile(tmp_path / "target/d/a", tmp_path / "target/b")


def test_nobody_becomes_somebody_else(target: int, tmp_path: Path) -> None:
    """The bits that change who a program runs as are dropped, unless owners are kept."""
    _extract(target, _member("a", mode=0o6755))
    assert stat.S_IMODE((tmp_path / "target/a").stat().st_mode) == 0o755
    member = _member("b", mode=0o4755)
    member.uid, member.gid = os.getuid(), os.getgid()
    _extract(target, member, keep_owner=True)
    assert stat.S_IMODE((tmp_path / "target/b").stat().st_mode) == 0o4755


def test_folders_merge_and_files_do_not_replace_them(target: int, tmp_path: Path) -> None:
    """What is in a folder already stays."""
    (tmp_path / "target/d").mkdir()
    (tmp_path / "target/d/kept").write_text("k")
    _extract(target, _member("d", tarfile.DIRTYPE, mode=0o755), _member("d/new"))
    assert tree(tmp_path / "target/d") == {"kept": "k", "new": ""}
    with pytest.raises(Failure, match="cannot overwrite the folder d with a file"):
        _extract(target, _member("d"))


def test_unknown_entries_are_refused(target: int) -> None:
    """Rather than made into something else."""
    with pytest.raises(Failure, match="is unknown"):
        _extract(target, _member("a", b"Z"))


def test_pipes_come_out(target: int, tmp_path: Path) -> None:
    """As what they are."""
    _extract(target, _member("p", tarfile.FIFOTYPE))
    assert (tmp_path / "target/p").is_fifo()
