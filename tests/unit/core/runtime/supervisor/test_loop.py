"""The supervisor's event loop."""

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from corten.core.runtime.supervisor.loop import HANGUP, READ, WRITE, Loop

T = TypeVar("T")


def note(seen: "list[T]", value: "T", then: Callable[[], None]) -> None:
    """Write *value* down, then do *then*."""
    seen.append(value)
    then()


class Pipes:
    """Pipes that are closed at the end of a test."""

    def __init__(self) -> None:
        self.open: set[int] = set()

    def make(self, data: bytes = b"") -> tuple[int, int]:
        """Return a read end, non-blocking, with *data* in it, and a write end."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.open |= {reader, writer}
        if data:
            os.write(writer, data)
        return reader, writer

    def close(self, descriptor: int) -> None:
        """Close one end."""
        self.open.discard(descriptor)
        os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    """Lend pipes."""
    made = Pipes()
    yield made
    for descriptor in made.open:
        os.close(descriptor)


def test_handlers_get_their_events(pipes: Pipes) -> None:
    """Whoever is ready is called with the mask of what is the matter."""
    loop = Loop()
    seen: list[Any] = []
    reader, writer = pipes.make(b"x")
    loop.register(writer, lambda events: note(seen, ("w", events), lambda: loop.unregister(writer)), WRITE)
    loop.register(reader, lambda events: note(seen, ("r", events), loop.stop))
    loop.run()
    assert sorted(seen) == [("r", READ), ("w", WRITE)]


def test_hangup_is_told_to_who_asked_for_nothing(pipes: Pipes) -> None:
    """A closed other side is told even when no event was asked for."""
    loop = Loop()
    seen: list[Any] = []
    reader, writer = pipes.make()
    loop.register(reader, lambda events: note(seen, events, loop.stop), 0)
    pipes.close(writer)
    loop.run()
    assert seen[0] & HANGUP


def test_a_reused_descriptor_gets_no_stale_event(pipes: Pipes) -> None:
    """An event of a descriptor that was closed and given anew within the round is dropped."""
    loop = Loop()
    seen: list[Any] = []
    ready = [pipes.make(b"x")[0] for _ in range(2)]
    silent, _ = pipes.make()

    def replace(mine: int, other: int) -> None:
        seen.append("handled")
        loop.unregister(mine)
        if other in loop.descriptors() and len(seen) == 1:
            loop.unregister(other)
            os.dup2(silent, other)
            loop.register(other, lambda _: seen.append("stale"))

    loop.register(ready[0], lambda _: replace(ready[0], ready[1]))
    loop.register(ready[1], lambda _: replace(ready[1], ready[0]))
    loop.after(0.005, loop.stop)
    loop.run()
    assert seen == ["handled"]


def test_a_handler_may_unregister_others(pipes: Pipes) -> None:
    """Who was unregistered in this round is not called any more."""
    loop = Loop()
    seen: list[Any] = []
    first, second = pipes.make(b"x")[0], pipes.make(b"x")[0]

    def handle(descriptor: int) -> None:
        seen.append(descriptor)
        loop.unregister(first)
        loop.unregister(second)
        loop.stop()

    loop.register(first, lambda _: handle(first))
    loop.register(second, lambda _: handle(second))
    loop.run()
    assert len(seen) == 1


def test_registering_and_unregistering_twice(pipes: Pipes) -> None:
    """Both are idempotent, and the last handler counts."""
    loop = Loop()
    seen: list[Any] = []
    reader, _ = pipes.make(b"x")
    loop.register(reader, lambda _: seen.append("first"))
    loop.register(reader, lambda _: note(seen, "second", loop.stop))
    loop.run()
    assert seen == ["second"]
    loop.unregister(reader)
    loop.unregister(reader)
    assert reader not in loop.descriptors()


def test_urgent_chores_come_before_lazy_ones() -> None:
    """Among chores the urgent go first, in order, whenever they were asked for."""
    loop = Loop()
    seen: list[Any] = []
    loop.when_idle(lambda: note(seen, "lazy", loop.stop))
    loop.when_idle(lambda: seen.append("urgent 1"), soon=True)
    loop.when_idle(lambda: seen.append("urgent 2"), soon=True)
    loop.run()
    assert seen == ["urgent 1", "urgent 2", "lazy"]


def test_work_comes_before_chores(pipes: Pipes) -> None:
    """No chore, urgent or not, runs while a descriptor is ready."""
    loop = Loop()
    seen: list[Any] = []
    reader, _ = pipes.make(b"abc")

    def handle(_: int) -> None:
        seen.append(os.read(reader, 1))

    loop.register(reader, handle)
    loop.when_idle(lambda: seen.append(b"urgent"), soon=True)
    loop.when_idle(lambda: note(seen, b"lazy", loop.stop))
    loop.run()
    assert seen == [b"a", b"b", b"c", b"urgent", b"lazy"]


def test_a_chore_may_ask_for_another() -> None:
    """A chore that asks again is run again."""
    loop = Loop()
    seen: list[Any] = []

    def chore() -> None:
        seen.append(1)
        if len(seen) == 3:
            loop.stop()
        else:
            loop.when_idle(chore)

    loop.when_idle(chore)
    loop.run()
    assert seen == [1, 1, 1]


def test_timers_run_once_in_time(pipes: Pipes) -> None:
    """A timer runs once, the earlier first, and none keeps the loop from waiting."""
    loop = Loop()
    seen: list[Any] = []
    loop.after(0.006, lambda: note(seen, "late", loop.stop))
    loop.after(0.001, lambda: seen.append("early"))
    loop.run()
    assert seen == ["early", "late"]


def test_timers_run_while_descriptors_are_busy(pipes: Pipes) -> None:
    """A descriptor that is always ready does not starve timers."""
    loop = Loop()
    reader, _ = pipes.make(b"x")
    loop.register(reader, lambda _: None)
    loop.after(0.001, loop.stop)
    loop.run()


def test_a_timer_may_set_another() -> None:
    """A timer set by a timer is not lost."""
    loop = Loop()
    seen: list[Any] = []

    def again() -> None:
        seen.append(1)
        (loop.stop if len(seen) == 2 else lambda: loop.after(0, again))()

    loop.after(0, again)
    loop.run()
    assert seen == [1, 1]
