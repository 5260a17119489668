"""Errand: a child that does one thing in a container and ends; no task, and nothing that outlives it."""

import json
import os
import signal
from contextlib import suppress

from corten.core.runtime.supervisor.loop import Loop
from corten.linux import pidfd as pidfds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corten.core.runtime.supervisor.pool import Parked

DEADLINE = 30.0  # seconds; a look-up in a container may wait for a file server that is gone
STREAMS = 3  # a child is handed stdin, stdout and stderr first


class Errand:
    """One such child, from its plan to its end.

    Args:
        loop: The event loop.
        parked: The child, which waits for its plan; it is reaped here.
        answer: Told once: nothing where the child ended well, else its error.
    """

    def __init__(self, loop: Loop, parked: "Parked", answer: "Callable[[dict[str, Any]], None]") -> None:
        self._loop, self._parked, self._answer = loop, parked, answer
        self._error: dict[str, Any] | None = None
        self._over = self._told = False

    def go(self, plan: bytes, descriptors: list[int]) -> None:
        """Tell the child, then return to the loop."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._loop.register(self._parked.channel.fileno(), self._ready)
        self._loop.after(DEADLINE, self._late)
        with suppress(OSError):  # it has died: its socket says why, or only that
            self._parked.tell(plan, [*([null] * STREAMS), *descriptors])
        os.close(null)

    def _ready(self, _: int) -> None:
        try:
            data = self._parked.channel.recv(1 << 16)
        except ConnectionResetError:  # ended before it had read its plan; what it said comes next
            return
        if not data:
            self._ended()
        elif not data.startswith(b'{"ready"'):
            self._error = json.loads(data)

    def _ended(self) -> None:
        self._over = True
        self._loop.unregister(self._parked.channel.fileno())
        self._parked.channel.close()
        _, status = os.waitpid(self._parked.pid, 0)
        os.close(self._parked.pidfd)
        if status and self._error is None:
            self._error = _failure("the process that does it was killed")
        self._tell(self._error or {})

    def _late(self) -> None:
        """Do not wait any longer; a child that the kernel holds is reaped when it lets go."""
        if self._over:
            return
        with suppress(OSError):
            pidfds.send_signal(self._parked.pidfd, signal.SIGKILL)
        self._tell(_failure(f"a file system did not answer within {DEADLINE:.0f} seconds"))

    def _tell(self, answer: "dict[str, Any]") -> None:
        if not self._told:
            self._told = True
            self._answer(answer)


def _failure(text: str) -> "dict[str, Any]":
    return {"error": f"the mounts were not changed: {text}", "exit_code": 125}
