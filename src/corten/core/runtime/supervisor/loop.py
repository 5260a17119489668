"""The supervisor's event loop: epoll, one handler a descriptor, chores when idle."""

import select
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
QUIET = 0.004  # a start is followed by more work elsewhere, which chores would slow down
HANGUP = select.EPOLLHUP | select.EPOLLERR


class Loop:
    """Calls the handler of each descriptor that is ready; never blocks elsewhere.

    A handler that closes a descriptor unregisters it first. Chores run one at a
    time when nothing is ready, so that they never delay an answer by more than
    one of them.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._urgent: deque[Callable[[], None]] = deque()
        self._chores: deque[Callable[[], None]] = deque()
        self._calm = False
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._running = False

    def register(self, descriptor: int, handler: "Callable[[int], None]", events: int = READ) -> None:
        """Call *handler* with the event mask whenever *descriptor* is ready; idempotent."""
        known = descriptor in self._handlers
        self._handlers[descriptor] = handler
        if known:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)

    def unregister(self, descriptor: int) -> None:
        """Forget *descriptor*; idempotent."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def when_idle(self, chore: "Callable[[], None]", *, soon: bool = False) -> None:
        """Run *chore* once, when nothing has been to do for ``QUIET`` seconds, or *soon* as nothing is."""
        (self._urgent if soon else self._chores).append(chore)

    def after(self, seconds: float, work: "Callable[[], None]") -> None:
        """Run *work* once, so many seconds from now or a little later."""
        self._timers.append((time.monotonic() + seconds, work))

    def _due(self) -> None:
        """Run the timers whose time has come, the earlier first."""
        now = time.monotonic()
        due = [work for at, work in sorted(self._timers, key=lambda timer: timer[0]) if at <= now]
        self._timers = [(at, work) for at, work in self._timers if at > now]
        for work in due:
            work()

    def _patience(self) -> float:
        """Return how long to wait for descriptors, in seconds; -1 for ever."""
        if self._urgent or (self._chores and self._calm):
            return 0.0
        if self._chores:
            return QUIET
        if self._timers:
            return max(0.0, min(at for at, _ in self._timers) - time.monotonic()) + 0.001
        return -1

    def stop(self) -> None:
        """Return from ``run`` after the present round."""
        self._running = False

    def descriptors(self) -> list[int]:
        """Return what a forked child inherits of the loop: its epoll and all it watches."""
        return [self._epoll.fileno(), *self._handlers]

    def run(self) -> None:
        """Serve until ``stop``."""
        self._running = True
        while self._running:
            ready = self._epoll.poll(self._patience())
            if self._timers:
                self._due()
            self._calm = not ready
            if not ready and (self._urgent or self._chores):
                (self._urgent or self._chores).popleft()()
                continue
            # a descriptor closed and reused within this round must not get its predecessor's event
            for descriptor, events, handler in [(d, e, self._handlers.get(d)) for d, e in ready]:
                if handler is not None and self._handlers.get(descriptor) is handler:
                    handler(events)
