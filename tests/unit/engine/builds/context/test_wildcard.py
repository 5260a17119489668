"""wildcard: sources of COPY and ADD, taken apart."""

import pytest

from corten.engine.builds.context.wildcard import Name, below, has_wildcard, normal, pivot, split
from corten.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a*", True), ("a?", True), ("[a]", True), ("a\\*", False), ("a\\\\*", True), ("a]", False)],
)
def test_tells_patterns_from_names(name: str, expected: bool) -> None:
    """A name is a pattern if a wildcard in it is not escaped."""
    assert has_wildcard(name) is expected


@pytest.mark.parametrize(
    ("source", "folder", "patterns"),
    [
        (".", "", ()),
        ("/", "", ()),
        ("./a/b/", "a/b", ()),
        ("../../etc/passwd", "etc/passwd", ()),
        ("/a//b", "a/b", ()),
        ("a/*.go", "a", ("*.go",)),
        ("a/b*/c", "a", ("b*", "c")),
        ("*", "", ("*",)),
    ],
)
def test_splits_at_the_first_pattern(source: str, folder: str, patterns: tuple[str, ...]) -> None:
    """What comes before the first pattern is literal; nothing leads above the root."""
    assert split(source) == (folder, patterns)


@pytest.mark.parametrize(
    ("source", "folder", "pattern"),
    [
        ("a/b/c.txt", "", "a/b/c.txt"),
        ("./a/b", "", "a/b"),
        ("/a/./b/*.txt", "a", "b/*.txt"),
        ("a/./", "a", ""),
        ("./a/./b/./c", "a", "b/c"),
        ("../a/./../b", "a", "b"),
        ("./**/*.txt", "", "**/*.txt"),
    ],
)
def test_pivots_at_a_dot_between_slashes(source: str, folder: str, pattern: str) -> None:
    """``/./`` says where the paths that are kept begin."""
    assert pivot(source) == (folder, pattern)


def test_normal_stays_below_the_root() -> None:
    """No number of ``..`` leads out."""
    assert normal("//../../a/../../b/.") == "b"


def test_matches_one_name() -> None:
    """A pattern for a name knows stars, marks, classes and escapes."""
    assert Name("h[aeo]?*", "source").matches("hello")
    assert not Name("h[^e]*", "source").matches("hello")
    assert Name(r"a\*", "source").matches("a*")


def test_below_covers_what_lies_in_a_match() -> None:
    """With parents kept, a folder that matches brings all below it."""
    sieve = below("**/src", "source")
    assert sieve.advance(sieve.start, "a/src/b/c").kept
    assert not sieve.advance(sieve.start, "a/b").kept


def test_names_the_source_of_a_bad_pattern() -> None:
    """A pattern that is not well formed is refused with the source that it is in."""
    with pytest.raises(InvalidInput, match=r"in the source 'x/a\[b'"):
        Name("a[b", "x/a[b")
    with pytest.raises(InvalidInput, match="in the source 'z'"):
        below("[", "z")
