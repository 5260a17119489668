"""A registry to talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serve.registry.live import Clock, Live, served


@pytest.fixture
def clock() -> Clock:
    """The clock of ``live``."""
    return Clock()


@pytest.fixture
def live(tmp_path: Path, clock: Clock) -> Iterator[Live]:
    """An empty registry in a folder, served until the test ends."""
    with served(tmp_path / "registry", clock=clock) as registry:
        yield registry
