"""Pace: how fast downloads go together, and how often something is tried."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from corten.core.distribution.settings import Patience
from corten.errors import CortenError

_WORTH = 64 << 10  # bytes that count as progress; fewer would let a server keep us for ever
_BURST = 0.25  # seconds of the rate that may come at once

Sleep = Callable[[float], Awaitable[object]]


class Rate:
    """A bucket of bytes that fills at *rate* per second, shared by all who take from it; 0 is no limit."""

    def __init__(
        self, rate: int, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._paid = clock()  # until then all bytes taken so far are paid for

    @property
    def piece(self) -> int:
        """The most bytes to take at once, so that the flow is even."""
        return min(max(int(self._rate * _BURST), 4 << 10), 1 << 20) if self._rate else 1 << 20

    async def take(self, count: int) -> None:
        """Wait until *count* bytes are allowed."""
        if not self._rate:
            return
        now = self._clock()
        self._paid = max(self._paid, now - _BURST) + count / self._rate
        if self._paid > now:
            await self._sleep(self._paid - now)


class Again(Exception):
    """An answer that may be another one soon; *after* are the seconds that the server asks to wait."""

    def __init__(self, failure: CortenError, after: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure, self.after = failure, after


class Attempts:
    """Counts tries and waits between them, longer each time, at random so that many do not come at once."""

    def __init__(self, patience: Patience, sleep: Sleep = asyncio.sleep) -> None:
        self._patience, self._sleep = patience, sleep
        self._failed = 0
        self._progress = 0

    def progressed(self, count: int) -> None:
        """Note *count* bytes; enough of them make earlier failures forgotten."""
        self._progress += count
        if self._progress >= _WORTH:
            self._failed, self._progress = 0, 0

    async def again(self, reason: CortenError | Again) -> None:
        """Wait before the next try.

        Raises:
            CortenError: the failure itself, when this was the last try or the server wants too much time.
        """
        failure, after = (reason.failure, reason.after) if isinstance(reason, Again) else (reason, None)
        self._failed += 1
        if self._failed >= self._patience.attempts:
            raise failure
        if after is not None and after > self._patience.longest:
            raise failure
        pause = min(self._patience.pause * 2 ** (self._failed - 1), self._patience.longest)
        await self._sleep(pause * random.uniform(0.5, 1.0) if after is None else after)
