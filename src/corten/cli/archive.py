"""Tar streams between the daemon and a file, a pipe or stdin."""

from __future__ import annotations

import posix

from corten.cli.demux import write
from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from corten.cli.client import Client

BLOCK = 256 * 1024  # bytes per read


def receive(client: Client, path: str, output: str, verb: str, **query: Any) -> None:
    """GET *path* and write the body to the file *output*, or to stdout.

    A file appears under its name when it is complete, and not at all if
    the stream breaks off.

    Raises:
        Failure: stdout is a terminal.
    """
    if not output:
        if posix.isatty(1):
            raise Failure(f"cowardly refusing to {verb} to a terminal: use the -o flag or redirect")
        for chunk in client.stream("GET", path, **query).chunks():
            write(1, chunk)
        return
    response = client.stream("GET", path, **query)
    if _special(output):
        _copy(response.chunks(), output, posix.O_WRONLY)
        return
    part = f"{output}.part-{posix.getpid()}"
    try:
        _copy(response.chunks(), part, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL)
        posix.rename(part, output)
    except BaseException:
        _forget(part)
        raise


def blocks(name: str) -> Iterator[bytes]:
    """Yield the content of the file *name*, or of stdin where that is empty or ``-``."""
    if name in ("", "-"):
        yield from _read(0)
        return
    descriptor = posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        yield from _read(descriptor)
    finally:
        posix.close(descriptor)


def must_exist(name: str) -> None:
    """Fail with one line if *name* cannot be read."""
    try:
        posix.close(posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC))
    except OSError as error:
        raise Failure(f"open {name}: {(error.strerror or str(error)).lower()}") from None


def is_folder(name: str) -> bool:
    """Whether *name* is a folder, or is written as one that may not be there yet."""
    try:
        return name.endswith("/") or posix.stat(name).st_mode & 0o170000 == 0o040000
    except OSError:
        return False


def _read(descriptor: int) -> Iterator[bytes]:
    while block := posix.read(descriptor, BLOCK):
        yield block


def _special(name: str) -> bool:
    """Whether *name* is there and no regular file, such as a pipe or /dev/null."""
    try:
        return posix.stat(name).st_mode & 0o170000 != 0o100000
    except OSError:
        return False


def _copy(chunks: Iterator[bytes], name: str, flags: int) -> None:
    descriptor = posix.open(name, flags | posix.O_CLOEXEC, 0o600)
    try:
        for chunk in chunks:
            write(descriptor, chunk)
    finally:
        posix.close(descriptor)


def _forget(name: str) -> None:
    try:
        posix.unlink(name)
    except OSError:
        return
