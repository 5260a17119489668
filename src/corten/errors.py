"""The kinds of failure: a short closed list that every door translates.

Each class is one kind; its docstring tells the reader of the message what to
do. A door (HTTP, command line) owns a table from kind to its own code.
"""


class CortenError(Exception):
    """Base of all failures that a user can cause or see; never raised itself."""

    kind = "error"


class NotFound(CortenError):
    """The named object does not exist: create it, or correct the name."""

    kind = "not-found"

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"no such {what}: {name}")
        self.what, self.name = what, name


class Conflict(CortenError):
    """The object is in a state, or has a name, that forbids this: change that first."""

    kind = "conflict"


class NotModified(CortenError):
    """The object already is as asked; nothing was done."""

    kind = "not-modified"


class InvalidInput(CortenError):
    """The request contradicts the documentation: correct the value named."""

    kind = "invalid-input"


class Forbidden(CortenError):
    """The caller may not do this: ask for the right, or run as root."""

    kind = "forbidden"


class Unsupported(CortenError):
    """Neither this version nor this machine can do that; the message names what is missing."""

    kind = "unsupported"


class Unavailable(CortenError):
    """A helper (library, program, process, network) is missing or not answering: start or install it."""

    kind = "unavailable"


class DataCorrupted(CortenError):
    """Bytes do not match their digest or their format: fetch or make them again."""

    kind = "data-corrupted"


class LimitExceeded(CortenError):
    """An input passes a budget that protects the machine: make it smaller or raise the budget."""

    kind = "limit-exceeded"


class OutOfSpace(CortenError):
    """The disk is full: free space, for example by removing images that are not used."""

    kind = "out-of-space"


class StartFailed(CortenError):
    """The container's first process could not be started.

    ``exit_code`` is what Docker's client exits with: 126 not executable,
    127 not found, 128 anything else.
    """

    kind = "start-failed"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
