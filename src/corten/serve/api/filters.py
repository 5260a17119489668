"""Docker's filters: reading them, and applying those of the container list."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from corten.engine.records.container import Container
from corten.engine.records.network import Network
from corten.engine.records.volume import Volume
from corten.errors import InvalidInput
from corten.serve.api.interface_values import Filters
from corten.serve.api.query import Query
from corten.serve.api.volume_wire import labels as volume_labels

STATUSES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
_HEALTH = frozenset({"none", "starting", "healthy", "unhealthy"})

CONTAINER_FILTERS = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label"}
    | {"name", "network", "publish", "since", "status", "volume"}
)
IMAGE_FILTERS = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})
NETWORK_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
VOLUME_FILTERS = frozenset({"dangling", "driver", "label", "name"})
_TYPES = frozenset({"builtin", "custom"})
_TRUTHS = {"1": True, "true": True, "True": True, "0": False, "false": False, "False": False}
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
    """Return the names, sources and destinations of the mounts of *container*."""
    return frozenset(text for m in container.mounts for text in (m.name, m.source, m.destination) if text)


def _published(container: Container) -> dict[str, Any]:
    """Return the ports that *container* publishes, asked for or not."""
    now = {f"{port.container_port}/{port.protocol}": None for port in container.published}
    return {**(container.host_config.port_bindings or {}), **now}


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
    "publish": lambda c, ports: any(_port_matches(port, _published(c)) for port in ports),
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


def _truth(filters: Filters, key: str) -> bool | None:
    """Return the truth value of *key*; None where it was not given."""
    found = {_TRUTHS.get(value) for value in filters.get(key, ())}
    if None in found or len(found) > 1:
        raise InvalidInput(f"invalid filter '{key}={filters[key][0]}'")
    return found.pop() if found else None


def network_test(filters: Filters) -> Callable[[Network, bool], bool]:
    """Return the test of the network list, which takes a network and whether a container is on it.

    Those that every engine has are never dangling.

    Raises:
        InvalidInput: a value that its key does not know.
    """
    _check(filters, "type", _TYPES)
    dangling = _truth(filters, "dangling")
    tests: dict[str, Callable[[Network, list[str]], bool]] = {
        "driver": lambda n, drivers: n.driver in drivers,
        "id": lambda n, patterns: any(like(pattern, n.id) for pattern in patterns),
        "label": lambda n, wanted: has_labels(wanted, n.labels),
        "name": lambda n, patterns: any(like(pattern, n.name) for pattern in patterns),
        "scope": lambda n, scopes: n.scope in scopes,
        "type": lambda n, types: ("builtin" if n.predefined else "custom") in types,
    }
    wanted = [(tests[key], values) for key, values in filters.items() if key in tests and values]
    return lambda network, used: (
        dangling in (None, not (used or network.predefined))
        and all(test(network, values) for test, values in wanted)
    )


def volume_test(filters: Filters) -> Callable[[Volume, bool], bool]:
    """Return the test of the volume list, which takes a volume and whether a container has it.

    Raises:
        InvalidInput: a value that its key does not know.
    """
    dangling = _truth(filters, "dangling")
    tests: dict[str, Callable[[Volume, list[str]], bool]] = {
        "driver": lambda v, drivers: v.driver in drivers,
        "label": lambda v, wanted: has_labels(wanted, volume_labels(v)),
        "name": lambda v, patterns: any(like(pattern, v.name) for pattern in patterns),
    }
    wanted = [(tests[key], values) for key, values in filters.items() if key in tests and values]
    return lambda volume, used: (
        dangling in (None, not used) and all(test(volume, values) for test, values in wanted)
    )
