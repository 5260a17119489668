"""One choice of addresses at a time in a network namespace, whichever engine makes it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0  # seconds to wait for another engine that is choosing


@contextmanager
def choosing() -> Iterator[None]:
    """Keep other engines of this network namespace from choosing a subnet at the same moment. Blocks.

    The lock is on the namespace itself, so it needs no agreed place and ends
    with its holder. A container in the host's namespace could hold it for
    ever, so after ``PATIENCE`` the choice is made without.
    """
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + PATIENCE
        while not _locked(descriptor) and time.monotonic() < end:
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
