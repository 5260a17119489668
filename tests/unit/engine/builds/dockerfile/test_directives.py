"""Parser directives: what stands at the top, and what ends the search."""

import pytest

from corten.engine.builds.dockerfile.directives import ALL, Check, is_directive, read, syntax_of
from corten.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "syntax", "escape"),
    [
        ("# syntax=a/b:1\n# escape=`\n", "a/b:1", "`"),
        ("#syntax=a", "a", "\\"),
        ("#  SYNTAX = a  \n", "a", "\\"),
        ("\ufeff# syntax=a\r\n# escape=`\r\n", "a", "`"),
        ("# hello\n# syntax=a", "", "\\"),
        ("\n# syntax=a", "", "\\"),
        ("FROM x\n# escape=`", "", "\\"),
        ("# unknown=x\n# escape=`", "", "\\"),
        ("# escape=\n", "", "\\"),
        ("# syntax=a b", "a b", "\\"),
    ],
)
def test_directives_stand_at_the_top(text: str, syntax: str, escape: str) -> None:
    """Blanks and case are free; anything else ends the search (D01, D02)."""
    found = read(text, "D")
    assert (found.syntax, found.escape) == (syntax, escape)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=x", 'D:1:10: expected \\ or ` as escape character, found "x"'),
        ("# escape=`\n#escape=`", "D:2:1: expected one escape directive, found a second one: remove it"),
        (
            "# check=foo=1",
            'D:1:9: expected skip=RULE,..., error=true or experimental=RULE,... in check, found "foo=1"',
        ),
        ("# check=error=maybe", 'D:1:9: expected error=true or error=false in check, found "error=maybe"'),
    ],
)
def test_wrong_directives_are_refused(text: str, message: str) -> None:
    """A directive that is given twice or has a wrong value is pointed at (D03)."""
    with pytest.raises(InvalidInput) as failure:
        read(text, "D")
    assert str(failure.value) == message


@pytest.mark.parametrize(
    ("value", "check"),
    [
        ("skip=A, B;error=true", Check(skip=frozenset({"A", "B"}), error=True)),
        ("skip=all", Check(skip=ALL)),
        ("error=0; experimental=C", Check(experimental=frozenset({"C"}))),
    ],
)
def test_check_says_what_lint_does(value: str, check: Check) -> None:
    """Rules are skipped, tried, or made errors (D06)."""
    assert read(f"# check={value}\nFROM x", "D").check == check


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("# syntax=a\n", "a"),
        ("#!/usr/bin/env x\n# syntax=a\n", "a"),
        ("// syntax=a\nfoo", "a"),
        ("// check=x\n// syntax=a\n", "a"),
        ('{"syntax": "a", "x": [1]}', "a"),
        ('{"syntax": 1}', ""),
        ("{", ""),
        ("{" * 100_000, ""),
        ("FROM x", ""),
        ("", ""),
    ],
)
def test_a_front_end_is_found_in_files_of_other_kinds(text: str, syntax: str) -> None:
    """A first line with ``#!``, comments with slashes and JSON may name one too (D05)."""
    assert syntax_of(text) == syntax


def test_the_text_of_a_comment_tells_a_directive() -> None:
    """Lint does not take directives for descriptions."""
    assert is_directive("syntax=x")
    assert is_directive(" Check = x")
    assert not is_directive("foo=x")
