"""System: facts about the engine and its machine, in the words of Docker's /info and /version."""

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine import usage
from corten.engine.containers.host import Host
from corten.engine.containers.parts import timestamp
from corten.engine.disk import measure
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.images import ImageRepository
from corten.engine.records.volumes import VolumeRepository

UP, PAUSED = "running", "paused"


@dataclass(frozen=True)
class Facts:
    """What was found at start: ``probes`` says of each kernel feature whether it works here."""

    identity: str
    root: str
    version: str
    driver: str
    backing_filesystem: str
    started: str
    probes: dict[str, str]


class System:
    """Answers questions about the engine as a whole."""

    def __init__(
        self,
        facts: Facts,
        host: Host,
        containers: ContainerRepository,
        images: ImageRepository,
        volumes: VolumeRepository,
        snapshots: Snapshotter,
    ) -> None:
        self._facts, self._host = facts, host
        self._containers, self._images = containers, images
        self._volumes, self._snapshots = volumes, snapshots

    async def info(self) -> dict[str, Any]:
        """Return members of ``GET /info``, and under ``Corten`` what this engine found on its machine."""
        statuses = [container.state.status for container in self._containers.all()]
        kernel = os.uname()
        return {
            "ID": self._facts.identity,
            "Name": kernel.nodename,
            "ServerVersion": self._facts.version,
            "Containers": len(statuses),
            "ContainersRunning": statuses.count(UP),
            "ContainersPaused": statuses.count(PAUSED),
            "ContainersStopped": len(statuses) - statuses.count(UP) - statuses.count(PAUSED),
            "Images": len(self._images.all()),
            "Driver": self._facts.driver,
            "DriverStatus": [["Backing Filesystem", self._facts.backing_filesystem]],
            "DockerRootDir": self._facts.root,
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if self._host.cgroup_mode == "v2" else "1",
            "KernelVersion": kernel.release,
            "OperatingSystem": _operating_system(),
            "OSVersion": _release("VERSION_ID"),
            "OSType": "linux",
            "Architecture": kernel.machine,
            "NCPU": self._host.cpus,
            "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "Runtimes": {"corten": {"path": "corten"}},
            "DefaultRuntime": "corten",
            "InitBinary": os.path.basename(self._host.init_path),
            "SecurityOptions": ["name=seccomp,profile=builtin"] if self._host.seccomp else [],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
                "Authorization": None,
                "Log": ["json-file", "local", "none"],
            },
            "SystemTime": timestamp(),
            "NFd": len(os.listdir("/proc/self/fd")),
            "NGoroutines": len(asyncio.all_tasks()),
            **_controllers(),
            "Corten": self._facts.probes,
        }

    async def version(self) -> dict[str, Any]:
        """Return members of ``GET /version``."""
        kernel = os.uname()
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(kernel.machine, kernel.machine)
        return {
            "Version": self._facts.version,
            "Arch": arch,
            "KernelVersion": kernel.release,
            "BuildTime": self._facts.started,
        }

    async def disk_usage(self, kinds: Collection[str] = ()) -> dict[str, Any]:
        """Return ``GET /system/df``: what everything in the state folder takes, in bytes on disk.

        Args:
            kinds: ``image``, ``container``, ``volume``, ``build-cache``; none for all.
        """
        disk = await asyncio.to_thread(measure, self._facts.root, self._snapshots)
        return usage.report(disk, self._images, self._containers.all(), self._volumes.all(), kinds)


def _controllers() -> dict[str, bool]:
    """Return which limits the engine can set."""
    names = (
        *("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota"),
        *("CPUShares", "CPUSet", "PidsLimit", "OomKillDisable"),
    )
    return {**dict.fromkeys(names, True), "IPv4Forwarding": _forwards()}


def _forwards() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def _operating_system() -> str:
    return _release("PRETTY_NAME") or "Linux"


def _release(key: str) -> str:
    """Return a value of os-release(5), empty where it is missing."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            lines = dict(line.rstrip().partition("=")[::2] for line in file)
    except OSError:
        return ""
    return lines.get(key, "").strip('"')
