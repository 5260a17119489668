"""Attaching to a container: what run, start and attach have in common."""

from __future__ import annotations

import posix

from corten.cli.failure import ApiError, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from corten.cli.client import Client, Exchange

NOT_EXECUTABLE, NOT_FOUND, ENGINE = 126, 127, 125  # exit statuses, as of a shell


def check_terminal(*, tty: bool, stdin: bool) -> None:
    """Refuse to connect a container's terminal to a stdin that is none.

    Raises:
        Failure: that is what was asked for.
    """
    if tty and stdin and not posix.isatty(0):
        raise Failure("the input device is not a TTY", 1)


def ask(client: Client, path: str, streams: set[str], keys: str, *, logs: bool = False) -> Exchange:
    """Send the request that attaches *streams* of the container at *path*."""
    query: dict[str, Any] = {name: name in streams for name in ("stdin", "stdout", "stderr")}
    return client.upgrade(f"{path}/attach", stream=True, logs=logs, detachKeys=keys, **query)


def load_streams() -> None:
    """Load what ``join`` needs: a good thing to do while the engine is at work."""
    import corten.cli.stdio  # noqa: F401


def join(
    client: Client,
    stream: tuple[_socket.socket, bytes],
    path: str,
    streams: set[str],
    keys: bytes,
    *,
    tty: bool,
    proxy: bool,
) -> bool:
    """Copy the streams until they end.

    Args:
        client: The daemon.
        stream: The connection of `ask` when it was granted, see `raw`.
        path: ``/containers/ID``.
        streams: What was attached.
        keys: What detaches, see `detach_keys`.
        tty: The container has a terminal.
        proxy: Pass signals on.

    Returns:
        False when the user detached.
    """
    from corten.cli.stdio import Session, converse

    typed = "stdin" in streams
    session = Session(*stream, tty=tty, stdin=typed, keys=keys if tty and typed else b"")
    return converse(client, session, path, tty=tty, raw=tty and typed, proxy=proxy)


def detach_keys(text: str) -> bytes:
    """The bytes of ``--detach-keys``; the usual keys if that is empty.

    Raises:
        Failure: there are no such keys.
    """
    from corten.cli.terminal import DETACH, key_bytes

    return key_bytes(text or DETACH)


def exit_status(answer: Any) -> int:
    """The exit code in the answer to a wait.

    Raises:
        Failure: the daemon could not tell.
    """
    problem = (answer.get("Error") or {}).get("Message")
    if problem:
        raise Failure(f"Error waiting for container: {problem}", ENGINE)
    return int(answer["StatusCode"])


def start_failure(error: ApiError) -> Failure:
    """The failure of a start, with the exit status that a shell would give."""
    reason = error.reason.lower()
    if "executable file not found" in reason or "no such file or directory" in reason:
        status = NOT_FOUND
    elif "permission denied" in reason or "is a directory" in reason:
        status = NOT_EXECUTABLE
    else:
        status = ENGINE
    return Failure(str(error), status)
