"""Showing a stream of progress messages: bars at a terminal, lines anywhere else.

Messages are JSON objects with ``status``, ``id``, ``progressDetail``,
``stream``, ``error`` and ``aux``, as the Engine API sends them for pull,
load, import and build.
"""

from __future__ import annotations

import posix
import sys
from time import monotonic

from corten.cli.client import documents
from corten.cli.failure import Failure
from corten.cli.human import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Protocol, Self

    from corten.cli.connection import Response

    class Display(Protocol):
        """Where messages are shown while a ``with`` block runs."""

        def __enter__(self) -> Self: ...

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

        def show(self, message: dict[str, Any]) -> None:
            """Show one message."""


ROWS, COLUMNS = 24, 80
WIDEST, NARROWEST = 50, 8  # columns inside a bar
REDRAW = 0.1  # seconds between two steps of one bar


def show(response: Response, *, quiet: bool = False, error_stream: bool = False) -> list[Any]:
    """Show the messages of *response* until it ends.

    Args:
        response: A stream of JSON messages.
        quiet: Show nothing but failures.
        error_stream: Write to stderr, because stdout carries something else.

    Returns:
        What the messages carried as ``aux``.

    Raises:
        Failure: the daemon reported an error in the stream.
    """
    descriptor = 2 if error_stream else 1
    found = []
    with _display(descriptor, quiet=quiet) as display:
        for message in documents(response):
            problem = message.get("error") or (message.get("errorDetail") or {}).get("message")
            if problem:
                raise Failure(str(problem))
            if "aux" in message:
                found.append(message["aux"])
            display.show(message)
    return found


def _display(descriptor: int, *, quiet: bool) -> Display:
    if quiet:
        return Lines(None)
    stream = sys.stderr if descriptor == 2 else sys.stdout
    if not posix.isatty(descriptor):
        return Lines(stream)
    return Bars(stream, _terminal(descriptor))


def _terminal(descriptor: int) -> tuple[int, int]:
    """Rows and columns of the terminal; usual ones where it does not know."""
    try:
        found = posix.get_terminal_size(descriptor)
    except OSError:
        return ROWS, COLUMNS
    return found.lines or ROWS, found.columns or COLUMNS


class Lines:
    """One line per message; how far something is, is left out."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, message: dict[str, Any]) -> None:
        """Write *message*, if it is more than a step of a progress."""
        if self._stream is None or (message.get("progressDetail") or {}).get("current"):
            return
        self._stream.write(_line(message))
        self._stream.flush()


class Bars:
    """A line for each thing that has a name, redrawn in its place; other messages go below, for good.

    Args:
        stream: A terminal.
        size: Its rows and columns. What has scrolled out of it is not redrawn.
    """

    def __init__(self, stream: Any, size: tuple[int, int] = (ROWS, COLUMNS)) -> None:
        self._stream = stream
        self._rows, self._columns = size
        self._places: dict[str, int] = {}
        self._drawn: dict[str, float] = {}
        self._ends = True  # the last message ended its line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ends:
            self._stream.write("\n")
        self._stream.flush()

    def show(self, message: dict[str, Any]) -> None:
        """Redraw the line of the message's name, or write the message below all lines."""
        name = message.get("id", "")
        if name and "stream" not in message:
            self._place(str(name), message)
        elif line := _line(message):
            self._places.clear()
            self._stream.write(line)
            self._ends = line.endswith("\n")
        else:
            return
        self._stream.flush()

    def _place(self, name: str, message: dict[str, Any]) -> None:
        detail = message.get("progressDetail") or {}
        if not self._is_due(name, detail):
            return
        text = f"{name}: {message.get('status', '')}"
        text = (text + _bar(detail, self._columns - len(text)))[: self._columns - 1]
        if name not in self._places:
            self._places[name] = len(self._places)
            self._stream.write(f"{text}\n")
            return
        up = len(self._places) - self._places[name]
        if up < self._rows:
            self._stream.write(f"\033[{up}A\r\033[2K{text}\r\033[{up}B")

    def _is_due(self, name: str, detail: dict[str, Any]) -> bool:
        """Tell whether a step is worth drawing; what is no step, or the last one, always is."""
        if not detail.get("current") or detail["current"] == detail.get("total"):
            return True
        now = monotonic()
        due = now - self._drawn.get(name, 0.0) >= REDRAW
        if due:
            self._drawn[name] = now
        return due


def _bar(detail: dict[str, Any], room: int) -> str:
    """How far something is, in at most *room* columns; nothing where there are too few."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if not current and not total:
        return ""
    if not total:
        return f"  {size(current)}"
    figures = f"{size(current)}/{size(total)}"
    width = min(WIDEST, room - len(figures) - 7)
    if width < NARROWEST:
        return f" {min(current / total, 1):4.0%}"
    done = min(int(width * current / total), width)
    head = ">" if done < width else ""
    return f" [{'=' * done}{head}{' ' * (width - done - len(head))}]  {figures}"


def _line(message: dict[str, Any]) -> str:
    if "stream" in message:
        return str(message["stream"])
    if "status" not in message:
        return ""
    name = f"{message['id']}: " if message.get("id") else ""
    return f"{name}{message['status']}\n"
