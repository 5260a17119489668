"""Here-documents: text that follows an instruction instead of standing in a file.

Source: Dockerfile reference, "Here-Documents"; sh(1), Here-Document.
"""

import re
from functools import lru_cache

import msgspec

from corten.engine.builds.dockerfile.lines import BLANKS, Line, Reader

_SCRIPT = "#!"


class Heredoc(msgspec.Struct, frozen=True):
    """One here-document.

    Attributes:
        name: The word that ends it; for COPY and ADD also the name of the file.
        body: Its lines, leading tabs already stripped for ``<<-``.
        expands: Variables in the body stand for their values: no part of the
            word was quoted. For RUN the shell sees to that.
        marker: How it is written in the instruction: ``<<-"EOF"``.
    """

    name: str
    body: str
    expands: bool
    marker: str

    @property
    def is_script(self) -> bool:
        """Whether the body names its own interpreter."""
        return self.body.startswith(_SCRIPT)


class Marker(msgspec.Struct, frozen=True):
    """The place where a here-document is asked for; *offset* is that in the line."""

    text: str
    name: str
    expands: bool
    tabs: bool
    offset: int


@lru_cache(maxsize=2)
def _words(escape: str) -> re.Pattern[str]:
    """Return the pattern of a word of a shell: quoted parts and ``$((1 << 2))`` belong to one."""
    token, blanks = re.escape(escape), re.escape(BLANKS)
    return re.compile(
        rf"""(?:\$\(\((?:[^()]|\([^()]*+\))*+\)\)|\$|[^{blanks}'"{token}$]++|{token}.|{token}\Z"""
        rf"""|'[^']*+(?:'|\Z)|"(?:[^"{token}]|{token}.)*+(?:"|{token}?\Z))+""",
        re.DOTALL,
    )


@lru_cache(maxsize=4)
def _marker(escape: str, shell: bool) -> re.Pattern[str]:
    """Return the pattern of ``[n]<<[-]WORD``; in a shell an operator may follow at once."""
    token = re.escape(escape)
    operators = ";|&<>()" if shell else "<"
    end = r"(?=[;|&>)]|\Z)" if shell else r"\Z"
    word = rf"""(?:[^{operators}'"{token}]|{token}.|'[^']*'|"(?:[^"{token}]|{token}.)*")+"""
    return re.compile(rf"\d*<<(-?+)({word}){end}", re.DOTALL)


def markers(text: str, escape: str, shell: bool, start: int = 0) -> list[Marker]:
    """Return the here-documents that a line asks for, in order.

    Args:
        text: A logical line.
        escape: The escape character of the file.
        shell: A shell will read the line, so that ``<<EOF|`` names EOF.
        start: Where to begin.
    """
    if "<<" not in text:
        return []
    found = []
    for word in _words(escape).finditer(text, start):
        match = _marker(escape, shell).match(word[0])
        if match:
            name = _unquoted(match[2], escape)
            offset = word.start() + match.start()
            found.append(Marker(match[0], name, name == match[2], bool(match[1]), offset))
    return [marker for marker in found if marker.name]


def read(line: Line, escape: str, shell: bool, reader: Reader, start: int = 0) -> tuple[Heredoc, ...]:
    """Read the bodies that *line* asks for.

    Raises:
        InvalidInput: one of them has no end.
    """
    return tuple(
        Heredoc(
            marker.name,
            reader.body(marker.name, marker.tabs, line.at(marker.offset)),
            marker.expands,
            marker.text,
        )
        for marker in markers(line.text, escape, shell, start)
    )


def _unquoted(word: str, escape: str) -> str:
    """Return *word* as the line that ends the body has it."""
    token = re.escape(escape)
    part = re.compile(rf"""'([^']*)'|"((?:[^"{token}]|{token}.)*)"|{token}(.)|([^'"{token}])""", re.DOTALL)
    return part.sub(lambda found: next(group for group in found.groups() if group is not None), word)
