"""The examples of the README and of examples/ do what they show."""

import doctest
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORTEN = REPOSITORY / ".venv" / "bin" / "corten"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, debian_tar: Path) -> Iterator[dict[str, str]]:
    """The environment of an engine of its own that has the image debian, as a reader would have it."""
    folder = tmp_path_factory.mktemp("e")
    variables = {
        **os.environ,
        "CORTEN_ROOT": f"{folder}/root",
        "CORTEN_RUN": f"{folder}/run",
        "DOCKER_CONFIG": f"{folder}/docker",
        "PATH": f"{CORTEN.parent}:{os.environ['PATH']}",
    }
    subprocess.run([CORTEN, "load", "-q", "-i", debian_tar], check=True, env=variables)
    yield variables
    subprocess.run([CORTEN, "system", "reset", "-f"], check=True, env=variables)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output shown below it."""
    for part in block.split("$ ", 1)[1].split("\n$ "):
        command, _, output = part.partition("\n")
        yield command, output if output.endswith("\n") or not output else f"{output}\n"


def test_the_readme_shows_what_happens(environment: dict[str, str]) -> None:
    """Every console block of the README gives the output that stands there; ``...`` stands for what varies."""
    blocks = BLOCK.findall((REPOSITORY / "README.md").read_text())
    assert len(blocks) >= 4
    for command, shown in (pair for block in blocks for pair in commands(block)):
        if "docker run" in command and shutil.which("docker") is None:
            continue
        result = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        got = result.stderr + result.stdout
        alike = doctest.OutputChecker().check_output(shown, got, doctest.ELLIPSIS)
        assert alike, f"$ {command}\nshown: {shown}\ngot:   {got}"


def test_the_demo_runs(debian_tar: Path, tmp_path: Path) -> None:
    """examples/demo.sh, which `make demo` runs, ends well and leaves nothing behind."""
    result = subprocess.run(
        ["sh", "examples/demo.sh"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "100 containers" in result.stdout
    assert "Nothing is left behind" in result.stdout
    assert not list(tmp_path.iterdir())
