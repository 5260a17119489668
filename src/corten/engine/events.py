"""Events: what happened in the engine, told to whoever listens.

Publishing is cheap, from any thread, and never waits for a listener. The last
events are kept so that a listener can ask for what it missed. A listener that
does not keep up is cut off with an error instead of growing without bound.

Source: Docker Engine API, "Monitor events"; the rules of each filter are
those that Docker's daemon applies.
"""

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from corten.errors import InvalidInput, LimitExceeded

KEPT = 1024  # events for listeners that come later
BACKLOG = 4096  # events that a listener may be behind

Filters = Mapping[str, Sequence[str]]

# Actions whose names go on with a detail after a colon: "exec_create: ls"
_DETAILED = {"health_status", "exec_create", "exec_start"}
_BY_NAME = ("container", "daemon", "network", "plugin", "volume", "service", "node", "secret", "config")


class Event(msgspec.Struct, frozen=True):
    """One thing that happened: *action* on the object *id* of kind *type*, at *time_ns* since the epoch."""

    type: str
    action: str
    id: str
    attributes: dict[str, str]
    time_ns: int

    def wire(self) -> dict[str, object]:
        """Return the event as the Docker Engine API sends it."""
        told: dict[str, object] = {}
        if self.type in {"container", "image"}:
            told |= {"status": self.action, "id": self.id}
        if self.type == "container" and "image" in self.attributes:
            told["from"] = self.attributes["image"]
        return told | {
            "Type": self.type,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time_ns // 10**9,
            "timeNano": self.time_ns,
        }


class Events:
    """The engine's events of this daemon's life."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._latest = 0

    def publish(self, type: str, action: str, id: str, attributes: Mapping[str, str] | None = None) -> Event:  # noqa: A002  # the wire's own words
        """Tell everybody who listens; from any thread."""
        with self._lock:
            self._latest = max(time.time_ns(), self._latest + 1)  # in order, though a clock may be set back
            event = Event(type, action, id, dict(attributes or {}), self._latest)
            self._kept.append(event)
            for subscription in tuple(self._subscriptions):
                subscription.offer(event)
        return event

    def subscribe(
        self, since_ns: int | None = None, until_ns: int | None = None, filters: Filters | None = None
    ) -> "Subscription":
        """Listen, from this call on; must be called where an event loop runs.

        Args:
            since_ns: Start with kept events from this time on; nanoseconds since the epoch.
            until_ns: End at this time; when it has passed, only kept events are given.
            filters: Values by filter name. Of several values of a filter any
                may match, of labels all must.

        Raises:
            InvalidInput: a filter is not known.
        """
        matches = _matcher(filters or {})
        with self._lock:
            past = self._kept if since_ns is not None or until_ns is not None else ()
            subscription = Subscription(matches, until_ns, [e for e in past if e.time_ns >= (since_ns or 0)])
            self._subscriptions.add(subscription)
        return subscription


class Subscription(AsyncIterator[Event]):
    """The events that one listener asked for; iterate with ``async for``.

    Raises:
        LimitExceeded: from the iteration: the listener was too slow and has missed events.
    """

    def __init__(
        self, matches: Callable[[Event], bool], until_ns: int | None, past: Sequence[Event] = ()
    ) -> None:
        self._matches, self._until_ns = matches, until_ns
        self._waiting: deque[Event] = deque(e for e in past if self._wanted(e))
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._closed = self._overrun = False

    def offer(self, event: Event) -> None:
        """Queue *event* if it is wanted; from any thread, never waits."""
        if self._closed or self._overrun or not self._wanted(event):
            return
        if len(self._waiting) >= BACKLOG:
            self._overrun = True
        else:
            self._waiting.append(event)
        self._wake()

    async def aclose(self) -> None:
        """Stop listening: an iteration that waits ends; idempotent."""
        self._closed = True
        self._arrived.set()

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            if self._overrun:
                raise LimitExceeded("events came faster than they were read: listen again, with since")
            if not await self._more():
                raise StopAsyncIteration
        return self._waiting.popleft()

    async def _more(self) -> bool:
        """Wait for an event; tell False when the time is over."""
        self._arrived.clear()
        if self._waiting or self._closed or self._overrun:
            return True
        seconds = None if self._until_ns is None else (self._until_ns - time.time_ns()) / 1e9
        if seconds is not None and seconds <= 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return bool(self._waiting)
        return True

    def _wanted(self, event: Event) -> bool:
        return (self._until_ns is None or event.time_ns <= self._until_ns) and self._matches(event)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop of the listener is closed
            self._closed = True


def _matcher(filters: Filters) -> Callable[[Event], bool]:
    """Return the test that *filters* ask for: every filter must match."""
    for key in filters:
        if key not in _TESTS:
            raise InvalidInput(f"invalid filter '{key}'")
    tests = [(_TESTS[key], key, tuple(values)) for key, values in filters.items() if values]
    return lambda event: all(test(event, key, values) for test, key, values in tests)


def _type_matches(event: Event, _key: str, values: Sequence[str]) -> bool:
    return event.type in values


def _scope_matches(_event: Event, _key: str, values: Sequence[str]) -> bool:
    return "local" in values


def _action_matches(event: Event, _key: str, values: Sequence[str]) -> bool:
    if _DETAILED.intersection(values):
        return event.action.startswith(tuple(values))
    return event.action in values


def _name_matches(event: Event, key: str, values: Sequence[str]) -> bool:
    starts = tuple(values)
    name = event.attributes.get("name", "")
    return event.type == key and (event.id.startswith(starts) or name.startswith(starts))


def _image_matches(event: Event, _key: str, values: Sequence[str]) -> bool:
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    return not {event.id, name, _untagged(event.id), _untagged(name)}.isdisjoint(values)


def _label_matches(event: Event, _key: str, values: Sequence[str]) -> bool:
    return all(_has_label(event.attributes, label) for label in values)


def _has_label(attributes: Mapping[str, str], label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in attributes and (not equals or attributes[key] == value)


def _untagged(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


_TESTS: dict[str, Callable[[Event, str, Sequence[str]], bool]] = {
    "type": _type_matches,
    "event": _action_matches,
    "scope": _scope_matches,
    "image": _image_matches,
    "label": _label_matches,
    **dict.fromkeys(_BY_NAME, _name_matches),
}
