"""What a container shall be: (configuration, facts of the host) -> Spec. Pure.

The same arguments give the same Spec; nothing here looks at the machine but
through *devices_at*. What Docker gives a container by default stands in the
modules beside this one: ``defaults`` ``mounts_config`` ``security`` ``devices``
``resources``. Not made: a time namespace, since the runtime cannot set it up
for a process that it forks.

What a Spec leaves to the start: the user stays text in
``process.user.username`` and ``--group-add`` stays text in the annotation
``GROUPS``, since only the container's own passwd and group files say what they
mean; HOME comes from there too. The ``network`` namespace has no path: the
start hands its descriptor over.

Source: runtime-spec config.md, config-linux.md; Docker Engine API.
"""

import posixpath

from msgspec.structs import replace

from corten.engine.containers.devices import devices
from corten.engine.containers.host import DevicesAt, Files, Host, devices_at
from corten.engine.containers.mounting.mount import UserMount
from corten.engine.containers.mounting.requests import user_mounts
from corten.engine.containers.mounts_config import INIT_TARGET, container_mounts, root_propagation
from corten.engine.containers.resources import resources
from corten.engine.containers.security import (
    SecurityOptions,
    all_capabilities,
    apparmor_profile,
    capabilities,
    hidden_paths,
    rlimits,
    seccomp,
    security_options,
    sysctls,
)
from corten.engine.networks.wishes import mode_of
from corten.engine.records.config import ContainerConfig, ExecConfig, HostConfig
from corten.errors import InvalidInput, Unavailable, Unsupported
from corten.oci.spec import Box, Linux, Namespace, Process, Root, Spec, User

OCI_VERSION = "1.3.0"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROOT = "0"  # a text like another: root has the supplementary groups that the image gives it
GROUPS = "corten.group-add"  # annotation: names or numbers, separated by commas


def build_spec(
    container_id: str,
    hostname: str,
    config: ContainerConfig,
    host_config: HostConfig,
    root: str,
    files: Files,
    host: Host,
    devices_at: DevicesAt = devices_at,
    wanted: tuple[UserMount, ...] | None = None,
) -> Spec:
    """Return the runtime configuration of a container.

    Args:
        container_id: 64 hex digits; names the cgroup.
        hostname: The container's, also where it shares the host's UTS namespace (for HOSTNAME).
        config: As merged with the image's.
        host_config: As sent, or completed.
        root: Where the root file system is, or will be, mounted.
        files: Per-container files on the host.
        host: Facts of the machine.
        devices_at: Finds devices by their path on the host.
        wanted: The mounts of the user's, from ``Mounting``; None reads the flags alone.

    Raises:
        InvalidInput: a malformed value, or a contradiction.
        NotFound: the network, or a device, does not exist.
        Unavailable: ``--init`` is wanted and no init program is installed.
        Unsupported: what the engine or the kernel cannot do.
    """
    options = security_options(host_config)
    if wanted is None:
        wanted = user_mounts(host_config, host)
    init_path = _init_path(host_config, host)
    return Spec(
        oci_version=OCI_VERSION,
        process=_process(hostname, config, host_config, options, host, bool(init_path)),
        root=Root(root, readonly=host_config.readonly_rootfs),
        hostname="" if host_config.uts_mode == "host" else hostname,
        domainname="" if host_config.uts_mode == "host" else config.domainname,
        mounts=container_mounts(wanted, host_config, files, options.writable_cgroups, init_path),
        annotations=_annotations(host_config),
        linux=replace(
            _linux(container_id, config, host_config, options, host, devices_at),
            rootfs_propagation=root_propagation(wanted),
        ),
    )


def exec_process(
    hostname: str, config: ContainerConfig, host_config: HostConfig, wanted: ExecConfig, host: Host
) -> Process:
    """Return a further process of a running container.

    It has the container's environment, user and folder unless it says
    otherwise, and the container's limits always; privileged means all
    capabilities, under the same AppArmor profile.

    Raises:
        InvalidInput: no command, or a working folder that is not absolute.
    """
    if not wanted.cmd:
        raise InvalidInput("No exec command specified")
    options = security_options(host_config)
    privileged = host_config.privileged or wanted.privileged
    return Process(
        args=wanted.cmd,
        cwd=working_folder(wanted.working_dir or config.working_dir),
        env=environment(hostname, (*(config.env or ()), *(wanted.env or ())), wanted.tty),
        terminal=wanted.tty,
        console_size=_box(wanted.console_size) if wanted.tty else None,
        user=User(username=wanted.user or config.user or ROOT),
        capabilities=all_capabilities(host) if privileged else capabilities(host_config, host),
        rlimits=rlimits(host_config, host),
        no_new_privileges=options.no_new_privileges,
        oom_score_adj=_oom_score(host_config),
        apparmor_profile=apparmor_profile(options, host_config.privileged, host),
    )


def environment(hostname: str, given: tuple[str, ...], terminal: bool) -> tuple[str, ...]:
    """Return the environment: the engine's variables, then *given*; a later value takes the earlier's place.

    An entry without ``=`` removes the variable.
    """
    values = {"PATH": PATH, "HOSTNAME": f"HOSTNAME={hostname}"}
    if terminal:
        values["TERM"] = "TERM=xterm"
    for entry in given:
        name, separator, _ = entry.partition("=")
        if separator:
            values[name] = entry
        else:
            values.pop(name, None)
    return tuple(values.values())


def working_folder(path: str) -> str:
    """Return *path* cleaned, ``/`` for an empty one.

    Raises:
        InvalidInput: it is not absolute.
    """
    if path and not path.startswith("/"):
        raise InvalidInput(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return "/" + posixpath.normpath(path or "/").lstrip("/")


def _process(
    hostname: str,
    config: ContainerConfig,
    host_config: HostConfig,
    options: SecurityOptions,
    host: Host,
    with_init: bool,
) -> Process:
    """Return the container's first process."""
    program = (*(config.entrypoint or ()), *(config.cmd or ()))
    if not program:
        raise InvalidInput("no command specified")
    return Process(
        args=(INIT_TARGET, "--", *program) if with_init else program,
        cwd=working_folder(config.working_dir),
        env=environment(hostname, config.env or (), config.tty),
        terminal=config.tty,
        console_size=_box(host_config.console_size) if config.tty else None,
        user=User(username=config.user or ROOT),
        capabilities=capabilities(host_config, host),
        rlimits=rlimits(host_config, host),
        no_new_privileges=options.no_new_privileges,
        oom_score_adj=_oom_score(host_config),
        apparmor_profile=apparmor_profile(options, host_config.privileged, host),
    )


def _linux(
    container_id: str,
    config: ContainerConfig,
    host_config: HostConfig,
    options: SecurityOptions,
    host: Host,
    devices_at: DevicesAt,
) -> Linux:
    """Return the Linux part, without the propagation of the root."""
    network = mode_of(config, host_config)
    nodes, rules = devices(host_config, devices_at)
    masked, readonly = hidden_paths(host_config, options, host)
    parent = (host_config.cgroup_parent or host.cgroup_parent).strip("/")
    if ".." in parent.split("/"):
        raise InvalidInput(f"invalid cgroup parent '{host_config.cgroup_parent}': leave the '..' out")
    return Linux(
        namespaces=tuple(Namespace(kind) for kind in namespaces(network, host_config, host)),
        devices=nodes,
        cgroups_path=f"/{parent}/{container_id}",
        resources=resources(host_config, rules, host, devices_at),
        seccomp=seccomp(options, host_config.privileged, host),
        masked_paths=masked,
        readonly_paths=readonly,
        sysctl=sysctls(host_config, network, host),
    )


def namespaces(network: str, host_config: HostConfig, host: Host) -> tuple[str, ...]:
    """Return the kinds of namespace that the container has of its own.

    Raises:
        InvalidInput: a mode that Docker does not know.
        Unsupported: another container's namespace.
    """
    kinds = ["mount"]
    if network != "host":
        kinds.append("network")
    if not _shared("UTS", "--uts", host_config.uts_mode, ("", "private")):
        kinds.append("uts")
    if not _shared("PID", "--pid", host_config.pid_mode, ("", "private")):
        kinds.append("pid")
    if not _shared("IPC", "--ipc", host_config.ipc_mode, ("", "private", "shareable", "none")):
        kinds.append("ipc")
    _shared("user", "--userns", host_config.userns_mode, ("",))
    default = "private" if host.cgroup_mode == "v2" else "host"
    if not _shared("cgroup", "--cgroupns", host_config.cgroupns_mode or default, ("private",)):
        kinds.append("cgroup")
    return tuple(kinds)


def _shared(what: str, flag: str, mode: str, own: tuple[str, ...]) -> bool:
    """Return whether the container shares the host's namespace; *own* are the modes in which it does not."""
    if mode.startswith("container:"):
        raise Unsupported(
            f"sharing a container's {what} namespace is not available yet: leave {flag} out, or use {flag} host"
        )
    if mode != "host" and mode not in own:
        raise InvalidInput(f"invalid {what} mode: {mode}")
    return mode == "host"


def _init_path(host_config: HostConfig, host: Host) -> str:
    """Return the init program to bind, empty for none: one is of use as process 1 only."""
    if not host_config.init or host_config.pid_mode == "host":
        return ""
    if not host.init_path:
        raise Unavailable("no init program for --init: install one (apt install tini) and restart the daemon")
    return host.init_path


def _annotations(host_config: HostConfig) -> dict[str, str]:
    """Return the user's annotations and the groups to add."""
    given = host_config.annotations or {}
    return {**given, GROUPS: ",".join(host_config.group_add)} if host_config.group_add else given


def _oom_score(host_config: HostConfig) -> int:
    """Return the OOM score adjustment; see proc_pid_oom_score_adj(5)."""
    score = host_config.oom_score_adj
    if not -1000 <= score <= 1000:
        raise InvalidInput(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    return score


def _box(size: tuple[int, int] | None) -> Box | None:
    """Return the terminal's size, None when it is not known."""
    return Box(*size) if size and all(size) else None
