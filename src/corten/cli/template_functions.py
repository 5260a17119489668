"""What a Go template can call, and how Go prints values.

Source: Go text/template, "Functions"; Docker's "Format command and log
output" for json, split, join, title, lower, upper, pad and truncate.
"""

from __future__ import annotations

from corten.cli.failure import Failure
from corten.cli.wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NO_VALUE = "<no value>"
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
SHORT_FLOAT = 1e21  # Go writes larger numbers with an exponent


class TemplateError(Failure):
    """The template is wrong, or does not fit the data; one line."""


def text(value: Any) -> str:
    """*value* as Go's ``%v`` prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < SHORT_FLOAT else repr(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(text(item) for item in value) + "]"
    return str(value)


def truth(value: Any) -> bool:
    """Whether Go's ``if`` takes *value* for true."""
    return bool(value)


def unquote(literal: str) -> str:
    """The text of a Go string literal in double quotes or backquotes."""
    if literal[0] == "`":
        return literal[1:-1]
    out, rest = [], literal[1:-1]
    while rest:
        plain, mark, rest = rest.partition("\\")
        out.append(plain)
        if not mark:
            break
        letter, rest = rest[:1], rest[1:]
        if letter in "xuU":
            size = {"x": 2, "u": 4, "U": 8}[letter]
            out.append(chr(int(rest[:size], 16)))
            rest = rest[size:]
        else:
            out.append(ESCAPES.get(letter, letter))
    return "".join(out)


def quoted(value: str) -> str:
    """*value* in double quotes, as Go's strconv.Quote writes it."""
    marks = {"\\": "\\\\", '"': '\\"'} | {char: "\\" + name for name, char in ESCAPES.items()}
    out = []
    for char in value:
        if char in marks:
            out.append(marks[char])
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\x{ord(char):02x}" if ord(char) < 0x80 else f"\\u{ord(char):04x}")
    return '"' + "".join(out) + '"'


def _json(value: Any) -> str:
    """Go's encoder also escapes what is dangerous in HTML; Docker turns that off."""
    return dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if not callable(item)}
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise TemplateError("error calling index: index of untyped nil")
        if isinstance(value, dict):
            value = value.get(key, "")
        elif not isinstance(key, int):
            raise TemplateError(f"error calling index: cannot index slice/array with type {_type(key)}")
        elif not 0 <= key < len(value):
            raise TemplateError(f"error calling index: index out of range: {key}")
        else:
            value = value[key]
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    start, stop = (*bounds, 0, len(value))[0] if bounds else 0, bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= start <= stop <= len(value):
        raise TemplateError(f"error calling slice: index out of range: {start}:{stop}")
    return value[start:stop]


def _len(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise TemplateError(f"error calling len: len of type {_type(value)}")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _join(values: Any, separator: str) -> str:
    return separator.join(text(value) for value in values or [])


def _print(*values: Any) -> str:
    """Go puts a space between two values when neither is a string."""
    out = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out += " "
        out += text(value)
    return out


def _printf(form: str, *values: Any) -> str:
    out, at, rest = [], 0, list(values)
    while at < len(form):
        char = form[at]
        at += 1
        if char != "%":
            out.append(char)
            continue
        start = at
        while at < len(form) and form[at] in "+-# 0123456789.":
            at += 1
        verb, options = form[at : at + 1], form[start:at]
        at += 1
        if verb == "%":
            out.append("%")
        elif not rest:
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_verb(verb, options, rest.pop(0)))
    if rest:
        out.append("%!(EXTRA " + ", ".join(f"{_type(value)}={text(value)}" for value in rest) + ")")
    return "".join(out)


def _verb(verb: str, options: str, value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb in "sv":
        return f"%{options.replace('+', '').replace('#', '')}s" % text(value)
    if verb == "q" and isinstance(value, str):
        return f"%{options}s" % quoted(value)
    if verb == "t" and isinstance(value, bool):
        return f"%{options}s" % text(value)
    if verb in "dxXo" and number:
        return f"%{options}{verb}" % int(value)
    if verb in "xX" and isinstance(value, str):
        digits = value.encode().hex()
        return digits if verb == "x" else digits.upper()
    if verb in "feEgG" and number:
        return str(f"%{options}{verb}" % value)
    if verb == "c" and number:
        return chr(int(value))
    return f"%!{verb}({_type(value)}={text(value)})"


def _type(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "<nil>" if value is None else "map[string]interface {}")


def _same(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("error calling eq: missing argument for comparison")
    return any(first == other and isinstance(first, bool) == isinstance(other, bool) for other in others)


def _less(name: str, first: Any, second: Any) -> bool:
    numbers = (int, float)
    if isinstance(first, str) != isinstance(second, str) or not isinstance(first, (str, *numbers)):
        raise TemplateError(f"error calling {name}: incompatible types for comparison")
    return bool(first < second)


def _truncate(value: str, size: int) -> str:
    return value[:size] if size >= 0 else value


def _pad(value: str, before: int, after: int) -> str:
    return " " * before + value + " " * after if value else value


def _title(value: str) -> str:
    return "".join(
        char.upper() if at == 0 or value[at - 1].isspace() else char for at, char in enumerate(value)
    )


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "join": _join,
    "split": lambda value, separator: value.split(separator) if separator else list(value),
    "lower": str.lower,
    "upper": str.upper,
    "title": _title,
    "pad": _pad,
    "truncate": _truncate,
    "len": _len,
    "index": _index,
    "slice": _slice,
    "not": lambda value: not truth(value),
    "eq": _same,
    "ne": lambda first, second: not _same(first, second),
    "lt": lambda first, second: _less("lt", first, second),
    "le": lambda first, second: not _less("le", second, first),
    "gt": lambda first, second: _less("gt", second, first),
    "ge": lambda first, second: not _less("ge", first, second),
    "print": _print,
    "println": lambda *values: " ".join(map(text, values)) + "\n",
    "printf": _printf,
}
LAZY = ("and", "or")  # they stop at the first argument that decides; see template
