"""What the engine says of itself and its machine."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any, cast

from corten.engine.containers.status import Status
from corten.engine.system import Facts, System
from tests.unit.engine.containers.examples import HOST
from tests.unit.engine.containers.test_status import container

FACTS = Facts("id", "/root", "1.2", "overlay", "extfs", "2026-01-01T00:00:00Z", {"overlay": "works"})


def having(rows: list[Any]) -> Any:
    """Return something with ``all`` and ``walk``."""
    return SimpleNamespace(all=lambda: rows, walk=lambda: iter(rows))


def system(**parts: Any) -> System:
    """Return a system with nothing in it but *parts*."""
    nothing = having([])
    names = ("containers", "images", "volumes", "snapshots")
    return System(FACTS, HOST, *(cast("Any", parts.get(name, nothing)) for name in names))


def test_containers_are_counted_by_what_they_do() -> None:
    """Running, paused and the rest add up."""
    states = (Status.RUNNING, Status.RUNNING, Status.PAUSED, Status.CREATED, Status.EXITED)
    info = asyncio.run(system(containers=having([container(state) for state in states])).info())
    keys = ("Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped")
    assert [info[key] for key in keys] == [5, 2, 1, 2]


def test_the_machine() -> None:
    """Facts of the machine are those of the machine."""
    info = asyncio.run(system().info())
    assert info["KernelVersion"] == os.uname().release
    assert info["MemTotal"] > 64 << 20
    assert (info["NCPU"], info["Driver"], info["CgroupVersion"]) == (2, "overlay", "1")
    assert info["Corten"] == {"overlay": "works"}
    assert info["DriverStatus"] == [["Backing Filesystem", "extfs"]]
    assert info["SecurityOptions"] == ["name=seccomp,profile=builtin"]


def test_the_version() -> None:
    """The architecture has the name that images use."""
    version = asyncio.run(system().version())
    assert version["Version"] == "1.2"
    assert version["Arch"] in ("amd64", "arm64", os.uname().machine)
