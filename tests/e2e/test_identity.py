"""Who a process runs as: USER texts of every kind against the container's own files, for run and exec.

The many forms are tested where they are looked up (tests/unit); here it is
what the kernel says of the process in the end.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.e2e.images import Tree
from tests.e2e.tools import ALONE, unique

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
me:x:1000:100:Me:/home/me:/bin/sh
4000:x:5:6:a name of digits:/five:
wide:x:4294967296:1::/wide:
"""
GROUP = """\
root:x:0:
tape:x:26:root
users:x:100:
audio:x:29:me
video:x:44:other,me
4000:x:51:
"""
LOOK = "cat /proc/self/status; echo HOME: $HOME"
CAPABILITIES = 0xA80425FB
MOST = "uids and gids must be in range 0-2147483647"


class Self(NamedTuple):
    """What a process sees of itself: ids for every purpose, groups, home."""

    uid: str
    gid: str
    groups: str
    home: str


GOLDEN = [
    ("", Self("0", "0", "26", "/root")),
    ("root", Self("0", "0", "26", "/root")),
    ("0", Self("0", "0", "26", "/root")),
    ("0:0", Self("0", "0", "", "/root")),
    ("00", Self("0", "0", "26", "/root")),
    ("me", Self("1000", "100", "29 44", "/home/me")),
    ("1000", Self("1000", "100", "29 44", "/home/me")),
    ("me:audio", Self("1000", "29", "", "/home/me")),
    ("1000:7", Self("1000", "7", "", "/home/me")),
    ("me:users", Self("1000", "100", "", "/home/me")),
    ("4000", Self("4000", "0", "", "/")),
    ("me:4000", Self("1000", "4000", "", "/home/me")),
    ("12345", Self("12345", "0", "", "/")),
    ("12345:54321", Self("12345", "54321", "", "/")),
    ("2147483647", Self("2147483647", "0", "", "/")),
]
REFUSED = [
    ("nobody", "unable to find user nobody: no matching entries in passwd file"),
    ("me:nogroup", "unable to find group nogroup: no matching entries in group file"),
    ("2147483648", MOST),
    ("4294967296", MOST),
    ("99999999999999999999", MOST),
    ("-1", MOST),
    ("+5", MOST),
    ("1000:2147483648", MOST),
    ("1000:-1", MOST),
    ("wide", MOST),
    ("0x10", "unable to find user 0x10: no matching entries in passwd file"),
    ("1000 ", "unable to find user 1000 : no matching entries in passwd file"),
]


@pytest.fixture(scope="module")
def image(
    engine: Engine, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A small image with users and groups of its own."""
    name = unique("who")
    tree = Tree(shell).file("etc/passwd", PASSWD).file("etc/group", GROUP)
    engine.import_tree(tree.save(tmp_path_factory.mktemp("who") / "who.tar"), name)
    return name


@pytest.fixture(scope="module")
def lasting(engine: Engine, image: str) -> Iterator[str]:
    """A container of that image, whose own user is root."""
    name = unique()
    engine.docker("run", "-d", "--name", name, *ALONE, image, "sh", "-c", "while :; do sleep 1000; done")
    yield name
    engine.docker("rm", "-f", name)


@pytest.fixture(params=["run", "exec"])
def start(request: pytest.FixtureRequest, image: str, lasting: str) -> tuple[tuple[str, ...], str]:
    """How a docker command line begins and goes on that starts a process as somebody."""
    return (("run", "--rm", *ALONE), image) if request.param == "run" else (("exec",), lasting)


def fields(text: str) -> dict[str, str]:
    """Return the fields of /proc/self/status, and HOME."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def who(text: str) -> Self:
    """Return the identity; all four kinds of an id must agree."""
    found = fields(text)
    uids, gids = set(found["Uid"].split()), set(found["Gid"].split())
    assert (len(uids), len(gids)) == (1, 1)
    return Self(uids.pop(), gids.pop(), found["Groups"], found["HOME"])


@pytest.mark.parametrize(("user", "expected"), GOLDEN)
def test_who_it_is(engine: Engine, start: tuple[tuple[str, ...], str], user: str, expected: Self) -> None:
    """Names and numbers are looked up in the image; a group that is named replaces the others (CVE-2022-36109)."""
    before, target = start
    out = engine.docker(*before, "-u", user, target, "sh", "-c", LOOK).stdout
    assert who(out) == expected


@pytest.mark.parametrize(("user", "complaint"), REFUSED)
def test_who_it_cannot_be(
    engine: Engine, start: tuple[tuple[str, ...], str], user: str, complaint: str
) -> None:
    """A number that does not fit never wraps round to root (CVE-2024-40635); an unknown name is nobody."""
    before, target = start
    done = engine.docker(*before, "-u", user, target, "sh", "-c", LOOK, check=False)
    assert done.returncode == (126 if before == ("exec",) else 125)
    assert complaint in done.stdout + done.stderr  # an exec has its streams already when it fails
    assert "Uid" not in done.stdout


def test_the_capabilities_of_somebody(engine: Engine, start: tuple[tuple[str, ...], str]) -> None:
    """No capability is inheritable, whoever it is (CVE-2022-24769), and only root has effective ones."""
    before, target = start
    for user, effective in (("root", CAPABILITIES), ("me", 0), ("12345", 0)):
        found = fields(engine.docker(*before, "-u", user, target, "sh", "-c", LOOK).stdout)
        sets = tuple(int(found[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
        assert sets == (0, effective, effective, CAPABILITIES, 0), user


def test_further_groups(engine: Engine, image: str) -> None:
    """--group-add adds names and numbers, also beside a group that is named, and for exec."""
    add = ("--group-add", "video", "--group-add", "777")
    out = engine.docker("run", "--rm", *ALONE, *add, "-u", "me:users", image, "sh", "-c", LOOK).stdout
    assert who(out).groups == "44 777"
    name = unique()
    engine.docker("run", "-d", "--name", name, *ALONE, *add, image, "sleep", "1000")
    try:
        assert who(engine.docker("exec", "-u", "me", name, "sh", "-c", LOOK).stdout).groups == "29 44 777"
        assert who(engine.docker("exec", name, "sh", "-c", LOOK).stdout).groups == "26 44 777"
    finally:
        engine.docker("rm", "-f", name)
    unknown = ("--group-add", "nogroup")
    done = engine.docker("run", "--rm", *ALONE, *unknown, image, "true", check=False)
    assert "unable to find group nogroup" in done.stderr


def test_the_user_of_the_image(engine: Engine, image: str) -> None:
    """An image's USER is who the program is; -u and exec -u win, exec alone does not change it."""
    name = unique("img")
    tree = engine.docker("create", *ALONE, image, "true").stdout.strip()
    engine.docker("export", "-o", f"{engine.base}/export.tar", tree)
    engine.docker("rm", tree)
    engine.docker("import", "-c", "USER me:audio", f"{engine.base}/export.tar", name)
    container = unique()
    engine.docker("run", "-d", "--name", container, *ALONE, name, "sleep", "1000")
    try:
        assert who(engine.docker("exec", container, "sh", "-c", LOOK).stdout) == Self(
            "1000", "29", "", "/home/me"
        )
        assert who(engine.docker("exec", "-u", "0", container, "sh", "-c", LOOK).stdout).uid == "0"
    finally:
        engine.docker("rm", "-f", container)


def evil(kind: str, folder: Path) -> Path:
    """Make a passwd file that its author should not have made."""
    path = folder / "passwd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.write(PASSWD.encode())
            file.truncate(1 << 30)
    elif kind == "garbage":
        path.write_bytes(bytes(range(256)) * 100 + b"\nme:x\n:::\n" + PASSWD.encode())
    return path


@pytest.mark.parametrize("kind", ["fifo", "sparse"])
def test_a_passwd_that_is_none(engine: Engine, image: str, tmp_path: Path, kind: str) -> None:
    """A FIFO or a gigabyte in place of passwd stops nobody: numbers work, names are unknown."""
    given = ("run", "--rm", *ALONE, "-v", f"{evil(kind, tmp_path)}:/etc/passwd")
    out = engine.docker(*given, "-u", "1000", image, "sh", "-c", LOOK, timeout=10).stdout
    assert who(out) == Self("1000", "0", "", "/")
    done = engine.docker(*given, "-u", "me", image, "true", check=False, timeout=10)
    assert "unable to find user me" in done.stderr


def test_garbage_in_passwd(engine: Engine, image: str, tmp_path: Path) -> None:
    """Rows that make no sense are passed over."""
    given = ("run", "--rm", *ALONE, "-v", f"{evil('garbage', tmp_path)}:/etc/passwd")
    out = engine.docker(*given, "-u", "me", image, "sh", "-c", LOOK).stdout
    assert who(out).uid == "1000"


@pytest.mark.parametrize("kind", ["nothing", "folder"])
def test_no_passwd(
    engine: Engine, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path, kind: str
) -> None:
    """An image without the files has root and numbers, and nobody else."""
    name = unique("bare")
    tree = Tree(shell).folder("etc/passwd") if kind == "folder" else Tree(shell)
    engine.import_tree(tree.save(tmp_path / "bare.tar"), name)
    for user in ("", "5:6"):
        out = engine.docker("run", "--rm", *ALONE, "-u", user, name, "sh", "-c", LOOK).stdout
        assert who(out)[:2] == tuple((user or "0:0").split(":"))
    for user in ("root", "me"):
        done = engine.docker("run", "--rm", *ALONE, "-u", user, name, "true", check=False)
        assert f"unable to find user {user}" in done.stderr


def test_a_link_that_leads_out(
    engine: Engine, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    """A passwd that is a link to a file of the host is looked up inside, where there is none."""
    host = tmp_path / "passwd"
    host.write_text("stranger:x:4242:4242::/:\n")
    name = unique("link")
    tree = (
        Tree(shell)
        .link("etc/passwd", f"../../../../../../..{host}")
        .link("etc/group", "/proc/1/root/etc/group")
    )
    engine.import_tree(tree.save(tmp_path / "link.tar"), name)
    done = engine.docker("run", "--rm", *ALONE, "-u", "stranger", name, "true", check=False)
    assert "unable to find user stranger" in done.stderr
