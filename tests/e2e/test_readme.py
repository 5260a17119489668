"""The examples of the README do what they show."""

import doctest
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kernel.isolated import NEEDS, new_namespace

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = REPOSITORY / ".venv" / "bin"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHERS = ("docker", "skopeo")  # programs that a reader may have
PATIENCE = 100  # seconds for all commands together

pytestmark = [*NEEDS, pytest.mark.slow]


class Shown(NamedTuple):
    """A command of the README with the output that stands below it."""

    command: str
    output: str


class Reader:
    """Somebody who follows the README: on a machine of their own (as far as the network goes), in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.netns = new_namespace()
        self.environment = {
            **os.environ,
            "CORTEN_ROOT": f"{folder}/root",
            "CORTEN_RUN": f"{folder}/run",
            "DOCKER_CONFIG": f"{folder}/docker",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def run(self, *argv: str | Path) -> None:
        """Run a program to its end; what it starts in the background ends with it, but for the engine."""
        inside = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns}", "--")
        process = subprocess.Popen(
            [*inside, *argv], env=self.environment, cwd=self.folder, start_new_session=True
        )
        try:
            assert process.wait(PATIENCE) == 0, argv
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    def type(self, commands: list[str]) -> list[str]:
        """Type *commands* into one shell; return what each printed, its errors first."""
        parts = [f"{{ {each}\n}} </dev/null >{n}.out 2>{n}.err\n" for n, each in enumerate(commands)]
        script = self.folder / "script"
        script.write_text("".join(parts) + "exit 0\n")
        self.run("sh", script)
        return ["".join(self._said(f"{n}.{kind}") for kind in ("err", "out")) for n in range(len(commands))]

    def _said(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory, debian_tar: Path) -> Iterator[Reader]:
    """A reader who has made the image debian."""
    reader = Reader(tmp_path_factory.mktemp("e"))
    try:
        reader.run("corten", "load", "-q", "-i", debian_tar)
        yield reader
    finally:
        reader.run("corten", "system", "reset", "-f")
        os.close(reader.netns)


def examples() -> Iterator[Shown]:
    """Yield the commands of the README that can be run here."""
    for block in BLOCK.findall((REPOSITORY / "README.md").read_text()):
        for part in block.split("$ ", 1)[1].split("\n$ "):
            command, _, output = part.partition("\n")
            missing = [name for name in OTHERS if f"{name} " in command and shutil.which(name) is None]
            if not missing:
                yield Shown(command, output if output.endswith("\n") or not output else f"{output}\n")


def test_the_readme_shows_what_happens(reader: Reader) -> None:
    """Every console block of the README gives the output that stands there; ``...`` stands for what varies."""
    shown = list(examples())
    assert len(shown) >= 12
    for (command, output), got in zip(shown, reader.type([each.command for each in shown]), strict=True):
        alike = doctest.OutputChecker().check_output(output, got, doctest.ELLIPSIS)
        assert alike, f"$ {command}\nshown: {output}\ngot:   {got}"
