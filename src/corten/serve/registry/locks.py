"""Locks: one lock per key, for as long as somebody wants it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Locks:
    """Makes those with the same key wait for each other, and nobody else."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Keep *key* for the block. Not to be nested for the same key."""
        with self._guard:
            lock, wanted = self._held.get(key) or (threading.Lock(), 0)
            self._held[key] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, wanted = self._held[key]
                if wanted == 1:
                    del self._held[key]
                else:
                    self._held[key] = lock, wanted - 1
