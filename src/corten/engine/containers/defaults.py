"""What a container gets that nobody asked for: from its image, and from the engine.

Pure. ``merge`` lays the user's wishes over the image's; ``complete`` checks
what the two configurations say of each other and fills in the engine's
defaults, so that what is recorded is what ``inspect`` shows.
"""

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from corten.engine.containers.host import Host
from corten.engine.networks.wishes import check, mode_of
from corten.engine.records.config import (
    ContainerConfig,
    Healthcheck,
    HostConfig,
    LogConfig,
    Marks,
    RestartPolicy,
    Texts,
)
from corten.errors import InvalidInput, Unsupported

SHM_SIZE = 64 << 20  # bytes
LOG_DRIVERS = ("json-file", "local", "none")
RUNTIME = "corten"
SHORT_ID = 12  # hex digits

_Map = TypeVar("_Map")


class ImageDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of the containers made from it; None means that it says nothing."""

    env: Texts = None
    cmd: Texts = None
    entrypoint: Texts = None
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    labels: dict[str, str] | None = None
    volumes: Marks = None
    exposed_ports: Marks = None
    healthcheck: Healthcheck | None = None
    shell: Texts = None


def merge(image: ImageDefaults, config: ContainerConfig) -> ContainerConfig:
    """Return *config* with what the user left open taken from *image*, by Docker's rules.

    A given entrypoint sets the image's command aside; ``[""]`` resets the
    entrypoint. Environment goes by name.

    Raises:
        InvalidInput: neither names a program.
    """
    entrypoint, cmd = _program(image, config)
    return replace(
        config,
        entrypoint=entrypoint,
        cmd=cmd,
        env=_merge_env(config.env, image.env),
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        stop_signal=config.stop_signal or image.stop_signal,
        labels=_over(image.labels, config.labels) or {},
        exposed_ports=_over(image.exposed_ports, config.exposed_ports),
        volumes=_over(image.volumes, config.volumes),
        healthcheck=_merge_healthcheck(image.healthcheck, config.healthcheck),
        shell=config.shell or image.shell,
    )


def _program(image: ImageDefaults, config: ContainerConfig) -> tuple[Texts, Texts]:
    """Return entrypoint and command."""
    entrypoint, cmd = config.entrypoint, config.cmd
    if not entrypoint:
        if not cmd:
            cmd = image.cmd
        if entrypoint is None:
            entrypoint = image.entrypoint
    if entrypoint == ("",):
        entrypoint = None
    if not entrypoint and not cmd:
        raise InvalidInput("no command specified")
    return entrypoint, cmd


def _merge_env(ours: Texts, image: Texts) -> tuple[str, ...]:
    """Return *ours*, then what *image* sets under other names."""
    names = {entry.partition("=")[0] for entry in ours or ()}
    return (*(ours or ()), *(entry for entry in image or () if entry.partition("=")[0] not in names))


def _over(below: dict[str, _Map] | None, above: dict[str, _Map] | None) -> dict[str, _Map] | None:
    """Return the union of two maps, *above* winning; None when both are empty."""
    return {**(below or {}), **(above or {})} or None


def _merge_healthcheck(image: Healthcheck | None, ours: Healthcheck | None) -> Healthcheck | None:
    """Return *ours* with what it leaves open taken from *image*."""
    if ours is None or image is None:
        return ours or image
    return Healthcheck(
        test=ours.test or image.test,
        interval=ours.interval or image.interval,
        timeout=ours.timeout or image.timeout,
        start_period=ours.start_period or image.start_period,
        start_interval=ours.start_interval or image.start_interval,
        retries=ours.retries or image.retries,
    )


def complete(
    container_id: str, config: ContainerConfig, host_config: HostConfig, host: Host
) -> tuple[ContainerConfig, HostConfig]:
    """Return both configurations with the engine's defaults filled in. Idempotent.

    Raises:
        InvalidInput: two wishes contradict each other, or a value is none that Docker knows.
        Unsupported: a wish that cannot be met yet.
    """
    network = mode_of(config, host_config)
    _check(config, host_config)
    check(config, host_config)
    if host_config.uts_mode == "host" and config.hostname not in ("", host.hostname):
        raise InvalidInput("conflicting options: hostname and the UTS mode")
    hostname = config.hostname or container_id[:SHORT_ID]
    if host_config.uts_mode == "host" or (network == "host" and not config.hostname):
        hostname = host.hostname
    swap = host_config.memory_swap
    if host_config.memory > 0 and swap == 0:
        swap = host_config.memory * 2
    return replace(config, hostname=hostname), replace(
        host_config,
        network_mode=network,
        ipc_mode=host_config.ipc_mode or "private",
        cgroupns_mode=_cgroupns_mode(host_config, host),
        log_config=_log_config(host_config.log_config),
        restart_policy=_restart_policy(host_config.restart_policy),
        runtime=RUNTIME,
        shm_size=host_config.shm_size or SHM_SIZE,
        memory_swap=swap,
        memory_swappiness=None if host_config.memory_swappiness == -1 else host_config.memory_swappiness,
        pids_limit=host_config.pids_limit or None,
        port_bindings=host_config.port_bindings or {},
        oom_kill_disable=bool(host_config.oom_kill_disable),
    )


def _cgroupns_mode(host_config: HostConfig, host: Host) -> str:
    """Return ``private`` or ``host``: cgroup v2 has a view of its own for everyone, v1 for nobody."""
    mode = host_config.cgroupns_mode
    if mode not in ("", "private", "host"):
        raise InvalidInput(f"invalid cgroup namespace mode: {mode}: use private or host")
    return mode or ("private" if host.cgroup_mode == "v2" else "host")


def _log_config(wanted: LogConfig) -> LogConfig:
    """Return the log driver, ``json-file`` unless another was asked for."""
    driver = wanted.type or LOG_DRIVERS[0]
    if driver not in LOG_DRIVERS:
        raise Unsupported(f"log driver {driver} is not available: use one of {', '.join(LOG_DRIVERS)}")
    return LogConfig(type=driver, config=wanted.config or {})


def _restart_policy(wanted: RestartPolicy) -> RestartPolicy:
    """Return the restart policy, ``no`` unless another was asked for."""
    name, most = wanted.name or "no", wanted.maximum_retry_count
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidInput(
            f"invalid restart policy: unknown policy '{name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if most and name != "on-failure":
        raise InvalidInput("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if most < 0:
        raise InvalidInput("invalid restart policy: maximum retry count cannot be negative")
    return RestartPolicy(name=name, maximum_retry_count=most)


def _check(config: ContainerConfig, host_config: HostConfig) -> None:
    """Refuse wishes that contradict each other or cannot be met yet."""
    if host_config.auto_remove and host_config.restart_policy.name not in ("", "no"):
        raise InvalidInput("can't create 'AutoRemove' container with restart policy")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidInput(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    if host_config.runtime not in ("", "runc", RUNTIME):
        raise InvalidInput(f"unknown or invalid runtime name: {host_config.runtime}: leave it out")
    if host_config.isolation not in ("", "default"):
        raise InvalidInput(f"invalid isolation '{host_config.isolation}' on Linux: leave it out")
    if host_config.shm_size < 0:
        raise InvalidInput("SHM size can not be less than 0")
    if host_config.storage_opt:
        raise Unsupported("--storage-opt is not available: leave it out")
    if host_config.device_requests:
        raise Unsupported("device requests (--gpus) are not available: name the nodes with --device")
