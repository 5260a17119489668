"""select: what COPY and ADD take, and where it goes."""

import os
from pathlib import Path

import pytest

from corten.engine.builds.context.select import PLAIN, Options, Selection, select
from corten.errors import InvalidInput, NotFound
from tests.unit.engine.builds.context.making import opened, write

PARENTS = Options(parents=True)
FILES = {
    "a.txt": "a",
    "b.txt": "b",
    "dir/c.txt": "c",
    "dir/sub/d.txt": "d",
    "dir/sub/e.md": "e",
    "dir/inner": "-> sub/d.txt",
    "empty": None,
    "filelink": "-> dir/c.txt",
    "dirlink": "-> /dir",
    "deep/x/y/z.txt": "z",
    "deep/x/w.txt": "w",
    "w*ld": "star",
}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context with a bit of everything."""
    return write(tmp_path / "context", FILES)


def chosen(context: Path, sources: str, destination: str, options: Options = PLAIN, *rules: str) -> Selection:
    """Select *sources*, separated by blanks."""
    with opened(context, *rules) as tree:
        return select(tree, sources.split(), destination, options)


def pairs(found: Selection) -> dict[str, str]:
    """Return destinations with their sources."""
    return {pick.destination: pick.entry.path for pick in found.picks}


@pytest.mark.parametrize(
    ("sources", "destination", "folder", "expected"),
    [
        ("a.txt", "/x", "/", {"/x": "a.txt"}),
        ("a.txt", "/x/y", "/x", {"/x/y": "a.txt"}),
        ("a.txt", "/x/", "/x", {"/x/a.txt": "a.txt"}),
        ("a.txt", "x/.", "/x", {"/x/a.txt": "a.txt"}),
        ("a.txt", "", "/", {"/a.txt": "a.txt"}),
        ("a.txt", "/x//../y/", "/y", {"/y/a.txt": "a.txt"}),
        ("/a.txt", "/x/", "/x", {"/x/a.txt": "a.txt"}),
        ("../../a.txt", "/x/", "/x", {"/x/a.txt": "a.txt"}),
        ("./dir/../a.txt", "/x/", "/x", {"/x/a.txt": "a.txt"}),
        ("a.txt b.txt", "/x/", "/x", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt"}),
        ("*.txt", "/x/", "/x", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt"}),
        ("?.txt", "/x/", "/x", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt"}),
        ("[^b].txt", "/x", "/", {"/x": "a.txt"}),
        ("w[*]ld", "/x/", "/x", {"/x/w*ld": "w*ld"}),
        ("dir/sub", "/x", "/x", {"/x/d.txt": "dir/sub/d.txt", "/x/e.md": "dir/sub/e.md"}),
        ("dir/sub/", "/x/", "/x", {"/x/d.txt": "dir/sub/d.txt", "/x/e.md": "dir/sub/e.md"}),
        ("deep/*/w.txt", "/x/", "/x", {"/x/w.txt": "deep/x/w.txt"}),
        ("deep/x/*", "/x/", "/x", {"/x/w.txt": "deep/x/w.txt", "/x/z.txt": "deep/x/y/z.txt"}),
        ("empty", "/x", "/x", {}),
        ("filelink", "/x/", "/x", {"/x/filelink": "dir/c.txt"}),
        ("filel*", "/x/", "/x", {"/x/filelink": "dir/c.txt"}),
        ("dirlink/sub/d.txt", "/x", "/", {"/x": "dir/sub/d.txt"}),
        ("dirlink/sub/*.md", "/x/", "/x", {"/x/e.md": "dir/sub/e.md"}),
        (
            "dirlink",
            "/x",
            "/x",
            {
                "/x/c.txt": "dir/c.txt",
                "/x/inner": "dir/inner",
                "/x/sub": "dir/sub",
                "/x/sub/d.txt": "dir/sub/d.txt",
                "/x/sub/e.md": "dir/sub/e.md",
            },
        ),
    ],
)
def test_follows_the_rules_of_copy(
    context: Path, sources: str, destination: str, folder: str, expected: dict[str, str]
) -> None:
    """Content of folders, names of files, slashes, patterns and links are as documented."""
    found = chosen(context, sources, destination)
    assert found.folder == folder
    assert pairs(found) == expected


def test_a_dot_is_everything(context: Path) -> None:
    """``COPY . /app`` takes the whole context, links as links."""
    found = chosen(context, ".", "/app")
    with opened(context) as tree:
        assert pairs(found) == {f"/app/{path}": path for path, _ in tree.walk()}
    assert (
        next(pick for pick in found.picks if pick.destination == "/app/filelink").entry.target == "dir/c.txt"
    )


def test_folders_come_before_what_is_in_them(context: Path) -> None:
    """Whoever writes the layer finds each folder made."""
    seen = {"/"}
    for pick in chosen(context, "dir deep .", "/").picks:
        assert os.path.dirname(pick.destination) in seen
        seen.add(pick.destination)


def test_an_existing_folder_takes_a_file_into_it(context: Path) -> None:
    """Where the destination is known to be a folder, the slash may be left out."""
    assert pairs(chosen(context, "a.txt", "/usr", Options(into=True))) == {"/usr/a.txt": "a.txt"}


@pytest.mark.parametrize("sources", ["a.txt b.txt", "*.txt", "dir empty"])
def test_several_sources_need_a_folder(context: Path, sources: str) -> None:
    """Several files, or a pattern with several hits, cannot become one file."""
    with pytest.raises(InvalidInput, match="end it with a slash"):
        chosen(context, sources, "/x")


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ("missing", "missing"),
        ("a.txt missing/x", "missing/x"),
        ("*.go", r"\*\.go"),
        ("dir/*/*/x", r"dir/\*/\*/x"),
        ("a.txt/x", "a.txt/x"),
        ("missing/*.txt", r"missing/\*\.txt"),
        ("./dir/../missing", r"\./dir/\.\./missing"),
        ("dirlin*/c.txt", r"dirlin\*/c.txt"),
    ],
)
def test_names_the_source_that_is_missing(context: Path, sources: str, named: str) -> None:
    """A source that is not there, or a pattern that nothing matches, is an error that names it."""
    with pytest.raises(NotFound, match=f"no such file or folder in the build context: {named}"):
        chosen(context, sources, "/x/")


def test_names_the_source_of_a_bad_pattern(context: Path) -> None:
    """A pattern that is not well formed is refused."""
    with pytest.raises(InvalidInput, match=r"bad pattern in the source 'a\['"):
        chosen(context, "a[", "/x/")
    with pytest.raises(InvalidInput, match=r"--exclude, line 1: bad pattern"):
        chosen(context, "dir", "/x/", Options(exclude=("a[",)))


def test_what_is_ignored_is_not_there(context: Path) -> None:
    """Sources cannot reach what an ignore file hides, and are told why."""
    assert pairs(chosen(context, "*.txt", "/x/", PLAIN, "b.txt")) == {"/x/a.txt": "a.txt"}
    for source in ("b.txt", "filelink"):
        with pytest.raises(NotFound, match=r"\(line 1 of .dockerignore leaves it out\)"):
            chosen(context, source, "/x/", PLAIN, "**/[bc].txt")
    with pytest.raises(NotFound, match=r"no such .*: b\*"):
        chosen(context, "b*", "/x/", PLAIN, "b.txt", "!b.txt/x")


@pytest.mark.parametrize(
    ("sources", "exclude", "expected"),
    [
        ("dir", ["*.txt"], {"/x/inner", "/x/sub", "/x/sub/d.txt", "/x/sub/e.md"}),
        ("dir", ["**/*.txt"], {"/x/inner", "/x/sub", "/x/sub/e.md"}),
        ("dir", ["sub", "!sub/e.md"], {"/x/c.txt", "/x/inner", "/x/sub", "/x/sub/e.md"}),
        ("dir", ["*"], set()),
        ("*.txt dir/sub", ["b*", "e.md"], {"/x/a.txt", "/x/d.txt"}),
        ("a.txt", ["a.txt"], set()),
    ],
)
def test_excludes_what_a_source_yields(
    context: Path, sources: str, exclude: list[str], expected: set[str]
) -> None:
    """``--exclude`` reads paths from the source on, as an ignore file does, with exceptions."""
    assert set(pairs(chosen(context, sources, "/x/", Options(exclude=tuple(exclude))))) == expected


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ("a.txt", {"/x/a.txt"}),
        ("deep/x/w.txt", {"/x/deep", "/x/deep/x", "/x/deep/x/w.txt"}),
        ("deep/./x/w.txt", {"/x/x", "/x/x/w.txt"}),
        ("./deep/x/./y", {"/x/y", "/x/y/z.txt"}),
        ("deep/./", {"/x/x", "/x/x/y", "/x/x/w.txt", "/x/x/y/z.txt"}),
        ("dirlink/./sub/e*", {"/x/sub", "/x/sub/e.md"}),
        ("dir/su?/d.txt", {"/x/dir", "/x/dir/sub", "/x/dir/sub/d.txt"}),
        ("./**/z.txt", {"/x/deep", "/x/deep/x", "/x/deep/x/y", "/x/deep/x/y/z.txt"}),
        ("dir/**/*.md a.txt", {"/x/dir", "/x/dir/sub", "/x/dir/sub/e.md", "/x/a.txt"}),
        ("empty", {"/x/empty"}),
        ("filelink", {"/x/filelink"}),
    ],
)
def test_keeps_parents(context: Path, sources: str, expected: set[str]) -> None:
    """``--parents`` keeps the folders of a source, from the pivot on, and crosses folders with ``**``."""
    found = chosen(context, sources, "/x", PARENTS)
    assert found.folder == "/x"
    assert set(pairs(found)) == expected


def test_parents_and_exclude_go_together(context: Path) -> None:
    """What is excluded brings no folders either."""
    found = chosen(context, "deep/**/*.txt", "/x", Options(parents=True, exclude=("**/z*",)))
    assert set(pairs(found)) == {"/x/deep", "/x/deep/x", "/x/deep/x/w.txt"}


@pytest.mark.parametrize("source", ["missing", "**/*.go", "dirlink/c.txt", "a.txt/./x", "deep/./w.txt"])
def test_parents_of_nothing_are_an_error(context: Path, source: str) -> None:
    """A source of ``--parents`` that matches nothing is named."""
    with pytest.raises(NotFound) as failure:
        chosen(context, source, "/x/", PARENTS)
    assert str(failure.value).endswith(f": {source}")


def test_later_sources_win(context: Path) -> None:
    """Two files for one destination: the later one is copied; a folder and a file are an error."""
    write(context, {"one/f": "1", "two/f": "2", "three/f/g": "3"})
    assert pairs(chosen(context, "one two", "/x/")) == {"/x/f": "two/f"}
    with pytest.raises(InvalidInput, match="/x/f would be a folder and a file: 'one/f' and 'three/f'"):
        chosen(context, "one three", "/x/")


def test_hard_links_are_known(context: Path) -> None:
    """Two names of one file are so in the image; one file copied twice is two."""
    os.link(context / "a.txt", context / "twin")
    found = {pick.destination: pick.twin for pick in chosen(context, "a.txt twin b.txt", "/x/").picks}
    assert found == {"/x/a.txt": "", "/x/b.txt": "", "/x/twin": "/x/a.txt"}
    twice = chosen(context, "dir/c.txt filelink", "/x/")
    assert [pick.twin for pick in twice.picks] == ["", ""]


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "../outside",
        "out",
        "out/passwd",
        "ou*",
        "dots",
        "process/self/root/etc",
        "dir/../../out",
    ],
)
def test_no_source_leads_out(context: Path, source: str) -> None:
    """Absolute paths, dots and links end within the context, whatever they name."""
    (context.parent / "outside").write_text("secret")
    write(context, {"out": "-> /etc", "dots": "-> ../outside", "process": "-> /proc"})
    with pytest.raises(NotFound):
        chosen(context, source, "/x/")
