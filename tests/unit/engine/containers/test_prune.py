"""prune: containers that do not run go."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.engine.containers.create import Registry
from corten.engine.containers.parts import Parts
from corten.engine.containers.prune import Pruning
from corten.engine.containers.status import Status
from corten.engine.records.config import ContainerConfig
from corten.engine.records.container import Container
from corten.errors import Conflict, InvalidInput
from tests.unit.engine.containers.test_status import container


def made(identifier: str, status: Status, created: str = "2020-01-01T00:00:00Z", **labels: str) -> Container:
    """Return a record."""
    config = ContainerConfig(labels=labels)
    return replace(container(status), id=identifier, created=created, config=config)


RECORDS = [
    made("run", Status.RUNNING),
    made("pause", Status.PAUSED),
    made("again", Status.RESTARTING),
    made("new", Status.CREATED, "2024-01-01T00:00:00Z", tier="web"),
    made("old", Status.EXITED, tier="db"),
]


class Engine:
    """A registry and parts that remember what was asked of them."""

    def __init__(self, root: Path) -> None:
        self.removed: list[str] = []
        self.events: list[tuple[Any, ...]] = []
        self.started: set[str] = set()
        self._root = root
        parts = SimpleNamespace(
            records=SimpleNamespace(all=lambda: RECORDS),
            snapshots=SimpleNamespace(usage=lambda _: SimpleNamespace(bytes=1000)),
            folder=lambda identifier: f"{root}/{identifier}",
            events=SimpleNamespace(publish=lambda *event: self.events.append(event)),
        )
        self.pruning = Pruning(cast("Parts", parts), cast("Registry", self))

    async def remove(self, ref: str, force: bool, volumes: bool) -> None:
        """Remove, unless it was started meanwhile."""
        assert (force, volumes) == (False, False)
        if ref in self.started:
            raise Conflict("it runs")
        self.removed.append(ref)

    def prune(self, **filters: list[str]) -> tuple[list[str], int]:
        """Prune with *filters*, in which ``not`` is label!."""
        named = {"label!" if key == "without" else key: values for key, values in filters.items()}
        return asyncio.run(self.pruning.prune(named))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine with containers in every state."""
    return Engine(tmp_path)


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({}, ["new", "old"]),
        ({"until": ["2021-01-01"]}, ["old"]),
        ({"until": ["24h"], "label": ["tier"]}, ["new", "old"]),
        ({"label": ["tier=web"]}, ["new"]),
        ({"without": ["tier=web"]}, ["old"]),
        ({"label": ["tier=web", "x"]}, []),
    ],
)
def test_filters(engine: Engine, filters: dict[str, list[str]], gone: list[str]) -> None:
    """What runs, is paused, or will start again stays; of the rest age and labels choose."""
    removed, freed = engine.prune(**filters)
    assert removed == engine.removed == gone
    assert freed == 1000 * len(gone)
    assert engine.events == [("container", "prune", "", {"reclaimed": str(freed)})]


def test_logs_count(engine: Engine, tmp_path: Path) -> None:
    """The container's folder is freed, too."""
    (tmp_path / "old" / "logs").mkdir(parents=True)
    log = tmp_path / "old" / "logs" / "1"
    log.write_bytes(b"x" * 10_000)
    assert engine.prune(label=["tier=db"])[1] == 1000 + log.stat().st_blocks * 512


def test_what_was_started_meanwhile_stays(engine: Engine) -> None:
    """A container that began to run since it was looked at is passed over."""
    engine.started.add("new")
    assert engine.prune() == (["old"], 1000)


@pytest.mark.parametrize("filters", [{"name": ["x"]}, {"until": ["soon"]}])
def test_malformed_filters_are_refused(engine: Engine, filters: dict[str, list[str]]) -> None:
    """Nothing goes when a filter is not understood."""
    with pytest.raises(InvalidInput, match="invalid filter"):
        engine.prune(**filters)
    assert engine.removed == []
