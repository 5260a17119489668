"""A runtime with a supervisor process of its own, and containers out of the host's programs."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import corten
from corten.core.logs.reader import read
from corten.core.logs.segment import Query
from corten.core.runtime import plan
from corten.core.runtime.groups import Groups
from corten.core.runtime.runtime import Exit, Known, Running, Runtime, TaskFacts
from corten.linux import cgroups
from corten.oci.spec import DeviceRule, Linux, Mount, Namespace, Process, Resources, Root, Spec, User
from corten.serve.daemon import supervisor

DEADLINE = 20.0  # seconds until something has to have happened
PROGRAMS = ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64")
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
BIND = ("bind", "ro", "nosuid")
DEVICES = (
    DeviceRule(allow=False),
    *(DeviceRule(True, "c", major, None, "rwm") for major in (1, 5, 136)),
)
SPEC = Spec(
    "1.3.0",
    Process(("true",), env=("PATH=/bin:/sbin",)),
    Root("/"),
    hostname="box",
    mounts=(
        Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755", "size=65536k")),
        Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666")),
        Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "ro")),
        *(Mount(f"/{name}", "bind", f"/{name}", BIND) for name in PROGRAMS if os.path.isdir(f"/{name}")),
    ),
    linux=Linux(
        namespaces=tuple(Namespace(kind) for kind in ("mount", "pid", "uts", "ipc", "network")),
        resources=Resources(devices=DEVICES),
        masked_paths=("/proc/interrupts",),
        readonly_paths=("/proc/sys",),
    ),
)


class Engine:
    """What the daemon does for one container after the other, without the daemon.

    Args:
        folder: Of this test; gets run directory, root and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.run, self.tree, self.logs = folder / "run", folder / "tree", folder / "logs"
        for path in (self.run, self.tree / "etc", self.tree / "tmp", self.logs):
            path.mkdir(parents=True, exist_ok=True)
        for name, target in LINKS.items():
            if not (self.tree / name).is_symlink():
                (self.tree / name).symlink_to(target)
        self.prefix = f"rt-{secrets.token_hex(4)}"
        self.groups = Groups(self.prefix)
        self.exits: dict[str, Exit] = {}
        self.runtime = self.new_runtime()

    def new_runtime(self) -> Runtime:
        """Return what a daemon would make at its start."""
        library = os.path.dirname(os.path.dirname(os.path.abspath(corten.__file__)))
        command = supervisor.command(sys.executable, library, str(self.run), self.prefix)
        runtime = Runtime(str(self.run), command)
        runtime.set_kit(f"{self.run}/root", SPEC)
        return runtime

    async def open(self) -> list[Known]:
        """Find or start the supervisor."""
        return await self.runtime.open(self._ended)

    def _ended(self, end: Exit) -> None:
        assert end.id not in self.exits, "an end is told once"
        self.exits[end.id] = end

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        return int((self.run / "supervisor.lock").read_text(encoding="ascii"))

    def cgroups(self) -> set[str]:
        """The names of this engine's cgroups, in whatever hierarchy."""
        return {
            name
            for folder in self.groups.folders(self.prefix).values()
            for _, names, _ in os.walk(folder)
            for name in names
        }

    async def kill_supervisor(self) -> None:
        """Kill the supervisor; returns when another one answers."""
        former = self.supervisor
        os.kill(former, signal.SIGKILL)
        for process in list(self.runtime._link._started):
            if process.pid == former:
                process.wait()
        await self.until(lambda: self.runtime._link._socket is None or self.supervisor != former)
        await self.runtime.detach("nothing")

    async def start(self, name: str, *args: str, spec: Spec = SPEC, **facts: Any) -> Running:
        """Start ``args`` as the first process of container *name*."""
        process = replace(spec.process, args=args, terminal=bool(facts.get("tty")))
        return await self.start_spec(name, replace(spec, process=process), **facts)

    async def start_spec(self, name: str, spec: Spec, **facts: Any) -> Running:
        """Start a container as *spec* says, on a root made of a tmpfs and the host's programs."""
        path = f"{self.prefix}/{name}"
        steps = plan.start_plan(
            spec,
            place=f"{self.run}/root",
            root=Mount("/", "bind", str(self.tree), ("rbind",)),
            cgroup_folders=self.groups.folders(path),
            seccomp=None,
            groups=(),
            network=False,
        )
        given = TaskFacts(
            id=name,
            directory=f"{self.run}/containers/{name}",
            cgroup=path,
            flags=plan.clone_flags(spec),
            log=(f"{self.logs}/{name}", 10 << 20, 3),
            resources={"devices": [_plain(rule) for rule in spec.linux.resources.devices]},
            **facts,
        )
        os.makedirs(f"{self.run}/containers", exist_ok=True)
        return await self.runtime.start(given, steps, [])

    async def execute(self, name: str, container: str, *args: str, **facts: Any) -> Running:
        """Start ``args`` beside the first process of *container*."""
        process = replace(SPEC.process, args=args, terminal=bool(facts.get("tty")))
        steps = plan.exec_plan(process, ("mount", "pid", "uts", "ipc", "network"), seccomp=None, groups=())
        directory = f"{self.run}/containers/{container}/exec/{name}"
        given = TaskFacts(id=name, directory=directory, container=container, **facts)
        return await self.runtime.execute(given, steps)

    async def attach(self, name: str, stdin: bool = True) -> socket.socket:
        """Return a raw connection to the streams of task *name*."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await self.runtime.attach(
            name, theirs, b"", stdin=stdin, stdout=True, stderr=True, multiplexed=False, keys=b""
        )
        return ours

    async def ended(self, name: str) -> int | None:
        """Wait for the end of a task; return its code."""
        await self.until(lambda: name in self.exits)
        return self.exits[name].code

    async def forget(self, name: str) -> None:
        """Drop an ended task; returns when its directory is gone."""
        await self.runtime.forget(name)
        self.exits.pop(name, None)
        await self.until(lambda: not (self.run / "containers" / name).exists())

    def said(self, name: str) -> bytes:
        """Return what the log of *name* has."""
        return b"".join(bytes(chunk.data) for chunk in read(f"{self.logs}/{name}", Query()))

    async def until(self, holds: Callable[[], object]) -> None:
        """Let the event loop work until *holds* is true."""
        end = asyncio.get_running_loop().time() + DEADLINE
        while not holds():
            assert asyncio.get_running_loop().time() < end, "it never came true"
            await asyncio.sleep(0.003)

    async def close(self) -> None:
        """End every task and the supervisor, and remove the cgroups."""
        group = cgroups.probe().cgroup(self.prefix)
        try:
            group.kill()
            with suppress(Exception):
                self.runtime._link.expect_end()
                os.kill(self.supervisor, signal.SIGKILL)
        finally:
            self.runtime.close()
            for process in self.runtime._link._started:
                process.wait()
            await self.until(lambda: not group.pids())
            self.remove_groups()

    def remove_groups(self) -> None:
        """Remove the cgroups of this test."""
        for folder in self.groups.folders(self.prefix).values():
            for path, _, _ in os.walk(folder, topdown=False):
                with suppress(FileNotFoundError):
                    os.rmdir(path)


def _plain(rule: DeviceRule) -> dict[str, Any]:
    """Return a rule as the engine hands it on."""
    return {key: value for key in rule.__struct_fields__ if (value := getattr(rule, key)) is not None}


def user(name: str) -> Spec:
    """The usual Spec with another user."""
    return replace(SPEC, process=replace(SPEC.process, user=User(username=name)))


def engine_test(folder: Path, body: Callable[[Engine], Awaitable[None]]) -> None:
    """Run *body* with an engine whose supervisor runs; nothing of it is left."""

    async def main() -> None:
        engine = Engine(folder)
        try:
            await engine.open()
            await body(engine)
        finally:
            await engine.close()

    asyncio.run(_within(main()))


async def _within(work: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait_for(work, 3 * DEADLINE)
