"""Run a function in a forked child, where it may change what cannot be changed back."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def in_child(function: Callable[[], object]) -> str:
    """Return ``str(function())`` as computed in a child, or the text of what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        _report(writer, function)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    return text


def _report(writer: int, function: Callable[[], object]) -> None:
    try:
        os.write(writer, str(function()).encode())
    except BaseException:
        os.write(writer, traceback.format_exc(limit=-1).encode())
    finally:
        os._exit(0)


@contextmanager
def waiting_child(prepare: Callable[[], object]) -> Iterator[int]:
    """Give the id of a child that has run *prepare* and waits for a signal; it is gone afterwards."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            prepare()
            os.write(writer, b"1")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        ready = os.read(reader, 1)
        assert ready == b"1", "the child failed before it was ready"
        yield pid
    finally:
        os.close(reader)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # the test has waited for it
