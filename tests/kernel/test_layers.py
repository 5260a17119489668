"""Layers on a real file system: unpacked as GNU tar does, packed so that it comes back."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pytest

from corten.core.layers.limits import Limits
from corten.core.layers.pack import write_diff, write_tree
from corten.core.layers.readahead import Hashed
from corten.core.layers.unpack import Applied, apply
from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter
from corten.errors import DataCorrupted, LimitExceeded
from corten.oci.digest import Digest
from tests.descriptors import open_descriptors
from tests.fakes.mounted import mounted
from tests.kernel.trees import Description, describe
from tests.unit.core.layers.archives import archive, member

pytestmark = pytest.mark.root
KINDS: dict[str, Callable[[str], Snapshotter]] = {"overlay": OverlaySnapshotter, "copy": CopySnapshotter}
Members = list[tuple[tarfile.TarInfo, bytes]]


def put(directory: Path, members: Members | bytes, limits: Limits = Limits()) -> Applied:  # noqa: B008 frozen
    """Apply a layer to a folder."""
    data = members if isinstance(members, bytes) else archive(members)
    directory.mkdir(exist_ok=True)
    return apply(io.BytesIO(data), str(directory), limits)


def whiteouts(snapshots: Snapshotter) -> Literal["overlay", "plain"]:
    """Return how a layer is applied to a snapshot of this kind."""
    return "plain" if snapshots.form == "plain" else "overlay"


def pack(directory: str | Path) -> bytes:
    """Return a whole tree as an archive."""
    out = bytearray()
    write_tree(str(directory), out.extend)
    return bytes(out)


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A tree with one of everything that a layer can hold."""
    top = tmp_path / "rich"
    (top / "bin").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "bin" / "tool").write_bytes(b"#!" * 5000)
    (top / "bin" / "alias").hardlink_to(top / "bin" / "tool")
    (top / "bin" / "link").symlink_to("../etc/" + "long" * 40)
    (top / "bin" / ("имя" * 20)).write_text("x")
    os.mkfifo(top / "pipe", 0o640)
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.chmod(top / "null", 0o666)
    os.setxattr(top / "bin" / "tool", "user.note", b"a\0b")
    os.setxattr(
        top / "bin" / "tool", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    os.chown(top / "bin", 7, 8)
    os.chown(top / "bin" / "link", 3_000_000, 4, follow_symlinks=False)
    for name, mode in {"bin": 0o2775, "empty": 0o1777, "bin/tool": 0o4755}.items():
        os.chmod(top / name, mode)
    with (top / "sparse").open("wb") as file:
        file.seek(100 << 20)
        file.write(b"end")
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        os.utime(path, (number, 1_000_000 + number), follow_symlinks=False)
    os.utime(top, (0, 77))
    return top


def gnu_tree(data: bytes, target: Path) -> Description:
    """Describe what GNU tar makes of an archive."""
    target.mkdir()
    command: list[str | Path] = [
        "/bin/tar",
        "-xp",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "-C",
        target,
    ]
    subprocess.run(command, input=data, check=True, capture_output=True)
    return describe(target)


def test_unpacks_as_gnu_tar_does(rich: Path, tmp_path: Path) -> None:
    """Types, modes, owners, times, attributes, hard links and contents are those of another extractor."""
    data = subprocess.run(
        ["/bin/tar", "-cS", "--xattrs", "--xattrs-include=*", "--format=pax", "-C", rich, "."],
        check=True,
        capture_output=True,
    ).stdout
    applied = put(tmp_path / "ours", data)

    assert describe(tmp_path / "ours") == gnu_tree(data, tmp_path / "theirs")
    assert applied.diff_id == Digest.of(data)
    assert applied.entries == 10


@pytest.mark.slow
@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "oldgnu", "pax"])
def test_unpacks_a_system_tree(tmp_path: Path, form: str) -> None:
    """A part of this machine comes out the same in every form that GNU tar writes."""
    command = ["/bin/tar", "-c", f"--format={form}", "-C", "/etc", "."]
    data = subprocess.run(command, check=False, capture_output=True).stdout
    put(tmp_path / "ours", data)

    assert describe(tmp_path / "ours") == gnu_tree(data, tmp_path / "theirs")


def test_gnu_tar_unpacks_what_is_packed(rich: Path, tmp_path: Path) -> None:
    """GNU tar makes the same tree of our archive, sparse file and attributes included."""
    expected = describe(rich)
    del expected[""]  # a plain root has no entry
    theirs = gnu_tree(pack(rich), tmp_path / "theirs")
    del theirs[""]

    assert theirs == expected


def test_packing_comes_back(rich: Path, tmp_path: Path) -> None:
    """Unpacking an archive of a tree gives the tree, and packing that the same bytes."""
    os.chmod(rich, 0o711)
    os.utime(rich, (0, 77))
    data = pack(rich)
    put(tmp_path / "copy", data)

    assert describe(tmp_path / "copy") == describe(rich)
    assert pack(tmp_path / "copy") == data
    assert len(data) < 1 << 20  # the sparse file is written as such


def test_sparse_files_stay_sparse(rich: Path, tmp_path: Path) -> None:
    """Holes take no disk after unpacking."""
    put(tmp_path / "copy", pack(rich))

    assert (tmp_path / "copy" / "sparse").stat().st_blocks < 1000


def test_size_counts_contents(tmp_path: Path) -> None:
    """The size of a layer is the sum of its file sizes."""
    applied = put(
        tmp_path / "t", [member("a", data=b"x" * 700), member("b", data=b"y"), member("d", "folder")]
    )

    assert (applied.size, applied.entries) == (701, 3)


def test_trailing_bytes_belong_to_the_digest(tmp_path: Path) -> None:
    """Padding and anything else after the end of the archive is hashed as well."""
    data = archive([member("a")]) + bytes(9000) + b"rest"

    assert put(tmp_path / "t", data).diff_id == Digest.of(data)


def test_folders_need_no_entry(tmp_path: Path) -> None:
    """Missing folders are made, with plain attributes that a later entry may change."""
    put(tmp_path / "t", [member("a/b/c", data=b"x"), member("a", "folder", mode=0o700, mtime=5)])

    assert (tmp_path / "t/a/b/c").read_bytes() == b"x"
    assert (tmp_path / "t/a").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "t/a/b").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "t/a").stat().st_mtime == 5


def test_the_last_of_several_entries_wins(tmp_path: Path) -> None:
    """A name that comes twice is replaced, whatever the two kinds are; folders are merged."""
    kinds: Members = [
        member("x", data=b"1"),
        member("x", "folder"),
        member("x/in", data=b"2"),
        member("x", "link", link="y"),
        member("x", "fifo"),
        member("x", "folder", mode=0o711),
        member("x/new", data=b"3"),
        member("x", "folder", mode=0o722),
    ]
    for length in range(1, len(kinds) + 1):
        put(tmp_path / str(length), kinds[:length])

    assert [sorted(p.name for p in (tmp_path / n).rglob("*")) for n in ("3", "4", "5")] == [
        ["in", "x"],
        ["x"],
        ["x"],
    ]
    assert sorted(p.name for p in (tmp_path / "8").rglob("*")) == ["new", "x"]
    assert (tmp_path / "8" / "x").stat().st_mode & 0o777 == 0o722


def test_set_group_id_folders_do_not_colour_their_files(tmp_path: Path) -> None:
    """A file in a folder with the set-group-id bit keeps the group its entry gives."""
    put(tmp_path / "t", [member("d", "folder", mode=0o2775, gid=50), member("d/f"), member("d/s", "folder")])

    assert (tmp_path / "t/d").stat().st_mode & 0o7777 == 0o2775
    assert (tmp_path / "t/d/f").stat().st_gid == 0
    assert (tmp_path / "t/d/s").stat().st_mode & 0o2000 == 0


def test_the_umask_of_the_engine_does_not_matter(tmp_path: Path) -> None:
    """Modes are those of the entries under any umask."""
    before = os.umask(0o077)
    try:
        put(
            tmp_path / "t",
            [member("d", "folder", mode=0o777), member("d/f", mode=0o666), member("p", "fifo")],
        )
    finally:
        os.umask(before)

    found = {path: (tmp_path / "t" / path).stat().st_mode & 0o7777 for path in ("d", "d/f", "p")}
    assert found == {"d": 0o777, "d/f": 0o666, "p": 0o644}


def test_links_inside_the_layer_are_followed_inside(tmp_path: Path) -> None:
    """An entry below a link to a folder lands in that folder, as seen from the layer's root."""
    put(
        tmp_path / "t", [member("usr/lib", "folder"), member("lib", "link", link="/usr/lib"), member("lib/x")]
    )

    assert (tmp_path / "t/usr/lib/x").exists()
    assert (tmp_path / "t/lib").is_symlink()


def test_hard_links_to_links(tmp_path: Path) -> None:
    """A hard link to a symbolic link is the link itself, not its target."""
    put(tmp_path / "t", [member("a", "link", link="/etc/passwd"), member("b", "hard", link="a")])

    assert os.readlink(tmp_path / "t/b") == "/etc/passwd"


def test_a_hard_link_to_itself_stays(tmp_path: Path) -> None:
    """An entry that links a file to its own name changes nothing."""
    put(tmp_path / "t", [member("a", data=b"x"), member("a", "hard", link="./a")])

    assert (tmp_path / "t/a").read_bytes() == b"x"


def test_absolute_names_start_at_the_root_of_the_layer(tmp_path: Path) -> None:
    """Leading slashes are as if they were not there."""
    put(tmp_path / "t", [member("/a/b", data=b"x"), member("c", "hard", link="/a/b")])

    assert (tmp_path / "t/c").read_bytes() == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_layers_on_top_of_each_other(kind: str, tmp_path: Path) -> None:
    """Whiteouts, opaque folders and replacements give the same tree with every snapshotter."""
    base = [
        member("keep", data=b"1"),
        member("gone", data=b"1"),
        member("dir/a", data=b"1"),
        member("dir/b", data=b"1"),
        member("opaque/old", data=b"1"),
        member("opaque/deep/old", data=b"1"),
        member("swap/old", data=b"1"),
        member("tofile/x", data=b"1"),
        member("tolink/x", data=b"1"),
        member("sub/dir/x", data=b"1"),
    ]
    change = [
        member(".wh.gone"),
        member(".wh.never"),
        member("dir/.wh.a"),
        member("opaque/new", data=b"2"),
        member("opaque/deep/new", data=b"2"),
        member("opaque/.wh..wh..opq"),
        member(".wh.swap"),
        member("swap", "folder"),
        member("swap/new", data=b"2"),
        member(".wh..wh.plnk"),
        member("tofile", data=b"2"),
        member("tolink", "link", link="keep"),
        member("sub/dir", "folder"),
        member("sub/.wh.dir"),
    ]
    snapshots = KINDS[kind](str(tmp_path / "snapshots"))
    parent = None
    for name, members in (("base", base), ("top", change)):
        snapshot = snapshots.prepare("key", parent)
        apply(io.BytesIO(archive(members)), snapshot.directory, whiteouts=whiteouts(snapshots))
        snapshots.commit(name, "key")
        parent = name
    snapshots.prepare("container", "top")
    with mounted(snapshots.mounts("container")) as root:
        files = {str(p.relative_to(root)) for p in Path(root).rglob("*") if p.is_symlink() or not p.is_dir()}
        empty = os.listdir(f"{root}/sub/dir")

    assert files == {"keep", "dir/b", "opaque/new", "opaque/deep/new", "swap/new", "tofile", "tolink"}
    assert empty == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_opaque_root(kind: str, tmp_path: Path) -> None:
    """A layer whose root is opaque shows nothing of the layers below."""
    snapshots = KINDS[kind](str(tmp_path / "snapshots"))
    parent = None
    for name, members in (
        ("base", [member("a"), member("d/b")]),
        ("top", [member(".wh..wh..opq"), member("n")]),
    ):
        snapshot = snapshots.prepare("key", parent)
        apply(io.BytesIO(archive(members)), snapshot.directory, whiteouts=whiteouts(snapshots))
        snapshots.commit(name, "key")
        parent = name
    snapshots.prepare("container", "top")
    with mounted(snapshots.mounts("container")) as root:
        assert os.listdir(root) == ["n"]


def test_order_of_whiteouts_does_not_matter(tmp_path: Path) -> None:
    """A name that is both hidden and made in one layer is there, alone, in either order."""
    made = [member("d", "folder"), member("d/new")]
    for number, members in enumerate([[member(".wh.d"), *made], [*made, member(".wh.d")]]):
        put(tmp_path / str(number), members)
        assert os.listdir(tmp_path / str(number)) == ["d"]
        assert os.getxattr(tmp_path / str(number) / "d", "trusted.overlay.opaque") == b"y"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_container_changed_is_a_layer(kind: str, rich: Path, tmp_path: Path) -> None:
    """The diff of a changed snapshot, applied to the same parent, gives the same tree."""
    snapshots = KINDS[kind](str(tmp_path / "snapshots"))
    base = snapshots.prepare("key")
    put(Path(base.directory), pack(rich))
    snapshots.commit("base", "key")
    first = snapshots.prepare("one", "base")
    with mounted(snapshots.mounts("one")) as root:
        top = Path(root)
        (top / "bin" / "alias").unlink()
        (top / "bin" / "tool").write_text("changed")
        (top / "empty" / "new").write_text("new")
        (top / "pipe").unlink()
        (top / "pipe").mkdir()
        (top / "pipe" / "in").write_text("x")
        os.chown(top / "null", 5, 6)
        (top / "bin" / "link").unlink()
        (top / "bin" / "link").symlink_to("elsewhere")
        os.setxattr(top / "sparse", "user.mark", b"1")
        for path in sorted(top.rglob("*"), reverse=True):
            os.utime(path, (9, 9), follow_symlinks=False)
        os.utime(top, (9, 9))
        expected = describe(root)
    out = bytearray()
    write_diff(first.directory, out.extend, snapshots.info("base").directory if kind == "copy" else None)
    second = snapshots.prepare("two", "base")
    apply(io.BytesIO(out), second.directory, whiteouts=whiteouts(snapshots))
    with mounted(snapshots.mounts("two")) as root:
        os.utime(root, (9, 9))
        found = describe(root)

    assert found == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_diff_of_no_change_is_empty(kind: str, rich: Path, tmp_path: Path) -> None:
    """Without changes a layer is the end of an archive and nothing else."""
    snapshots = KINDS[kind](str(tmp_path / "snapshots"))
    put(Path(snapshots.prepare("key").directory), pack(rich))
    snapshots.commit("base", "key")
    upper = snapshots.prepare("one", "base").directory
    out = bytearray()
    write_diff(upper, out.extend, snapshots.info("base").directory if kind == "copy" else None)

    assert out == bytes(1024)


def test_the_diff_names_only_what_changed(tmp_path: Path) -> None:
    """Between two trees, a changed file brings the folders above it and nothing beside it."""
    members = [member("a/b/c", data=b"1"), member("a/d", data=b"1"), member("e/f", data=b"1")]
    put(tmp_path / "old", members)
    put(tmp_path / "new", [*members, member("a/b/c", data=b"22")])
    out = bytearray()
    write_diff(str(tmp_path / "new"), out.extend, str(tmp_path / "old"))
    with tarfile.open(fileobj=io.BytesIO(out)) as found:
        assert found.getnames() == ["a", "a/b", "a/b/c"]


def test_sockets_are_left_out(tmp_path: Path) -> None:
    """A socket cannot stand in an archive; the rest is packed."""
    tmp_path.chmod(0o755)
    os.mknod(tmp_path / "socket", 0o140755)
    (tmp_path / "file").write_text("x")
    with tarfile.open(fileobj=io.BytesIO(pack(tmp_path))) as found:
        assert found.getnames() == ["file"]


def test_a_file_that_shrinks_while_packed_is_padded(tmp_path: Path) -> None:
    """The archive keeps the size that the header gave."""
    tmp_path.chmod(0o755)
    path = tmp_path / "file"
    path.write_bytes(b"x" * (3 << 20))
    out = bytearray()

    def shrink(data: bytes) -> None:
        out.extend(data)
        os.truncate(path, 10)

    write_tree(str(tmp_path), shrink)
    with tarfile.open(fileobj=io.BytesIO(out)) as found:
        info = found.next()
        assert info is not None
        assert (info.size, found.next()) == (3 << 20, None)


def test_budgets(tmp_path: Path) -> None:
    """Bytes of the stream, of files with holes, entries, length and depth of paths are limited."""
    hole = member(
        "a",
        data=b"1\n0\n0\n".ljust(512, b"\0"),
        pax={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 40)},
    )
    for number, (limits, members) in enumerate(
        [
            (Limits(bytes=100_000), [member("a", data=bytes(200_000))]),
            (Limits(bytes=1 << 30), [hole]),
            (Limits(entries=5), [member(f"{n}") for n in range(6)]),
            (Limits(path=50), [member("x" * 51)]),
            (Limits(depth=5), [member("x/" * 5 + "x")]),
            (Limits(header_bytes=4096), [member("a", pax={"comment": "x" * 5000})]),
        ]
    ):
        with pytest.raises(LimitExceeded):
            put(tmp_path / str(number), members, limits)


def test_failures_of_the_stream_are_passed_on(tmp_path: Path) -> None:
    """What reading raises reaches the caller, and no thread or descriptor stays."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError(f"gone before {size} bytes")

    before = open_descriptors()
    with pytest.raises(ConnectionResetError, match="gone"):
        apply(Broken(), str(tmp_path))
    with pytest.raises(DataCorrupted):
        put(tmp_path, archive([member("../x")] + [member("y", data=bytes(1 << 20))] * 20))

    assert open_descriptors() == before


def test_the_digest_may_come_from_elsewhere(tmp_path: Path) -> None:
    """A stream that somebody hashes already is not hashed again, and what that one says is reported."""
    data = archive([member("a", data=b"1")])
    told = Digest.of(b"told")
    stream = cast("BinaryIO", Hashed(io.BytesIO(data), lambda: told))

    assert apply(stream, str(tmp_path)).diff_id == told


def test_folders_without_an_entry_are_told(tmp_path: Path) -> None:
    """A layer's own folders are not implied, in whatever order they come; the root is told apart."""
    members = [member("a/b/c", data=b"1"), member("a", "folder"), member("d/e", "folder"), member("d/.wh.f")]
    found = put(tmp_path / "layer", members)

    assert (found.implied, found.own_root) == ((b"a/b", b"d"), False)
    assert put(tmp_path / "layer", [member("./", "folder"), member("x")])[3:] == (True, ())


def test_what_has_to_be_remembered_is_bounded(tmp_path: Path) -> None:
    """Folders with long names and large attributes cannot fill the memory."""
    members = [member(f"{n}/{'x' * 200}", "folder") for n in range(200)]
    assert put(tmp_path / "fits", members, Limits(memory=100_000)).entries == 200
    with pytest.raises(LimitExceeded, match="bytes of memory"):
        put(tmp_path / "large", members, Limits(memory=20_000))


def test_too_many_attributes_are_no_full_disk(tmp_path: Path) -> None:
    """Where the file system has no place for a file's attributes the layer is to blame, not the disk."""
    pax = {f"SCHILY.xattr.user.{n}": "x" * 60_000 for n in range(15)}
    with suppress(DataCorrupted):  # some file systems take them
        put(tmp_path / "layer", [member("a", pax=pax)])
