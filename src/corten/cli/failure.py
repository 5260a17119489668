"""What goes wrong at the client: the message for the user and the exit status."""

from __future__ import annotations


class Failure(Exception):
    """Something the user has to know; printed as it stands, without a traceback.

    Args:
        message: What to print, without a final line break; may be empty.
        status: Exit status of the process; None leaves it to the command.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ApiError(Failure):
    """The daemon answered with an error.

    Args:
        code: The HTTP status code.
        reason: The daemon's own words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.code, self.reason = code, reason


class NoDaemon(Failure):
    """Nobody answers on the socket."""
