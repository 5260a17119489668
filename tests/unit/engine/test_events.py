"""Events: the wire form, history, filters, and listeners of every kind."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from corten.engine.events import BACKLOG, KEPT, Event, Events, Filters
from corten.errors import InvalidInput, LimitExceeded

WEB = {"name": "web", "image": "registry.test:5000/app:1", "tier": "front", "com.example.v": "2"}


def asynchronous(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 20))

    return run


async def past(events: Events, filters: Filters | None = None, since_ns: int = 0) -> list[Event]:
    """Return the kept events that match."""
    return [event async for event in events.subscribe(since_ns, time.time_ns(), filters)]


def test_wire_form_of_a_container_event() -> None:
    """A container's event has Docker's fields, the old ones included."""
    event = Event("container", "start", "abc", {"image": "app", "name": "web"}, 1_700_000_000_123_456_789)
    assert event.wire() == {
        "status": "start",
        "id": "abc",
        "from": "app",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "abc", "Attributes": {"image": "app", "name": "web"}},
        "scope": "local",
        "time": 1_700_000_000,
        "timeNano": 1_700_000_000_123_456_789,
    }


def test_wire_form_of_other_events() -> None:
    """Images keep status and id, other kinds have neither."""
    image = Event("image", "tag", "sha256:1", {"name": "app:1"}, 0).wire()
    network = Event("network", "connect", "n1", {}, 0).wire()
    assert (image["status"], image["id"], "from" in image) == ("tag", "sha256:1", False)
    assert {"status", "id", "from"}.isdisjoint(network)


@asynchronous
async def test_a_listener_hears_what_follows() -> None:
    """Without since, a listener gets events from its subscription on, in order."""
    events = Events()
    events.publish("container", "create", "a")
    listener = events.subscribe()
    told = [events.publish("container", action, "a") for action in ("start", "die")]
    assert [await anext(listener), await anext(listener)] == told
    await listener.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(listener)


@asynchronous
async def test_since_gives_history_then_news() -> None:
    """Kept events from a time on come first, then new ones, none twice."""
    events = Events()
    _, second, third = [events.publish("volume", "create", str(n)) for n in range(3)]
    listener = events.subscribe(since_ns=second.time_ns)
    fourth = events.publish("volume", "create", "3")
    assert [await anext(listener) for _ in range(3)] == [second, third, fourth]


@asynchronous
async def test_until_in_the_past_ends_at_once() -> None:
    """With an end that has passed only kept events before it are given."""
    events = Events()
    first, second = events.publish("volume", "create", "1"), events.publish("volume", "create", "2")
    assert [e async for e in events.subscribe(until_ns=first.time_ns)] == [first]
    assert [e async for e in events.subscribe(second.time_ns, second.time_ns)] == [second]


@asynchronous
async def test_until_in_the_future_ends_then() -> None:
    """A listener with an end gets what happens before it and then ends."""
    events = Events()
    listener = events.subscribe(until_ns=time.time_ns() + 50_000_000)
    told = events.publish("volume", "create", "1")
    assert [event async for event in listener] == [told]


@asynchronous
async def test_keeps_a_bounded_history() -> None:
    """Only the last events are kept."""
    events = Events()
    for number in range(KEPT + 10):
        events.publish("volume", "create", str(number))
    kept = await past(events)
    assert (len(kept), kept[0].id) == (KEPT, "10")


@asynchronous
async def test_times_rise() -> None:
    """No two events have the same time, so that since can tell them apart."""
    events = Events()
    times = [events.publish("volume", "create", "x").time_ns for _ in range(500)]
    assert len(set(times)) == 500
    assert times == sorted(times)


@asynchronous
async def test_wakes_a_listener_from_another_thread() -> None:
    """Events published by worker threads reach a listener that waits."""
    events = Events()
    listener = events.subscribe()
    waiting = asyncio.ensure_future(anext(listener))
    thread = threading.Thread(target=events.publish, args=("image", "load", "i"))
    thread.start()
    assert (await waiting).id == "i"
    thread.join()


@asynchronous
async def test_a_slow_listener_is_cut_off() -> None:
    """A listener that does not read gets what was queued, then an error; others lose nothing."""
    events = Events()
    slow = events.subscribe()
    for number in range(BACKLOG + 5):
        events.publish("volume", "create", str(number))
    assert [(await anext(slow)).id for _ in range(BACKLOG)][-1] == str(BACKLOG - 1)
    with pytest.raises(LimitExceeded, match="listen again"):
        await anext(slow)


@asynchronous
async def test_closing_ends_a_listener_that_waits() -> None:
    """A close from elsewhere ends the iteration."""
    listener = Events().subscribe()
    waiting = asyncio.ensure_future(anext(listener, None))
    await asyncio.sleep(0)
    await listener.aclose()
    assert await waiting is None


def test_a_listener_whose_loop_is_gone_does_no_harm() -> None:
    """Publishing goes on after the loop of a listener was closed."""
    events = Events()

    async def listen() -> object:
        return events.subscribe()

    listener = asyncio.run(listen())
    events.publish("volume", "create", "1")
    assert listener


@asynchronous
async def test_filters_select_as_docker_does() -> None:
    """Each filter by itself and together: values are or-ed, labels and filters and-ed."""
    events = Events()
    events.publish("container", "start", "c1c1", WEB)
    events.publish("container", "exec_create: ls", "c1c1", WEB)
    events.publish("container", "start", "d2d2", {"name": "db", "image": "sql", "tier": "back"})
    events.publish("image", "tag", "sha256:9", {"name": "app:1"})
    events.publish("network", "connect", "n3n3", {"name": "web", "container": "c1c1"})
    expected: list[tuple[Filters, list[str]]] = [
        ({}, ["c1c1", "c1c1", "d2d2", "sha256:9", "n3n3"]),
        ({"type": ["image", "network"]}, ["sha256:9", "n3n3"]),
        ({"event": ["start"]}, ["c1c1", "d2d2"]),
        ({"event": ["exec_create"]}, ["c1c1"]),
        ({"event": ["exec"]}, []),
        ({"container": ["web"]}, ["c1c1", "c1c1"]),
        ({"container": ["d2", "/x"]}, ["d2d2"]),
        ({"network": ["web"]}, ["n3n3"]),
        ({"image": ["app"]}, ["sha256:9"]),
        ({"image": ["registry.test:5000/app"]}, ["c1c1", "c1c1"]),
        ({"image": ["sql", "app:1"]}, ["d2d2", "sha256:9"]),
        ({"label": ["tier"]}, ["c1c1", "c1c1", "d2d2"]),
        ({"label": ["tier=front", "com.example.v"]}, ["c1c1", "c1c1"]),
        ({"label": ["tier=front", "tier=back"]}, []),
        ({"label": ["tier"], "event": ["start"], "container": ["db"]}, ["d2d2"]),
        ({"scope": ["swarm"]}, []),
        ({"type": []}, ["c1c1", "c1c1", "d2d2", "sha256:9", "n3n3"]),
    ]
    for filters, ids in expected:
        assert [event.id for event in await past(events, filters)] == ids, filters


@asynchronous
async def test_an_unknown_filter_is_refused() -> None:
    """A filter that Docker does not know is named in the failure."""
    with pytest.raises(InvalidInput, match="invalid filter 'colour'"):
        Events().subscribe(filters={"colour": ["red"]})
