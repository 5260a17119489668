"""Bombs: whatever a small input claims, it is refused in little memory, and nothing of it stays."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.kernel.bombs import BOMBS

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def folder() -> Iterator[str]:
    """An empty folder, in memory where the machine has such."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="bombs-") as path:
        yield path


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str, folder: str) -> None:
    """One clear line, less than 200 MB, and an empty disk."""
    command = [sys.executable, "-m", "tests.kernel.bombs", name, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)

    assert report["refusal"].startswith(("limit-exceeded: ", "data-corrupted: "))
    assert "\n" not in report["refusal"]
    assert report["peak"] < 200 << 20
    assert (report["partials"], report["kept"]) == ([], 0)
    assert report["left"] < 1 << 20
