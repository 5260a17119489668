"""Variables in words, also compared with the shell of this machine."""

import random
import subprocess

import pytest

from corten.engine.builds.dockerfile.expand import (
    LIMIT,
    ExpansionError,
    analyse,
    expand,
    expand_body,
    expand_words,
)

VARIABLES = {"a": "one.two.three", "b": "", "c": "x/y/z x", "d": "**"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$a", "one.two.three"),
        ("${a}", "one.two.three"),
        ("x$a.y", "xone.two.three.y"),
        ("$u", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$1x", "x"),
        ("$$", ""),
        ("$@", ""),
        ("${u:-w}", "w"),
        ("${b:-w}", "w"),
        ("${b-w}", ""),
        ("${u-w}", "w"),
        ("${a:-w}", "one.two.three"),
        ("${a:+w}", "w"),
        ("${b:+w}", ""),
        ("${b+w}", "w"),
        ("${u+w}", ""),
        ("${a:?m}", "one.two.three"),
        ("${b?m}", ""),
        ("${u:-${b:-$a}}", "one.two.three"),
        ("${u:-a b}", "a b"),
        ("${u:-a\\}b}", "a}b"),
        ("${a#*.}", "two.three"),
        ("${a##*.}", "three"),
        ("${a%.*}", "one.two"),
        ("${a%%.*}", "one"),
        ("${a#'*'}", "one.two.three"),
        ("${d#'*'}", "*"),
        ("${d#\\*}", "*"),
        ("${a/two/2}", "one.2.three"),
        ("${a/t/T}", "one.Two.three"),
        ("${a//t/T}", "one.Two.Three"),
        ("${a//t/}", "one.wo.hree"),
        ("${c/\\//-}", "x-y/z x"),
        ("${c//\\//$b}", "xyz x"),
        ("\\$a", "$a"),
        ("\\\\$a", "\\one.two.three"),
        ("'$a'", "$a"),
        ('"$a"', "one.two.three"),
        ('"\\$a \\" \\x \\\\"', '$a " \\x \\'),
        ("a\\ b\\x", "a bx"),
        ("a'b'\"c\"", "abc"),
        ("''", ""),
        ("a\\", "a"),
    ],
)
def test_words_are_expanded(text: str, expected: str) -> None:
    """Every form of a variable and of quoting has Docker's meaning (V03 to V07)."""
    assert expand(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("${", "expected the name of a variable after ${", 0),
        ("${}", "expected the name of a variable after ${", 0),
        ("${:x}", "expected the name of a variable after ${", 0),
        ("a${b", "expected } to end ${b", 1),
        ("${a:-x", "expected } to end ${...}", 0),
        ("${a:#x}", 'expected one of :- - :+ + :? ? # % / after ${a, found "#"', 0),
        ("${a=x}", 'expected one of :- - :+ + :? ? # % / after ${a, found "="', 0),
        ("${a:", 'expected one of :- - :+ + :? ? # % / after ${a, found ""', 0),
        ("${a/x}", "expected / to end ${...}", 0),
        ("${u:?say\nwhy}", "u: say why: give it a value", 0),
        ("${u?}", "u: is not set: give it a value", 0),
        ("${b:?}", "b: is empty: give it a value", 0),
        ("'a", "expected a closing single quote", 0),
        ('x"a', "expected a closing double quote", 1),
        ("${a:-" * 100, "expected at most 40 variables inside each other", 200),
    ],
)
def test_bad_words_are_refused(text: str, message: str, offset: int) -> None:
    """A word that cannot be expanded says what is missing, and where (V07)."""
    with pytest.raises(ExpansionError) as failure:
        expand(text, VARIABLES)
    assert (str(failure.value), failure.value.offset) == (message, offset)


def test_the_escape_character_may_be_a_backquote() -> None:
    """Then a backslash is a character like any other (D04)."""
    assert expand('C:\\$a `$a "`$a `" \\"', {"a": "x"}, "`") == 'C:\\x $a $a " \\'


def test_only_what_is_not_quoted_is_split() -> None:
    """A variable may become several words, a quoted one may not (V10)."""
    variables = {"p": "80 81", "e": ""}
    assert expand_words("$p", variables) == ("80", "81")
    assert expand_words('"$p"', variables) == ("80 81",)
    assert expand_words("a${p}b", variables) == ("a80", "81b")
    assert expand_words("$e", variables) == ()
    assert expand_words("a\\ b", variables) == ("a b",)


def test_quotes_in_bodies_are_text() -> None:
    """A body keeps its quotes, and loses escape characters as with Docker."""
    assert expand_body('it\'s "$a" \\$a\\\n', {"a": "x"}) == 'it\'s "x" $a\n'
    assert expand_body("it's", {}) == "it's"


def test_variables_are_reported() -> None:
    """Used ones and missing ones are told apart; a default makes a missing one harmless."""
    found = analyse("$a $u ${v:-$w} ${x#y} ${y:+z}", {"a": "1"})

    assert found.used == {"a"}
    assert found.missing == {"u", "w", "x"}


def test_values_have_a_limit() -> None:
    """A word that doubles itself again and again is stopped, not stored."""
    value = "x" * (LIMIT // 2)
    with pytest.raises(ExpansionError, match="longer than"):
        expand("$a$a$a", {"a": value})
    with pytest.raises(ExpansionError, match="longer than"):
        expand("${b//x/$a}", {"a": value, "b": "xxx"})


def _word(chance: random.Random, depth: int = 0, quoted: bool = False) -> str:
    """Make a word of forms that Docker and sh(1) have in common."""
    return "".join(_part(chance, chance.randint(0, 9), depth, quoted) for _ in range(chance.randint(1, 3)))


def _part(chance: random.Random, kind: int, depth: int, quoted: bool) -> str:
    name = chance.choice("abcdu")
    if kind == 3:
        return f"${name}"
    if kind == 4:
        return f"${{{name}}}"
    if kind == 5 and depth < 2:
        return f"${{{name}{chance.choice(['-', ':-', '+', ':+'])}{_word(chance, depth + 1, quoted)}}}"
    if kind == 6:
        pattern = chance.choice(["*.", "on*", "?", "*", "one", "*/", ".*", "x*y", "?ne*t", "*t*e", "/*"])
        return f"${{{name}{chance.choice(['#', '##', '%', '%%'])}{pattern}}}"
    if kind == 7 and not quoted and not depth:
        return f'"{_word(chance, depth, True)}"'
    if kind == 8 and not quoted and not depth:
        return "'lit $a \" \\'"
    if kind == 9:
        return chance.choice(["\\$a", "\\\\", '\\"'])
    return chance.choice(["abc", "/x", ".", "k=v", "-", "two"])


def test_words_mean_what_they_mean_in_the_shell() -> None:
    """What this machine's sh makes of a few hundred words is what they become here."""
    chance = random.Random(7)
    words = [_word(chance) for _ in range(300)]
    script = [f"{name}='{value}'" for name, value in VARIABLES.items()]
    script += ["unset u", "set -f", "IFS="]
    script += [f"printf '%s\\n' :{word}:" for word in words]

    done = subprocess.run(["/bin/sh", "-c", "\n".join(script)], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [f":{expand(word, VARIABLES)}:" for word in words]
