"""How fast downloads go together, and how often something is tried."""

import asyncio

import pytest

from corten.core.distribution.http.pace import Again, Attempts, Rate
from corten.core.distribution.settings import Patience
from corten.errors import Unavailable


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.pauses = 100.0, list[float]()

    def read(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.now += seconds


def test_rate_is_kept_over_time() -> None:
    """Ten thousand bytes at a thousand per second take ten seconds, the first burst aside."""
    clock = Clock()
    rate = Rate(1000, clock.read, clock.sleep)

    async def go() -> None:
        for _ in range(100):
            await rate.take(100)

    asyncio.run(go())
    assert 9.5 <= clock.now - 100.0 <= 10.0


def test_rate_does_not_save_up() -> None:
    """Time without downloads is not made up for by going faster afterwards."""
    clock = Clock()
    rate = Rate(1000, clock.read, clock.sleep)

    async def go() -> None:
        await rate.take(1000)
        clock.now += 3600
        before = clock.now
        await rate.take(2000)
        assert clock.now - before >= 1.5

    asyncio.run(go())


def test_rate_is_shared() -> None:
    """Two downloads get half each."""
    clock = Clock()
    rate = Rate(1000, clock.read, clock.sleep)

    async def one() -> None:
        for _ in range(50):
            await rate.take(100)

    async def go() -> None:
        await asyncio.gather(one(), one())

    asyncio.run(go())
    assert clock.now - 100.0 >= 9.5


def test_no_limit_costs_nothing() -> None:
    """Without a rate nobody waits, and pieces are large."""
    clock = Clock()
    rate = Rate(0, clock.read, clock.sleep)

    asyncio.run(rate.take(1 << 40))

    assert not clock.pauses
    assert rate.piece == 1 << 20
    assert Rate(100).piece == 4 << 10
    assert Rate(1 << 20).piece == 1 << 18


def test_pauses_grow_to_a_bound() -> None:
    """Each pause is about twice the one before, at random, and never beyond the longest."""
    clock = Clock()
    attempts = Attempts(Patience(attempts=9, pause=1.0, longest=10.0), clock.sleep)
    failure = Unavailable("x")

    async def go() -> None:
        for _ in range(8):
            await attempts.again(failure)
        with pytest.raises(Unavailable):
            await attempts.again(failure)

    asyncio.run(go())
    bounds = [1, 2, 4, 8, 10, 10, 10, 10]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(clock.pauses, bounds, strict=True))


def test_progress_forgets_failures() -> None:
    """Enough bytes make earlier failures forgotten, a few do not."""
    clock = Clock()
    attempts = Attempts(Patience(attempts=2, pause=1.0), clock.sleep)

    async def go() -> None:
        for _ in range(10):
            await attempts.again(Unavailable("x"))
            attempts.progressed(64 << 10)
        await attempts.again(Unavailable("x"))
        attempts.progressed(100)
        with pytest.raises(Unavailable):
            await attempts.again(Unavailable("x"))

    asyncio.run(go())


def test_asked_time_is_waited_within_bounds() -> None:
    """A server's own time is kept to, unless it is too long."""
    clock = Clock()
    attempts = Attempts(Patience(attempts=9, longest=10.0), clock.sleep)

    async def go() -> None:
        await attempts.again(Again(Unavailable("x"), 7.0))
        with pytest.raises(Unavailable):
            await attempts.again(Again(Unavailable("x"), 11.0))

    asyncio.run(go())
    assert clock.pauses == [7.0]
