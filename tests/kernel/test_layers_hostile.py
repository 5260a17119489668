"""Hostile archives: whatever a layer says, nothing outside of its folder is touched.

Theory. Every archive here is unpacked as root into one folder of a small world:
beside it lie canaries (a file, a folder, a link to them), and links *inside* the
tree point at them, as they would in a snapshot whose lower layers came from the
same attacker. After each archive, accepted or refused, the world outside must be
equal to what it was in type, mode, owner, time, content and attributes.
Regression tests that are named after a CVE are never deleted.
"""

import gzip
import io
import os
import resource
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.core.layers.compression import decompress
from corten.core.layers.limits import Limits
from corten.core.layers.unpack import apply
from corten.errors import CortenError, DataCorrupted, LimitExceeded
from corten.linux.files import remove_tree
from tests.kernel.trees import Description, describe
from tests.unit.core.layers.archives import Form, archive, header, member

pytestmark = pytest.mark.root
Member = tuple[tarfile.TarInfo, bytes]


class World:
    """A folder to unpack into, with canaries beside it."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory / "outside"
        self.tree = directory / "deep" / "down" / "tree"
        self.tree.mkdir(parents=True)
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "file").write_text("canary")
        (self.outside / "folder" / "file").write_text("canary")
        (self.outside / "link").symlink_to("file")
        (directory / "deep" / "canary").write_text("canary")
        self._directory = directory
        self._before = self.look()

    def look(self) -> Description:
        """Describe all but the tree."""
        inside = str(self.tree.relative_to(self._directory))
        found = describe(self._directory)
        return {path: value for path, value in found.items() if not path.startswith(inside)}

    def unpack(self, data: bytes | list[Member], plain: bool = False) -> CortenError | None:
        """Unpack; return how it was refused, if so; fail if anything outside has changed."""
        stream = io.BytesIO(data if isinstance(data, bytes) else archive(data))
        refusal = None
        try:
            apply(stream, str(self.tree), Limits(bytes=1 << 28), "plain" if plain else "overlay")
        except CortenError as failure:
            refusal = failure
        assert self.look() == self._before
        if refusal is not None:
            assert "\n" not in str(refusal)
        return refusal

    def clear(self) -> None:
        """Empty the tree."""
        above = os.open(self.tree.parent, os.O_RDONLY | os.O_DIRECTORY)
        remove_tree(above, b"tree")
        os.mkdir(b"tree", dir_fd=above)
        os.close(above)
        os.utime(self.tree.parent, (1, 1))
        self._before = self.look()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh world."""
    return World(tmp_path)


def escapes(outside: str) -> dict[str, list[Member]]:
    """Return archives that try to get out, by what they are known for."""
    up = "../../../outside"
    return {
        "dot dot": [member(f"{up}/file", data=b"x")],
        "dot dot after a folder": [member("a", "folder"), member("a/../../../../outside/file", data=b"x")],
        "absolute": [member(f"{outside}/file", data=b"x")],
        "absolute with dots": [member(f"/..{outside}/file", data=b"x")],
        "long name with dots": [member("a/" * 60 + "../" * 63 + "outside/file", data=b"x")],
        "CVE-2007-4131 double dot in the middle": [member(f"./a/..//{up}/file", data=b"x")],
        "CVE-2007-4559 tarfile traversal": [member(up, "folder", mode=0o777), member(f"{up}/new", data=b"x")],
        "CVE-2014-6407 link, then file through it": [
            member("out", "link", link=outside),
            member("out/file", data=b"x"),
        ],
        "relative link, then file through it": [member("out", "link", link=up), member("out/new", data=b"x")],
        "link, then the link itself as a file": [
            member("out", "link", link=f"{outside}/file"),
            member("out", data=b"x"),
        ],
        "dangling link, then file": [member("out", "link", link=f"{outside}/new"), member("out", data=b"x")],
        "CVE-2014-6408 hard link to a link": [
            member("a", "link", link=f"{outside}/file"),
            member("b", "hard", link="a"),
            member("b", data=b"x"),
        ],
        "hard link out": [member("a", "hard", link=f"{up}/file"), member("a", data=b"x")],
        "hard link to an absolute file": [
            member("a", "hard", link=f"{outside}/file"),
            member("a", data=b"x"),
        ],
        "hard link through a link": [
            member("out", "link", link=outside),
            member("a", "hard", link="out/file"),
            member("a", data=b"x", mode=0o777),
        ],
        "CVE-2016-6321 member name after dots": [member(f"{up}/../outside/file", data=b"x")],
        "CVE-2018-15664 folder swapped for a link": [
            member("d", "folder"),
            member("d/a", data=b"x"),
            member("d", "link", link=outside),
            member("d/file", data=b"x"),
        ],
        "folder made again behind a link": [
            member("d", "link", link=outside),
            member("d", "folder", mode=0o777, mtime=5),
        ],
        "chain of links": [
            member("a", "link", link="."),
            member("a/b", "link", link=".."),
            member("a/b/c", "link", link=".."),
            member("b/c/../../../outside/file", data=b"x"),
            member("b/b/outside/file", data=b"x"),
        ],
        "CVE-2021-30465 link in the middle": [
            member("a/b", "folder"),
            member("a/b/c", "link", link="../../../../../outside"),
            member("a/b/c/folder/file", data=b"x"),
        ],
        "CVE-2025-4517 links deeper than a path": [
            *[member("/".join(["d" * 200] * n), "folder") for n in range(1, 12)],
            member("/".join(["d" * 200] * 11) + "/" + "l" * 200, "link", link="../" * 11),
            member("escape", "link", link="/".join(["d" * 200] * 11) + "/" + "l" * 200 + "/../../../outside"),
            member("escape/file", data=b"x"),
        ],
        "CVE-2025-4330 link checked before it is cut": [
            member("a" * 250, "folder"),
            member("b", "link", link="a" * 250 + "/" + "../" * 4 + "outside"),
            member("b/file", data=b"x"),
        ],
        "CVE-2024-12718 times of a place outside": [
            member("out", "link", link=outside, mode=0o777),
            member("out/.", "folder", mode=0o777, mtime=5),
        ],
        "whiteout of dot dot": [member(".wh..")],
        "whiteout of dot dot dot": [member(".wh...")],
        "whiteout below a link": [member("out", "link", link=outside), member("out/.wh.file")],
        "whiteout with dots": [member(f"{up}/.wh.file")],
        "opaque below a link": [member("out", "link", link=outside), member("out/.wh..wh..opq")],
        "opaque outside": [member(f"{up}/.wh..wh..opq")],
        "whiteout that is a link": [member(".wh.x", "link", link=outside), member(".wh.x/file", data=b"x")],
        "CVE-2019-14271 through /proc": [
            member("p", "link", link="/proc/self/root" + outside),
            member("p/file", data=b"x"),
        ],
        "/proc/self/cwd": [member("p", "link", link="/proc/self/fd/3/.."), member("p/x", data=b"x")],
        "CVE-2022-24769 and attributes": [
            member("out", "link", link=f"{outside}/file", pax={"SCHILY.xattr.user.x": "1"}),
            member("out2", "hard", link="out", pax={"SCHILY.xattr.user.x": "1"}),
        ],
        "upper and lower case": [
            member("Dir", "link", link=outside),
            member("dir", "folder"),
            member("DIR/file", data=b"x"),
            member("Dir/file", data=b"x"),
        ],
        "device of the host, then written": [
            member("disk", "block", device=(254, 0), mode=0o666),
            member("disk", data=b""),
        ],
        "FIFO, then written": [member("pipe", "fifo"), member("pipe", data=b"x")],
        "root replaced": [member("./", "link", link=outside), member("file", data=b"x")],
        "root of another kind": [member("/", data=b"x")],
        "pax path": [member("innocent", data=b"x", pax={"path": f"{up}/file"})],
        "pax link path": [
            member("a", "hard", link="x", pax={"linkpath": f"{up}/file"}),
            member("a", data=b"x"),
        ],
        "sparse name": [
            member(
                "a",
                data=b"x",
                pax={"GNU.sparse.name": f"{up}/file", "GNU.sparse.map": "0,1", "GNU.sparse.size": "1"},
            )
        ],
    }


NAMES = sorted(escapes(""))


@pytest.mark.parametrize("plain", [False, True], ids=["overlay", "plain"])
@pytest.mark.parametrize("name", NAMES)
def test_known_escapes(world: World, name: str, plain: bool) -> None:
    """No known trick changes, removes or links anything outside; in an empty tree or one of lower layers."""
    members = escapes(str(world.outside))[name]
    world.unpack(members, plain)
    (world.tree / "lower").mkdir(exist_ok=True)
    for link in ("out", "d", "a", "lower/out"):
        if not os.path.lexists(world.tree / link):
            (world.tree / link).symlink_to(world.outside)
    world.unpack(members, plain)
    world.unpack([member("out/file", data=b"x"), member("d/.wh.file"), member("lower/out/file")], plain)


@pytest.mark.parametrize(
    "members",
    [
        [member("../x")],
        [member("a", "hard", link="../x")],
        [member("a", "hard", link="absent")],
        [member("a", "folder"), member("b", "hard", link="a")],
        [member("a", "link", link="/absent"), member("a/b")],
        [member("a", "link", link="a"), member("a/b")],
        [member("a"), member("a/b")],
        [member("a", "link", link="")],
        [member("x" * 256)],
        [member(".wh..")],
        [member(".wh.a/b")],
        [member("a", uid=2**32 - 1)],
        [member("a", gid=2**40)],
        [member("a", "char", device=(2**20, 1))],
        [member("a", pax={"SCHILY.xattr.security.capability": "nonsense"})],
        [member("a", pax={"SCHILY.xattr.user.a\0b": "x"})],
    ],
)
def test_refused_with_one_clear_line(world: World, members: list[Member]) -> None:
    """What cannot be made, or would lead out, is refused; the message names the layer."""
    refusal = world.unpack(members)

    assert isinstance(refusal, DataCorrupted)
    assert str(refusal).startswith("the layer")


def test_attributes_that_steer_the_kernel_are_not_set(world: World) -> None:
    """Overlay's redirects and the host's policy cannot come from a layer; the file is there without."""
    evil = {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.other": "x",
        "SCHILY.xattr.security.selinux": "x",
        "SCHILY.xattr.user.fine": "x",
    }
    assert world.unpack([member("d", "folder", pax=evil), member("f", pax=evil)]) is None

    assert [os.listxattr(world.tree / name) for name in ("d", "f")] == [["user.fine"], ["user.fine"]]


def test_owner_minus_one_is_not_root(world: World) -> None:
    """CVE-2024-40635: an owner that wraps around is refused, not turned into user 0."""
    for owner in (2**32 - 1, 2**32, 2**63):
        assert isinstance(world.unpack([member("f", uid=owner, mode=0o4755)]), DataCorrupted)
        assert not (world.tree / "f").exists()


PARTS = st.sampled_from(["a", "b", "c", "..", ".", "", "out", ".wh.a", ".wh..wh..opq", "A", "x" * 120])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
TARGETS = st.one_of(
    PATHS, PATHS.map("/".__add__), st.sampled_from(["../../../outside", "../../../outside/file", "/", ".."])
)


EXTRAS: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    PATHS.map(lambda path: {"path": path}),
    TARGETS.map(lambda path: {"linkpath": path}),
    st.sampled_from(
        [
            {"SCHILY.xattr.trusted.overlay.redirect": "/outside", "SCHILY.xattr.user.x": "1"},
            {"SCHILY.xattr.trusted.overlay.opaque": "y"},
            {"SCHILY.xattr.trusted.corten.layer": "root"},
            {"SCHILY.xattr.system.posix_acl_access": "x"},
            {"size": "18446744073709551615"},
            {"size": "0", "uid": "-1"},
            {"mtime": "99999999999999.9"},
            {"uid": "4294967295"},
        ]
    ),
    st.builds(
        lambda path, pieces, size: {
            "GNU.sparse.name": path, "GNU.sparse.map": pieces, "GNU.sparse.size": size
        },
        PATHS,
        st.sampled_from(["0,4", "4096,4", "0,2,1048576,2", "4,4,0,0", "0", "0,99"]),
        st.sampled_from(["4", "8192", "2097152", "99999999999999"]),
    ),
)  # fmt: skip


@st.composite
def members(draw: st.DrawFn) -> Member:
    """Draw one entry of any kind, with odd names and targets, and odd words in extended headers."""
    kinds = ["file", "file", "folder", "folder", "link", "link", "hard", "hard", "fifo", "char", "block"]
    kind = draw(st.sampled_from(kinds))
    link = draw(TARGETS) if kind in ("link", "hard") else ""
    return member(
        draw(PATHS),
        kind,
        b"evil" if kind == "file" else b"",
        mode=draw(st.sampled_from([0o777, 0, 0o4755])),
        link=link,
        mtime=7,
        device=(254, 0) if kind == "block" else (0, 0),
        pax=draw(EXTRAS),
    )


FORMS: st.SearchStrategy[Form] = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), min_size=1, max_size=12), FORMS, st.booleans(), st.booleans())
def test_no_sequence_of_entries_gets_out(
    world: World, entries: list[Member], form: Form, plain: bool, prepared: bool
) -> None:
    """Entries of all kinds in any order, with links to the outside already there or not."""
    world.clear()
    if prepared:
        (world.tree / "out").symlink_to(world.outside)
        (world.tree / "a").symlink_to("../../../outside")
    world.unpack(archive(entries, form), plain)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), min_size=1, max_size=8), st.data(), st.booleans())
def test_no_damage_gets_out(world: World, entries: list[Member], data: st.DataObject, plain: bool) -> None:
    """Headers with flipped bytes and cut archives are refused or unpacked inside, never anything else."""
    world.clear()
    spoiled = bytearray(archive(entries))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoiled) - 1))
        spoiled[at] = data.draw(st.integers(0, 255))
        start = at - at % 512
        block = spoiled[start : start + 512]
        block[148:156] = b" " * 8
        spoiled[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    world.unpack(bytes(spoiled[: data.draw(st.integers(1, len(spoiled)))]), plain)


TAME = st.lists(st.sampled_from(["a", "b", "c", "A", "x" * 120, "..a", "имя"]), min_size=1, max_size=5)


@st.composite
def tame_members(draw: st.DrawFn) -> Member:
    """Draw a file, folder or link whose name is relative and plain: another extractor may write it as root."""
    kind = draw(st.sampled_from(["file", "file", "folder", "folder", "link", "hard", "fifo"]))
    data = draw(st.binary(max_size=20)) if kind == "file" else b""
    name = "/".join(draw(TAME))
    if kind in ("link", "hard"):
        name += ".link"  # is never above another entry, nor links to itself
    link = "/".join(draw(TAME)) if kind in ("link", "hard") else ""
    return member(name, kind, data, mode=draw(st.sampled_from([0o777, 0, 0o4755])), mtime=7, link=link)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tame_members(), min_size=1, max_size=8, unique_by=lambda drawn: drawn[0].name))
def test_accepted_trees_are_those_of_another_extractor(world: World, entries: list[Member]) -> None:
    """What GNU tar takes of files, folders and links is taken too, and comes out the same."""
    world.clear()
    refusal = world.unpack(entries)
    other = world.tree.with_name("other")
    other.mkdir()
    command = ["/bin/tar", "-xp", "--numeric-owner", "-C", str(other)]
    theirs = subprocess.run(command, input=archive(entries), check=False, capture_output=True)
    try:
        if theirs.returncode == 0:
            assert refusal is None
            assert _contents(world.tree) == _contents(other)
    finally:
        above = os.open(other.parent, os.O_RDONLY | os.O_DIRECTORY)
        remove_tree(above, b"other")
        os.close(above)


def _contents(tree: Path) -> Description:
    """Describe a tree without owners and times, which made-up folders do not have from the archive."""
    return {path: found[:1] + found[4:] for path, found in describe(tree).items() if path}


class Zeros(io.RawIOBase):
    """A stream of *head* and then as many zeros as anybody takes."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        """Give the next bytes."""
        data = self._head[:size] or bytes(size)
        self._head = self._head[size:]
        self.given += len(data)
        return data


class Repeated(io.RawIOBase):
    """A stream that gives the same entry again and again, numbered."""

    def __init__(self) -> None:
        self._number = 0

    def read(self, size: int = -1, /) -> bytes:
        """Give a block full of headers."""
        count = max(size // 512, 1)
        self._number += count
        return b"".join(header(b"f%d" % n) for n in range(self._number - count, self._number))


BOMBS = {
    "a file of a terabyte": header(b"a", size=b"\x80\0\0\0\0\0\x01\0\0\0\0\0"),
    "a pax header of four gigabytes": header(b"a", b"x", b"\x80\0\0\0\0\0\0\x01\0\0\0\0"),
    "a name of four gigabytes": header(b"a", b"L", b"\x80\0\0\0\0\0\0\x01\0\0\0\0"),
    "a sparse file of a terabyte": archive(
        [
            member(
                "a",
                data=b"0\n".ljust(512, b"\0"),
                pax={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 40)},
            )
        ]
    ),
    "nothing but padding": bytes(1024),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_with_little_memory(tmp_path: Path, name: str) -> None:
    """What claims to be endless is refused after a budget's worth, in bounded memory."""
    stream = Zeros(BOMBS[name])
    limits = Limits(bytes=64 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LimitExceeded):
        apply(stream, str(tmp_path), limits)  # type: ignore[arg-type]  # only read is needed

    assert stream.given < 80 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    assert sum(path.stat().st_blocks for path in tmp_path.iterdir()) * 512 <= 64 << 20


@pytest.mark.slow
def test_entries_without_end_are_refused(tmp_path: Path) -> None:
    """A stream of ever new entries ends at the budget."""
    with pytest.raises(LimitExceeded, match="more than 3000 entries"):
        apply(Repeated(), str(tmp_path), Limits(entries=3000))  # type: ignore[arg-type]  # only read is needed

    assert len(os.listdir(tmp_path)) == 3000


@pytest.mark.slow
def test_a_compressed_bomb_ends_at_its_ratio(tmp_path: Path) -> None:
    """A hundred megabytes out of a few kilobytes stop at the floor, and the reader's thread ends."""
    compressed = tmp_path / "bomb.gz"
    compressed.write_bytes(gzip.compress(bytes(100 << 20)))
    limits = Limits(ratio=50, ratio_floor=8 << 20)
    (tmp_path / "tree").mkdir()
    with compressed.open("rb") as file:
        head = io.BytesIO(header(b"a", size=b"\x80\0\0\0\0\0\0\0\x06\0\0\0"))
        stream = decompress(file, limits)
        with pytest.raises(LimitExceeded, match="inflates"):
            apply(Joined(head, stream), str(tmp_path / "tree"), limits)  # type: ignore[arg-type]

    assert (tmp_path / "tree" / "a").stat().st_size <= 9 << 20
    assert not [thread for thread in threading.enumerate() if thread.name == "layer-read"]


class Joined(io.RawIOBase):
    """One stream after another."""

    def __init__(self, *streams: object) -> None:
        self._streams = list(streams)

    def read(self, size: int = -1, /) -> bytes:
        """Read from the first stream that has something."""
        while self._streams:
            data: bytes = self._streams[0].read(size)  # type: ignore[attr-defined]
            if data:
                return data
            self._streams.pop(0)
        return b""
