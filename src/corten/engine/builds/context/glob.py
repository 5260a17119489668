"""The pattern language of ignore files and of COPY sources.

Patterns come from strangers, and a regular expression made of ``**/a*a*a*b``
takes minutes on a name that somebody chose for it. So all patterns of a list
are one automaton, in Thompson's way: a state is the set of places in the
patterns that the text read so far has reached, and the state after one more
character is worked out once and then remembered. Any text takes time linear
in its length, whatever the patterns are.

It pays twice more. A walk goes on from the state of a folder and reads only
the names inside it. And a state knows which patterns can still match anything
longer, so a walk knows which folders it need not enter, exactly.

Sources: Go's path/filepath "Match"; Docker's reference, ".dockerignore file".
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

_MOST_STATES = 10_000  # remembered; all are forgotten when a hostile list makes more

_SUFFIX = re.compile(r"\*\*[^/*?\[\]\\][^*?\[\]\\]*")


class Step(Enum):
    """What a place in a pattern takes that is neither one character nor a class."""

    ANY = auto()
    """One character other than a slash: ``?``."""
    STAR = auto()
    """Any number of characters other than a slash: ``*``."""
    DEEP = auto()
    """Nothing, or what INSIDE takes: the beginning of ``**/``."""
    INSIDE = auto()
    """Any characters and then a slash."""
    REST = auto()
    """Any characters at all: ``**`` at the end."""
    END = auto()
    """The pattern has matched; a slash leads below what it matched."""
    BELOW = auto()
    """Anything: a match covers all that lies in the folder."""


class Class(NamedTuple):
    """A character class: ``[a-z]``, or ``[^a-z]`` when *negated*, which takes a slash too, as Go has it."""

    negated: bool
    ranges: tuple[tuple[str, str], ...]

    def takes(self, sign: str) -> bool:
        """Tell whether the character *sign* is in the class."""
        return self.negated != any(low <= sign <= high for low, high in self.ranges)


Token = str | Class | Step


def parse(pattern: str, *, deep: bool) -> tuple[Token, ...]:
    r"""Take *pattern* apart.

    Args:
        pattern: ``*``, ``?``, ``[a-z]``, ``[^a-z]``, and ``\`` before a character
            that stands for itself.
        deep: Whether ``**`` crosses slashes, as in ignore files. Elsewhere it is two stars.

    Raises:
        ValueError: it is not well formed; the text says why.
    """
    if deep and _SUFFIX.fullmatch(pattern):  # Docker's "**.txt": any path that ends so
        return (Step.REST, *pattern[2:])
    found: list[Token] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if deep and pattern.startswith("**", at):
            at += 3 if pattern.startswith("/", at + 2) else 2
            found += [Step.DEEP, Step.INSIDE] if at < len(pattern) else [Step.REST]
        elif sign == "[":
            group, at = _class(pattern, at + 1)
            found.append(group)
        elif sign == "\\":
            literal, at = _escaped(pattern, at)
            found.append(literal)
        else:
            found.append({"*": Step.STAR, "?": Step.ANY}.get(sign, sign))
            at += 1
    return tuple(found)


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at] == "\\":
        at += 1
        if at == len(pattern):
            raise ValueError("nothing follows the backslash at its end")
    return pattern[at], at + 1


def _class(pattern: str, at: int) -> tuple[Class, int]:
    """Read a class from behind its bracket; return it and where the text goes on."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        if high < low:
            raise ValueError(f"the range {low}-{high} runs backwards")
        ranges.append((low, high))
    return Class(negated, tuple(ranges)), at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern):
        raise ValueError("a bracket is opened and not closed")
    if pattern[at] in "-]":
        raise ValueError(
            f"a character is missing before the {pattern[at]} in brackets; escape it with a backslash"
        )
    return _escaped(pattern, at)


class State:
    """What is known of a path after some of its text; made by Sieve alone."""

    __slots__ = ("below", "decisive", "items", "kept", "moves")

    def __init__(self, items: frozenset[int], decisive: int, kept: bool, below: bool) -> None:
        self.items = items
        self.moves: dict[str, State] = {}
        self.decisive = decisive
        """Number of the pattern that decides, or -1."""
        self.kept = kept
        """Whether a path that ends here is kept."""
        self.below = below
        """Whether anything longer may be kept."""


class Sieve:
    """Patterns that keep or drop paths; the last one that matches a path decides.

    A pattern that decides about a folder covers all below it, until a later one
    matches there. One that matches a folder whose lot it does not change covers
    nothing: after ``a/*`` an exception ``!a`` brings nothing back. This is what
    Docker's programs do, and what contexts are written for.

    Args:
        patterns: From ``parse``.
        keeps: For each pattern, whether it keeps what it matches.
        default: Whether a path is kept that no pattern matches.
    """

    def __init__(self, patterns: Sequence[Sequence[Token]], keeps: Sequence[bool], default: bool) -> None:
        self._keeps, self._default = tuple(keeps), default
        self._tokens: list[Token] = []
        self._owner: list[int] = []
        starts: list[int] = []
        for number, pattern in enumerate(patterns):
            starts.append(len(self._tokens))
            self._tokens += [*pattern, Step.END, Step.BELOW]
            self._owner += [number] * (len(pattern) + 2)
        self._states: dict[frozenset[int], State] = {}
        self._known = 0
        self.start = self._state(starts)
        """The state before any text."""

    def advance(self, state: State, text: str) -> State:
        """Return the state after *text*, more of the path whose beginning led to *state*."""
        for sign in text:
            state = state.moves.get(sign) or self._move(state, sign)
        return state

    def _move(self, state: State, sign: str) -> State:
        if self._known > _MOST_STATES:
            self._forget()
        self._known += 1
        items: Iterable[int] = state.items
        if sign == "/":
            covering = self._deciding(items)
            items = [item for item in items if self._tokens[item] is not Step.END or item in covering]
        reached = [after for item in items for after in self._after(item, sign)]
        state.moves[sign] = self._state(reached)
        return state.moves[sign]

    def _deciding(self, items: Iterable[int]) -> list[int]:
        """Return, of the places where patterns have matched, those that change the lot of the path, in order."""
        kept, deciding = self._default, list[int]()
        for item in sorted(item for item in items if self._tokens[item] in (Step.END, Step.BELOW)):
            keeps = self._keeps[self._owner[item]]
            if keeps != kept or self._tokens[item] is Step.BELOW:
                kept = keeps
                deciding.append(item)
        return deciding

    def _forget(self) -> None:
        """Drop what was worked out; states that callers hold stay good."""
        for state in list(self._states.values()):
            state.moves.clear()
        self.start.moves.clear()
        self._states.clear()
        self._known = 0

    def _after(self, item: int, sign: str) -> tuple[int, ...]:
        """Return the places reached from *item* by the character *sign*."""
        match self._tokens[item]:
            case str(literal):
                return (item + 1,) if literal == sign else ()
            case Class() as group:
                ends = sign == "/" and self._tokens[item + 1] is Step.END  # no path ends with a slash
                return (item + 1,) if group.takes(sign) and not ends else ()
            case Step.ANY:
                return (item + 1,) if sign != "/" else ()
            case Step.STAR:
                return (item,) if sign != "/" else ()
            case Step.INSIDE:
                return (item, item + 1) if sign == "/" else (item,)
            case Step.END:
                return (item + 1,) if sign == "/" else ()
            case _:  # REST and BELOW
                return (item,)

    def _state(self, reached: Iterable[int]) -> State:
        items = self._settled(reached)
        known = self._states.get(items)
        if known is None:
            deciding = self._deciding(items)
            decisive = self._owner[deciding[-1]] if deciding else -1
            kept = self._keeps[decisive] if deciding else self._default
            below = kept or any(self._keeps[self._owner[item]] for item in items)
            known = self._states[items] = State(items, decisive, kept, below)
        return known

    def _settled(self, reached: Iterable[int]) -> frozenset[int]:
        """Add the places that are reached for nothing; leave out patterns that cannot decide any more."""
        items: set[int] = set()
        waiting = list(reached)
        while waiting:
            item = waiting.pop()
            if item in items:
                continue
            items.add(item)
            if self._tokens[item] in (Step.STAR, Step.REST):
                waiting.append(item + 1)
            elif self._tokens[item] is Step.DEEP:
                waiting += (item + 1, item + 2)
        covered = max((item for item in items if self._tokens[item] is Step.BELOW), default=-1)
        return frozenset(item for item in items if item >= covered and self._tokens[item] is not Step.DEEP)
