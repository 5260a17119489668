"""digests: the content of a context as one value, without reading what is known."""

import os
import random
import shutil
import stat
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.engine.builds.context import digests as module
from corten.engine.builds.context.digests import digest_below, digest_of
from corten.engine.builds.context.known import KnownDigests
from corten.engine.builds.context.tree import Entry, Tree
from corten.errors import Conflict, NotFound
from corten.oci.digest import Digest
from tests.unit.engine.builds.context.making import opened, write

LATER = 10**19  # long after any file was written
FILES = {"a/x": "1", "a/y": "2", "b/link": "-> ../a", "empty": None, "z": "3"}


def remembering(path: Path) -> KnownDigests:
    """Return what *path* keeps, long after the test's files were written."""
    return KnownDigests(str(path), lambda: LATER)


def digest(top: Path, path: str = "") -> Digest:
    """Return the digest of *path* in *top* with nothing known."""
    with opened(top) as tree, KnownDigests(str(top.parent / "unused"), lambda: 0) as known:
        return digest_below(tree, path, known)


def test_times_order_and_place_do_not_count(tmp_path: Path) -> None:
    """The same files made elsewhere, in another order, at another time have the same digest."""
    first = write(tmp_path / "first", FILES)
    second = write(tmp_path / "second", dict(reversed(FILES.items())))
    os.utime(second / "z", (1, 1))
    assert digest(first) == digest(second)
    (second / "a").rename(second / "moved")
    assert digest(first, "a") == digest(second, "moved")
    assert digest(first, "z") == digest(second, "z") != digest(first, "a/x")


@pytest.mark.root
def test_owners_do_not_count(tmp_path: Path) -> None:
    """COPY sets the owner, so that of the context is nobody's matter."""
    top = write(tmp_path / "context", FILES)
    before = digest(top)
    os.chown(top / "z", 1234, 1234)
    assert digest(top) == before


@pytest.mark.parametrize(
    "change",
    ["content", "name", "mode", "folder mode", "target", "type", "more", "less", "folder", "attribute"],
)
def test_everything_else_counts(tmp_path: Path, change: str) -> None:
    """Content, names, modes, types, link targets, what is there and its attributes change the digest."""
    top = write(tmp_path / "context", FILES)
    before = digest(top)
    match change:
        case "content":
            (top / "a/x").write_text("2")
        case "name":
            (top / "a/x").rename(top / "a/w")
        case "mode":
            (top / "a/x").chmod(0o755)
        case "folder mode":
            (top / "empty").chmod(0o700)
        case "target":
            (top / "b/link").unlink()
            (top / "b/link").symlink_to("../z")
        case "type":
            (top / "b/link").unlink()
            (top / "b/link").write_text("../a")
        case "more":
            (top / "empty/x").touch()
        case "less":
            (top / "z").unlink()
        case "folder":
            (top / "empty").rmdir()
        case _:
            os.setxattr(top / "a/x", "user.corten", b"value")
    assert digest(top) != before


@pytest.mark.root
def test_devices_count_with_their_numbers(tmp_path: Path) -> None:
    """A device is its type and numbers, and is not opened."""
    found = []
    for minor in (3, 5):
        os.mknod(tmp_path / "device", 0o600 | stat.S_IFCHR, os.makedev(1, minor))
        found.append(digest(tmp_path, "device"))
        (tmp_path / "device").unlink()
    os.mkfifo(tmp_path / "device")
    assert len({*found, digest(tmp_path, "device")}) == 3


def test_names_cannot_pass_for_content(tmp_path: Path) -> None:
    """Names with newlines and zero-like text do not make two contexts look alike."""
    assert digest(write(tmp_path / "a", {"x\ny": "", "z": ""})) != digest(
        write(tmp_path / "b", {"x": "", "y\nz": ""})
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_what_is_chosen_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    """A set of entries has one digest, in whatever order they are named."""
    top = write(tmp_path_factory.mktemp("context"), FILES)
    with opened(top) as tree, remembering(top.parent / "cache") as known:
        chosen = list(tree.walk())
        expected = digest_of(tree, chosen, known)
        chance.shuffle(chosen)
        assert digest_of(tree, iter(chosen), known) == expected
        assert digest_of(tree, chosen[1:], known) != expected
        assert digest_of(tree, [(f"{name}x", entry) for name, entry in chosen], known) != expected


def test_what_is_known_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run reads only the file that has changed."""
    top = write(tmp_path / "context", {f"d{number % 5}/f{number}": str(number) for number in range(50)})
    read: list[str] = []
    real = Tree.open

    def opening(tree: Tree, entry: Entry) -> int:
        read.append(entry.path)
        return real(tree, entry)

    monkeypatch.setattr(Tree, "open", opening)

    def run() -> Digest:
        read.clear()
        with opened(top) as tree, remembering(tmp_path / "cache") as known:
            return digest_below(tree, "", known)

    first = run()
    assert len(read) == 50
    assert run() == first
    assert read == []
    (top / "d1/f1").write_text("changed")
    assert run() != first
    assert read == ["d1/f1"]
    shutil.copytree(top, tmp_path / "copy")
    assert digest(tmp_path / "copy") == run()


def test_large_files_are_hashed_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's digest is the same by whichever way it was read, threads included."""
    write(tmp_path, {"small": "x", **{f"large{number}": str(number) * 300_000 for number in range(6)}})
    found = set()
    for limit in (1 << 10, 1 << 20):
        monkeypatch.setattr(module, "_SMALL", limit)
        found.add(digest(tmp_path))
    assert len(found) == 1


def test_fails_when_a_file_has_changed(tmp_path: Path) -> None:
    """Files that are not what they were when listed have no digest, large and small ones; nothing stays open."""
    top = write(tmp_path / "context", {"small": "x", "large": "y" * 300_000, "larger": "z" * 400_000})
    before = len(os.listdir("/proc/self/fd"))
    for name in ("small", "large"):
        with opened(top) as tree, remembering(tmp_path / "cache") as known:
            chosen = list(tree.walk())
            with (top / name).open("a") as file:
                file.write("more")
            with pytest.raises(Conflict, match=f"'{name}' in the build context changed"):
                digest_of(tree, chosen, known)
    assert len(os.listdir("/proc/self/fd")) == before


def test_says_what_is_missing(tmp_path: Path) -> None:
    """There is no digest of nothing."""
    expected: AbstractContextManager[object] = pytest.raises(NotFound, match="missing")
    with expected:
        digest(tmp_path, "missing")
