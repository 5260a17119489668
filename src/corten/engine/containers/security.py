"""What a container may do: capabilities, security options, hidden paths, kernel parameters. Pure.

Source: Docker's defaults and the forms of ``--security-opt``; runtime-spec
config-linux.md "Masked Paths", "Seccomp", "Sysctl"; capabilities(7);
namespaces(7) for which kernel parameters belong to which namespace.
"""

from typing import Any

import msgspec

from corten.engine.containers.host import Host
from corten.engine.records.config import HostConfig
from corten.errors import InvalidInput, Unsupported
from corten.oci.spec import Capabilities, Rlimit

DEFAULT_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_RLIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)
_IPC_SYSCTLS = frozenset(
    {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"}
    | {"kernel.shmmni", "kernel.shm_rmid_forced"}
)
_UTS_SYSCTLS = frozenset({"kernel.domainname", "kernel.hostname"})
_TRUE, _FALSE = ("1", "t", "true", "TRUE", "True", "T"), ("0", "f", "false", "FALSE", "False", "F")


def all_capabilities(host: Host) -> Capabilities:
    """Return the sets of a privileged process: all that the engine can hand on."""
    return Capabilities(bounding=host.capabilities, effective=host.capabilities, permitted=host.capabilities)


def capabilities(host_config: HostConfig, host: Host) -> Capabilities:
    """Return bounding, effective and permitted set; the other two are empty.

    The runtime empties effective and permitted for a user other than root, as
    execve(2) does.

    Raises:
        InvalidInput: a name that is unknown, or that the engine cannot hand on.
    """
    if host_config.privileged:
        return all_capabilities(host)
    added = _capability_names("CapAdd", host_config.cap_add, host)
    dropped = _capability_names("CapDrop", host_config.cap_drop, host)
    if "ALL" in added:
        chosen = [name for name in host.capabilities if name not in dropped]
    elif "ALL" in dropped:
        chosen = [name for name in added if name != "ALL"]
    else:
        kept = [name for name in DEFAULT_CAPABILITIES if name in host.capabilities and name not in dropped]
        chosen = kept + [name for name in added if name not in kept]
    names = tuple(dict.fromkeys(chosen))
    return Capabilities(bounding=names, effective=names, permitted=names)


def _capability_names(option: str, given: tuple[str, ...] | None, host: Host) -> list[str]:
    """Return canonical names (``CAP_CHOWN``, or ``ALL``) for names in any case, with ``CAP_`` or without."""
    names = []
    for text in given or ():
        name = text.strip().upper()
        if name in ("ALL", "CAP_ALL"):
            names.append("ALL")
            continue
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in host.capabilities:
            raise InvalidInput(
                f'invalid {option}: unknown capability, or one this host does not have: "{text}"'
            )
        names.append(name)
    return names


class SecurityOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The ``--security-opt`` values, read.

    ``seccomp`` is None for the default, ``unconfined``, ``builtin``, or a
    profile in JSON.
    """

    seccomp: str | None = None
    apparmor: str | None = None
    no_new_privileges: bool = False
    writable_cgroups: bool = False
    unconfined_paths: bool = False


def security_options(host_config: HostConfig) -> SecurityOptions:
    """Read the security options; labels are accepted, since without SELinux they say nothing.

    Raises:
        InvalidInput: a form that Docker does not know.
    """
    found: dict[str, Any] = {}
    for option in host_config.security_opt or ():
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        if key in ("no-new-privileges", "writable-cgroups"):
            found[key.replace("-", "_")] = _truth(option, value) if separator else True
        elif key in ("seccomp", "apparmor") and separator:
            found[key] = value
        elif option == "systempaths=unconfined":
            found["unconfined_paths"] = True
        elif option != "disable" and not (key == "label" and separator):
            raise InvalidInput(f'invalid --security-opt: "{option}"')
    return SecurityOptions(**found)


def _truth(option: str, value: str) -> bool:
    """Return the boolean that *value* writes, in the forms Go's clients send."""
    if value not in _TRUE + _FALSE:
        raise InvalidInput(f'invalid --security-opt: "{option}": use true or false')
    return value in _TRUE


def seccomp(options: SecurityOptions, privileged: bool, host: Host) -> dict[str, Any] | None:
    """Return the profile to install, None for none.

    Raises:
        InvalidInput: the profile given is not a JSON object.
        Unsupported: a profile is given and the kernel has no seccomp.
    """
    wanted = options.seccomp or ("unconfined" if privileged else "builtin")
    if wanted == "unconfined":
        return None
    if wanted == "builtin":
        return host.seccomp
    if host.seccomp is None:
        raise Unsupported("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
    try:
        profile: dict[str, Any] = msgspec.json.decode(wanted, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"decoding seccomp profile failed: {error}: send the profile's JSON text"
        ) from error
    return profile


def apparmor_profile(options: SecurityOptions, privileged: bool, host: Host) -> str:
    """Return the AppArmor profile; empty where the kernel has no AppArmor.

    Raises:
        Unsupported: a profile is named that this kernel cannot enforce.
    """
    if host.apparmor_profile:
        return options.apparmor or ("unconfined" if privileged else host.apparmor_profile)
    if options.apparmor not in (None, "", "unconfined", "docker-default"):
        raise Unsupported(f"AppArmor is not enabled in your kernel, cannot apply profile {options.apparmor}")
    return ""


def hidden_paths(
    host_config: HostConfig, options: SecurityOptions, host: Host
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return masked and read-only paths."""
    if host_config.privileged or options.unconfined_paths:
        return (), ()
    masked, readonly = host_config.masked_paths, host_config.readonly_paths
    return (
        MASKED_PATHS + host.thermal_paths if masked is None else masked,
        READONLY_PATHS if readonly is None else readonly,
    )


def sysctls(host_config: HostConfig, network: str, host: Host) -> dict[str, str]:
    """Return the kernel parameters to set in the container's own namespaces.

    Raises:
        InvalidInput: one that belongs to no namespace, or to one shared with the host.
    """
    wanted = host_config.sysctls or {}
    for name in wanted:
        if name.startswith("net."):
            shared = "network" if network == "host" else ""
        elif name.startswith("fs.mqueue.") or name in _IPC_SYSCTLS:
            shared = "IPC" if host_config.ipc_mode == "host" else ""
        elif name in _UTS_SYSCTLS:
            shared = "UTS" if host_config.uts_mode == "host" else ""
        else:
            raise InvalidInput(f'sysctl "{name}" is not in a separate kernel namespace: set it on the host')
        if shared:
            raise InvalidInput(f'sysctl "{name}" not allowed in host {shared} namespace')
    return wanted if network == "host" else {**host.network_sysctls, **wanted}


def rlimits(host_config: HostConfig, host: Host) -> tuple[Rlimit, ...]:
    """Return the resource limits asked for, lowered to what the host can grant; -1 is unlimited.

    Raises:
        InvalidInput: an unknown name, or a soft limit above the hard one.
    """
    limits = []
    for ulimit in host_config.ulimits or ():
        if ulimit.name.lower() not in _RLIMITS:
            raise InvalidInput(f"invalid ulimit type: {ulimit.name}: use one of {', '.join(_RLIMITS)}")
        if ulimit.hard != -1 and (ulimit.soft > ulimit.hard or ulimit.soft == -1):
            raise InvalidInput(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}"
            )
        kind = f"RLIMIT_{ulimit.name.upper()}"
        most = host.rlimit_caps.get(kind, -1)
        limits.append(Rlimit(kind, _least(ulimit.soft, most), _least(ulimit.hard, most)))
    return tuple(limits)


def _least(limit: int, most: int) -> int:
    """Return the smaller limit, where -1 is unlimited."""
    if most == -1:
        return limit
    return most if limit == -1 else min(limit, most)
