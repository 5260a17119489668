"""The patterns of ``${x#p}``, ``${x%p}`` and ``${x/p/r}``: ``*``, ``?`` and a backslash.

A Dockerfile is somebody else's program, so matching must not be slow for any
pattern. Python's ``re`` backtracks, and a pattern with ten stars keeps it busy
for hours; here the pieces between the stars are looked for one after another,
each as far left as possible (the last one as far right as possible where the
longest match is wanted). That is correct because a piece has a fixed length,
and takes at most (length of value) x (length of pattern).
"""

import re

_Piece = tuple[str | None, ...]  # characters; None is any character


def strip_prefix(value: str, pattern: str, longest: bool) -> str:
    """Return *value* without the shortest or longest start that matches *pattern*."""
    end = _end(value, 0, _pieces(pattern), longest)
    return value if end is None else value[end:]


def strip_suffix(value: str, pattern: str, longest: bool) -> str:
    """Return *value* without the shortest or longest end that matches *pattern*."""
    pieces = [piece[::-1] for piece in reversed(_pieces(pattern))]
    end = _end(value[::-1], 0, pieces, longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, everywhere: bool, limit: int) -> str:
    """Return *value* with the first or every longest match replaced; an empty pattern matches nothing.

    Raises:
        ValueError: the result has more than *limit* characters.
    """
    pieces = _pieces(pattern)
    done, kept, size = 0, list[str](), len(value)
    while len(pieces) > 1 or pieces[0]:
        found = _search(value, done, pieces)
        if found is None:
            break
        size += len(replacement) - (found[1] - found[0])
        if size > limit:
            raise ValueError("too long")
        kept += (value[done : found[0]], replacement)
        done = found[1]
        if not everywhere or done == len(value):
            break
    return "".join([*kept, value[done:]])


def literal(text: str) -> str:
    """Return a pattern that matches just *text*."""
    return re.sub(r"([*?\\])", r"\\\1", text)


def _pieces(pattern: str) -> list[_Piece]:
    """Return what stands before, between and after the stars; always one at least."""
    pieces: list[list[str | None]] = [[]]
    escaped = False
    for char in pattern:
        if escaped or char not in "*?\\":
            pieces[-1].append(char)
            escaped = False
        elif char == "*":
            pieces.append([])
        elif char == "?":
            pieces[-1].append(None)
        else:
            escaped = True
    if escaped:
        pieces[-1].append("\\")
    return [tuple(piece) for piece in pieces]


def _expression(piece: _Piece) -> re.Pattern[str]:
    """Return an expression without any repetition, which cannot backtrack."""
    return re.compile("".join("." if char is None else re.escape(char) for char in piece), re.DOTALL)


def _search(value: str, start: int, pieces: list[_Piece]) -> tuple[int, int] | None:
    """Return the leftmost longest match from *start* on.

    Where the leftmost place of the first piece leads to no match, no later
    place does: it leaves less room for the rest.
    """
    first = _expression(pieces[0]).search(value, start)
    end = None if first is None else _end(value, first.start(), pieces, longest=True)
    return None if first is None or end is None else (first.start(), end)


def _end(value: str, start: int, pieces: list[_Piece], longest: bool) -> int | None:
    """Return where a match that begins at *start* ends, or None."""
    found = _expression(pieces[0]).match(value, start)
    for piece in pieces[1:-1]:
        found = found and _expression(piece).search(value, found.end())
    if found is None or len(pieces) == 1:
        return found and found.end()
    if not longest:
        found = _expression(pieces[-1]).search(value, found.end())
        return found and found.end()
    return _last(value, found.end(), pieces[-1])


def _last(value: str, start: int, piece: _Piece) -> int | None:
    """Return the end of the last place of *piece* from *start* on, or None."""
    expression = _expression(piece)
    for place in range(len(value) - len(piece), start - 1, -1):
        if expression.match(value, place):
            return place + len(piece)
    return None
