"""Values that the tests of this folder share: a host, files, a plain container."""

from corten.engine.containers.defaults import ImageDefaults, complete, merge
from corten.engine.containers.host import Files, Host
from corten.engine.containers.spec import build_spec
from corten.engine.records.config import ContainerConfig, HostConfig
from corten.errors import NotFound
from corten.oci.spec import Device, Spec

NOTHING, NOWHERE = ContainerConfig(), HostConfig()  # a request that asks for nothing
ID = "0123456789ab" + "cd" * 26
PROFILE = {"defaultAction": "SCMP_ACT_ERRNO"}
HOST = Host(
    hostname="machine",
    cgroup_mode="v1",
    cpus=2,
    cpu_list="0-1",
    capabilities=tuple(
        f"CAP_{name}"
        for name in (
            *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
            *("NET_BIND_SERVICE", "NET_ADMIN", "NET_RAW", "SYS_CHROOT", "SYS_ADMIN", "MKNOD"),
            *("AUDIT_WRITE", "SETFCAP"),
        )
    ),
    seccomp=PROFILE,
    init_path="/usr/bin/tini",
    thermal_paths=("/sys/devices/system/cpu/cpu0/thermal_throttle",),
    rlimit_caps={"RLIMIT_NOFILE": 4096},
)
FILES = Files(hosts="/r/hosts", hostname="/r/hostname", resolv_conf="/r/resolv.conf")
DEBIAN = ImageDefaults(env=("PATH=/usr/bin:/bin",), cmd=("bash",))

_DEVICES = {
    "/dev/sda": (Device("/dev/sda", "b", 8, 0, 0o660, 0, 6),),
    "/dev/fuse": (Device("/dev/fuse", "c", 10, 229, 0o666, 0, 0),),
    "/dev/snd": (
        Device("/dev/snd/seq", "c", 116, 1, 0o660, 0, 29),
        Device("/dev/snd/timer", "c", 116, 33, 0o660, 0, 29),
    ),
    "/dev": (
        Device("/dev/null", "c", 1, 3, 0o666, 0, 0),
        Device("/dev/sda", "b", 8, 0, 0o660, 0, 6),
    ),
}


def find(path: str) -> tuple[Device, ...]:
    """Find devices of a host that has few."""
    try:
        return _DEVICES[path]
    except KeyError:
        raise NotFound("device on the host", path) from None


def make(
    config: ContainerConfig = NOTHING,
    host_config: HostConfig = NOWHERE,
    host: Host = HOST,
    image: ImageDefaults = DEBIAN,
) -> Spec:
    """Go the whole way from a request to a Spec."""
    config, host_config = complete(ID, merge(image, config), host_config, host)
    return build_spec(ID, config.hostname, config, host_config, "/r/root", FILES, host, find)
