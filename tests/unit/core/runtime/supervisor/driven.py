"""Drive a supervisor's loop inside a test."""

import socket
import time
from collections.abc import Callable

from corten.core.runtime.supervisor.loop import Loop

DEADLINE = 10.0  # seconds until a test's wish has to have come true
STEP = 0.002


def until(loop: Loop, holds: Callable[[], object]) -> None:
    """Run *loop* until *holds* is true; AssertionError when it never is."""
    end = time.monotonic() + DEADLINE

    def look() -> None:
        if holds() or time.monotonic() > end:
            loop.stop()
        else:
            loop.after(STEP, look)

    loop.after(0, look)
    loop.run()
    assert holds(), "it never came true"


def rounds(loop: Loop, seconds: float = 0.02) -> None:
    """Run *loop* for a moment, to let happen what should not."""
    loop.after(seconds, loop.stop)
    loop.run()


class Client:
    """The far end of an attached connection, and all that it has received."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.data, self.ended = connection, b"", False
        connection.setblocking(False)

    def read(self) -> bytes:
        """Take in what is there; return all so far."""
        try:
            while data := self.connection.recv(1 << 16):
                self.data += data
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.ended = True
        return self.data

    def at_end(self) -> bool:
        """Take in what is there; tell whether it was all."""
        self.read()
        return self.ended
