"""ignore: .dockerignore, as documented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.builds.context.ignore import MOST_TEXT, NOTHING, Ignore
from corten.errors import InvalidInput, LimitExceeded
from tests.unit.engine.builds.context import naive

PIECES = [
    "a",
    "b",
    "c",
    ".",
    "..",
    "/",
    "//",
    "*",
    "**",
    "**/",
    "/**",
    "?",
    "[ab]",
    "[^a]",
    "[a-c]",
    "\\*",
    "\\a",
]
LINES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "!", " ", "! ", "#", "/"]),
        st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
        st.sampled_from(["", "", " ", "/"]),
    ),
).filter(lambda line: not line.startswith("!") or naive.cleaned(line[1:].strip(" ")) != "")
NAMES = st.text("abc*.", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def ignore(*lines: str) -> Ignore:
    """Parse an ignore file of *lines*."""
    return Ignore.parse("\n".join(lines), ".dockerignore")


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        (["# a", "a"], "a", True),
        (["#a"], "#a", False),
        (["\\#a"], "#a", True),
        ([" #a"], "#a", True),
        (["  a\t"], "a", True),
        (["", "  ", "a\r"], "a", True),
        (["\ufeffa"], "a", True),
        (["/a/b"], "a/b", True),
        (["//a"], "a", True),
        (["a/"], "a", True),
        (["a"], "a/b/c", True),
        (["a"], "ab", False),
        (["a"], "b/a", False),
        (["*/a*"], "b/ab", True),
        (["*/a*"], "b/c/ab", False),
        (["a?"], "ab", True),
        (["**/*.go"], "x.go", True),
        (["**/*.go"], "a/b/x.go", True),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
        (["a", "!a/b"], "a/b/c", False),
        (["a", "!a/b"], "a", True),
        (["*", "!**/keep"], "deep/inside/keep", False),
        (["*/b", "!a"], "a/b", True),
        (["*", "*/b", "!a"], "a/b", False),
        (["a", "!a/b", "a*"], "a/b", False),
        (["!a"], "a", False),
        (["! a", "a"], "a", True),
        (["\\!a"], "!a", True),
        (["."], "a", False),
        (["/"], "a", False),
        (["../a"], "a", False),
        (["/../a"], "a", True),
        (["a/../b"], "b", True),
        (["Dockerfile"], "Dockerfile", True),
        (["a b"], "a b", True),
    ],
)
def test_reads_what_is_documented(lines: list[str], path: str, expected: bool) -> None:
    """Comments, blanks, slashes, exceptions and their order."""
    assert ignore(*lines).ignores(path) is expected


@pytest.mark.slow
@given(st.lists(LINES, max_size=5), st.lists(PATHS, min_size=1, max_size=5))
def test_agrees_with_the_rules_written_plainly(lines: list[str], paths: list[str]) -> None:
    """No list of patterns and no path tells the automaton from the documented rules."""
    rules = ignore(*lines)
    for path in paths:
        assert rules.ignores(path) is naive.ignores(lines, path), path


@pytest.mark.slow
@given(st.lists(LINES, max_size=5), PATHS, st.lists(PATHS, min_size=1, max_size=8))
def test_nothing_kept_is_below_a_folder_that_need_not_be_entered(
    lines: list[str], folder: str, inside: list[str]
) -> None:
    """A walk that stays out of such folders misses nothing."""
    rules = ignore(*lines)
    if not rules.may_contain_exception(folder):
        assert all(rules.ignores(f"{folder}/{path}") for path in inside)


@pytest.mark.parametrize(
    ("lines", "folder", "expected"),
    [
        (["a", "!a/b"], "a", True),
        (["a", "!a/b"], "a/b", True),
        (["a", "!a/b"], "a/c", False),
        (["a", "!b"], "a", False),
        (["!a/b", "a"], "a", False),
        (["a", "!**/x"], "a/b/c", True),
        (["a/*", "!a/b*"], "a", True),
        (["a/**"], "a", False),
        (["b"], "a", True),
        (["**"], "", False),
    ],
)
def test_tells_exactly_which_folders_hold_exceptions(lines: list[str], folder: str, expected: bool) -> None:
    """A folder that is left out is entered only for an exception that can lie in it."""
    assert ignore(*lines).may_contain_exception(folder) is expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ok", "# x", "a[b"], "line 3: bad pattern 'a[b': a bracket is opened"),
        (["!"], 'line 1: "!" needs a pattern'),
        (["", "! "], 'line 2: "!" needs a pattern'),
        (["!/"], 'line 1: "!" needs a pattern'),
        (["!a\\"], "line 1: bad pattern"),
    ],
)
def test_names_the_line_of_a_bad_pattern(lines: list[str], message: str) -> None:
    """A pattern that is not well formed is refused with its file and line."""
    with pytest.raises(InvalidInput) as refused:
        ignore(*lines)
    assert f".dockerignore, {message}" in str(refused.value)


def test_says_which_rule_leaves_a_path_out() -> None:
    """The rule that decided is known with its line."""
    rules = ignore("# comment", "*.log", "!keep.log")
    found = rules.rule_for("a.log")
    assert found is not None
    assert (found.line, found.pattern) == (2, "*.log")
    assert rules.rule_for("keep.log") is None
    assert rules.rule_for("") is None


def test_the_root_is_never_left_out() -> None:
    """No pattern leaves out the context itself, and no rules leave out nothing."""
    assert not ignore("**").ignores("")
    assert not NOTHING.ignores("a")


def test_refuses_an_endless_file() -> None:
    """An ignore file has a limit."""
    with pytest.raises(LimitExceeded, match="patterns instead of lists"):
        ignore("a" * (MOST_TEXT + 1))
