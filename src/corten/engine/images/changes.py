"""Changes to an image's configuration in the words of a Dockerfile (``import --change``).

Source: Docker's reference of ``docker image import`` (which instructions are
taken) and of the Dockerfile (their forms).
"""

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Sequence

import msgspec

from corten.errors import InvalidInput
from corten.oci.image import Defaults, Healthcheck

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_SIGNAL = re.compile(r"[A-Za-z0-9+-]+")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_HEALTH_OPTIONS = {
    "interval": "interval",
    "timeout": "timeout",
    "start-period": "start_period",
    "start-interval": "start_interval",
}

Change = Callable[[Defaults, str], Defaults]


def apply_changes(defaults: Defaults, changes: Sequence[str]) -> Defaults:
    """Return *defaults* after *changes*, one instruction each, or one on each line.

    An entrypoint sets the command aside, unless that is one of the changes before it.

    Raises:
        InvalidInput: an instruction that cannot be applied here, or a malformed one.
    """
    seen = set()
    for line in _lines(changes):
        word, _, rest = line.partition(" ")
        change = _CHANGES.get(word.upper())
        if change is None:
            raise InvalidInput(f"{word} is not a valid change command")
        if not rest.strip():
            raise InvalidInput(f"{word.upper()} requires at least one argument")
        if word.upper() == "ENTRYPOINT" and "CMD" not in seen:
            defaults = _replace(defaults, cmd=None)
        defaults = change(defaults, rest.strip())
        seen.add(word.upper())
    return defaults


def _lines(changes: Sequence[str]) -> Iterator[str]:
    """Yield the instructions; a backslash joins a line with the next, and comments are left out."""
    for text in changes:
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        if not any(lines):
            raise InvalidInput("an empty line is not a valid change command")
        yield from (line for line in lines if line and not line.startswith("#"))


def _replace(defaults: Defaults, **members: object) -> Defaults:
    return msgspec.structs.replace(defaults, **members)


def _command(rest: str, shell: tuple[str, ...] | None) -> tuple[str, ...]:
    """Read the exec form (a JSON list) or else the shell form."""
    words = _json_list(rest)
    return (*(shell or _SHELL), rest) if words is None else words


def _json_list(rest: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON list; None for anything else, which then is plain text."""
    try:
        found = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and all(isinstance(part, str) for part in found):
        return tuple(found)
    return None


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise InvalidInput(f"{rest!r} cannot be split into words: {error}") from None


def _pairs(word: str, rest: str) -> dict[str, str]:
    """Read ``KEY=value`` words, or the old form ``KEY the rest``."""
    key, _, value = rest.partition(" ")
    if "=" not in key:
        if not value:
            raise InvalidInput(f"{word} must have two arguments")
        return {key: value.strip()}
    pairs = {}
    for part in _words(rest):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{part!r} is not of the form name=value")
        pairs[name] = value
    return pairs


def _cmd(defaults: Defaults, rest: str) -> Defaults:
    return _replace(defaults, cmd=_command(rest, defaults.shell))


def _entrypoint(defaults: Defaults, rest: str) -> Defaults:
    return _replace(defaults, entrypoint=_command(rest, defaults.shell))


def _env(defaults: Defaults, rest: str) -> Defaults:
    known = dict(entry.partition("=")[::2] for entry in defaults.env or ())
    known |= _pairs("ENV", rest)
    return _replace(defaults, env=tuple(f"{name}={value}" for name, value in known.items()))


def _label(defaults: Defaults, rest: str) -> Defaults:
    return _replace(defaults, labels={**(defaults.labels or {}), **_pairs("LABEL", rest)})


def _expose(defaults: Defaults, rest: str) -> Defaults:
    ports: dict[str, dict[str, object]] = dict(defaults.exposed_ports or {})
    for word in _words(rest):
        ports |= {port: {} for port in _ports(word)}
    return _replace(defaults, exposed_ports=ports)


def _ports(word: str) -> list[str]:
    found = _PORT.fullmatch(word.lower())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if found is None or not 0 < first <= last < 1 << 16:
        raise InvalidInput(f"Invalid containerPort: {word}")
    return [f"{port}/{found[3] or 'tcp'}" for port in range(first, last + 1)]


def _user(defaults: Defaults, rest: str) -> Defaults:
    if len(rest.split()) != 1:
        raise InvalidInput("USER requires exactly one argument")
    return _replace(defaults, user=rest)


def _volume(defaults: Defaults, rest: str) -> Defaults:
    paths = _json_list(rest) or _words(rest)
    if not all(paths):
        raise InvalidInput("VOLUME specified can not be an empty string")
    return _replace(defaults, volumes={**(defaults.volumes or {}), **{path: {} for path in paths}})


def _workdir(defaults: Defaults, rest: str) -> Defaults:
    return _replace(
        defaults, working_dir=posixpath.normpath(posixpath.join("/", defaults.working_dir or "", rest))
    )


def _stop_signal(defaults: Defaults, rest: str) -> Defaults:
    if not _SIGNAL.fullmatch(rest):
        raise InvalidInput(f"Invalid signal: {rest}")
    return _replace(defaults, stop_signal=rest)


def _onbuild(defaults: Defaults, rest: str) -> Defaults:
    word = rest.split(maxsplit=1)[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidInput(f"{word} isn't allowed as an ONBUILD trigger")
    return _replace(defaults, on_build=(*(defaults.on_build or ()), rest))


def _healthcheck(defaults: Defaults, rest: str) -> Defaults:
    options: dict[str, int] = {}
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        options |= _health_option(option)
        rest = rest.strip()
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE" and not command and not options:
        return _replace(defaults, healthcheck=Healthcheck(test=("NONE",)))
    if kind.upper() != "CMD" or not command.strip():
        raise InvalidInput(f"HEALTHCHECK wants NONE, or CMD and a command, not {rest!r}")
    parts = _json_list(command.strip())
    test = ("CMD", *parts) if parts else ("CMD-SHELL", command.strip())
    return _replace(defaults, healthcheck=Healthcheck(test=test, **options))


def _health_option(option: str) -> dict[str, int]:
    name, _, value = option.removeprefix("--").partition("=")
    if name == "retries" and value.isascii() and value.isdigit():
        return {"retries": int(value)}
    if name in _HEALTH_OPTIONS:
        return {_HEALTH_OPTIONS[name]: _nanoseconds(value)}
    raise InvalidInput(f"Unknown or malformed HEALTHCHECK option {option!r}")


def _nanoseconds(text: str) -> int:
    """Read a duration such as ``1m30s``."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f"invalid duration {text!r}: expected for example 1m30s")
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


_CHANGES: dict[str, Change] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
