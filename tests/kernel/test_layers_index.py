"""index: the tree that the kernel shows of a tar and its index is the tree that apply makes on a disk.

Theory. Two programs that share nothing but the reader of archives turn the same
bytes into a tree: one through system calls, one by writing a file system
image. Whatever they disagree about is a bug of one of them.
"""

import io
import os
import random
import re
import resource
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.core.layers import index_tree
from corten.core.layers.index import IMAGE, MARK, TAR, index, share
from corten.core.layers.index_tree import TooLarge
from corten.core.layers.limits import DEFAULT, Limits
from corten.core.layers.unpack import Applied, apply
from corten.errors import CortenError, DataCorrupted, LimitExceeded, OutOfSpace
from corten.linux.files import remove_tree
from corten.linux.mounts import erofs, filesystem
from tests.kernel.test_layers_hostile import BOMBS, Zeros, escapes
from tests.kernel.trees import Description, describe
from tests.unit.core.layers.archives import archive, member

pytestmark = pytest.mark.root
Member = tuple[tarfile.TarInfo, bytes]
XATTR = "SCHILY.xattr."


@contextmanager
def shown(directory: Path) -> Iterator[str]:
    """Mount what index left in *directory*; yield a path to the tree."""
    mounted = erofs(f"{directory}/{IMAGE}", f"{directory}/{TAR}")
    try:
        yield f"/proc/self/fd/{mounted}"
    finally:
        os.close(mounted)


class Pair:
    """Two folders: a layer is applied to one and indexed in the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.tree, self.layer = directory / "tree", directory / "layer"
        self.clear()

    def clear(self) -> None:
        """Empty both folders."""
        above = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        for folder in (self.tree, self.layer):
            remove_tree(above, folder.name.encode())
            folder.mkdir()
        os.close(above)

    def put(self, data: bytes | list[Member], limits: Limits = DEFAULT) -> list[Applied | CortenError]:
        """Apply and index *data*; return how each ended."""
        raw = data if isinstance(data, bytes) else archive(data)
        ends: list[Applied | CortenError] = []
        for how, where in ((apply, self.tree), (index, self.layer)):
            try:
                ends.append(how(io.BytesIO(raw), str(where), limits))
            except CortenError as refusal:
                ends.append(refusal)
        assert not any("\n" in str(end) for end in ends)
        return ends

    def check(self, data: bytes | list[Member]) -> Description:
        """Apply and index *data*, which must be accepted; demand equal trees; return the tree."""
        applied, indexed = self.put(data)
        assert applied == indexed
        assert isinstance(indexed, Applied)
        return self.compare()

    def compare(self) -> Description:
        """Demand equal trees; times count where the index has one: what no entry speaks of has none."""
        with shown(self.layer) as root:
            found = describe(root, hidden=True)
            listed = sorted(os.listdir(root))
        expected = describe(self.tree, hidden=True)
        timeless = {path for path, value in found.items() if value[3] == 0}
        assert _without(found, timeless) == _without(expected, timeless)
        assert listed == sorted(os.listdir(self.tree))
        return found


def _without(tree: Description, timeless: set[str]) -> Description:
    return {p: (*v[:3], None, *v[4:]) if p in timeless else v for p, v in tree.items()}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two empty folders."""
    return Pair(tmp_path)


def rights(*entries: tuple[int, int, int]) -> str:
    """Return a list of access rights as tar carries it."""
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    return data.decode("utf-8", "surrogateescape")


FULL = rights((1, 6, 2**32 - 1), (2, 5, 1000), (4, 4, 2**32 - 1), (16, 5, 2**32 - 1), (32, 0, 2**32 - 1))
PLAIN = rights((1, 7, 2**32 - 1), (4, 5, 2**32 - 1), (32, 1, 2**32 - 1))


def test_every_kind_of_file(pair: Pair) -> None:
    """Types, modes, owners, times to the nanosecond, targets, devices and hard links come out the same."""
    tree = pair.check(
        [
            member("./", "folder", mode=0o1770, uid=3, gid=4, mtime=9),
            member("d", "folder", mode=0o2755, uid=70000, gid=2**32 - 2, mtime=1_700_000_000.25),
            member("d/empty", mtime=1),
            member("d/file", data=b"x" * 1500, mode=0o4711, uid=1, gid=2, mtime=2),
            member("d/block", data=b"y" * 512, mtime=-5),
            member("d/hard", "hard", link="d/file"),
            member("link", "link", link="d/file", uid=5, mtime=3),
            member("long", "link", link="l" * 4095, mtime=3),
            member("char", "char", device=(5, 300), mode=0o640, mtime=4),
            member("block", "block", device=(4095, 2**20 - 1), mode=0o660, mtime=4),
            member("fifo", "fifo", mode=0o600, mtime=5),
            member("hard", "hard", link="fifo"),
            member("link2", "hard", link="long"),
        ]
    )
    assert tree["hard"][5] == tree["fifo"][5]


def test_attributes(pair: Pair) -> None:
    """Attributes are kept where a file can have them, and lists of access rights shape the mode as they do on a disk."""
    capability = "\x01\x00\x00\x02" + "\x00\x04" + "\x00" * 14
    tree = pair.check(
        [
            member("./", "folder", mtime=1, pax={f"{XATTR}user.root": "r" * 700, f"{XATTR}user.b": ""}),
            member("cap", data=b"1", mtime=1, pax={f"{XATTR}security.capability": capability}),
            member("user", mtime=1, pax={f"{XATTR}user.{'n' * 200}": "v" * 900}),
            member("many", mtime=1, pax={f"{XATTR}user.{n}": "v" * 30 for n in range(20)}),
            member("link", "link", link="t" * 300, mtime=1, pax={f"{XATTR}user.x": "1"}),
            member("fifo", "fifo", mtime=1, pax={f"{XATTR}user.x": "1"}),
            member("steers", mtime=1, pax={f"{XATTR}trusted.overlay.redirect": "/", f"{XATTR}user.y": "z"}),
            member("acl", mode=0o777, mtime=1, pax={f"{XATTR}system.posix_acl_access": FULL}),
            member("plain", mode=0, mtime=1, pax={f"{XATTR}system.posix_acl_access": PLAIN}),
            member("d", "folder", mode=0o2700, mtime=1, pax={f"{XATTR}system.posix_acl_default": FULL}),
            member("e", "folder", mode=0o700, mtime=1, pax={f"{XATTR}system.posix_acl_access": FULL}),
        ]
    )
    assert tree["cap"][6] == {b"security.capability": capability.encode()}


@pytest.mark.parametrize(
    "pax",
    [
        {f"{XATTR}user.": "x"},
        {f"{XATTR}user.{'n' * 251}": "x"},
        {f"{XATTR}user.a": "x" * 65536},
        {f"{XATTR}security.capability": "nonsense"},
        {f"{XATTR}system.posix_acl_access": "no"},
        {f"{XATTR}system.posix_acl_access": rights((1, 6, 0), (32, 0, 0))},
        {f"{XATTR}system.posix_acl_access": rights((1, 6, 0), (2, 6, 7), (4, 0, 0), (32, 0, 0))},
    ],
)
def test_attributes_that_no_file_can_have(pair: Pair, pax: dict[str, str]) -> None:
    """What setxattr refuses makes a layer that is refused, by both."""
    for end in pair.put([member("a", mtime=1, pax=pax)]):
        assert isinstance(end, CortenError)


def test_whiteouts(pair: Pair) -> None:
    """Whiteouts and opaque folders are as the kernel's overlay wants them, whatever the order."""
    tree = pair.check(
        [
            member("a/.wh.gone"),
            member("a/.wh..wh..opq"),
            member(".wh.b"),
            member("b", "folder", mtime=1),
            member("b/new", mtime=1),
            member("c", "folder", mtime=1),
            member(".wh.c"),
            member("kept", mtime=1),
            member(".wh.kept"),
            member(".wh..wh.plnk/1.2"[:12]),
            member(".wh.x"),
            member("x/below", mtime=1),
            member(".wh..wh..opq"),
            member("zero", "char", mtime=1),
        ]
    )
    assert tree["a/gone"][0] == oct(stat.S_IFCHR)
    assert {p for p, v in tree.items() if p and v[6] == {b"trusted.overlay.opaque": b"y"}} == {
        "a",
        "b",
        "c",
        "x",
    }
    with shown(pair.layer) as root:
        assert os.getxattr(root, "trusted.overlay.opaque") == b"y"


def test_names(pair: Pair) -> None:
    """Long names, deep folders, other alphabets and bytes that are no text are kept."""
    deep = "/".join(f"{n}" * 3 for n in range(200))
    pair.check(
        [
            *[member("n" * 253 + f"{n:02}", mtime=1) for n in range(40)],
            member(deep, "folder", mtime=1),
            member(f"{deep}/file", data=b"1", mtime=1),
            member("имя/名前/\U0001f600", data=b"2", mtime=1),
            member("\udcff\udcfe", mtime=1),
            member("a b\nc\td\\", mtime=1),
            member("empty", "folder", mtime=1),
            *[member(name, mtime=1) for name in ("a", "a-", "a.", "a0", "aa", "A", "-", "!", "~", "...")],
        ]
    )


@pytest.mark.slow
def test_folders_of_any_size(pair: Pair) -> None:
    """Every name of folders around the edges of a block, and of a very large one, is found."""
    chance = random.Random(1)
    sizes = [*range(30, 50), 500, 5000]
    pair.check(
        [member(f"{size}/{'n' * chance.randrange(9)}{n}", mtime=1) for size in sizes for n in range(size)]
    )


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_sparse_files(pair: Pair, tmp_path: Path, form: int) -> None:
    """Files with holes read as they should, wherever the pieces lie; holes take no room."""
    source = tmp_path / "source"
    source.mkdir()
    for name, pieces, size in (
        ("a", [0, 1 << 20, 9 << 20], 64 << 20),
        ("b", [], 1 << 20),
        ("c", [4096], 9000),
    ):
        with (source / name).open("wb") as file:
            for offset in pieces:
                file.seek(offset)
                file.write(os.urandom(5000) if name != "c" else b"x")
            file.truncate(size)
        os.utime(source / name, (1, 1))
    chosen = "gnu" if form == tarfile.GNU_FORMAT else "posix"
    command = ["tar", "-C", str(source), "-cS", f"--format={chosen}", "a", "b", "c"]
    pair.check(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (pair.layer / IMAGE).stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("name", sorted(escapes("")))
def test_known_escapes(pair: Pair, name: str) -> None:
    """Archives that try to get out are refused, or mean the same tree, in both forms."""
    members = [(info, data) for info, data in escapes("/outside")[name]]
    ends = pair.put(members)
    assert [isinstance(end, CortenError) for end in ends] in ([True, True], [False, False])
    if isinstance(ends[1], Applied):
        with shown(pair.layer) as root:
            assert _shape(describe(root, False, True)) == _shape(describe(pair.tree, False, True))


def _shape(tree: Description) -> Description:
    return {path: value for path, value in tree.items() if path}


PARTS = st.sampled_from(["a", "b", "c", "d", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "x" * 250])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PAX = st.sampled_from(
    [
        {},
        {},
        {},
        {f"{XATTR}user.x": "1"},
        {f"{XATTR}system.posix_acl_access": FULL},
        {f"{XATTR}trusted.x": "1"},
    ]
)


@st.composite
def entries(draw: st.DrawFn) -> Member:
    """Draw one entry of any kind."""
    kind = draw(
        st.sampled_from(["file", "file", "folder", "folder", "link", "hard", "fifo", "char", "block"])
    )
    return member(
        draw(PATHS),
        kind,
        draw(st.binary(max_size=1500)) if kind == "file" else b"",
        mode=draw(st.sampled_from([0o777, 0, 0o4755, 0o2755, 0o1700])),
        uid=draw(st.sampled_from([0, 1, 70000])),
        mtime=draw(st.sampled_from([7, 1.25])),
        link=draw(st.one_of(PATHS, PATHS.map("/".__add__))) if kind in ("link", "hard") else "",
        device=draw(st.sampled_from([(0, 0), (1, 3)])),
        pax=draw(PAX),
    )


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(entries(), min_size=1, max_size=10))
def test_any_sequence_of_entries(pair: Pair, members: list[Member]) -> None:
    """Entries of all kinds in any order: both refuse, or both show the same tree.

    A tree needs the folders that entries named to be there at the end, to set
    their times; an index forgets one that something else took the place of.
    """
    pair.clear()
    applied, indexed = pair.put(members)
    if isinstance(applied, DataCorrupted) and isinstance(indexed, Applied):
        assert re.search("writes (below|through)", str(applied))
        assert any(info.isdir() for info, _ in members)
        return
    assert isinstance(applied, CortenError) == isinstance(indexed, CortenError)
    if isinstance(applied, Applied):
        assert applied == indexed
        pair.compare()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(1024),
        bytes(10240),
        archive([member("a", data=b"1")]) + b"more" * 1000,
        archive([], end=False),
    ],
)
def test_the_stream_is_kept_to_its_end(pair: Pair, data: bytes) -> None:
    """Empty layers and bytes after the archive are fine; the tar is what came, byte by byte."""
    pair.check(data)
    assert (pair.layer / TAR).read_bytes() == data
    assert os.getxattr(pair.layer, MARK) == b"plain"


def test_the_same_layer_gives_the_same_index(pair: Pair) -> None:
    """An index depends on the layer alone."""
    data = archive([member("a/b", data=b"1", mtime=1), member("a/.wh.c"), member("d", "link", link="x")])
    images = []
    for _ in range(2):
        pair.clear()
        pair.put(data)
        images.append((pair.layer / IMAGE).read_bytes())
    assert images[0] == images[1]


def test_a_cut_stream_is_refused(pair: Pair) -> None:
    """A layer that ends within an entry, or is no tar, is refused and not marked."""
    whole = archive([member("a", data=b"x" * 3000), member("b")])
    for data in (whole[:700], whole[:2000], b"no tar" * 100):
        pair.clear()
        assert all(isinstance(end, DataCorrupted) for end in pair.put(data))
        assert MARK not in os.listxattr(pair.layer)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_with_little_memory(tmp_path: Path, name: str) -> None:
    """What claims to be endless is refused after a budget's worth, in bounded memory and disk."""
    stream = Zeros(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LimitExceeded):
        index(stream, str(tmp_path), Limits(bytes=64 << 20))  # type: ignore[arg-type]  # only read is needed

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    assert sum(path.stat().st_blocks for path in tmp_path.iterdir()) * 512 <= 66 << 20


def test_budgets_hold_in_both_forms(pair: Pair) -> None:
    """Too many entries, too many bytes, and paths too long or too deep are refused as in a tree."""
    small = Limits(bytes=20_000, entries=10, path=100, depth=5)
    for members in (
        [member(f"{n}") for n in range(11)],
        [member(f"{n}", data=b"x" * 9000) for n in range(3)],
        [member("x" * 60 + "/" + "y" * 60)],
        [member("a/b/c/d/e/f/g")],
    ):
        pair.clear()
        assert all(isinstance(end, LimitExceeded) for end in pair.put(members, small))


@pytest.mark.slow
def test_names_take_little_memory(tmp_path: Path) -> None:
    """200,000 names are indexed in less than 100 MB, all of the interpreter counted."""
    script = """if True:
        import io, re, sys
        from corten.core.layers.index import index
        from tests.unit.core.layers.archives import header

        class Names(io.RawIOBase):
            left = 200_000

            def read(self, size=-1):
                count = min(size // 512, self.left)
                self.left -= count
                return b"".join(header(b"%d" % (self.left + n)) for n in range(count))

        entries = index(Names(), sys.argv[1]).entries
        with open("/proc/self/status") as status:  # getrusage would count what the parent had, too
            print(entries, re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True
    )
    entries, memory = map(int, done.stdout.split())
    assert entries == 200_000
    assert memory < 100 << 10
    assert (tmp_path / IMAGE).exists()


def test_a_layer_of_too_many_names_is_unpacked(pair: Pair) -> None:
    """Over the budget for names the layer becomes a tree, with the same result and nothing else left."""
    data = archive([member(f"d/{n}", data=b"%d" % n, mtime=1) for n in range(100)])
    indexed = index(io.BytesIO(data), str(pair.layer), memory=5000)

    assert indexed == apply(io.BytesIO(data), str(pair.tree))
    assert describe(pair.layer, times=False) == describe(pair.tree, times=False)
    assert MARK not in os.listxattr(pair.layer)


def test_a_layer_whose_bytes_are_elsewhere_is_not_written_again(pair: Pair, tmp_path: Path) -> None:
    """The tar of the layer is one more name of the file that holds them; on another file system it is a copy."""
    data = archive([member("a", data=b"x" * 5000)])
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    index(io.BytesIO(data), str(pair.layer), keep=False)
    apply(io.BytesIO(data), str(pair.tree))
    assert not (pair.layer / TAR).exists()
    with blob.open("rb") as file:
        share(str(pair.layer), file)

    assert (pair.layer / TAR).samefile(blob)
    assert sorted(os.listdir(pair.layer)) == [IMAGE, TAR]
    pair.compare()

    (pair.layer / TAR).unlink()
    with open("/dev/shm", "rb", opener=lambda path, _: os.open(path, os.O_TMPFILE | os.O_RDWR)) as far:
        os.write(far.fileno(), data)
        far.seek(0)
        share(str(pair.layer), far)
    assert (pair.layer / TAR).read_bytes() == data


def test_what_is_not_kept_must_not_be_too_large(pair: Pair) -> None:
    """A layer that has to be unpacked after all asks for its bytes once more."""
    data = archive([member(f"d/{n}") for n in range(100)])
    with pytest.raises(TooLarge):
        index(io.BytesIO(data), str(pair.layer), memory=5000, keep=False)


def test_links_that_go_in_circles_for_long_are_left_to_the_kernel(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that costs too many steps to follow its links is unpacked as well."""
    monkeypatch.setattr(index_tree, "MOST_STEPS", 2000)
    links = [member(f"l{n}", "link", link="./" * 1000) for n in range(3)]
    index(io.BytesIO(archive([*links, *(member(f"l{n}/f{n}") for n in range(3))])), str(pair.layer))

    assert sorted(os.listdir(pair.layer)) == ["f0", "f1", "f2", "l0", "l1", "l2"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    """A layer that does not fit says so."""
    tmpfs = filesystem("tmpfs", [("size", "1m")])
    try:
        with pytest.raises(OutOfSpace, match="no space left"):
            index(io.BytesIO(archive([member("a", data=os.urandom(3 << 20))])), f"/proc/self/fd/{tmpfs}")
    finally:
        os.close(tmpfs)


def test_failures_of_the_stream_are_passed_on(pair: Pair) -> None:
    """What reading the layer raises comes out as it is."""

    class Broken(io.RawIOBase):
        def read(self, _: int = -1, /) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        index(Broken(), str(pair.layer))  # type: ignore[arg-type]  # only read is needed


@pytest.mark.slow
def test_a_system_tree(pair: Pair) -> None:
    """A part of this machine's own system comes out the same."""
    command = ["tar", "-C", "/usr", "--format=posix", "--xattrs", "-c", "lib/python3", "share/perl5", "sbin"]
    made = subprocess.run(command, check=True, capture_output=True)
    pair.check(made.stdout)


def test_fsck_has_nothing_to_say(pair: Pair) -> None:
    """The tools of erofs find no fault, where they know blocks of 512 bytes."""
    program = shutil.which("fsck.erofs")
    if program is None:
        pytest.skip("no fsck.erofs here: apt-get install erofs-utils")
    pair.put([member("a/b", data=b"1" * 3000), member("l", "link", link="a"), member("a/.wh.c")])
    command = [program, f"--device={pair.layer / TAR}", str(pair.layer / IMAGE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "blksize" in done.stderr or "block size" in done.stderr or "blkszbits" in done.stderr:
        pytest.skip("this fsck.erofs knows blocks of 4096 bytes only: it is older than 1.6")
    assert done.returncode == 0, done.stdout + done.stderr
