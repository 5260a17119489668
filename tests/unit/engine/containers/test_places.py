"""Places: where on the host a container's files are."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from msgspec.structs import replace

from corten.engine.containers.parts import Parts
from corten.engine.containers.places import places
from corten.engine.containers.status import Status
from corten.engine.records.config import HostConfig, LogConfig
from corten.engine.records.container import State
from corten.oci.spec import Mount
from tests.unit.engine.containers.test_status import container

MOUNT = Mount("/", "overlay", "overlay", ("lowerdir=/a", "upperdir=/u", "workdir=/w"))


def parts(root: Path) -> Parts:
    """Return parts that know where things are."""
    found = SimpleNamespace(
        folder=lambda _: str(root),
        logs=lambda _: f"{root}/logs",
        snapshots=SimpleNamespace(mounts=lambda _: (MOUNT,)),
    )
    return cast("Parts", found)


def test_files_that_are_not_there_have_no_path(tmp_path: Path) -> None:
    """A container that never started has no file of names; its root is there from the beginning."""
    (tmp_path / "hosts").touch()
    found = places(parts(tmp_path), container(Status.CREATED))
    assert (found.hosts, found.resolv_conf, found.logs) == (f"{tmp_path}/hosts", "", f"{tmp_path}/logs")
    assert found.graph == {"LowerDir": "/a", "UpperDir": "/u", "WorkDir": "/w"}


def test_what_runs_can_be_looked_into(tmp_path: Path) -> None:
    """The whole root is mounted nowhere but in the container."""
    running = replace(container(Status.RUNNING), state=State(status="running", pid=42))
    assert places(parts(tmp_path), running).graph["MergedDir"] == "/proc/42/root"


def test_no_log_no_path(tmp_path: Path) -> None:
    """The driver ``none`` keeps nothing."""
    silent = replace(container(Status.CREATED), host_config=HostConfig(log_config=LogConfig(type="none")))
    assert places(parts(tmp_path), silent).logs == ""
