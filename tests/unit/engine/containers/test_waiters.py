"""Who waits for a container's end, and for which."""

import asyncio
from collections.abc import Callable

import pytest

from corten.engine.containers.waiters import CONDITIONS, Exit, Waiters
from corten.errors import InvalidInput


def waiting(body: Callable[[Waiters], None]) -> None:
    """Run *body* in an event loop."""

    async def main() -> None:
        body(Waiters())

    asyncio.run(main())


def test_only_those_who_wait_for_it_are_answered() -> None:
    """A condition answers its own waiters of that container; the others wait on."""

    def body(waiters: Waiters) -> None:
        futures = {condition: waiters.add("a", condition) for condition in CONDITIONS}
        other = waiters.add("b", "next-exit")
        waiters.resolve("a", Exit(3), "next-exit", "not-running")
        assert futures["next-exit"].result() == Exit(3)
        assert futures["not-running"].result() == Exit(3)
        assert not futures["removed"].done()
        assert not other.done()
        waiters.resolve("a", Exit(4, "why"), "removed")
        assert futures["removed"].result() == Exit(4, "why")

    waiting(body)


def test_an_answer_is_given_once() -> None:
    """Who has been answered is not asked again; later waiters get the later answer."""

    def body(waiters: Waiters) -> None:
        first = waiters.add("a", "next-exit")
        waiters.resolve("a", Exit(1), "next-exit")
        second = waiters.add("a", "next-exit")
        waiters.resolve("a", Exit(2), "next-exit")
        waiters.resolve("a", Exit(3), "next-exit")
        assert (first.result().code, second.result().code) == (1, 2)

    waiting(body)


def test_who_has_gone_away_does_not_matter() -> None:
    """A cancelled future keeps nobody else from an answer."""

    def body(waiters: Waiters) -> None:
        gone, stays = (waiters.add("a", "") for _ in range(2))
        gone.cancel()
        waiters.resolve("a", Exit(0), "not-running")
        assert stays.result() == Exit(0)

    waiting(body)


def test_nothing_is_kept_of_who_was_answered() -> None:
    """Containers that come and go leave nothing behind."""

    def body(waiters: Waiters) -> None:
        for number in range(3):
            waiters.add(str(number), "removed")
            waiters.resolve(str(number), Exit(0), "removed")
            waiters.resolve("nobody", Exit(0), "removed")
        assert waiters._futures == {}

    waiting(body)


def test_unknown_conditions_are_refused() -> None:
    """A condition that Docker does not know is the caller's mistake."""

    def body(waiters: Waiters) -> None:
        with pytest.raises(InvalidInput, match='invalid condition: "sometime"'):
            waiters.add("a", "sometime")

    waiting(body)
