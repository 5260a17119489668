"""From records to Docker's JSON: pure functions, one per form.

Source: Docker Engine API 1.51, ContainerInspectResponse, ContainerSummary; the
words of a status are those of ``docker ps``.
"""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from corten.engine.containers.places import Places
from corten.engine.records.config import HostConfig, shown
from corten.engine.records.container import NEVER, Container, State
from corten.serve.api import network_wire, volume_wire
from corten.serve.api.interface import ExecState

_NOWHERE = Places()
_RUNNING = network_wire.RUNNING

# How long is shown as what: below *limit* seconds, whole *unit* seconds are called *name*.
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SPANS = (
    (_MINUTE, 1, "seconds"),
    (_HOUR, _MINUTE, "minutes"),
    (48 * _HOUR, _HOUR, "hours"),
    (14 * _DAY, _DAY, "days"),
    (60 * _DAY, 7 * _DAY, "weeks"),
    (2 * 365 * _DAY, 30 * _DAY, "months"),
)
_ONES = {
    (0, "seconds"): "Less than a second",
    (1, "seconds"): "1 second",
    (1, "minutes"): "About a minute",
    (1, "hours"): "About an hour",
}


def seconds_of(time: str) -> float:
    """Return an RFC 3339 time as seconds since the epoch; a time that never was is far in the past."""
    return datetime.fromisoformat(time).astimezone(UTC).timestamp() if time != NEVER else -62135596800.0


def duration(seconds: float) -> str:
    """Return a span of time in Docker's words: "3 seconds", "About an hour", "2 weeks"."""
    for limit, unit, name in _SPANS:
        rounded = seconds + _HOUR / 2 if name == "hours" else seconds
        if seconds < limit:
            count = int(max(rounded, 0) // unit)
            return _ONES.get((count, name)) or f"{count} {name}"
    return f"{int(seconds // (365 * _DAY))} years"


def status_words(state: State, now: float) -> str:
    """Return what ``docker ps`` shows as status at *now* (seconds since the epoch)."""
    since = "" if state.status == "created" else duration(now - seconds_of(_latest(state)))
    words = {
        "created": "Created",
        "running": f"Up {since}",
        "paused": f"Up {since} (Paused)",
        "restarting": f"Restarting ({state.exit_code}) {since} ago",
        "exited": f"Exited ({state.exit_code}) {since} ago",
        "removing": "Removal In Progress",
        "dead": "Dead",
    }
    return words[state.status]


def _latest(state: State) -> str:
    """Return the time that the status counts from."""
    return state.started_at if state.status in ("running", "paused") else state.finished_at


def state(state: State) -> dict[str, Any]:
    """Return ``State`` of ``inspect``."""
    return {
        "Status": state.status,
        "Running": state.status in _RUNNING,
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }


def host_config(host: HostConfig) -> dict[str, Any]:
    """Return ``HostConfig`` of ``inspect``; clients read the name of the log driver before they read logs."""
    members = dict(shown(host))
    members["LogConfig"] = {
        "Type": host.log_config.type or "json-file",
        "Config": host.log_config.config or {},
    }
    return members


def sizes(size: tuple[int, int] | None) -> dict[str, int]:
    """Return the size members, or none where they were not asked for."""
    return {} if size is None else {"SizeRw": size[0], "SizeRootFs": size[1]}


def container_inspect(
    container: Container,
    size: tuple[int, int] | None = None,
    places: Places = _NOWHERE,
    exec_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Return ``GET /containers/{id}/json``; *size* is (writable layer, whole root) in bytes."""
    return {
        "Id": container.id,
        "Created": container.created,
        "Path": container.path,
        "Args": container.args,
        "State": state(container.state),
        "Image": container.image_id,
        "ResolvConfPath": places.resolv_conf,
        "HostnamePath": places.hostname,
        "HostsPath": places.hosts,
        "LogPath": places.logs,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": container.snapshotter,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": host_config(container.host_config),
        "GraphDriver": {"Name": container.snapshotter, "Data": places.graph or None},
        "Mounts": volume_wire.mounts(container.mounts),
        "Config": shown(container.config),
        "NetworkSettings": network_wire.network_settings(container),
        **sizes(size),
    }


def container_summary(
    container: Container, now: float, size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return one member of ``GET /containers/json`` at *now* (seconds since the epoch)."""
    host = container.host_config
    host_summary: dict[str, Any] = {"NetworkMode": host.network_mode or "default"}
    if host.annotations:
        host_summary["Annotations"] = host.annotations
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.config.image,
        "ImageID": container.image_id,
        "Command": shlex.join((container.path, *container.args)) if container.path else "",
        "Created": int(seconds_of(container.created)),
        "Ports": network_wire.ports(container),
        "Labels": container.config.labels or {},
        "State": container.state.status,
        "Status": status_words(container.state, now),
        "HostConfig": host_summary,
        "NetworkSettings": {"Networks": network_wire.networks(container)},
        "Mounts": volume_wire.mounts(container.mounts),
        **sizes(size),
    }


def exec_inspect(state: ExecState) -> dict[str, Any]:
    """Return ``GET /exec/{id}/json``."""
    config = state.config
    entrypoint, *arguments = config.cmd or ("",)
    return {
        "ID": state.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": entrypoint,
            "arguments": arguments,
            "privileged": config.privileged,
            "user": config.user,
        },
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": False,
        "ContainerID": state.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": state.pid,
    }


def stats_with_previous(sample: dict[str, Any], previous: dict[str, Any] | None) -> dict[str, Any]:
    """Return *sample* with the CPU members of the *previous* one, as clients compute rates of."""
    zero: dict[str, Any] = {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    return sample | {
        "preread": previous["read"] if previous else NEVER,
        "precpu_stats": previous["cpu_stats"] if previous else zero,
    }
