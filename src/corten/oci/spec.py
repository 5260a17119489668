"""The OCI runtime configuration as frozen values: what a container shall be.

Only the Linux members that the engine sets are typed; names are those of the
specification, so that a Spec encodes to ``config.json`` as it stands.
Source: OCI runtime-spec 1.3, config.md and config-linux.md.
"""

from typing import Any

import msgspec


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mount: *source* of *type* attached at *destination* with *options* of mount(8)."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()


class User(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Who runs the process. ``username`` is unresolved text (``uid[:gid]`` or names).

    The text is resolved inside the container's root at start, since only
    that root's passwd and group files say what a name means.
    """

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""


class Box(msgspec.Struct, frozen=True):
    """Terminal size in character cells."""

    height: int
    width: int


class Capabilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """Capability sets by name (``CAP_CHOWN``)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(msgspec.Struct, frozen=True):
    """One resource limit; *type* is ``RLIMIT_NOFILE`` and so on; -1 or 2**64-1 is unlimited."""

    type: str
    soft: int
    hard: int


class Process(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The process to run."""

    args: tuple[str, ...]
    cwd: str = "/"
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""


class Root(msgspec.Struct, frozen=True, omit_defaults=True):
    """The root file system of the container."""

    path: str
    readonly: bool = False


class Namespace(msgspec.Struct, frozen=True, omit_defaults=True):
    """A namespace to make, or with *path* to join; *type* is ``pid``, ``network``, ``mount``..."""

    type: str
    path: str = ""


class Device(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A device node to make; *type* is c, b, u or p; *file_mode* holds permission bits only."""

    path: str
    type: str
    major: int
    minor: int
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device cgroup rule; None for *major* or *minor* means any; *type* a means all."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Memory limits in bytes; -1 is unlimited; *swap* is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None


class Cpu(msgspec.Struct, frozen=True, omit_defaults=True):
    """CPU weights and limits; *quota* and *period* in microseconds."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    cpus: str = ""
    mems: str = ""


class Pids(msgspec.Struct, frozen=True):
    """The most processes and threads; -1 is unlimited."""

    limit: int


class WeightDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Relative I/O weight (10..1000) of one block device."""

    major: int
    minor: int
    weight: int | None = None


class ThrottleDevice(msgspec.Struct, frozen=True):
    """A limit on one block device; *rate* in bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIo(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Block I/O weights and limits."""

    weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_i_o_p_s_device: tuple[ThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleReadIOPSDevice"
    )
    throttle_write_i_o_p_s_device: tuple[ThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleWriteIOPSDevice"
    )


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the container's cgroup is limited to."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = msgspec.field(default=None, name="blockIO")
    unified: dict[str, str] = {}


class Linux(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The Linux part of a Spec."""

    namespaces: tuple[Namespace, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Resources = Resources()
    seccomp: dict[str, Any] | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: dict[str, str] = {}


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The whole ``config.json``."""

    oci_version: str
    process: Process
    root: Root
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    annotations: dict[str, str] = {}
    linux: Linux = Linux()
