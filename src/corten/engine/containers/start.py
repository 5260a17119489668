"""Starting a container: gather what it needs, hand it to the runtime, all of it or nothing."""

import os
from contextlib import AsyncExitStack, ExitStack

import msgspec
from msgspec.structs import replace

from corten.core.runtime import plan as plans
from corten.core.runtime.filters import Filters
from corten.core.runtime.runtime import Running, TaskFacts
from corten.engine.containers.host import Files
from corten.engine.containers.parts import Parts, files_of, timestamp
from corten.engine.containers.spec import GROUPS, build_spec
from corten.engine.networks.attachments import Joined
from corten.engine.networks.wishes import shared_with
from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container, State
from corten.errors import InvalidInput
from corten.oci.spec import Capabilities, Spec

LOG_SIZE, LOG_FILES = 10 << 20, 3  # bytes of a file, files: bounded unless the user says otherwise
USUAL = ContainerConfig(cmd=("sh",))  # a container that asks for nothing special
UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Starter:
    """Brings a recorded container to life."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._filters = Filters(f"{parts.root}/cache/seccomp", f"{parts.run}/seccomp")

    async def start(self, container: Container) -> Container:
        """Start a container that does not run; returns its record as stored.

        Raises:
            StartFailed: with Docker's exit code; nothing is left of the attempt.
            Unavailable, InvalidInput, ...: what it needs is not there.
        """
        parts = self._parts
        async with AsyncExitStack() as undo:
            wanted = await parts.mounting.begin(container)
            undo.push_async_callback(parts.mounting.end, container)
            joined = parts.attachments.join(container, undo.enter_context(ExitStack()))
            spec = build_spec(
                container.id,
                container.config.hostname,
                container.config,
                container.host_config,
                "/",
                self._files(container),
                parts.host,
                wanted=wanted,
            )
            running = await self._run(container, spec, joined, host_mounts=bool(wanted))
            undo.pop_all()
        state = State(
            status="running", pid=running.pid, started_at=timestamp(), finished_at=container.state.finished_at
        )
        container = replace(
            parts.records.get(container.id),
            state=state,
            endpoints=joined.endpoints,
            published=joined.published,
            stopped_by_user=False,
        )
        parts.records.put(container, durable=False)
        parts.attachments.hold(container, joined)
        return container

    def _files(self, container: Container) -> Files:
        """Return the files that the container reads about names; those of another one whose network it shares."""
        other = shared_with(container.host_config.network_mode)
        return files_of(self._parts, self._parts.records.find(other).id if other else container.id)

    async def _run(self, container: Container, spec: Spec, joined: Joined, *, host_mounts: bool) -> Running:
        """Hand the container to the runtime, with the host's mounts as they are now if it takes some of them."""
        parts, config = self._parts, container.config
        path = spec.linux.cgroups_path.strip("/")
        plan = plans.start_plan(
            spec,
            place=f"{parts.run}/root",
            root=parts.snapshots.mounts(container.id)[0],
            cgroup_folders=parts.groups.folders(path),
            seccomp=self.filter(spec.linux.seccomp, spec.process.capabilities),
            groups=tuple(filter(None, spec.annotations.get(GROUPS, "").split(","))),
            network=joined.descriptor is not None,
            host_mounts=host_mounts,
        )
        facts = TaskFacts(
            id=container.id,
            directory=parts.run_folder(container.id),
            cgroup=path,
            flags=plans.clone_flags(spec),
            log=(parts.logs(container.id), *log_bounds(container)),
            stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            tty=config.tty,
            resources=msgspec.to_builtins(spec.linux.resources),
            note={
                "endpoints": msgspec.to_builtins(joined.endpoints),
                "published": msgspec.to_builtins(joined.published),
            },
        )
        handed = [] if joined.descriptor is None else [joined.descriptor]
        with ExitStack() as given:
            if host_mounts:
                handed.append(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
                given.callback(os.close, handed[-1])
            return await parts.runtime.start(facts, plan, handed)

    def prepare(self) -> None:
        """Tell the runtime what containers have in common, so that it is made beforehand."""
        files = files_of(self._parts, "0")
        usual = build_spec("0" * 64, "usual", USUAL, HostConfig(), "/", files, self._parts.host)
        self._parts.runtime.set_kit(f"{self._parts.run}/root", usual)

    def filter(
        self, profile: "dict[str, object] | None", caps: Capabilities | None
    ) -> tuple[str, int] | None:
        """Return the compiled seccomp filter as a file, and its flags."""
        return self._filters.file(profile, caps.bounding if caps else ())


def log_bounds(container: Container) -> tuple[int, int]:
    """Return the most bytes of a log file and the number of files, from the ``--log-opt`` given.

    Raises:
        InvalidInput: an option that is no number or size.
    """
    wanted = container.host_config.log_config
    options = wanted.config or {}
    if wanted.type == "none":
        return LOG_SIZE, 0
    try:
        size = _size(options["max-size"]) if "max-size" in options else LOG_SIZE
        count = int(options["max-file"]) if "max-file" in options else LOG_FILES
    except (ValueError, OverflowError) as failure:
        raise InvalidInput(f"bad log option: {failure}: write max-size=10m and max-file=3") from None
    if size < 1 or count < 1:
        raise InvalidInput("bad log option: max-size and max-file are at least 1")
    return size, count


def _size(text: str) -> int:
    """Return bytes of ``10m``, ``1.5g``, ``500``; ValueError for anything else."""
    digits = text.lower().removesuffix("ib").removesuffix("b").rstrip("kmg")
    unit = text.lower().removesuffix("ib").removesuffix("b")[len(digits) :]
    return int(float(digits) * UNITS[unit]) if unit in UNITS else int(text)
