"""Showing a stream of progress messages: bars at a terminal, lines anywhere else.

Messages are JSON objects with ``status``, ``id``, ``progressDetail``,
``stream``, ``error`` and ``aux``, as the Engine API sends them for pull,
load, import and build.
"""

from __future__ import annotations

import posix
import sys

from corten.cli.client import documents
from corten.cli.failure import Failure

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
    try:
        return Bars(stream)
    except ImportError:  # rich is for looks; without it lines do
        return Lines(stream)


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
    """A bar for each thing that knows its size, lines above them for the rest."""

    def __init__(self, stream: Any) -> None:
        """Raise ImportError where rich is not installed."""
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[name]}: {task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=Console(file=stream, highlight=False),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, message: dict[str, Any]) -> None:
        """Move the bar of the message's id, or print the message above the bars."""
        detail = message.get("progressDetail") or {}
        name = message.get("id", "")
        if name and "current" in detail:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task("", total=None, name=name)
            total = detail.get("total") or None
            status = message.get("status", "")
            self._progress.update(
                self._tasks[name], completed=detail["current"], total=total, description=status
            )
        elif line := _line(message).rstrip("\n"):
            self._progress.console.print(line, markup=False, soft_wrap=True)


def _line(message: dict[str, Any]) -> str:
    if "stream" in message:
        return str(message["stream"])
    if "status" not in message:
        return ""
    name = f"{message['id']}: " if message.get("id") else ""
    return f"{name}{message['status']}\n"
