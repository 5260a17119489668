"""Starting a container: gather what it needs, hand it to the runtime, all of it or nothing."""

import os
from contextlib import ExitStack

import msgspec
from msgspec.structs import replace

from corten.core.networks import files as network_files
from corten.core.networks.network import Endpoint as Plugged
from corten.core.networks.sandbox import Sandbox
from corten.core.runtime import plan as plans
from corten.core.runtime.filters import Filters
from corten.core.runtime.runtime import Running, TaskFacts
from corten.engine.containers.host import ensure_sources
from corten.engine.containers.mounts_config import bind_sources, user_mounts
from corten.engine.containers.parts import Parts, files_of, timestamp
from corten.engine.containers.spec import GROUPS, build_spec
from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container, Endpoint, State
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
        with ExitStack() as undo:
            sandbox = await self._sandbox(container, undo)
            endpoints = tuple(_recorded(e) for e in sandbox.endpoints) if sandbox else ()
            ensure_sources(bind_sources(user_mounts(container.host_config, parts.host)))
            self._write_files(container, endpoints)
            spec = build_spec(
                container.id,
                container.config.hostname,
                container.config,
                container.host_config,
                "/",
                files_of(parts, container.id),
                parts.host,
            )
            running = await self._run(container, spec, sandbox)
            undo.pop_all()
        if sandbox is not None:
            parts.sandboxes[container.id] = sandbox
            sandbox.close()  # the process holds the namespace now
        state = State(
            status="running", pid=running.pid, started_at=timestamp(), finished_at=container.state.finished_at
        )
        container = replace(
            parts.records.get(container.id),
            state=state,
            endpoints=endpoints or (Endpoint(container.host_config.network_mode),),
            stopped_by_user=False,
        )
        parts.records.put(container, durable=False)
        return container

    async def _sandbox(self, container: Container, undo: ExitStack) -> Sandbox | None:
        """Take a network namespace; None to share the host's."""
        pool = self._parts.networks.get(container.host_config.network_mode)
        if pool is None:
            return None
        mac = container.config.mac_address or None
        sandbox = pool.take(
            mac=mac
        )  # from stock 0.02 ms, made on the spot 1 ms: less than a trip to a thread
        undo.callback(sandbox.release)
        return sandbox

    def _write_files(self, container: Container, endpoints: tuple[Endpoint, ...]) -> None:
        """Write hosts, hostname and resolv.conf anew: addresses change from start to start."""
        config, wishes = container.config, container.host_config
        files = files_of(self._parts, container.id)
        gateway = str(self._parts.bridge.gateway)
        addresses = [endpoint.address for endpoint in endpoints if endpoint.address]
        shares_host = wishes.network_mode == "host"
        hosts = network_files.hosts(
            config.hostname,
            addresses,
            wishes.extra_hosts or (),
            domain=config.domainname,
            host_gateway=gateway,
        )
        resolv = _host_resolv_conf()
        if not shares_host or wishes.dns or wishes.dns_search or wishes.dns_options:
            resolv = network_files.resolv_conf(
                resolv, wishes.dns or (), wishes.dns_search or (), wishes.dns_options or ()
            )
        _write(files.hosts, hosts)
        _write(files.hostname, network_files.hostname(config.hostname))
        _write(files.resolv_conf, resolv)

    async def _run(self, container: Container, spec: Spec, sandbox: Sandbox | None) -> Running:
        """Hand the container to the runtime."""
        parts, config = self._parts, container.config
        path = spec.linux.cgroups_path.strip("/")
        plan = plans.start_plan(
            spec,
            place=f"{parts.run}/root",
            root=parts.snapshots.mounts(container.id)[0],
            cgroup_folders=parts.groups.folders(path),
            seccomp=self.filter(spec.linux.seccomp, spec.process.capabilities),
            groups=tuple(filter(None, spec.annotations.get(GROUPS, "").split(","))),
            network=sandbox is not None,
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
        )
        return await parts.runtime.start(facts, plan, [sandbox.fileno()] if sandbox else [])

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


def _recorded(endpoint: Plugged) -> Endpoint:
    return Endpoint(
        network=endpoint.network,
        network_id=endpoint.network_id,
        endpoint_id=endpoint.endpoint_id,
        address=endpoint.address,
        prefix=endpoint.prefix,
        gateway=endpoint.gateway,
        mac=endpoint.mac,
        host_link=endpoint.host_link,
    )


def _host_resolv_conf() -> str:
    """Return the host's resolver configuration, the real one behind a local stub."""
    text = _read("/etc/resolv.conf")
    if network_files.is_resolved_stub(text):
        text = _read(network_files.RESOLVED_CONF) or text
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
