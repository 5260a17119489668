"""Stores in memory, since making things durable takes as long as the slowest disk."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.engine.images.stores import Stores
from tests.unit.engine.images.samples import open_stores

MEMORY = "/dev/shm"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    """An empty folder, in memory where the machine has such."""
    if not os.access(MEMORY, os.W_OK):
        yield str(tmp_path)
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="images-") as path:
        yield path


@pytest.fixture
def stores(folder: str) -> Stores:
    """Empty stores."""
    return open_stores(f"{folder}/engine")
