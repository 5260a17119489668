"""Keeper: has a network made again whose link somebody deleted by hand."""

import logging
import os
import select
import threading
from collections.abc import Callable

from corten.linux.link_events import LinkEvents

log = logging.getLogger("corten.networks")


class Keeper:
    """A thread that waits for links to go; lives in the network namespace of the caller. Closed by the owner.

    Args:
        is_wanted: Tells whether a link should be there; an empty name asks about all.
        repair: Makes again what is missing; idempotent. Called in the thread.

    Raises:
        OSError: no descriptors left.
    """

    def __init__(self, is_wanted: Callable[[str], bool], repair: Callable[[], None]) -> None:
        self._is_wanted, self._repair = is_wanted, repair
        self._events = LinkEvents()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="link-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; idempotent."""
        if self._thread.is_alive():
            os.eventfd_write(self._stop, 1)
            self._thread.join()
        self._events.close()
        if self._stop >= 0:
            os.close(self._stop)
            self._stop = -1

    def _watch(self) -> None:
        waiting = select.poll()
        waiting.register(self._events, select.POLLIN)
        waiting.register(self._stop, select.POLLIN)
        while True:
            if any(descriptor == self._stop for descriptor, _ in waiting.poll()):
                return
            gone = [name for name in self._events.read() if self._is_wanted(name)]
            if gone:
                self._mend(gone)

    def _mend(self, gone: list[str]) -> None:
        log.warning("somebody deleted %s: making it again", " ".join(filter(None, gone)) or "links of ours")
        try:
            self._repair()
        except Exception:  # a dead thread would go unnoticed
            log.exception("the networks could not be mended")
