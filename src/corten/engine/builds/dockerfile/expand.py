"""Variables in words: what ``$x`` and ``${x...}`` stand for, and what quotes hide.

This is Docker's reading, which is nearly that of sh(1), Word Expansions. It
differs where Docker does: single quotes quote inside ``"${x:-'...'}"`` too,
patterns have no brackets, values are not split into words (``EXPOSE`` alone
asks for that), and a body without quotes loses every escape character.
"""

import re
from collections.abc import Mapping

import msgspec

from corten.engine.builds.dockerfile import patterns
from corten.engine.builds.dockerfile.lines import shown

LIMIT = 1 << 20  # characters that variables put into one word; ENV lines that double a value reach it soon
_DEPTH = 40  # of ${a:-${b:-...}}; nobody writes more than a few
_PLAIN = re.compile(r"""[^$'"\\`/}]+""")
_NAME = re.compile(r"\d+|[^\W\d]\w*|[@*#?\-$!]")
_Fragments = list[tuple[bool, str]]  # may it be split at blanks?, text


class ExpansionError(ValueError):
    """A word that cannot be expanded; *offset* is where in it."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Expansion(msgspec.Struct, frozen=True):
    """What became of a word.

    Attributes:
        fragments: Pieces of the result; those marked may be split at blanks.
        used: Variables that were there.
        missing: Variables that were not, where nothing was said for that case.
    """

    fragments: tuple[tuple[bool, str], ...]
    used: frozenset[str]
    missing: frozenset[str]

    @property
    def text(self) -> str:
        """The result as one text."""
        return "".join(text for _, text in self.fragments)

    @property
    def words(self) -> tuple[str, ...]:
        """The result split at blanks that were not quoted; no word is empty."""
        marked = "".join(re.sub(r"\s", "\0", text) if splits else text for splits, text in self.fragments)
        return tuple(word for word in marked.split("\0") if word)


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return *text* with variables in place and quotes removed.

    Raises:
        ExpansionError: bad syntax, ``${x:?m}`` without x, or values longer than ``LIMIT``.
    """
    if "$" not in text and "'" not in text and '"' not in text and escape not in text:
        return text
    return analyse(text, variables, escape).text


def expand_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> tuple[str, ...]:
    """As ``expand``, but the result is split at blanks that are not quoted."""
    return analyse(text, variables, escape).words


def expand_body(text: str, variables: Mapping[str, str]) -> str:
    """Return the body of a here-document with variables in place; quotes are text there."""
    if "$" not in text and "\\" not in text:
        return text
    return analyse(text, variables, quotes=False).text


def analyse(text: str, variables: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> Expansion:
    """As ``expand``, or ``expand_body`` without *quotes*; the result tells which variables were met."""
    return _Lexer(text, variables, escape, quotes).analyse()


class _Lexer:
    """One pass over one word."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str, quotes: bool) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._quotes = "'\"" if quotes else ""
        self._place = 0
        self._dollars: list[int] = []  # where the variables begin that are being read
        self._size = 0
        self._used: set[str] = set()
        self._missing: set[str] = set()

    def analyse(self) -> Expansion:
        """Expand the whole text."""
        fragments = self._run("", pattern=False)
        return Expansion(tuple(fragments), frozenset(self._used), frozenset(self._missing))

    def _fault(self, message: str) -> ExpansionError:
        return ExpansionError(message, self._dollars[-1] if self._dollars else self._place)

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _next(self) -> str:
        char = self._peek()
        self._place += len(char)
        return char

    def _run(self, stop: str, pattern: bool) -> _Fragments:
        """Expand up to *stop*, or to the end when that is empty.

        Args:
            stop: One character, which is read too.
            pattern: Keep escapes, and protect what was quoted, so that the
                result can be taken for a pattern.
        """
        found: _Fragments = []
        while self._place < len(self._text):
            plain = _PLAIN.match(self._text, self._place)
            if plain:
                self._place = plain.end()
                found.append((True, plain[0]))
            elif self._peek() == stop:
                self._next()
                return found
            else:
                splits, text = self._special(pattern)
                self._size += len(text)
                if self._size > LIMIT:
                    raise self._fault(f"the value is longer than {LIMIT} characters: make it smaller")
                found.append((splits, text))
        if stop:
            raise self._fault(f"expected {stop} to end ${{...}}")
        return found

    def _special(self, pattern: bool) -> tuple[bool, str]:
        """Read a variable, a quoted text, an escaped character or a single one."""
        char = self._peek()
        if char == "$":
            return True, self._dollar()
        if char in self._quotes:
            text = self._single() if char == "'" else self._double()
            return False, patterns.literal(text) if pattern else text
        self._next()
        if char != self._escape:
            return True, char
        escaped = self._next()
        return False, patterns.literal(escaped) if pattern else escaped

    def _single(self) -> str:
        end = self._text.find("'", self._place + 1)
        if end < 0:
            raise self._fault("expected a closing single quote")
        text = self._text[self._place + 1 : end]
        self._place = end + 1
        return text

    def _double(self) -> str:
        """Read up to the closing quote; the escape works before ``"``, ``$`` and itself only."""
        begin = self._place
        self._next()
        found: list[str] = []
        while char := self._peek():
            if char == "$":
                found.append(self._dollar())
                continue
            self._next()
            if char == '"':
                return "".join(found)
            if char == self._escape and self._peek() and self._peek() in f'"${self._escape}':
                char = self._next()
            found.append(char)
        self._place = begin
        raise self._fault("expected a closing double quote")

    def _dollar(self) -> str:
        """Read ``$x`` or ``${x...}``; a dollar sign before anything else is itself."""
        self._dollars.append(self._place)
        if len(self._dollars) > _DEPTH:
            raise self._fault(f"expected at most {_DEPTH} variables inside each other")
        value = self._variable()
        self._dollars.pop()
        return value

    def _variable(self) -> str:
        self._next()
        if self._peek() == "{":
            return self._braces()
        name = self._name()
        return self._value(name) if name else "$"

    def _name(self) -> str:
        match = _NAME.match(self._text, self._place)
        if match is None:
            return ""
        self._place = match.end()
        return match[0]

    def _value(self, name: str) -> str:
        value = self._variables.get(name)
        (self._missing if value is None else self._used).add(name)
        return value or ""

    def _braces(self) -> str:
        """Read what follows ``${``."""
        self._next()
        name = self._name()
        if not name:
            raise self._fault("expected the name of a variable after ${")
        kind = self._next()
        if kind == "}":
            return self._value(name)
        if kind == "":
            raise self._fault(f"expected }} to end ${{{name}")
        if kind in "#%":
            return self._trimmed(name, kind)
        if kind == "/":
            return self._replaced(name)
        empty_too = kind == ":"
        kind = self._next() if empty_too else kind
        if not kind or kind not in "-+?":
            raise self._fault(f"expected one of :- - :+ + :? ? # % / after ${{{name}, found {shown(kind)}")
        return self._chosen(name, kind, empty_too)

    def _word(self, stop: str, pattern: bool = False) -> str:
        return "".join(text for _, text in self._run(stop, pattern))

    def _chosen(self, name: str, kind: str, empty_too: bool) -> str:
        """Apply ``-``, ``+`` or ``?``; *empty_too* treats an empty value as none."""
        word = self._word("}")
        value = self._variables.get(name)
        if value is not None:
            self._used.add(name)
        absent = value is None or (empty_too and not value)
        if kind == "-":
            return word if absent else value or ""
        if kind == "+":
            return "" if absent else word
        if absent:
            reason = word or ("is empty" if value == "" else "is not set")
            raise self._fault(f"{name}: {' '.join(reason.split())}: give it a value")
        return value or ""

    def _trimmed(self, name: str, kind: str) -> str:
        """Apply ``#``, ``##``, ``%`` or ``%%``."""
        longest = self._peek() == kind
        if longest:
            self._next()
        pattern = self._word("}", pattern=True)
        strip = patterns.strip_prefix if kind == "#" else patterns.strip_suffix
        return strip(self._value(name), pattern, longest)

    def _replaced(self, name: str) -> str:
        """Apply ``/`` or ``//``."""
        everywhere = self._peek() == "/"
        if everywhere:
            self._next()
        pattern = self._word("/", pattern=True)
        replacement = self._word("}")
        try:
            return patterns.replace(self._value(name), pattern, replacement, everywhere, LIMIT)
        except ValueError:
            raise self._fault(f"the value is longer than {LIMIT} characters: make it smaller") from None
