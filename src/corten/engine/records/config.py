"""What a user asks of a container, in the words of Docker's create request.

Attributes are snake case and encode to Docker's own member names, so that
``msgspec.json`` turns a request into these values and these values into what
is stored. ``decode_create`` and ``decode_exec`` read a body the way Docker
does (null means absent, one string means a list of one); ``shown`` gives the
form that ``inspect`` answers, without the members that Docker leaves out.
Source: Docker Engine API 1.51, ContainerCreate, HostConfig, ExecCreate.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from corten.errors import InvalidInput

Texts = tuple[str, ...] | None
Marks = dict[str, dict[str, Any]] | None  # Docker's set: the keys count, the values are {}

_IRREGULAR = {
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "container_id_file": "ContainerIDFile",
    "device_ids": "DeviceIDs",
    "dns_names": "DNSNames",
    "endpoint_id": "EndpointID",
    "global_ipv6_address": "GlobalIPv6Address",
    "global_ipv6_prefix_len": "GlobalIPv6PrefixLen",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
    "io_maximum_iops": "IOMaximumIOps",
    "ip_address": "IPAddress",
    "ip_prefix_len": "IPPrefixLen",
    "ipam_config": "IPAMConfig",
    "ipv4_address": "IPv4Address",
    "ipv6_address": "IPv6Address",
    "ipv6_gateway": "IPv6Gateway",
    "link_local_ips": "LinkLocalIPs",
    "network_id": "NetworkID",
    "uts_mode": "UTSMode",
}


def _wire_name(attribute: str) -> str:
    """Return Docker's name of a member: ``cpu_quota`` is ``CpuQuota``."""
    return _IRREGULAR.get(attribute) or "".join(part.capitalize() for part in attribute.split("_"))


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """How to find out whether a container is healthy; times in nanoseconds, 0 is the default."""

    test: Texts = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """The part of a container's configuration that does not depend on the host.

    ``stop_timeout`` is in seconds; None anywhere means not given, so that the
    image, or else the engine, decides.
    """

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Marks = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: Texts = None
    cmd: Texts = None
    healthcheck: Healthcheck | None = None
    image: str = ""
    volumes: Marks = None
    working_dir: str = ""
    entrypoint: Texts = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: Texts = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: Texts = None


class ThrottleDevice(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """The most bytes, or operations, per second of the block device at *path* of the host."""

    path: str
    rate: int = 0


class WeightDevice(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """The I/O weight (10..1000) of the block device at *path* of the host."""

    path: str
    weight: int = 0


class DeviceMapping(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """A device of the host, its place in the container, and the rights on it (``rwm``)."""

    path_on_host: str
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """Devices that a driver shall find, such as GPUs; a *count* of -1 means all."""

    driver: str = ""
    count: int = 0
    device_ids: Texts = None
    capabilities: tuple[tuple[str, ...], ...] | None = None
    options: dict[str, str] | None = None


class Ulimit(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """One resource limit by its short name (``nofile``); -1 is unlimited."""

    name: str
    soft: int = 0
    hard: int = 0


class Resources(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """Limits. Memory in bytes, CPU times in microseconds, ``nano_cpus`` in 1e-9 processors.

    0 means not limited; ``memory_swap`` counts memory and swap together, -1
    lifts it; for ``pids_limit`` None, 0 and -1 are unlimited.
    """

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] | None = None
    blkio_device_read_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_write_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_read_iops: tuple[ThrottleDevice, ...] | None = None
    blkio_device_write_iops: tuple[ThrottleDevice, ...] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[DeviceMapping, ...] | None = None
    device_cgroup_rules: Texts = None
    device_requests: tuple[DeviceRequest, ...] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """The log driver and its options; an empty *type* is the engine's default."""

    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """Where on the host a port is published; empty texts leave the choice to the engine."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """When to start again after an exit: ``no``, ``always``, ``unless-stopped``, ``on-failure``."""

    name: str = ""
    maximum_retry_count: int = 0


class BindOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """Options of a mount of type bind."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """The driver that makes a volume, and its options."""

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """Options of a mount of type volume."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: VolumeDriver | None = None
    subpath: str = ""


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """Options of a mount of type image."""

    subpath: str = ""


class TmpfsOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """Options of a mount of type tmpfs: size in bytes, mode as a number, (key[, value]) pairs."""

    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] | None = None


class MountRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """One mount as ``--mount`` asks for it; *type* is bind, tmpfs, volume or image.

    ``id_map`` (not Docker's) shows the files with other owners; see mounting.idmap.
    """

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    id_map: str = ""


class HostConfig(Resources, frozen=True, kw_only=True, rename=_wire_name):
    """The part of a container's configuration that depends on the host.

    ``console_size`` is (height, width) in cells, ``shm_size`` in bytes with 0
    for the default; ``masked_paths`` and ``readonly_paths`` replace the
    default lists unless they are None.
    """

    binds: Texts = None
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, tuple[PortBinding, ...] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: Texts = None
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | None = None
    cap_add: Texts = None
    cap_drop: Texts = None
    cgroupns_mode: str = ""
    dns: Texts = None
    dns_options: Texts = None
    dns_search: Texts = None
    extra_hosts: Texts = None
    group_add: Texts = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: Texts = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: Texts = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    mounts: tuple[MountRequest, ...] | None = None
    masked_paths: Texts = None
    readonly_paths: Texts = None
    init: bool | None = None


class IpamConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_wire_name):
    """Addresses that an endpoint asks for."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: Texts = None


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """One attachment to a network: the wishes of the user and, once it runs, the facts."""

    ipam_config: IpamConfig | None = None
    links: Texts = None
    aliases: Texts = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: Texts = None


class NetworkingConfig(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """The networks to attach to, by name."""

    endpoints_config: dict[str, EndpointSettings | None] | None = None


class ExecConfig(msgspec.Struct, frozen=True, kw_only=True, rename=_wire_name):
    """A further process to run in a container; ``console_size`` is (height, width) in cells."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    detach_keys: str = ""
    env: Texts = None
    cmd: Texts = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    console_size: tuple[int, int] | None = None


class CreateRequest(msgspec.Struct, frozen=True):
    """The body of a create request, taken apart."""

    config: ContainerConfig
    host_config: HostConfig
    networking_config: NetworkingConfig


# Objects whose keys are the user's: a null below them is a value, not a member left out.
_MAPS = frozenset(
    {"Annotations", "Config", "DriverOpts", "EndpointsConfig", "ExposedPorts", "Labels", "Options"}
    | {"PortBindings", "StorageOpt", "Sysctls", "Tmpfs", "Volumes"}
)
_LISTS = frozenset({"Cmd", "Entrypoint", "Shell"})  # one string is short for a list of one
_OMITTED = frozenset(
    {"Annotations", "ExposedPorts", "Healthcheck", "Init", "MacAddress", "Mounts", "NetworkDisabled"}
    | {"Runtime", "Shell", "StopSignal", "StopTimeout", "StorageOpt", "Sysctls", "Tmpfs"}
)
_GIVEN = frozenset({"Init", "StopTimeout"})  # of these, false and 0 are values

_Value = TypeVar("_Value")


def _read_as_docker_does(value: object, in_map: bool = False) -> object:
    """Drop null members and make the lists that were sent as one string."""
    if isinstance(value, list):
        return [_read_as_docker_does(item) for item in value]
    if not isinstance(value, dict):
        return value
    if in_map:
        return {key: _read_as_docker_does(item) for key, item in value.items()}
    return {
        key: [item] if key in _LISTS and isinstance(item, str) else _read_as_docker_does(item, key in _MAPS)
        for key, item in value.items()
        if item is not None
    }


def _decode(body: bytes) -> dict[str, Any]:
    """Return the members of a JSON object; InvalidInput where *body* is none."""
    try:
        members = _read_as_docker_does(msgspec.json.decode(body))
    except msgspec.DecodeError as error:
        raise InvalidInput(f"invalid JSON: {error}") from error
    if not isinstance(members, dict):
        raise InvalidInput("invalid request body: send a JSON object")
    return members


def _convert(members: object, kind: type[_Value]) -> _Value:
    """Check *members* against *kind*; the InvalidInput names the member at fault."""
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"invalid request body: {error}") from error


def decode_create(body: bytes) -> CreateRequest:
    """Read the body of ``POST /containers/create``; unknown members are ignored.

    Raises:
        InvalidInput: not JSON, or a member has the wrong type.
    """
    members = _decode(body)
    return CreateRequest(
        _convert(members, ContainerConfig),
        _convert(members.get("HostConfig", {}), HostConfig),
        _convert(members.get("NetworkingConfig", {}), NetworkingConfig),
    )


def decode_exec(body: bytes) -> ExecConfig:
    """Read the body of ``POST /containers/{id}/exec``; unknown members are ignored.

    Raises:
        InvalidInput: not JSON, or a member has the wrong type.
    """
    return _convert(_decode(body), ExecConfig)


def decode_resources(body: bytes) -> Resources:
    """Read the limits in the body of ``POST /containers/{id}/update``.

    Raises:
        InvalidInput: not JSON, or a member has the wrong type.
    """
    return _convert(_decode(body), Resources)


def shown(config: ContainerConfig | HostConfig) -> Mapping[str, Any]:
    """Return *config* as ``inspect`` answers it: optional members that are empty are left out."""
    members: dict[str, Any] = msgspec.to_builtins(config)
    return {
        key: value
        for key, value in members.items()
        if key not in _OMITTED or value or (key in _GIVEN and value is not None)
    }
