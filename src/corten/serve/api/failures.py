"""From kinds of failure to status codes and messages: the only place that knows both."""

from aiohttp import web

from corten.errors import (
    Conflict,
    CortenError,
    DataCorrupted,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    NotModified,
    OutOfSpace,
    StartFailed,
    Unavailable,
    Unsupported,
)

STATUS: dict[type[CortenError], int] = {
    NotFound: 404,
    Conflict: 409,
    NotModified: 304,
    InvalidInput: 400,
    Forbidden: 403,
    Unsupported: 501,
    Unavailable: 503,
    DataCorrupted: 500,
    LimitExceeded: 400,
    OutOfSpace: 500,
    StartFailed: 400,
}

# Clients look for these exact words; what is not named here is "No such <what>: <name>".
_WORDING = {
    "network": "network {name} not found",
    "volume": "get {name}: no such volume",
    "network driver": 'plugin "{name}" not found',
    "volume plugin": 'error looking up volume plugin {name}: plugin "{name}" not found',
    "page": "page not found",
}


def status_of(failure: Exception) -> int:
    """Return the status code that tells a Docker client of *failure*."""
    if isinstance(failure, web.HTTPException):
        return failure.status
    for kind in type(failure).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def message_of(failure: Exception) -> str:
    """Return the one line that a client is shown; it never holds a traceback."""
    if isinstance(failure, NotFound) and str(failure) == f"no such {failure.what}: {failure.name}":
        wording = _WORDING.get(failure.what, "No such {what}: {name}")
        return wording.format(what=failure.what, name=failure.name)
    if isinstance(failure, web.HTTPRequestEntityTooLarge):
        return "request body too large: send less than 8 MiB of JSON"
    if isinstance(failure, CortenError | OSError | web.HTTPException):
        return str(failure)
    return f"internal error ({type(failure).__name__}): see the daemon's log"


def expected(failure: Exception) -> bool:
    """Tell whether *failure* is an answer rather than a defect that belongs in the log."""
    return isinstance(failure, CortenError | OSError | web.HTTPException)
