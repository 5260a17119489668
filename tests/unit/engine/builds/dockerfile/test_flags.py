"""Flags: where they end, what they take, and what is near a misspelt one."""

import pytest

from corten.engine.builds.dockerfile.flags import Flags, Kind, nearest, take
from corten.engine.builds.dockerfile.lines import Line
from corten.errors import InvalidInput

KNOWN = {"text": Kind.TEXT, "bool": Kind.BOOL, "many": Kind.MANY}


def given(text: str) -> tuple[Flags, str]:
    """Return the flags of an instruction called X, and what follows them."""
    line = Line(f"X {text}", "D", ((0, 1, 1),), 1)
    flags, start = take(line, 1, KNOWN, "X")
    return flags, line.text[start:]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a --text=b", "a --text=b"),
        ("--text=b a", "a"),
        ("--text=b --bool  a b", "a b"),
        ("-- --text=b", "--text=b"),
        ("--bool -- a", "a"),
        ("--bool", ""),
        ("", ""),
        ("-x", "-x"),
    ],
)
def test_flags_stand_in_front(text: str, rest: str) -> None:
    """The first word that is no flag, or two dashes, end them (P08)."""
    assert given(text)[1] == rest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("--text=", ""),
        ("--text=a=b", "a=b"),
        ("--text='a b' c", "a b"),
        ('--text="a \\" b" c', 'a " b'),
        ("--text=a\\ b c", "a b"),
        ("--text=${x:-1}", "${x:-1}"),
        ("--text='type=x,\"a,b\"'", 'type=x,"a,b"'),
    ],
)
def test_quotes_hide_blanks_in_values(text: str, value: str) -> None:
    """Quotes and backslashes are removed from a flag."""
    assert given(text)[0].text("text") == value


def test_a_flag_without_a_value_is_true() -> None:
    """A boolean may be given bare or in words, and may be absent."""
    assert given("--bool a")[0].boolean("bool") is True
    assert given("--bool=True a")[0].boolean("bool") is True
    assert given("--bool=false a")[0].boolean("bool") is False
    assert given("a")[0].boolean("bool") is None
    assert given("a")[0].text("text", "default") == "default"


def test_some_flags_may_be_repeated() -> None:
    """Each value keeps its place."""
    values = given("--many=a --many=b c")[0].many("many")
    assert [(value, place.column) for value, place in values] == [("a", 3), ("b", 12)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--txt=a b", 'D:1:3: unknown flag "--txt" of X: did you mean --text?'),
        ("--zzz b", 'D:1:3: unknown flag "--zzz" of X: expected --bool, --many, --text'),
        ("--text b", "D:1:3: --text needs a value: write --text=VALUE"),
        ("--bool=1 b", 'D:1:3: expected --bool=true or --bool=false, found "1"'),
        ("--bool --bool b", "D:1:10: expected --bool once: remove one of them"),
        ("--text=a --text=b c", "D:1:12: expected --text once: remove one of them"),
    ],
)
def test_wrong_flags_are_refused(text: str, message: str) -> None:
    """The message points at the flag and says what to write (P07, P08)."""
    with pytest.raises(InvalidInput) as failure:
        given(text)
    assert str(failure.value) == message


def test_an_instruction_may_have_no_flags() -> None:
    """Then any is unknown."""
    with pytest.raises(InvalidInput, match='unknown flag "--a" of X: X takes none'):
        take(Line("X --a", "D", ((0, 1, 1),), 1), 1, {}, "X")


def test_suggestions_need_a_likeness() -> None:
    """A word like no other gets the whole choice."""
    assert nearest("hots", ("host", "none")) == ": did you mean host?"
    assert nearest("xyz", ("host", "none")) == ": expected host, none"
    assert not nearest("xyz", ())
