"""Words: between blanks, with quotes, or as JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.builds.dockerfile.words import NotStrings, json_array, split, split_quoted


def test_blanks_separate_words() -> None:
    """Each word comes with its offset; a start may be given."""
    assert split(" a  b\tc", 1) == [(1, "a"), (4, "b"), (6, "c")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b c=d", ["a=b", "c=d"]),
        ('a="b c" d', ['a="b c"', "d"]),
        ("a='b \" c' d", ["a='b \" c'", "d"]),
        (r"a=b\ c d", [r"a=b\ c", "d"]),
        (r'a="b\" c" d', [r'a="b\" c"', "d"]),
        (r"a='b\' c", [r"a='b\'", "c"]),
        ('a="b c', ['a="b c']),
        ("a\\", ["a\\"]),
        ('"a\\', ['"a\\']),
        ('"" b', ['""', "b"]),
        ("", []),
    ],
)
def test_quotes_and_escapes_hide_blanks(text: str, expected: list[str]) -> None:
    """Quotes stay in the words; one that is not closed reaches to the end."""
    assert [word for _, word in split_quoted(text, "\\")] == expected


def test_the_escape_character_may_be_a_backquote() -> None:
    """Then a backslash hides nothing."""
    assert [word for _, word in split_quoted("a` b c\\ d", "`")] == ["a` b", "c\\", "d"]


@given(st.text(alphabet="ab \"'\\`\t"))
def test_words_are_what_blanks_leave(text: str) -> None:
    """Nothing but blanks is lost, for any text."""
    for found in (split(text), split_quoted(text, "\\"), split_quoted(text, "`")):
        assert all(text[offset : offset + len(word)] == word for offset, word in found)
        covered = {place for offset, word in found for place in range(offset, offset + len(word))}
        assert not "".join(char for place, char in enumerate(text) if place not in covered).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b c"]', ("a", "b c")),
        ("[]", ()),
        (' [ "\\u00e4" ] ', ("ä",)),
        ("['a']", None),
        ('["a",]', None),
        ('["a"] b', None),
        ("[ -f x ]", None),
        ('{"a": 1}', None),
        ("echo", None),
        ("[" * 100_000, None),
    ],
)
def test_only_json_is_json(text: str, expected: tuple[str, ...] | None) -> None:
    """What is no JSON array is left to the shell form (P09)."""
    assert json_array(text) == expected


@pytest.mark.parametrize("text", ["[1]", '["a", null]', '[["a"]]'])
def test_an_array_of_other_things_is_a_mistake(text: str) -> None:
    """An array with members that are no strings is not a shell command either."""
    with pytest.raises(NotStrings):
        json_array(text)
