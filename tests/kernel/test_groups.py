"""The cgroups of an engine's containers, swept at its start."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.core.runtime.groups import Groups
from corten.linux import cgroups

pytestmark = pytest.mark.root


@pytest.fixture
def prefix() -> Iterator[str]:
    """The name of an engine's folder of cgroups, which is gone afterwards."""
    name = f"corten-test-{uuid.uuid4().hex[:8]}"
    yield name
    cgroups.probe().cgroup(name).remove()


def make(prefix: str, identifier: str) -> None:
    """Make a container's cgroup."""
    cgroups.probe().cgroup(f"{prefix}/{identifier}").create()


def left(prefix: str) -> set[str]:
    """Return the cgroups below *prefix*, in any hierarchy."""
    return {
        path.name
        for folder in Groups(prefix).folders(prefix).values()
        for path in Path(folder).iterdir()
        if path.is_dir()
    }


def test_what_nobody_claims_is_swept(prefix: str) -> None:
    """Cgroups of containers go unless they are claimed; others in the folder are not touched."""
    mine, stray = "a" * 64, "b" * 64
    for identifier in (mine, stray, "pool-1-1"):
        make(prefix, identifier)
    Groups(prefix).sweep({mine})
    assert left(prefix) == {mine, "pool-1-1"}


def test_a_process_that_nobody_claims_is_ended(prefix: str) -> None:
    """A process in such a cgroup was started by a supervisor that did not live to write it down."""
    stray = "c" * 64
    make(prefix, stray)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        cgroups.probe().cgroup(f"{prefix}/{stray}").enter(process.pid)
        Groups(prefix).sweep(set())
        assert process.wait(10) == -9
        assert left(prefix) == set()
    finally:
        process.kill()
        process.wait()


def test_nothing_to_sweep() -> None:
    """An engine that has never had a container has no folder, which is fine."""
    Groups(f"corten-test-{uuid.uuid4().hex[:8]}").sweep(set())
