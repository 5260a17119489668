"""tree: what a context has, and nothing outside of it."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.engine.builds.context.ignore import Ignore
from corten.engine.builds.context.tree import Limits, Tree
from corten.engine.builds.context.wildcard import below
from corten.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from tests.unit.engine.builds.context.making import opened, paths, write

NAMES = st.sampled_from(["a", "b", "ab", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
RULES = st.lists(
    st.sampled_from(["a", "!a/b", "*/b", "**/c", "!**/ab", "a/*", "!c/?", "b/**", "*", "!a/a/a", "ab"]),
    max_size=4,
)


def test_lists_what_is_there_sorted(tmp_path: Path) -> None:
    """Folders come before what is in them, names in order; types, modes, sizes and link targets are known."""
    write(tmp_path, {"b": "12345", "a/x": "", "a/link": "-> ../b", "a-b": None})
    (tmp_path / "b").chmod(0o4751)
    with opened(tmp_path) as tree:
        assert paths(tree) == ["a", "a/link", "a/x", "a-b", "b"]
        found = dict(tree.walk())
    assert (found["b"].size, found["b"].mode) == (5, stat.S_IFREG | 0o4751)
    assert found["b"].mtime == (tmp_path / "b").stat().st_mtime_ns
    assert found["a"].is_folder
    assert (found["a/link"].is_link, found["a/link"].target) == (True, "../b")


def test_walks_from_any_folder(tmp_path: Path) -> None:
    """Paths count from the folder where a walk starts; entries keep their own."""
    write(tmp_path, {"a/b/c": "", "x": ""})
    with opened(tmp_path) as tree:
        assert [(path, entry.path) for path, entry in tree.walk("a")] == [("b", "a/b"), ("b/c", "a/b/c")]


def test_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    """What rules leave out can neither be walked to nor looked up."""
    write(tmp_path, {"keep": "", "gone": "", "dir/gone": "", "dir/keep": ""})
    with opened(tmp_path, "**/gone") as tree:
        assert paths(tree) == ["dir", "dir/keep", "keep"]
        assert tree.entry("dir/gone") is None


def test_a_folder_left_out_is_there_for_its_exceptions(tmp_path: Path) -> None:
    """An exception brings its folders with it; where there is none they are not there."""
    write(tmp_path, {"out/deep/keep": "", "out/deep/x": "", "out/bare/x": "", "gone/x": ""})
    with opened(tmp_path, "out", "gone", "!out/*/keep") as tree:
        assert paths(tree) == ["out", "out/deep", "out/deep/keep"]
        assert tree.entry("out") is not None
        assert tree.entry("out/bare") is None
        with pytest.raises(NotFound):
            tree.resolve("out/bare")


def test_enters_no_folder_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is left out and can hold no exception is not read, nor one that nobody asks for."""
    write(tmp_path, {"node_modules/x": "", "src/a": "", "other/b": ""})
    listed: list[str] = []
    real = os.scandir

    def scandir(folder: int) -> object:
        listed.append(os.readlink(f"/proc/self/fd/{folder}"))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with opened(tmp_path, "node_modules", "!src/x") as tree:
        assert tree.entry("src/a") is not None
        assert listed == [str(tmp_path), str(tmp_path / "src")]
        paths(tree)
    assert listed == [str(tmp_path), str(tmp_path / "src"), str(tmp_path / "other")]


def test_there_is_nothing_below_what_is_no_folder(tmp_path: Path) -> None:
    """What is missing or no folder cannot be walked."""
    write(tmp_path, {"file": "", "link": "-> .", "out/x": ""})
    with opened(tmp_path, "out") as tree:
        for path in ("missing", "file", "link", "file/x", "link/file", "out"):
            with pytest.raises(NotFound):
                paths(tree, path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(PATHS, max_size=10), RULES)
@pytest.mark.slow
def test_walks_give_what_the_rules_keep(
    tmp_path_factory: pytest.TempPathFactory, files: list[str], rules: list[str]
) -> None:
    """Whatever the files and rules: every file kept is there, with its folders, and nothing else."""
    top = tmp_path_factory.mktemp("context")
    for path in files:
        if not any(part.is_file() for part in (top / path).parents) and not (top / path).exists():
            write(top, {path: ""})
    everything = [path.relative_to(top) for path in top.rglob("*")]
    ignore = Ignore.parse("\n".join(rules), "x")
    kept = {str(path) for path in everything if not ignore.ignores(str(path))}
    expected = kept | {str(above) for path in kept for above in Path(path).parents} - {"."}
    with opened(top, *rules) as tree:
        assert set(paths(tree)) == expected
        assert all((tree.entry(str(path)) is not None) == (str(path) in expected) for path in everything)
        sieved = tree.walk("", (below("a", "x"),))
        assert {path for path, _ in sieved} == {path for path in expected if path.split("/")[0] == "a"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("file", "dir/file"),
        ("dirlink/file", "dir/file"),
        ("absolute", "dir/file"),
        ("climbing", "dir/file"),
        ("dir/up/file", "dir/file"),
        ("chain", "dir/file"),
        ("dir/../../../dir/./file", "dir/file"),
        ("tothetop", ""),
        ("", ""),
        (".", ""),
    ],
)
def test_follows_links_as_if_the_context_were_everything(tmp_path: Path, path: str, found: str) -> None:
    """Absolute links start at the context, and none climbs out of it."""
    write(
        tmp_path,
        {
            "dir/file": "",
            "file": "-> dir/file",
            "dirlink": "-> dir",
            "absolute": "-> /dir/file",
            "climbing": "-> ../../../../dir/file",
            "dir/up": "-> ../dirlink",
            "chain": "-> file",
            "tothetop": "-> /..",
        },
    )
    with opened(tmp_path) as tree:
        assert tree.resolve(path).path == found


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../outside", "/proc/self/root/etc/passwd", "missing", "dir/file/x"]
)
def test_a_link_that_leads_out_leads_nowhere(tmp_path: Path, target: str) -> None:
    """What a link names outside of the context is not there."""
    (tmp_path / "outside").write_text("secret")
    top = write(tmp_path / "context", {"link": f"-> {target}", "dir/file": ""})
    with opened(top) as tree:
        with pytest.raises(NotFound, match="no such file or folder in the build context: link"):
            tree.resolve("link")
        entry = tree.entry("link")
        assert entry is not None
        assert entry.target == target


def test_refuses_links_in_a_circle(tmp_path: Path) -> None:
    """Links that lead to each other are refused."""
    with (
        opened(write(tmp_path, {"a": "-> b", "b": "-> a"})) as tree,
        pytest.raises(InvalidInput, match="circle"),
    ):
        tree.resolve("a")


def test_says_which_rule_leaves_out_what_is_missing(tmp_path: Path) -> None:
    """Who asks for a file that an ignore file hides is told so."""
    with (
        opened(write(tmp_path, {"a.log": ""}), "# logs", "*.log") as tree,
        pytest.raises(NotFound, match=r"line 2 of \.dockerignore leaves it out"),
    ):
        tree.resolve("./a.log")


def test_reads_a_file(tmp_path: Path) -> None:
    """A small file is read at once, through links inside of the context."""
    with opened(write(tmp_path, {"Dockerfile": "-> docker/file", "docker/file": "FROM scratch"})) as tree:
        assert tree.read("Dockerfile", 100) == b"FROM scratch"
        with pytest.raises(LimitExceeded):
            tree.read("Dockerfile", 5)
        with pytest.raises(InvalidInput, match="not a file"):
            tree.read("docker", 5)


def test_a_fifo_stops_nobody(tmp_path: Path) -> None:
    """FIFOs are listed and never opened; sockets are not even listed."""
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with opened(tmp_path) as tree:
            assert [(path, stat.S_ISFIFO(entry.mode)) for path, entry in tree.walk()] == [("fifo", True)]
            with pytest.raises(InvalidInput, match="not a file"):
                tree.read("fifo", 10)


@pytest.mark.root
def test_a_device_is_listed_as_one(tmp_path: Path) -> None:
    """Devices are listed with their numbers and never opened."""
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with opened(tmp_path) as tree:
        entry = tree.entry("null")
    assert entry is not None
    assert (stat.S_ISCHR(entry.mode), entry.special) == (True, os.makedev(1, 3))


def test_any_name_is_a_name(tmp_path: Path) -> None:
    """Newlines, quotes, stars, bytes that are no text: names come back as they are."""
    names = [b"new\nline", b"\xff\xfe", b"*", b"a'b\"c", b" ", b"-rf", "\N{SNOWMAN}".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(name)
    with opened(tmp_path) as tree:
        assert sorted(os.fsencode(path) for path, _ in tree.walk()) == sorted(names)
        assert all(tree.read(path, 100) == os.fsencode(path) for path, _ in tree.walk())


def test_depth_costs_neither_stack_nor_descriptors(tmp_path: Path) -> None:
    """Five hundred folders, one in the other, are walked, with rules that hide and uncover them."""
    top = os.open(tmp_path, os.O_RDONLY)
    for _ in range(500):
        os.mkdir("d", dir_fd=top)
        inner = os.open("d", os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = inner
    os.close(os.open("file", os.O_CREAT, 0o644, dir_fd=top))
    os.close(top)
    deep = "/".join(["d"] * 500) + "/file"
    before = len(os.listdir("/proc/self/fd"))
    for rules in ([], ["d", "!**/file"]):
        with opened(tmp_path, *rules) as tree:
            assert len(paths(tree)) == 501
            assert len(os.listdir("/proc/self/fd")) - before < 60
            assert tree.read(deep, 1) == b""
            assert tree.resolve("d").is_folder


def test_budgets_hold(tmp_path: Path) -> None:
    """A context deeper or larger than the budget is refused."""
    write(tmp_path, {"a/b/c/d": "", "x": ""})
    with (
        opened(tmp_path, limits=Limits(depth=2)) as tree,
        pytest.raises(LimitExceeded, match="more than 2 deep"),
    ):
        paths(tree)
    with (
        opened(tmp_path, limits=Limits(entries=3)) as tree,
        pytest.raises(LimitExceeded, match="more than 3 files"),
    ):
        paths(tree)


def test_a_folder_swapped_for_a_link_is_not_entered(tmp_path: Path) -> None:
    """A folder that turns into a link between being listed and being entered ends the build."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    top = write(tmp_path / "context", {"dir/file": "", "other/file": ""})
    with opened(top) as tree:
        assert sorted(tree.children("")) == ["dir", "other"]
        entry = tree.entry("other/file")
        assert entry is not None
        for name in ("dir", "other"):
            (top / name).rename(top / f"{name}-moved")
            (top / name).symlink_to(tmp_path / "outside")
        with pytest.raises(Conflict, match="'dir' in the build context changed"):
            tree.entry("dir/secret")
        (top / "dir").unlink()
        (tmp_path / "outside").rename(top / "dir")
        with pytest.raises(Conflict, match="'dir' in the build context changed"):
            tree.entry("dir/secret")


@pytest.mark.parametrize("change", ["write", "replace", "link", "fifo", "remove"])
def test_a_file_that_changed_is_not_opened(tmp_path: Path, change: str) -> None:
    """What is opened is what was listed: neither new content nor anything put in its place."""
    write(tmp_path, {"file": "old", "other": "new"})
    with opened(tmp_path) as tree:
        entry = tree.entry("file")
        assert entry is not None
        if change == "write":
            (tmp_path / "file").write_text("longer")
        else:
            (tmp_path / "file").unlink()
        if change == "replace":
            (tmp_path / "file").write_text("old")
        elif change == "link":
            (tmp_path / "file").symlink_to("other")
        elif change == "fifo":
            os.mkfifo(tmp_path / "file")
        with pytest.raises(Conflict, match="changed while it was read"):
            tree.open(entry)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    """A reader asks at the end whether what it read is one state of the file."""
    write(tmp_path, {"file": "old"})
    with opened(tmp_path) as tree:
        entry = tree.entry("file")
        assert entry is not None
        descriptor = tree.open(entry)
        tree.check(entry, descriptor)
        (tmp_path / "file").write_text("longer")
        with pytest.raises(Conflict):
            tree.check(entry, descriptor)
        os.close(descriptor)


@pytest.mark.slow
def test_nothing_outside_is_seen_while_folders_are_swapped(tmp_path: Path) -> None:
    """However a folder and a link out of the context trade places, nothing outside is listed or read."""
    secret = write(tmp_path / "outside", {"deep/secret": "secret"})
    top = write(tmp_path / "context", {"dir/deep/plain": "plain"})
    (top / "link").symlink_to(secret)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            os.rename(top / "dir", top / "spare")
            os.rename(top / "link", top / "dir")
            os.rename(top / "dir", top / "link")
            os.rename(top / "spare", top / "dir")

    swapper = threading.Thread(target=swap)
    swapper.start()
    root = os.open(top, os.O_RDONLY)
    try:
        for _ in range(2000):
            try:
                with Tree(root) as tree:
                    for _, entry in tree.walk():
                        assert "secret" not in entry.path
                        assert not entry.is_file or tree.read(entry.path, 10) == b"plain"
            except (Conflict, NotFound):
                continue
    finally:
        ended.set()
        swapper.join()
        os.close(root)


def test_threads_share_a_tree(tmp_path: Path) -> None:
    """Steps that look at one context at the same time see the same."""
    write(tmp_path, {f"d{number}/e/f{number}": str(number) for number in range(60)})
    found: list[list[str]] = []
    with opened(tmp_path) as tree:
        workers = [threading.Thread(target=lambda: found.append(paths(tree))) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(found) == 4
    assert all(each == found[0] and len(each) == 180 for each in found)
