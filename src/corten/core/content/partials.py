"""LocalPartials: what has arrived of blobs, kept under the digest that it is meant to get.

A blob that may be resumed is written under this name from its first byte, so
that nothing has to happen for what has come to be kept, when the process is
killed least of all. Nothing here is trusted: the bytes are hashed again, and a
tail that a loss of power has spoiled is found out by the digest in the end.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from corten.core.content.store import Info
from corten.errors import InvalidInput
from corten.oci.digest import Digest

_LIFETIME = 86_400  # seconds


class LocalPartials:
    """Files in *directory*, named by algorithm and digest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._held: set[Digest] = set()
        directory.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def hold(self, digest: Digest) -> Iterator[Path | None]:
        """Give the path for *digest* to one at a time; others get None."""
        with self._lock:
            free = digest not in self._held
            self._held.add(digest)
        try:
            yield self._path(digest) if free else None
        finally:
            if free:
                with self._lock:
                    self._held.discard(digest)

    def size(self, digest: Digest) -> int:
        """Return how many bytes of *digest* have arrived."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def walk(self) -> Iterator[Info]:
        """Yield the expected digest, and the bytes that are held for this alone."""
        for entry in os.scandir(self._directory):
            with suppress(InvalidInput, FileNotFoundError):
                found = entry.stat()
                yield Info(
                    Digest(entry.name.replace("-", ":", 1)), 0 if found.st_nlink > 1 else found.st_size
                )

    def drop(self, digest: Digest) -> None:
        """Forget what has arrived of *digest*, unless it is arriving now."""
        with self.hold(digest) as path:
            if path is not None:
                path.unlink(missing_ok=True)

    def expire(self) -> None:
        """Drop what nobody has written to for a day, and what has a name of no digest."""
        limit = time.time() - _LIFETIME
        for entry in os.scandir(self._directory):
            with suppress(FileNotFoundError):
                if not limit <= entry.stat().st_mtime <= time.time() + _LIFETIME:
                    self._expire(entry.name)

    def _expire(self, name: str) -> None:
        try:
            self.drop(Digest(name.replace("-", ":", 1)))
        except InvalidInput:
            (self._directory / name).unlink(missing_ok=True)

    def _path(self, digest: Digest) -> Path:
        return self._directory / f"{digest.algorithm}-{digest.hex}"
