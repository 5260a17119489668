"""Names: which are allowed, and which are invented."""

import re

import pytest

from corten.engine.records import names
from corten.errors import InvalidInput


@pytest.mark.parametrize("name", ["web", "/web", "a0", "9_.-", "Web.1-x_y"])
def test_allows_what_docker_allows(name: str) -> None:
    """Letters, digits and _.- after a first letter or digit; a leading slash is dropped."""
    assert names.valid(name) == name.lstrip("/")


@pytest.mark.parametrize("name", ["", "/", "a", "_a", "-a", ".a", "a b", "a/b", "//ab", "ab\n", "é1"])
def test_refuses_the_rest(name: str) -> None:
    """Anything else is refused in Docker's words."""
    with pytest.raises(InvalidInput, match=re.escape("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")):
        names.valid(name)


def test_invents_names_of_docker_s_form() -> None:
    """An invented name is two words of small letters, and valid."""
    for _ in range(50):
        name = names.generate(lambda _: False)
        assert re.fullmatch(r"[a-z]+_[a-z]+", name)
        assert names.valid(name) == name


def test_every_word_is_used_once() -> None:
    """The lists have no repeated and no odd words."""
    for words in (names.ADJECTIVES, names.NOUNS):
        assert len(set(words)) == len(words)
        assert all(re.fullmatch("[a-z]+", word) for word in words)


def test_adds_a_number_when_names_run_out() -> None:
    """If every pair is taken, a number makes the name free."""
    name = names.generate(lambda name: not name[-1].isdigit())
    assert re.fullmatch(r"[a-z]+_[a-z]+\d+", name)
