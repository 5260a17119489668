"""From flags to the body of POST /containers/create.

Only what was said is written down: what is missing, the daemon knows best.
What few command lines have (mounts, ports, networks, files) is in modules
of its own that are loaded when a flag asks for them.
"""

from __future__ import annotations

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.flags import Values

MISUSED = 1  # exit status of Docker's client for options that contradict each other
# flag, field of the configuration
CONFIG = (
    ("hostname", "Hostname"),
    ("domainname", "Domainname"),
    ("user", "User"),
    ("workdir", "WorkingDir"),
    ("stop_signal", "StopSignal"),
    ("tty", "Tty"),
    ("interactive", "OpenStdin"),
)
# flag, field of HostConfig, for values that are sent as they are
HOST = (
    ("blkio_weight", "BlkioWeight"),
    ("cgroup_parent", "CgroupParent"),
    ("cgroupns", "CgroupnsMode"),
    ("cidfile", "ContainerIDFile"),
    ("cpu_period", "CpuPeriod"),
    ("cpu_quota", "CpuQuota"),
    ("cpu_rt_period", "CpuRealtimePeriod"),
    ("cpu_rt_runtime", "CpuRealtimeRuntime"),
    ("cpu_shares", "CpuShares"),
    ("cpus", "NanoCpus"),
    ("cpuset_cpus", "CpusetCpus"),
    ("cpuset_mems", "CpusetMems"),
    ("device_cgroup_rule", "DeviceCgroupRules"),
    ("dns", "Dns"),
    ("dns_option", "DnsOptions"),
    ("dns_search", "DnsSearch"),
    ("group_add", "GroupAdd"),
    ("ipc", "IpcMode"),
    ("isolation", "Isolation"),
    ("memory", "Memory"),
    ("memory_reservation", "MemoryReservation"),
    ("memory_swap", "MemorySwap"),
    ("mount", "Mounts"),
    ("oom_kill_disable", "OomKillDisable"),
    ("oom_score_adj", "OomScoreAdj"),
    ("pid", "PidMode"),
    ("pids_limit", "PidsLimit"),
    ("privileged", "Privileged"),
    ("publish_all", "PublishAllPorts"),
    ("read_only", "ReadonlyRootfs"),
    ("rm", "AutoRemove"),
    ("runtime", "Runtime"),
    ("shm_size", "ShmSize"),
    ("ulimit", "Ulimits"),
    ("userns", "UsernsMode"),
    ("uts", "UTSMode"),
    ("volume_driver", "VolumeDriver"),
    ("volumes_from", "VolumesFrom"),
)
STREAMS = ("stdin", "stdout", "stderr")
NETWORK = ("network", "network_alias", "ip", "ip6", "link_local_ip", "mac_address", "link")
# flags whose values take more than a copy; limits.apply knows them
SPECIAL = frozenset(
    (
        "add_host",
        "annotation",
        "blkio_weight_device",
        "cap_add",
        "cap_drop",
        "device",
        "device_read_bps",
        "device_read_iops",
        "device_write_bps",
        "device_write_iops",
        "gpus",
        "health_cmd",
        "health_interval",
        "health_retries",
        "health_start_interval",
        "health_start_period",
        "health_timeout",
        "log_driver",
        "log_opt",
        "memory_swappiness",
        "no_healthcheck",
        "restart",
        "security_opt",
        "storage_opt",
        "sysctl",
        "tmpfs",
    )
)


def attached(args: Values) -> set[str]:
    """The streams that the client wants: those of -a, else stdout and stderr, and stdin with -i.

    Raises:
        Failure: -a names no stream.
    """
    streams = {name.lower() for name in args.attach}
    if unknown := streams.difference(STREAMS):
        raise Failure(f"invalid stream {unknown.pop()}: valid streams are STDIN, STDOUT and STDERR")
    if not streams:
        streams = {"stdout", "stderr"}
    return streams | {"stdin"} if args.interactive else streams


def build(args: Values, streams: set[str]) -> dict[str, Any]:
    """The body of the request.

    Args:
        args: The flags of run or create; ``words`` is the image and the command.
        streams: What will be attached; empty for a container in the background.

    Raises:
        Failure: flags contradict each other, or a file cannot be read.
    """
    image, *command = args.words
    host: dict[str, Any] = {}
    body: dict[str, Any] = {"Image": image, "HostConfig": host}
    for name in STREAMS:
        body[f"Attach{name.capitalize()}"] = name in streams
    if command:
        body["Cmd"] = command
    given = args.given
    for flag, field in CONFIG:
        if flag in given:
            body[field] = getattr(args, flag)
    for flag, field in HOST:
        if flag in given:
            host[field] = getattr(args, flag)
    if args.interactive and "stdin" in streams:
        body["StdinOnce"] = True
    if "entrypoint" in given:
        body["Entrypoint"] = [args.entrypoint]
    if "stop_timeout" in given:
        body["StopTimeout"] = args.stop_timeout
    if args.tty and streams:
        _size(host)
    _more(args, host, body)
    return body


def _size(host: dict[str, Any]) -> None:
    """Tell the size of the terminal: a program may ask for it before a resize arrives."""
    from corten.cli.terminal import size

    if found := size():
        host["ConsoleSize"] = list(found)


def _more(args: Values, host: dict[str, Any], body: dict[str, Any]) -> None:
    """The flags whose values take more than a copy."""
    given = args.given
    if "init" in given:
        host["Init"] = args.init
    if not given.isdisjoint(("env", "env_file")):
        from corten.cli.create.files import environment

        body["Env"] = environment(args.env_file, args.env)
    if not given.isdisjoint(("label", "label_file")):
        from corten.cli.create.files import labels

        body["Labels"] = labels(args.label_file, args.label)
    if "volume" in given:
        from corten.cli.create.mounts import volumes

        binds, body["Volumes"] = volumes(args.volume)
        host["Binds"] = binds
    if not given.isdisjoint(("publish", "expose")):
        from corten.cli.create import ports

        ports.apply(args.publish, args.expose, host, body)
    if not given.isdisjoint(NETWORK):
        from corten.cli.create import networks

        networks.apply(args, host, body)
    if not given.isdisjoint(SPECIAL):
        from corten.cli.create import special

        special.apply(args, host, body)
