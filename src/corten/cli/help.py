"""Help texts, in the shape of Docker's, so that eyes and tools find the flags."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from corten.cli.flags import Flag, Parser

WIDTH = 80  # columns where the output is no terminal
NARROW = 24  # columns that prose needs at least


def columns() -> int:
    """Width of the terminal on stdout, or 80 columns."""
    import posix

    try:
        return posix.get_terminal_size(1).columns or WIDTH
    except OSError:
        return WIDTH


def usage_line(parser: Parser) -> str:
    """The one line that says how to call the command."""
    return f"Usage:  {parser.path} {parser.usage}".rstrip()


def command_help(parser: Parser, meaning: str, names: Iterable[str]) -> str:
    """The whole help of a command; *names* are all the paths that lead to it."""
    parts = [usage_line(parser), meaning]
    names = list(names)
    if len(names) > 1:
        parts.append("Aliases:\n  " + ", ".join(names))
    shown = [flag for flag in parser.flags.values() if not flag.hidden]
    if shown:
        parts.append("Options:\n" + flag_lines(shown, columns()))
    if parser.epilog:
        parts.append(parser.epilog)
    return "\n\n".join(parts) + "\n"


def flag_lines(flags: Iterable[Flag], width: int) -> str:
    """One entry per flag, sorted by name, wrapped at *width* columns."""
    rows = [(_left(flag), _right(flag)) for flag in sorted(flags, key=lambda flag: flag.name)]
    indent = max(len(left) for left, _ in rows) + 3
    lines = []
    for left, right in rows:
        prose = wrap(right, max(width - indent - 1, NARROW))
        lines.append(left.ljust(indent) + prose[0])
        lines += [" " * indent + line for line in prose[1:]]
    return "\n".join(line.rstrip() for line in lines)


def wrap(text: str, width: int) -> list[str]:
    """Break *text* at spaces into lines of at most *width* columns, keeping its own line breaks."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def _left(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    return f"  {short}--{flag.name} {flag.kind.label}".rstrip()


def _right(flag: Flag) -> str:
    default = flag.default
    if default in (None, "", 0, False, []):
        return flag.meaning
    shown = f'"{default}"' if isinstance(default, str) else str(default).lower()
    return f"{flag.meaning} (default {shown})"
