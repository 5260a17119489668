"""The programs in examples/ run, show what they are for, and leave nothing behind."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.root, pytest.mark.slow]


def run(name: str, folder: Path) -> str:
    """Run an example that keeps its files below *folder*; return what it printed."""
    result = subprocess.run(
        ["sh", f"examples/{name}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not list(folder.iterdir())
    return result.stdout


@pytest.mark.usefixtures("debian_tar")
def test_the_demo_runs(tmp_path: Path) -> None:
    """examples/demo.sh, which `make demo` runs, ends well and leaves nothing behind."""
    said = run("demo.sh", tmp_path)
    assert "100 containers" in said
    assert "Nothing is left behind" in said
