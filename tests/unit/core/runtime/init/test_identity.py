"""Who a USER text is, by the files of the container's own root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corten.core.runtime.init.identity import MOST_BYTES, resolve

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1
me:x:1000:100:Me:/home/me:/bin/sh
bare:x:7:8::

nonsense
a:b
4000:x:5:6:a name of digits:/five:
twin:x:20:20::/first:
twin:x:21:21::/second:
bad:x:many:1::/bad:
huge:x:4294967296:1::/huge:
below:x:-1:1::/below:
\u00e4rger:x:30:30::/umlaut:
"""
GROUP = """\
root:x:0:
users:x:100:
audio:x:29:me,bare
video:x:44:bare,me
5000:x:51:
staff:x:50:someone
broken:x:lots:
wide:x:2147483648:
short
"""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Lend *path* as a container's root."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the two files."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD, encoding="utf-8")
    (tmp_path / "etc/group").write_text(GROUP, encoding="utf-8")
    return tmp_path


def look(root: Path, text: str, *extra: str) -> tuple[int, int, list[int], str]:
    """Resolve *text* below *root*."""
    with opened(root) as descriptor:
        found = resolve(descriptor, text, list(extra))
    return found.uid, found.gid, found.groups, found.home


def refusal(root: Path, text: str, *extra: str) -> str:
    """Return why *text* is refused."""
    with pytest.raises(LookupError) as failure:
        look(root, text, *extra)
    return str(failure.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, [], "/root")),
        ("root", (0, 0, [], "/root")),
        ("0", (0, 0, [], "/root")),
        ("00", (0, 0, [], "/root")),
        ("me", (1000, 100, [29, 44], "/home/me")),
        ("1000", (1000, 100, [29, 44], "/home/me")),
        ("1000:1000", (1000, 1000, [], "/home/me")),
        ("me:", (1000, 100, [29, 44], "/home/me")),
        ("me:audio", (1000, 29, [], "/home/me")),
        ("me:29", (1000, 29, [], "/home/me")),
        ("me:777", (1000, 777, [], "/home/me")),
        ("me:5000", (1000, 5000, [], "/home/me")),
        ("me:0", (1000, 0, [], "/home/me")),
        (":audio", (0, 29, [], "/root")),
        (":5", (0, 5, [], "/root")),
        (":", (0, 0, [], "/root")),
        ("bare", (7, 8, [29, 44], "/")),
        ("daemon", (1, 1, [], "/")),
        ("65534", (65534, 0, [], "/")),
        ("65534:65533", (65534, 65533, [], "/")),
        ("2147483647", (2147483647, 0, [], "/")),
        ("0002147483", (2147483, 0, [], "/")),
        ("5", (5, 6, [], "/five")),
        ("4000", (4000, 0, [], "/")),
        ("twin", (20, 20, [], "/first")),
        ("21", (21, 21, [], "/second")),
        ("\u00e4rger", (30, 30, [], "/umlaut")),
    ],
)
def test_who_it_is(root: Path, text: str, expected: tuple[int, int, list[int], str]) -> None:
    """Names and numbers, with and without a group, give ids, groups and home; a number is always itself."""
    assert look(root, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("2147483648", "4294967295", "4294967296", "18446744073709551616", "99999999999999999999"),
        *("-1", "+5", "--5", "0:-1", "0:+0", "me:2147483648", "huge", "below", "me:wide"),
    ],
)
def test_numbers_out_of_range_are_refused(root: Path, text: str) -> None:
    """A number that the kernel would cut to another one is no id (CVE-2024-40635)."""
    assert "must be in range 0-2147483647" in refusal(root, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ghost", "unable to find user ghost"),
        ("ghost:audio", "unable to find user ghost"),
        ("me:ghosts", "unable to find group ghosts"),
        ("1000:ghosts", "unable to find group ghosts"),
        ("nonsense", "unable to find user nonsense"),
        ("5x", "unable to find user 5x"),
        ("0x10", "unable to find user 0x10"),
        ("-", "unable to find user -"),
        (" me", "unable to find user"),
        ("\u0661", "unable to find user"),
        ("1_0", "unable to find user 1_0"),
        ("me:1:2", "unable to find group 1:2"),
        ("bad", "bad number 'many'"),
        ("me:broken", "bad number 'lots'"),
    ],
)
def test_names_without_a_proper_entry_are_refused(root: Path, text: str, words: str) -> None:
    """What is neither a number nor a name with a proper row is refused in one line that names it."""
    assert words in refusal(root, text)
    assert "\n" not in refusal(root, text)


def test_added_groups(root: Path) -> None:
    """Groups that are added come on top, by name or number, once each (CVE-2022-36109)."""
    assert look(root, "me", "staff", "29", "777")[2] == [29, 44, 50, 777]
    assert look(root, "me:users", "staff")[1:3] == (100, [50])
    assert "unable to find group ghosts" in refusal(root, "me", "ghosts")
    assert "must be in range" in refusal(root, "me", "-5")


def test_without_files(tmp_path: Path) -> None:
    """An image without the files has root and numbers only."""
    assert look(tmp_path, "") == (0, 0, [], "/")
    assert look(tmp_path, "12:34", "56") == (12, 34, [56], "/")
    assert "unable to find user root" in refusal(tmp_path, "root")
    assert "unable to find group audio" in refusal(tmp_path, "0:audio")


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_fifo_is_nobody(root: Path, name: str) -> None:
    """A FIFO as passwd or group neither blocks nor counts."""
    (root / "etc" / name).unlink()
    os.mkfifo(root / "etc" / name)
    assert look(root, "1000:100")[:2] == (1000, 100)
    assert "unable to find" in refusal(root, "me:audio")


def test_a_folder_is_nobody(root: Path) -> None:
    """A folder as passwd counts as absent."""
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").mkdir()
    assert look(root, "") == (0, 0, [], "/")


def test_a_huge_file_is_not_read(root: Path) -> None:
    """A sparse file of one GB costs no memory: it counts as absent."""
    with (root / "etc/passwd").open("r+b") as file:
        file.truncate(1 << 30)
    assert look(root, "1000") == (1000, 0, [], "/")
    assert "unable to find user me" in refusal(root, "me")


@pytest.mark.slow
def test_the_largest_file_is_read(root: Path) -> None:
    """Up to the limit every row counts."""
    row = b"last:x:77:78::/last:\n"
    filler = b"f:x:1:1::/:\n" * ((MOST_BYTES - len(row)) // 12)
    (root / "etc/passwd").write_bytes(filler + row)
    assert look(root, "last") == (77, 78, [], "/last")


def test_bytes_that_are_no_text(root: Path) -> None:
    """Rows that are no UTF-8, or have NUL bytes, leave the others alone."""
    raw = b"\xff\xfe:x:1:1::/a:\n\0\0\0\n" + PASSWD.encode()
    (root / "etc/passwd").write_bytes(raw)
    assert look(root, "me")[0] == 1000


def test_a_link_out_of_the_root_stays_inside(root: Path) -> None:
    """Links are followed as the container sees them, never to the host's files."""
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("../../../../../../../../etc/passwd.real")
    (root / "etc/passwd.real").write_text("inner:x:3:4::/inner:\n", encoding="utf-8")
    assert look(root, "inner") == (3, 4, [], "/inner")


def test_a_link_to_a_file_of_the_host_is_nobody(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An absolute link to a file that only the host has leads nowhere."""
    outside = tmp_path_factory.mktemp("host") / "passwd"
    outside.write_text("outer:x:9:9::/outer:\n", encoding="utf-8")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(outside)
    assert "unable to find user outer" in refusal(root, "outer")


def test_a_magic_link_is_nobody(root: Path) -> None:
    """A link through /proc/self/fd is not followed even where the container has a /proc."""
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/proc/self/fd/0")
    (root / "proc").symlink_to("/proc")
    assert look(root, "5") == (5, 0, [], "/")


def test_a_loop_of_links_is_nobody(root: Path) -> None:
    """Links in a circle count as absent."""
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("passwd")
    assert look(root, "5") == (5, 0, [], "/")
