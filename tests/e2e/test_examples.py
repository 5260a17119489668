"""The programs in examples/ run, show what they are for, and leave nothing behind."""

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.root, pytest.mark.slow]


def run(name: str, folder: Path, seconds: float = 110, **environment: str) -> str:
    """Run an example that keeps its files below *folder*; return what it printed."""
    result = subprocess.run(
        ["sh", f"examples/{name}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, "TMPDIR": str(folder), **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not list(folder.iterdir())
    return result.stdout


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder whose path is short: that of a socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("e")


@pytest.mark.usefixtures("debian_tar")
@pytest.mark.timeout(400)
def test_the_picture(folder: Path) -> None:
    """examples/picture.sh, which `make demo` runs: three sites and three databases of two images, and back."""
    said = run("picture.sh", folder, 380, DEMO_PORT="18081")
    for name in ("shop", "blog", "wiki"):
        assert f"<h1>Welcome to the {name}</h1>" in said
        assert f"{name}: its own configuration" in said
    assert said.count("somebody at the shop") == 2, "written, and still there after a restart"
    assert "shop: 1 row, at most 40 connections" in said
    assert "wiki: 1 row, at most 30 connections" in said
    assert "(exit status 2: no such host)" in said


@pytest.mark.usefixtures("debian_tar")
def test_first_steps(folder: Path) -> None:
    """examples/first-steps.sh ends well and leaves nothing behind."""
    said = run("first-steps.sh", folder)
    assert "100 containers" in said
    assert "Nothing is left behind" in said


@pytest.mark.usefixtures("debian_tar")
def test_images_travel_between_two_engines(folder: Path) -> None:
    """examples/registry.sh pulls what it pushed, goes on after the kill, and its registry frees what it retired."""
    said = run("registry.sh", folder)
    assert "Mounted from team/debian" in said
    size, fetched = re.findall(r"the image has (\d+) bytes; this pull fetched (\d+) of them", said)[0]
    assert int(fetched) < int(size) - 15_000_000
    assert "\nhello from the office\n" in said
    assert "\nfreed " in said
    assert "Nothing is left behind" in said
