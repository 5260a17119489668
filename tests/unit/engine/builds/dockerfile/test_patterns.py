"""Patterns: shortest and longest matches, and no way to make them slow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.builds.dockerfile.patterns import literal, replace, strip_prefix, strip_suffix

VALUE = st.text(alphabet="ab*\n", max_size=8)
PATTERN = st.text(alphabet="ab*?", max_size=6)


@pytest.mark.parametrize(
    ("value", "pattern", "shortest", "longest"),
    [
        ("a.b.c", "*.", "b.c", "c"),
        ("a.b.c", "?", ".b.c", ".b.c"),
        ("a.b.c", "x", "a.b.c", "a.b.c"),
        ("a.b.c", "", "a.b.c", "a.b.c"),
        ("a.b.c", "*", "a.b.c", ""),
        ("*a", r"\*", "a", "a"),
        ("abab", "a*b", "ab", ""),
    ],
)
def test_prefixes_are_stripped(value: str, pattern: str, shortest: str, longest: str) -> None:
    """``#`` takes the shortest match, ``##`` the longest (V05)."""
    assert strip_prefix(value, pattern, longest=False) == shortest
    assert strip_prefix(value, pattern, longest=True) == longest


def _ends(value: str, pattern: str) -> list[int]:
    """Return every length of a start of *value* that matches, by a method that cannot be wrong."""
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return [end for end in range(len(value) + 1) if re.fullmatch(expression, value[:end], re.DOTALL)]


@given(VALUE, PATTERN)
def test_both_ends_agree_with_trying_everything(value: str, pattern: str) -> None:
    """For any value and pattern the cut is where an exhaustive search puts it."""
    ends = _ends(value, pattern)
    assert strip_prefix(value, pattern, longest=False) == value[min(ends, default=0) :]
    assert strip_prefix(value, pattern, longest=True) == value[max(ends, default=0) :]

    ends = _ends(value[::-1], pattern[::-1])
    assert strip_suffix(value, pattern, longest=False) == value[: len(value) - min(ends, default=0)]
    assert strip_suffix(value, pattern, longest=True) == value[: len(value) - max(ends, default=0)]


@given(VALUE, PATTERN.filter(bool))
def test_replacing_takes_the_leftmost_longest_match(value: str, pattern: str) -> None:
    """The first match is the leftmost, and of those the longest."""
    starts = [start for start in range(len(value) + 1) if _ends(value[start:], pattern)]
    expected = value
    if starts:
        end = starts[0] + max(_ends(value[starts[0] :], pattern))
        expected = f"{value[: starts[0]]}-{value[end:]}"
    assert replace(value, pattern, "-", everywhere=False, limit=100) == expected


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("a/b/c", "/", "a--b--c"),
        ("aaa", "a", "------"),
        ("abcabc", "b?", "a--a--"),
        ("x", "", "x"),
        ("", "*", "--"),
    ],
)
def test_every_match_is_replaced(value: str, pattern: str, expected: str) -> None:
    """Matches follow each other without overlap."""
    assert replace(value, pattern, "--", everywhere=True, limit=100) == expected


def test_results_have_a_limit() -> None:
    """A value does not grow without bound."""
    with pytest.raises(ValueError, match="too long"):
        replace("a" * 100, "a", "b" * 100, everywhere=True, limit=1000)


def test_many_stars_are_not_slow() -> None:
    """A pattern that keeps backtracking matchers busy for years is answered at once."""
    assert strip_prefix("a" * 5000, "a*" * 200 + "b", longest=True) == "a" * 5000
    assert strip_suffix("a" * 5000, "b" + "*a" * 200, longest=True) == "a" * 5000


@given(VALUE)
def test_protected_text_matches_itself(value: str) -> None:
    """Quoted text has no wildcards."""
    assert not strip_prefix(value, literal(value), longest=False)
