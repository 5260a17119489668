"""Text to logical lines: what one instruction says, and where each character of it stands.

A logical line is one or more lines of the file, joined where a line ends in
the escape character. The escape character does not continue a line where
another one stands before it; comments and empty lines between continued lines
vanish; the blanks at the start of a continued line stay, which is what Docker
does and what makes ``RUN`` text independent of indentation only by the grace
of the shell.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Self

import msgspec

from corten.errors import InvalidInput

BLANKS = " \t\v\f\r"
_BOM = "\ufeff"
_SHOWN = 60  # characters of somebody's text in a message


class Position(msgspec.Struct, frozen=True):
    """A place in a file; *line* and *column* count characters from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def refuse(self, expected: str) -> InvalidInput:
        """Return the failure that points here; *expected* says what should stand here instead."""
        return InvalidInput(f"{self}: {expected}")


class Line(msgspec.Struct, frozen=True):
    """One logical line.

    Attributes:
        text: The line without continuations, comments and outer blanks.
        file: What the file is called in messages.
        starts: Offset in *text*, line and column of each piece that was joined.
        last: Number of the last line of the file that belongs to it, bodies
            of here-documents left out.
        comments: Text of the comment lines directly above.
        gaps: Numbers of the empty lines between continued ones.
    """

    text: str
    file: str
    starts: tuple[tuple[int, int, int], ...]
    last: int
    comments: tuple[str, ...] = ()
    gaps: tuple[int, ...] = ()

    def at(self, offset: int = 0) -> Position:
        """Return where the character at *offset* stands in the file."""
        start, line, column = self.starts[bisect_right(self.starts, (offset, 1 << 60, 0)) - 1]
        return Position(self.file, line, column + offset - start)

    def find(self, fragment: str) -> Position:
        """Return where *fragment* first stands, or the start when the line does not hold it."""
        return self.at(max(self.text.find(fragment), 0))

    def cut(self, offset: int) -> Self:
        """Return what follows *offset* as a line of its own, at the same place in the file."""
        here = self.at(offset)
        later = tuple((start - offset, *place) for start, *place in self.starts if start > offset)
        starts = ((0, here.line, here.column), *later)
        return msgspec.structs.replace(self, text=self.text[offset:], starts=starts)


def shown(text: str) -> str:
    """Return *text* in quotation marks, short and on one line, for a message."""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in short)
    return f'"{plain}"'


def rows_of(text: str) -> list[str]:
    """Return the lines of a file, without their ends and without a byte order mark."""
    rows = text.removeprefix(_BOM).split("\n")
    if rows[-1] == "":
        rows.pop()
    return rows


class Reader:
    """Goes through a file once: logical lines, and the bodies that some of them ask for."""

    def __init__(self, text: str, file: str, escape: str) -> None:
        self._rows = rows_of(text)
        self._file = file
        self._escape = escape
        self._next = 0  # the first row that was not read yet
        self._clean = _is_clean(text)

    def line(self) -> Line | None:
        """Return the next logical line, or None at the end of the file.

        Raises:
            InvalidInput: it holds a NUL, or bytes that are not UTF-8.
        """
        comments = self._skip()
        pieces, starts, gaps = list[str](), list[tuple[int, int, int]](), list[int]()
        length = 0
        for number, column, piece in self._pieces(gaps):
            starts.append((length, number, column))
            pieces.append(piece)
            length += len(piece)
        text = "".join(pieces).rstrip(BLANKS)
        if not text:
            return None
        line = Line(text, self._file, tuple(starts), self._next, comments, tuple(gaps))
        if not self._clean:
            _check(line)
        return line

    def body(self, word: str, tabs: bool, begin: Position) -> str:
        """Return the lines up to one that holds only *word*; see Here-Document in sh(1).

        Args:
            word: What ends the body.
            tabs: Strip leading tabs of every line, the last one included.
            begin: Where the here-document was asked for.

        Raises:
            InvalidInput: no such line follows.
        """
        first = self._next
        for number in range(first, len(self._rows)):
            row = self._rows[number].rstrip("\r")
            if (row.lstrip("\t") if tabs else row) == word:
                self._next = number + 1
                return self._joined(first, number, tabs)
        raise begin.refuse(f"the here-document has no end: expected a line that holds only {shown(word)}")

    @property
    def last(self) -> int:
        """The number of the last line that was read."""
        return self._next

    def _joined(self, first: int, end: int, tabs: bool) -> str:
        """Return the body that begins at row *first* and stops before *end*."""
        rows = self._rows[first:end]
        if not self._clean:
            for number, row in enumerate(rows, first + 1):
                _check(Line(row, self._file, ((0, number, 1),), number))
        return "".join(f"{row.lstrip(chr(9)) if tabs else row}\n" for row in rows)

    def _skip(self) -> tuple[str, ...]:
        """Go past empty lines and comments; return the comments right above what follows."""
        comments: list[str] = []
        while self._next < len(self._rows):
            row = self._rows[self._next].strip(BLANKS)
            if row[:1] not in ("", "#"):
                break
            comment = row[1:].strip(BLANKS)
            comments = comments if comment else []
            comments += (comment,) if comment else ()
            self._next += 1
        return tuple(comments)

    def _pieces(self, gaps: list[int]) -> Iterator[tuple[int, int, str]]:
        """Yield line, column and text of what is joined; blanks in front of the instruction are dropped."""
        joined, begun = True, False
        while joined and self._next < len(self._rows):
            row = self._rows[self._next].rstrip("\r")
            self._next += 1
            first = row.lstrip(BLANKS)
            if first[:1] in ("", "#"):
                gaps += () if first else (self._next,)
                continue
            trimmed = row.rstrip(" \t")
            joined = trimmed.endswith(self._escape) and not trimmed.endswith(self._escape * 2)
            piece = trimmed[:-1] if joined else row
            column = 0 if begun else len(piece) - len(piece.lstrip(BLANKS))
            begun = begun or len(piece) > column
            yield self._next, column + 1, piece[column:]


def _is_clean(text: str) -> bool:
    """Return whether *text* holds nothing that no instruction can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _check(line: Line) -> None:
    """Refuse characters that a program cannot be given."""
    for offset, char in enumerate(line.text):
        if char == "\0" or 0xD800 <= ord(char) <= 0xDFFF:
            what = "a NUL" if char == "\0" else "a byte that is not UTF-8"
            raise line.at(offset).refuse(f"expected text in UTF-8, found {what}: save the file as UTF-8")
