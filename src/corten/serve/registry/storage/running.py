"""Running: the hash of an upload, kept while its bytes arrive.

Reading a blob again to hash it when it ends would cost as much as receiving
it. The state of a hash cannot be saved, so it is lost with the process; the
bytes of an upload that was resumed after that are read again once, at its end.
"""

import hashlib
from typing import TYPE_CHECKING

from corten.oci.digest import Digest

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHM = "sha256"  # what clients use; a blob named by another one is read again


class Running:
    """Hashes by upload. Calls for one upload must not overlap; those of different ones may."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[int, _Hash]] = {}

    def update(self, upload: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Take the bytes that were stored at *offset*; ones that do not follow end the hash."""
        seen, state = self._states.get(upload) or (0, hashlib.new(ALGORITHM))
        if seen != offset:
            self.forget(upload)
            return
        state.update(data)
        self._states[upload] = offset + len(data), state

    def digest(self, upload: str, size: int, algorithm: str) -> Digest | None:
        """Return the digest of the first *size* bytes, None if they were not all seen."""
        seen, state = self._states.get(upload) or (0, hashlib.new(ALGORITHM))
        if seen != size or algorithm != ALGORITHM:
            return None
        return Digest(f"{ALGORITHM}:{state.hexdigest()}")

    def forget(self, upload: str) -> None:
        """Drop the hash of an upload that has ended; idempotent."""
        self._states.pop(upload, None)
