"""Docker's filters: reading them, and applying those of the container list."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from corten.engine.records.container import Container
from corten.errors import InvalidInput
from corten.serve.api.interface import Filters
from corten.serve.api.query import Query

STATUSES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
_HEALTH = frozenset({"none", "starting", "healthy", "unhealthy"})

CONTAINER_FILTERS = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label"}
    | {"name", "network", "publish", "since", "status", "volume"}
)
IMAGE_FILTERS = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})
EVENT_FILTERS = frozenset(
    {"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin"}
    | {"scope", "secret", "service", "type", "volume"}
)


def decode_filters(query: Query, allowed: frozenset[str]) -> Filters:
    """Return the values by key of the query's ``filters``, in either of Docker's two forms.

    Raises:
        InvalidInput: not such a form, or a key that is not *allowed*.
    """
    text = query.text("filters")
    if not text:
        return {}
    try:
        members = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool]])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"invalid filter: {error}") from error
    for key in members:
        if key not in allowed:
            raise InvalidInput(f"invalid filter '{key}'")
    return {key: _values(values) for key, values in members.items()}


def _values(values: list[str] | Mapping[str, bool]) -> list[str]:
    """Return the values that count: a list's all, a map's true ones."""
    return list(values) if isinstance(values, list) else [value for value, on in values.items() if on]


def _check(filters: Filters, key: str, allowed: frozenset[str]) -> None:
    """Refuse values of *key* that are not *allowed*."""
    for value in filters.get(key, ()):
        if value not in allowed:
            raise InvalidInput(f"invalid filter '{key}={value}'")


def _codes(values: list[str]) -> frozenset[int]:
    """Return exit codes as numbers."""
    try:
        return frozenset(int(value) for value in values)
    except ValueError as error:
        raise InvalidInput(f"invalid filter 'exited={values[0]}'") from error


def like(pattern: str, text: str) -> bool:
    """Tell whether *pattern* is found in *text*: a regular expression, or failing that plain text."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text


def has_labels(wanted: list[str], labels: Mapping[str, str]) -> bool:
    """Tell whether *labels* hold every wanted ``key`` or ``key=value``."""
    for item in wanted:
        key, separator, value = item.partition("=")
        if key not in labels or (separator and labels[key] != value):
            return False
    return True


def _networks(container: Container) -> frozenset[str]:
    """Return the names and ids of the networks that *container* is attached to."""
    mode = container.host_config.network_mode
    named = {mode if mode not in ("", "default") else "bridge"}
    for endpoint in container.endpoints:
        named |= {endpoint.network, endpoint.network_id}
    return frozenset(named)


def _port_matches(wanted: str, ports: Mapping[str, Any]) -> bool:
    """Tell whether ``port[-end][/proto]`` names one of *ports*, which are ``port/proto``."""
    numbers, _, protocol = wanted.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise InvalidInput(f"invalid filter 'publish={wanted}'")
    for port in ports:
        number, _, kind = port.partition("/")
        if int(first) <= int(number) <= int(last or first) and (kind or "tcp") == (protocol or "tcp"):
            return True
    return False


def _volumes(container: Container) -> frozenset[str]:
    """Return the sources and destinations of the mounts of *container*."""
    return frozenset(path for mount in container.mounts for path in (mount.source, mount.destination))


Test = Callable[[Container, list[str]], bool]

_TESTS: dict[str, Test] = {
    "exited": lambda c, codes: c.state.status == "exited" and c.state.exit_code in _codes(codes),
    "expose": lambda c, ports: any(_port_matches(port, c.config.exposed_ports or {}) for port in ports),
    "health": lambda _, values: "none" in values,  # no health is recorded so far
    "id": lambda c, patterns: any(like(pattern, c.id) for pattern in patterns),
    "is-task": lambda _, values: not any(value in ("1", "true", "True") for value in values),
    "label": lambda c, wanted: has_labels(wanted, c.config.labels or {}),
    "name": lambda c, patterns: any(like(p, name) for p in patterns for name in (c.name, f"/{c.name}")),
    "network": lambda c, networks: not _networks(c).isdisjoint(networks),
    "publish": lambda c, ports: any(_port_matches(port, c.host_config.port_bindings or {}) for port in ports),
    "status": lambda c, statuses: c.state.status in statuses,
    "volume": lambda c, volumes: not _volumes(c).isdisjoint(volumes),
}


def container_test(filters: Filters) -> Callable[[Container], bool]:
    """Return the test of the container list for *filters*: keys and-ed, values of a key or-ed.

    ``ancestor``, ``before`` and ``since`` need the engine and are not tested here.

    Raises:
        InvalidInput: a value that its key does not know.
    """
    _check(filters, "status", STATUSES)
    _check(filters, "health", _HEALTH)
    _codes(filters.get("exited", []))
    tests = [(_TESTS[key], values) for key, values in filters.items() if key in _TESTS and values]
    return lambda container: all(test(container, values) for test, values in tests)
