r"""Ignore files: which paths of a context a build does not see.

The rules are Docker's, and what is left out is what BuildKit leaves out. Two
things are better kept: a backslash makes any character stand for itself, and an
exception below a folder that is left out is found whatever signs it has in it;
the classic builder reads ``\d`` as any digit, and finds literal exceptions only.

Source: Docker's reference, ".dockerignore file"; moby/patternmatcher.
"""

import posixpath
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from corten.engine.builds.context.glob import Sieve, Token, parse
from corten.errors import InvalidInput, LimitExceeded

_BLANKS = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
_BLANKS += "\u2028\u2029\u202f\u205f\u3000"  # as Unicode has it; str.strip would take control characters too

MOST_TEXT = 256 << 10  # characters of an ignore file: far more than anyone writes


class Rule(NamedTuple):
    """One pattern, without its ``!`` and cleaned; an *exception* brings back what it matches."""

    pattern: str
    exception: bool
    line: int
    """Counted from 1."""


class Ignore:
    """Rules in their order; the last one that matches a path, or else the folder above it, decides; see Sieve.

    Args:
        rules: As ``parse`` makes them.
        name: What the rules are called in messages, such as ``.dockerignore``.

    Raises:
        InvalidInput: a pattern is not well formed; the message names its line.
    """

    def __init__(self, rules: Sequence[Rule], name: str) -> None:
        self.rules, self.name = tuple(rules), name
        self.sieve = Sieve(
            [_tokens(rule, name) for rule in self.rules],
            [rule.exception for rule in self.rules],
            default=True,
        )
        """For walks, which read a path name by name."""

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Read an ignore file.

        Raises:
            InvalidInput: a pattern is not well formed; the message names its line.
            LimitExceeded: it is longer than 256 Ki characters.
        """
        if len(text) > MOST_TEXT:
            raise LimitExceeded(f"{name} has more than {MOST_TEXT} characters: use patterns instead of lists")
        lines = enumerate(text.removeprefix("\ufeff").split("\n"), 1)
        found = (_rule(line, number, name) for number, line in lines if not line.startswith("#"))
        return cls([rule for rule in found if rule], name)

    @classmethod
    def of(cls, patterns: Iterable[str], name: str) -> Self:
        """Make rules of *patterns*, such as the values of ``--exclude``; "line" counts them."""
        found = (_rule(pattern, number, name) for number, pattern in enumerate(patterns, 1))
        return cls([rule for rule in found if rule], name)

    def ignores(self, path: str) -> bool:
        """Tell whether the file or folder *path* is left out.

        Patterns do not tell files from folders: ``build/`` leaves out a file of
        that name too. The context's root, the empty path, is never left out.

        Args:
            path: From the root of the context, clean, without a slash at either end.
        """
        return bool(path) and not self.sieve.advance(self.sieve.start, path).kept

    def may_contain_exception(self, folder: str) -> bool:
        """Tell whether anything below *folder* may be kept; if not, a walk need not enter it."""
        return self.sieve.advance(self.sieve.start, f"{folder}/" if folder else "").below

    def rule_for(self, path: str) -> Rule | None:
        """Return the rule that leaves *path* out; None when it is kept."""
        if not path:
            return None
        state = self.sieve.advance(self.sieve.start, path)
        return None if state.kept else self.rules[state.decisive]


def _rule(line: str, number: int, name: str) -> Rule | None:
    """Read one line that is no comment; None when it says nothing."""
    pattern = line.strip(_BLANKS)
    if not pattern:
        return None
    exception = pattern.startswith("!")
    if exception:
        pattern = pattern[1:].strip(_BLANKS) or "/"
    pattern = _clean(pattern)
    if exception and not pattern:
        raise InvalidInput(f'{name}, line {number}: "!" needs a pattern behind it')
    return Rule(pattern, exception, number) if pattern not in ("", ".") else None


def _clean(pattern: str) -> str:
    """Return *pattern* without a slash at either end, doubled slashes, ``.`` and ``..`` parts, as Go's Clean."""
    rooted = pattern.startswith("/")
    return posixpath.normpath("/" + pattern.lstrip("/"))[1:] if rooted else posixpath.normpath(pattern)


def _tokens(rule: Rule, name: str) -> tuple[Token, ...]:
    try:
        return parse(rule.pattern, deep=True)
    except ValueError as failure:
        raise InvalidInput(f"{name}, line {rule.line}: bad pattern {rule.pattern!r}: {failure}") from None


NOTHING = Ignore((), "")
"""Leaves nothing out."""
