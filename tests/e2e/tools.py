"""What the tests of a session share: a container to borrow, a terminal to type at, waiting for what is to come."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import termios
import time
import uuid
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self

    from tests.e2e.conftest import Engine

T = TypeVar("T")

PATIENCE = 20.0  # seconds until a wait gives up
PAUSE = 0.01  # seconds between two looks
ALONE = ("--network", "none")  # most tests need no network
FOREVER = ("sh", "-c", "trap exit TERM; while :; do sleep 1000 & wait; done")  # ends at once when told to


def unique(prefix: str = "t") -> str:
    """Return a name that no other container or image has."""
    return f"{prefix}{uuid.uuid4().hex[:10]}"


def until(look: Callable[[], T], what: str = "") -> T:
    """Return what *look* returns as soon as that is true; AssertionError when it never is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s for {what or look}; last seen: {found!r}"
        time.sleep(PAUSE)
    return found


@contextmanager
def container(engine: Engine, *words: str, verb: str = "run") -> Iterator[str]:
    """Lend a container without network, made by ``docker run -d WORDS`` or ``docker create WORDS``; yields its name."""
    name = unique()
    mode = ("-d",) if verb == "run" else ()
    engine.docker(verb, *mode, "--name", name, *ALONE, *words)
    try:
        yield name
    finally:
        engine.docker("rm", "-f", name)


@contextmanager
def client(engine: Engine, *words: str, text: bool = False, stdin: int | None = None) -> Iterator[Popen[Any]]:
    """Run ``docker WORDS`` beside the test, its stdout a pipe; what still runs in the end is killed."""
    with Popen(["docker", *words], env=engine.environment, stdin=stdin, stdout=PIPE, text=text) as process:
        try:
            yield process
        finally:
            process.kill()


def state(engine: Engine, name: str, template: str = "{{.State.Status}}") -> str:
    """Return what ``docker inspect`` says of a container."""
    return str(engine.docker("inspect", "--type", "container", "-f", template, name).stdout).strip()


def said(engine: Engine, name: str, *flags: str) -> str:
    """Return what a container has written to stdout."""
    return str(engine.docker("logs", *flags, name).stdout)


def told(engine: Engine, *filters: str) -> list[dict[str, Any]]:
    """Return the events so far that pass all *filters*."""
    flags = [word for text in filters for word in ("--filter", text)]
    now = f"{time.time():.9f}"  # a duration would be rounded down to the second before
    lines = engine.docker("events", "--since", "0", "--until", now, *flags, "--format", "json").stdout
    return [json.loads(line) for line in lines.splitlines()]


class Terminal:
    """A program at a terminal of its own, and the hands that type there."""

    def __init__(
        self, argv: list[str], environment: Mapping[str, str], size: tuple[int, int] = (24, 80)
    ) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(*size)
        self._before = termios.tcgetattr(self._slave)
        self._seen = b""
        self._program = Popen(
            ["setsid", "--ctty", *argv],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={"TERM": "xterm", **environment},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()
        self._program.wait()
        os.close(self._master)
        os.close(self._slave)

    def type(self, keys: str) -> None:
        """Press keys, control characters among them."""
        os.write(self._master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size as a user who drags the window does."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize_until(self, rows: int, columns: int, text: str) -> None:
        """Change the size until *text* is shown: a client misses what comes while it sets itself up."""

        def shown() -> bool:
            self.resize(rows, columns + 1)
            self.resize(rows, columns)
            self._read(0.1)
            return text.encode() in self._seen

        until(shown, text)
        self.expect(text)

    def expect(self, text: str) -> str:
        """Wait until *text* is shown; return all that was shown before it since the last call."""
        wanted, deadline = text.encode(), time.monotonic() + PATIENCE
        while wanted not in self._seen:
            assert time.monotonic() < deadline, f"{text!r} never came; seen: {self._seen!r}"
            self._read(PAUSE)
        before, _, self._seen = self._seen.partition(wanted)
        return before.decode(errors="replace")

    def wait(self) -> int:
        """Wait for the end of the program; return its exit code."""

        def ended() -> bool:
            self._read(PAUSE)
            return self._program.poll() is not None

        until(ended, "the end of the program at the terminal")
        self._read(0)
        return self._program.returncode

    @property
    def seen(self) -> str:
        """What was shown and not yet expected."""
        self._read(0)
        return self._seen.decode(errors="replace")

    @property
    def is_restored(self) -> bool:
        """Whether the terminal's settings are what they were before the program."""
        return bool(termios.tcgetattr(self._slave) == self._before)

    def _read(self, seconds: float) -> None:
        """Take what is shown, waiting at most *seconds* for it."""
        while select.select([self._master], [], [], seconds)[0]:
            with suppress(OSError):
                self._seen += os.read(self._master, 1 << 16)
            seconds = 0
