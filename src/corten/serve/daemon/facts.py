"""Facts: what this machine can do, found by trying, once, when the daemon starts."""

import os
import shutil
import subprocess
import uuid

from corten import __about__
from corten.core.runtime.groups import Groups
from corten.core.snapshots import overlay
from corten.engine.containers import host as hosts
from corten.engine.containers.host import Host
from corten.engine.containers.parts import timestamp
from corten.engine.system import Facts
from corten.errors import CortenError
from corten.linux import capabilities, mounts, pidfd, seccomp_compile
from corten.linux.syscalls import KernelError
from corten.serve.daemon.settings import Settings

INITS = ("tini-static", "docker-init", "catatonit")


def find_host(settings: Settings, groups: Groups) -> Host:
    """Return what building a Spec needs to know of this machine."""
    return Host(
        hostname=os.uname().nodename,
        cgroup_mode=groups.mode,
        cgroup_parent=settings.tag,
        cpus=len(os.sched_getaffinity(0)),
        cpu_list=_line("/sys/devices/system/cpu/online", "0"),
        memory_nodes=_line("/sys/devices/system/node/online", "0"),
        capabilities=capabilities.current()["permitted"],
        seccomp=seccomp_compile.default_profile() if os.path.exists("/proc/sys/kernel/seccomp") else None,
        apparmor_profile="",
        init_path=find_init(),
        thermal_paths=hosts.thermal_paths(),
        rlimit_caps=hosts.rlimit_caps()
        if "CAP_SYS_RESOURCE" not in capabilities.current()["permitted"]
        else {},
        recursive_readonly=_works(_try_mount_setattr),
    )


def find_init() -> str:
    """Return the path of a small init program: a static one where there is one, else that of the dumb-init package."""
    for name in INITS:
        found = shutil.which(name)
        if found:
            return found
    import sysconfig

    beside = os.path.join(sysconfig.get_path("scripts"), "dumb-init")
    return beside if os.access(beside, os.X_OK) else shutil.which("dumb-init") or ""


def find_facts(settings: Settings, groups: Groups, driver: str) -> Facts:
    """Return what ``corten info`` shows."""
    return Facts(
        identity=_identity(f"{settings.root}/engine-id"),
        root=settings.root,
        version=__about__.VERSION,
        driver=driver,
        backing_filesystem=_filesystem(settings.root),
        started=timestamp(),
        probes={
            "cgroups": groups.mode,
            "overlay": _said(overlay.probe(settings.root)),
            "mount_setattr": _said(_works(_try_mount_setattr)),
            "exit status by pidfd": _said(_pidfd_info()),
            "seccomp": _said(
                _works(
                    lambda: seccomp_compile.compile_profile(
                        {"defaultAction": "SCMP_ACT_ALLOW"}, (), f"{settings.root}/cache/seccomp"
                    )
                )
            ),
            "init program": find_init() or "none",
            "interpreter": f"{os.path.realpath('/proc/self/exe')}",
        },
    )


def _said(works: bool) -> str:
    return "works" if works else "does not work here"


def _works(attempt: object) -> bool:
    """Tell whether *attempt* succeeds."""
    try:
        attempt()  # type: ignore[operator]
    except (OSError, CortenError, KernelError):
        return False
    return True


def _try_mount_setattr() -> None:
    """Make a recursive read-only copy of a mount, attached nowhere."""
    descriptor = mounts.clone_tree(mounts.AT_FDCWD, "/proc")
    try:
        mounts.set_attributes(descriptor, add=mounts.ATTR_RDONLY, recursive=True)
    finally:
        os.close(descriptor)


def _pidfd_info() -> bool:
    """Tell whether the kernel keeps an exit status for who holds a pidfd (Linux 6.15)."""
    process = subprocess.Popen(["/bin/true"])
    descriptor = pidfd.pidfd_open(process.pid)
    try:
        process.wait()
        return pidfd.exit_status(descriptor) == 0
    finally:
        os.close(descriptor)


def _identity(path: str) -> str:
    """Return the engine's id, made at its first start."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        identity = str(uuid.uuid4())
        with open(path, "w", encoding="ascii") as file:
            file.write(identity)
        return identity


def _line(path: str, default: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().strip()
    except OSError:
        return default


def _filesystem(path: str) -> str:
    """Return the type of the file system that holds *path*; see proc_pid_mountinfo(5)."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            if fields[2] == number:
                return fields[fields.index("-") + 1]
    return "unknown"
