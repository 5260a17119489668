"""The user's terminal: raw mode, its size, and the keys that detach from a container."""

from __future__ import annotations

import posix

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

DETACH = "ctrl-p,ctrl-q"
CONTROLS = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def size() -> tuple[int, int] | None:
    """Rows and columns of the terminal on stdout; None if it is none, or does not know."""
    try:
        found = posix.get_terminal_size(1)
    except OSError:
        return None
    return (found.lines, found.columns) if found.lines and found.columns else None


def key_bytes(text: str) -> bytes:
    r"""What a terminal sends for *text*, such as ``ctrl-p,ctrl-q`` or ``ctrl-x,a``.

    Raises:
        Failure: a part is neither one character nor ``ctrl-`` and a letter or one of ``@[\\]^_``.
    """
    return bytes(_key(part) for part in text.split(","))


def _key(part: str) -> int:
    name = part.removeprefix("ctrl-")
    if name == part and len(part) == 1 and part.isascii():
        return ord(part)
    if name != part and len(name) == 1:
        if name.isascii() and name.isalpha():
            return ord(name.lower()) - ord("a") + 1
        if name in CONTROLS:
            return CONTROLS[name]
    raise Failure(f"invalid detach keys: unknown character: '{part}'")


class DetachKeys:
    """Finds a sequence of keys in what is typed.

    Keys that may be the beginning of the sequence are held back until the
    next key tells.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0
        self.found = False

    def feed(self, typed: bytes) -> bytes:
        """Return what to pass on of *typed*; ``found`` is true once the sequence was complete."""
        passed = bytearray()
        for byte in typed:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self.found = True
                    break
                continue
            passed += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                passed.append(byte)
        return bytes(passed)


class Raw:
    """Raw mode of the terminal on stdin while the ``with`` block runs; nothing if it is no terminal.

    Output keeps being processed by nobody: the container's terminal has done that.
    """

    def __enter__(self) -> None:
        self._before = None
        if not posix.isatty(0):
            return
        import termios

        before = termios.tcgetattr(0)
        flags_in, flags_out, control, local, speed_in, speed_out, characters = before
        flags_in &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        flags_out &= ~termios.OPOST
        local &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        control = control & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        characters = [*characters]
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        raw = [flags_in, flags_out, control, local, speed_in, speed_out, characters]
        termios.tcsetattr(0, termios.TCSADRAIN, raw)
        self._before = before

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
