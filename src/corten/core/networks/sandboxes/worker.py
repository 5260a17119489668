"""Worker: a thread that does one job after another at its own workbench."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from corten.core.networks.sandboxes.workbench import Workbench
from corten.errors import Unavailable

T = TypeVar("T")


class Worker:
    """Does jobs in the order they come; ended by ``stop``.

    The thread starts in the network namespace of the caller.

    Args:
        name: Of the thread.
        bench: Used by that thread alone.
    """

    def __init__(self, name: str, bench: Workbench) -> None:
        self._bench = bench
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[Workbench], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()  # over _open and putting: nothing may come after the end
        self._open = True
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[Workbench], T]) -> T:
        """Have *job* done and return what it returns; blocks.

        Raises:
            Unavailable: it was stopped.
            BaseException: whatever *job* raises.
        """
        order: Future[T] = Future()
        with self._lock:
            if not self._open:
                raise Unavailable("networks are shutting down: try again when the engine is up")
            self._jobs.put((order, job))
        return order.result()

    def stop(self) -> None:
        """End the thread after what was asked so far; idempotent."""
        with self._lock:
            if self._open:
                self._open = False
                self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while entry := self._jobs.get():
            order, job = entry
            try:
                order.set_result(job(self._bench))
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, who waits for it
                order.set_exception(error)
