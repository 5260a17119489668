"""glob: the pattern language, and time that no pattern can stretch."""

import pytest

from corten.engine.builds.context.glob import Class, Sieve, Step, parse


def kept(pattern: str, path: str, *, deep: bool = True) -> bool:
    """Tell whether *pattern* alone keeps *path*."""
    sieve = Sieve([parse(pattern, deep=deep)], [True], default=False)
    return sieve.advance(sieve.start, path).kept


def test_takes_a_pattern_apart() -> None:
    """Each sign of a pattern becomes one place; an escaped one stands for itself."""
    assert parse(r"a*\*[^b-d]", deep=True) == ("a", Step.STAR, "*", Class(True, (("b", "d"),)))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a[", "not closed"),
        ("a[b", "not closed"),
        ("[]a]", "missing before the ]"),
        ("[-a]", "missing before the -"),
        ("[a-]", "missing before the ]"),
        ("[^]", "missing before the ]"),
        ("[a-c-e]", "missing before the -"),
        ("[z-a]", "backwards"),
        ("a\\", "nothing follows"),
        ("[a\\", "nothing follows"),
    ],
)
def test_refuses_what_is_not_well_formed(pattern: str, why: str) -> None:
    """A pattern that Go's Match calls bad is refused with the reason."""
    with pytest.raises(ValueError, match=why):
        parse(pattern, deep=True)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a*c", "a/c", False),
        ("a[^x]c", "a/c", True),
        ("[\\]]", "]", True),
        ("]", "]", True),
        ("[a-cx]", "x", True),
        ("[^a-cx]", "b", False),
        ("a**", "a/b/c", True),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("**/c", "a/bc", False),
        ("**c", "a/bc", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "ac", False),
        ("a**c", "ac", True),
        ("a**c", "ax/c", True),
        ("a**c", "axc", False),
        ("a/**", "a", False),
        ("a/**", "a/b", True),
        ("*", "\udcff", True),
        ("a*b", "a\nb", True),
        ("**/b", "a\n/b", True),
        ("?", "\N{SNOWMAN}", True),
    ],
)
def test_matches_as_documented(pattern: str, path: str, expected: bool) -> None:
    """One star ends at a slash, two do not."""
    assert kept(pattern, path) is expected


def test_two_stars_are_stars_where_nothing_is_deep() -> None:
    """In sources of COPY ``**`` is no more than ``*``."""
    assert kept("a**c", "abc", deep=False)
    assert not kept("a**c", "a/c", deep=False)


def test_no_pattern_stretches_time() -> None:
    """Patterns that take a backtracking matcher years are as fast as any other."""
    assert not kept("**/" * 30 + "x", "a/" * 2000 + "b")
    assert not kept("*a" * 60 + "*b", "a" * 4000)
    assert not kept("**a" * 30 + "b", "a/" * 1000)


def test_states_are_forgotten_and_stay_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that makes more states than are remembered gives the same answers."""
    monkeypatch.setattr("corten.engine.builds.context.glob._MOST_STATES", 10)
    sieve = Sieve([parse("**/a*b?c", deep=True)], [True], default=False)
    held = sieve.advance(sieve.start, "xyz/a")
    for number in range(50):
        assert not sieve.advance(sieve.start, f"{number}/{number}").kept
    assert sieve.advance(held, "lphabec").kept
