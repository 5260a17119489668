"""Signals as bytes in a pipe, so that one poll loop sees them beside everything else.

``_signal`` is built in; ``signal`` would load ``enum``.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import TracebackType
    from typing import Any, Self
else:
    import _signal

# what is worth passing on to a container; stop signals stay with the shell's job control
NAMES: dict[int, str] = {
    _signal.SIGHUP: "HUP",
    _signal.SIGINT: "INT",
    _signal.SIGQUIT: "QUIT",
    _signal.SIGUSR1: "USR1",
    _signal.SIGUSR2: "USR2",
    _signal.SIGALRM: "ALRM",
    _signal.SIGTERM: "TERM",
    _signal.SIGCONT: "CONT",
}
RESIZED = _signal.SIGWINCH


def _noted(number: int, frame: object) -> None:
    """The number is in the pipe already; the handler is there so that the default action is not."""


class Signals:
    """Catches signals while the ``with`` block runs.

    Args:
        numbers: The signals to catch; one that is ignored already stays so.
    """

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.descriptor, self._writer = posix.pipe2(posix.O_NONBLOCK | posix.O_CLOEXEC)
        self._wakeup = _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._numbers:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                self._before[number] = _signal.signal(number, _noted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        _signal.set_wakeup_fd(self._wakeup)
        posix.close(self.descriptor)
        posix.close(self._writer)

    def arrived(self) -> bytes:
        """The numbers of the signals since the last call, one byte each."""
        try:
            return posix.read(self.descriptor, 256)
        except BlockingIOError:
            return b""
