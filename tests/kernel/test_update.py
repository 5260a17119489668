"""Updates of containers that run: the kernel's limits and mounts change, the process does not notice."""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from corten.engine.containers.mounting.service import Mounting
from corten.engine.containers.parts import Parts
from corten.engine.containers.update import SWAP, Attachments, Updating
from corten.engine.containers.update_request import UpdateRequest
from corten.engine.records.config import ContainerConfig, HostConfig, MountRequest, Resources, RestartPolicy
from corten.engine.records.container import Container, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.errors import InvalidInput
from tests.kernel.supervised import Engine, engine_test
from tests.unit.engine.containers.examples import HOST

pytestmark = [pytest.mark.root, pytest.mark.slow]

MB = 1 << 20


class Living:
    """A container that runs and is recorded, and what updates it."""

    def __init__(self, engine: Engine, database: Database, pid: int) -> None:
        self.engine, self.pid = engine, pid
        self.records = ContainerRepository(database)
        host = HOST
        parts = SimpleNamespace(
            records=self.records,
            host=host,
            groups=engine.groups,
            runtime=engine.runtime,
            lock=lambda _: asyncio.Lock(),
            cgroup_path=lambda container: f"{engine.prefix}/{container.id}",
            tell=lambda *_: None,
        )
        snapshots, images = cast("Any", SimpleNamespace(walk=lambda: ())), cast("Any", None)
        mounting = Mounting(snapshots, images, cast("Any", _NoVolumes()), self.records, host)
        self._updating = Updating(cast("Parts", parts), mounting, cast("Attachments", None))

    async def update(self, **request: Any) -> list[str]:
        """Carry a request out."""
        return await self._updating.update("c", UpdateRequest(**request))

    @property
    def record(self) -> Container:
        """What is recorded."""
        return self.records.get("c")

    @property
    def root(self) -> Path:
        """Where the container's files can be seen."""
        return Path(f"/proc/{self.pid}/root")

    def limit(self, *names: str) -> str:
        """Return what the first control file says that the kernel has."""
        folders = self.engine.groups.folders(f"{self.engine.prefix}/c").values()
        for folder in folders:
            for name in names:
                if os.path.exists(f"{folder}/{name}"):
                    return Path(f"{folder}/{name}").read_text().strip()
        pytest.skip(f"this kernel has none of {', '.join(names)}")


class _NoVolumes:
    """Volumes of an engine that has none."""

    def unclaim(self, owner: str) -> None:
        """Nothing was claimed."""

    async def let_go(self, container: str, keep: Collection[str] = ()) -> None:
        """Nothing is held."""


def living(
    folder: Path, body: Callable[[Living], Coroutine[Any, Any, None]], *args: str, **wishes: Any
) -> None:
    """Run *body* with a container that runs."""

    async def run(engine: Engine) -> None:
        database = Database(str(folder / "engine.db"))
        try:
            running = await engine.start("c", *(args or ("sleep", "1000")))
            container = Living(engine, database, running.pid)
            container.records.put(
                Container(
                    id="c",
                    name="c",
                    created="2020-01-01T00:00:00Z",
                    image_id="",
                    config=ContainerConfig(),
                    host_config=HostConfig(network_mode="none", **wishes),
                    path="sleep",
                    args=(),
                    snapshotter="",
                    state=State(status="running", pid=running.pid),
                )
            )
            await body(container)
            assert "c" not in engine.exits
        finally:
            database.close()

    engine_test(folder, run)


def test_limits_reach_the_kernel(tmp_path: Path) -> None:
    """Each limit of a request is in the cgroup when it is answered."""

    async def body(container: Living) -> None:
        await container.update(
            resources=Resources(
                memory=100 * MB,
                memory_reservation=50 * MB,
                nano_cpus=500_000_000,
                cpu_shares=512,
                cpuset_cpus="0",
                cpuset_mems="0",
                pids_limit=50,
            )
        )
        assert container.limit("memory.limit_in_bytes", "memory.max") == str(100 * MB)
        assert container.limit("memory.soft_limit_in_bytes", "memory.low") == str(50 * MB)
        assert container.limit("cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
        assert container.limit("cpu.shares", "cpu.weight") in ("512", "59")
        assert container.limit("cpuset.cpus") == "0"
        assert container.limit("pids.max") == "50"
        await container.update(resources=Resources(pids_limit=-1, memory=60 * MB))
        assert container.limit("pids.max") == "max"
        assert container.limit("memory.limit_in_bytes", "memory.max") == str(60 * MB)
        assert container.record.host_config.cpu_shares == 512

    living(tmp_path, body)


def test_swap_follows(tmp_path: Path) -> None:
    """Memory and swap together are twice the memory, in whatever order the kernel takes them."""

    async def body(container: Living) -> None:
        for memory in (100 * MB, 40 * MB):
            await container.update(resources=Resources(memory=memory, memory_swap=2 * memory))
            found = int(container.limit(*SWAP))
            assert found in (2 * memory, memory)  # version 2 counts swap alone
        await container.update(resources=Resources(memory_swap=-1))
        assert int(container.limit(*SWAP).replace("max", str(1 << 62))) > 1 << 60

    living(tmp_path, body)


def test_what_the_kernel_refuses(tmp_path: Path) -> None:
    """A memory limit below what is in use is refused in one line; every limit is what it was, and is recorded so."""
    fill = '$x = "y" x (40 << 20); print "full\\n"; $| = 1; print "\\n"; sleep 1000'

    async def body(container: Living) -> None:
        await container.engine.until(lambda: b"full" in container.engine.said("c"))
        await container.update(resources=Resources(memory=100 * MB, memory_swap=100 * MB, cpu_shares=300))
        before = container.record
        with pytest.raises(InvalidInput, match=r"choose a") as refusal:
            await container.update(
                resources=Resources(memory=8 * MB, memory_swap=8 * MB, cpu_shares=700, pids_limit=5)
            )
        assert "\n" not in str(refusal.value)
        assert container.limit("memory.limit_in_bytes", "memory.max") == str(100 * MB)
        assert container.limit("cpu.shares", "cpu.weight") in ("300", "36")
        assert container.limit("pids.max") == "max"
        assert container.record == before

    living(tmp_path, body, "perl", "-e", f"$| = 1; {fill}")


def test_everything_of_one_request_or_nothing(tmp_path: Path) -> None:
    """Limits are lifted again when a mount of the same request cannot be."""
    source = tmp_path / "source"
    source.mkdir()

    async def body(container: Living) -> None:
        before = container.record
        (container.engine.tree / "etc/plain").touch()
        shares = container.limit("cpu.shares", "cpu.weight")
        with pytest.raises(InvalidInput, match="mount at /etc/plain"):
            await container.update(
                resources=Resources(cpu_shares=700), bind_add=(f"{source}:/a", f"{source}:/etc/plain")
            )
        assert container.limit("cpu.shares", "cpu.weight") == shares
        assert not (container.root / "a").is_mount()
        assert container.record == before

    living(tmp_path, body)


def test_mounts_come_and_go_with_the_record(tmp_path: Path) -> None:
    """What the container sees and what is recorded are the same, request by request."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("here")
    created = tmp_path / "created"

    async def body(container: Living) -> None:
        await container.update(
            bind_add=(f"{source}:/data:ro", f"{created}:/made"),
            mount_add=(MountRequest(type="tmpfs", target="/scratch"),),
            restart_policy=RestartPolicy(name="always"),
        )
        assert (container.root / "data/file").read_text() == "here"
        assert (container.root / "scratch").is_mount()
        assert created.is_dir()  # as -v makes a folder that is missing
        assert [point.destination for point in container.record.mounts] == ["/data", "/made", "/scratch"]
        await container.update(mount_remove=("/data", "/scratch"))
        assert not (container.root / "data/file").exists()
        assert [point.destination for point in container.record.mounts] == ["/made"]
        assert container.record.host_config.binds == (f"{created}:/made",)
        assert container.record.host_config.restart_policy.name == "always"

    living(tmp_path, body)


def test_a_source_that_is_missing(tmp_path: Path) -> None:
    """A bind that may not make its source is refused before anything changes."""

    async def body(container: Living) -> None:
        before = container.record
        request = MountRequest(type="bind", source=f"{tmp_path}/missing", target="/data")
        with pytest.raises(InvalidInput, match="bind source path does not exist"):
            await container.update(mount_add=(request,), resources=Resources(cpu_shares=700))
        assert container.record == before

    living(tmp_path, body)
