"""Reading ahead: one thread reads, inflates and hashes while another unpacks.

Reading, inflating and hashing blocks of this size release the interpreter
lock, and so do the system calls of the unpacker, so the two overlap on two
processors. They meet once per block only.
"""

import hashlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self

from corten.errors import LimitExceeded
from corten.oci.digest import Digest

_BLOCK = 1 << 20
_AHEAD = 6  # blocks


class Hashed:
    """A *stream* that somebody hashes already: it is not hashed again.

    Args:
        stream: Has ``read``.
        digest: Tells the sha256 of all of it, once it was read to its end.
    """

    def __init__(self, stream: BinaryIO, digest: Callable[[], Digest]) -> None:
        self.digest = digest
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """Read from the stream."""
        return self._stream.read(size)


class ReadAhead:
    """The blocks of *stream*, of at most *limit* bytes; a context manager that ends the thread.

    Leaving it early waits for the read under way to return.
    """

    def __init__(self, stream: BinaryIO | Hashed, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._hash = hashlib.sha256()
        self._digest = stream.digest if isinstance(stream, Hashed) else None
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="layer-read", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        while not self._ended:
            self._take()
        self._thread.join()

    def next(self) -> bytes:
        """Return the next block, never empty before the end.

        Raises:
            LimitExceeded: the stream is longer than the limit.
            OSError, CortenError: what reading the stream raised.
        """
        if self._ended:
            return b""
        item = self._take()
        if isinstance(item, BaseException):
            raise item
        return item

    def finish(self) -> Digest:
        """Read what is left and return the digest of the whole stream."""
        while self.next():
            pass
        return self._digest() if self._digest else Digest(f"sha256:{self._hash.hexdigest()}")

    def _take(self) -> bytes | BaseException:
        item = self._queue.get()
        self._ended = not item or isinstance(item, BaseException)
        return item

    def _run(self) -> None:
        last: bytes | BaseException = b""
        try:
            self._read()
        except BaseException as failure:  # noqa: BLE001 it is raised again by the thread that asked
            last = failure
        self._queue.put(last)

    def _read(self) -> None:
        total = 0
        while not self._stopped and (block := self._stream.read(_BLOCK)):
            total += len(block)
            if total > self._limit:
                raise LimitExceeded(f"the layer is larger than {self._limit} bytes uncompressed")
            if self._digest is None:
                self._hash.update(block)
            self._queue.put(block)
