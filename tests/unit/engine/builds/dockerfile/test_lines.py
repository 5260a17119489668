"""Logical lines: what is joined, what vanishes, and where each character stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.builds.dockerfile.lines import Position, Reader, shown
from corten.errors import InvalidInput


def lines(text: str, escape: str = "\\") -> list[str]:
    """Return the text of each logical line."""
    reader, found = Reader(text, "D", escape), []
    while line := reader.line():
        found.append(line.text)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a\nRUN b", ["RUN a", "RUN b"]),
        ("  RUN a  \n", ["RUN a"]),
        ("RUN a\r\nRUN b\r\n", ["RUN a", "RUN b"]),
        ("\ufeffFROM x", ["FROM x"]),
        ("# c\n\n  # d\nRUN # e", ["RUN # e"]),
        ("RUN a \\\n  b", ["RUN a   b"]),
        ("RUN a \\  \t\nb", ["RUN a b"]),
        ("RUN a \\\r\nb", ["RUN a b"]),
        ("RUN a \\\n# c \\\n  # d\nb", ["RUN a b"]),
        ("RUN a \\\n\n  \nb", ["RUN a b"]),
        ("RUN a \\\\\nRUN b", ["RUN a \\\\", "RUN b"]),
        ("RUN a \\\\\\\nRUN b", ["RUN a \\\\\\", "RUN b"]),
        ("\\\nRUN a", ["RUN a"]),
        ("\\\n  \\\n RUN a", ["RUN a"]),
        ("RUN a \\", ["RUN a"]),
        ("\\", []),
        ("# RUN a \\\nRUN b", ["RUN b"]),
        ("R\\\nUN a", ["RUN a"]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_lines_are_joined_and_comments_vanish(text: str, expected: list[str]) -> None:
    """Continuation, comments, blanks and line ends are read as Docker reads them (P02 to P05)."""
    assert lines(text) == expected


def test_another_escape_character_continues_lines() -> None:
    """With a backquote, the backslash is a character like any other (D04)."""
    assert lines("RUN a `\nb \\\nRUN c", "`") == ["RUN a b \\", "RUN c"]


def test_positions_lead_through_continuations() -> None:
    """Every character of a logical line knows its place in the file."""
    line = Reader("\n  RUN aa \\\n# c\n  bb\n", "D", "\\").line()

    assert line is not None
    assert line.text == "RUN aa   bb"
    assert line.at() == Position("D", 2, 3)
    assert line.at(4) == Position("D", 2, 7)
    assert line.find("bb") == Position("D", 4, 3)
    assert line.last == 4


def test_a_part_of_a_line_keeps_its_place() -> None:
    """What is cut off a line still points at the same characters."""
    line = Reader("ONBUILD RUN a \\\n b \\\n c", "D", "\\").line()

    assert line is not None
    part = line.cut(8)
    assert part.text == "RUN a  b  c"
    assert part.at() == Position("D", 1, 9)
    assert part.find("c") == line.find("c") == Position("D", 3, 2)


def test_comments_and_gaps_are_remembered() -> None:
    """Comments right above and empty lines inside are kept for lint."""
    line = Reader("# far\n\n# one\n#two\nRUN a \\\n\nb", "D", "\\").line()

    assert line is not None
    assert line.comments == ("one", "two")
    assert line.gaps == (6,)


@pytest.mark.parametrize(("char", "what"), [("\0", "NUL"), ("\udcff", "UTF-8")])
def test_characters_that_no_program_takes_are_refused(char: str, what: str) -> None:
    """A NUL or a broken byte is pointed at, in instructions and in bodies."""
    with pytest.raises(InvalidInput, match=rf"^D:2:5: .*{what}"):
        lines(f"\nRUN {char}")
    with pytest.raises(InvalidInput, match=r"^D:1:2: "):
        Reader(f"x{char}\nE\n", "D", "\\").body("E", False, Position("D", 1))


def test_broken_bytes_in_comments_do_not_matter() -> None:
    """An old comment in another encoding breaks no build."""
    assert lines("# M\udcfcller\nRUN a") == ["RUN a"]


def test_shown_text_is_short_and_on_one_line() -> None:
    """Messages stay on one line whatever they quote."""
    assert shown("a\nb\x1b\u2028") == '"a\\nb\\x1b\\u2028"'
    assert len(shown("x" * 1000)) < 70


@given(st.text(alphabet="Rab #\\`\n\r\t "))
def test_positions_point_at_their_characters(text: str) -> None:
    """For any text, each character of a logical line is found at its position."""
    rows = text.split("\n")
    reader = Reader(text, "D", "\\")
    while line := reader.line():
        for offset, char in enumerate(line.text):
            place = line.at(offset)
            assert rows[place.line - 1][place.column - 1] == char
