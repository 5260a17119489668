"""The program as a whole: verbs, help, failures, exit statuses, and what it loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from corten.cli.groups import GROUPS, OVERVIEW, paths
from corten.cli.main import command_line
from tests.unit.cli.server import SOURCE, START, Daemon, Reply, command, corten

COMMANDS = sorted(
    path.stem for path in (SOURCE / "corten" / "cli" / "commands").glob("*.py") if path.stem != "__init__"
)
# modules of the standard library that cost more than a whole command may
BANNED = {
    "argparse", "asyncio", "dataclasses", "enum", "http", "importlib", "inspect", "json", "logging", "os", "pathlib",
    "re", "shutil", "signal", "site", "socket", "subprocess", "termios", "threading", "typing",
}  # fmt: skip


def test_overview(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word, and with --help, the overview is shown."""
    assert command_line(["--help"]) == 0
    shown = capsys.readouterr().out
    assert command_line(["help"]) == 0

    assert capsys.readouterr().out == shown
    assert shown.startswith("Usage:  corten [OPTIONS] COMMAND\n")
    assert "corten run -it --rm debian bash" in shown


def test_the_overview_leaves_nothing_out() -> None:
    """Every command is in the overview or in a group."""
    shown = {word for _, words in OVERVIEW for word in words}
    in_groups = {module for _, words in GROUPS.values() for module in words.values()}

    assert {name for name in COMMANDS if name not in shown and name not in in_groups} == set()


PROGRAMS = ("daemon", "registry_gc", "registry_retention", "registry_serve", "registry_user")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in PROGRAMS])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows usage, meaning and flags; only what becomes another program leaves that to it."""
    line = paths(name)[0]

    assert command_line([*line.split()[1:], "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage:  {line}")


@pytest.mark.parametrize("group", GROUPS)
def test_groups_list_their_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A group alone shows what is in it."""
    assert command_line([group]) == 0
    assert f"Usage:  corten {group} COMMAND\n" in capsys.readouterr().out


def test_a_short_name_leads_to_the_same_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Help names all paths to a command."""
    command_line(["ps", "--help"])

    assert (
        "corten container ls, corten container list, corten container ps, corten ps"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["foo"], 1, "corten: unknown command: corten foo\n\nRun 'corten --help' for more information\n"),
        (["image_inspect"], 1, "corten: unknown command: corten image_inspect\n"),
        (["__init__"], 1, "corten: unknown command: corten __init__\n"),
        (
            ["container", "foo"],
            1,
            "corten: unknown command: corten container foo\n\nUsage:  corten container\n",
        ),
        (["--foo", "ps"], 125, "unknown flag: --foo\n\nUsage:  corten [OPTIONS] COMMAND [ARG...]\n"),
        (
            ["run", "--foo"],
            125,
            (
                "unknown flag: --foo\n\nUsage:  corten run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
                "Run 'corten run --help' for more information\n"
            ),
        ),
        (["run"], 1, "corten: 'corten run' requires at least 1 argument\n"),
        (["stop"], 1, "corten: 'corten stop' requires at least 1 argument\n"),
        (["ps", "x"], 1, "corten: 'corten ps' accepts no arguments\n"),
        (["-H", "tcp://x", "ps"], 125, "cannot use the host 'tcp://x'"),
        (["-c", "other", "ps"], 125, "there is no context 'other'"),
        (["-H", "unix:///none", "ps"], 1, "Cannot connect to the corten daemon at unix:///none."),
        (
            ["-H", "unix:///none", "run", "x"],
            125,
            (
                "corten: Cannot connect to the corten daemon at unix:///none. Is the corten daemon running?\n\n"
                "Run 'corten run --help' for more information\n"
            ),
        ),
        (["-H", "unix:///none", "ps", "--format", "{{"], 1, "Cannot connect"),
        (
            ["-H", "unix:///none", "inspect", "--format", "{{", "x"],
            64,
            "template parsing error: template: :1: unclosed",
        ),
        (
            ["-H", "unix:///none", "load", "-i", "/nonexistent"],
            1,
            "open /nonexistent: no such file or directory\n",
        ),
    ],
)
def test_failures_are_told(
    words: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages and statuses are those of Docker's client."""
    assert command_line(words) == status
    assert capsys.readouterr().err.startswith(text)


def test_an_internal_error_shows_no_traceback(daemon: Daemon) -> None:
    """A mistake of the program is one line, and a traceback only with --debug."""
    daemon.on("GET", "/containers/json", Reply(200, [{"Id": 1}]))

    told = corten(daemon, "ps")
    shown = corten(daemon, "--debug", "ps")

    assert told.stderr.startswith(b"internal error: ")
    assert b"Traceback" not in told.stderr
    assert (told.returncode, told.stderr.count(b"\n")) == (1, 1)
    assert b"Traceback" in shown.stderr


def test_a_reader_that_leaves_is_no_failure(daemon: Daemon) -> None:
    """A closed pipe ends the program in silence."""
    daemon.on("GET", "/containers/json", Reply(200, []))
    with subprocess.Popen(command(daemon, "ps"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (141, b"")


def test_runs_without_standard_streams(daemon: Daemon) -> None:
    """Closed stdin, stdout and stderr are replaced, not stumbled over."""
    daemon.on("GET", "/containers/json", Reply(200, []))
    line = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command(daemon, "ps")]

    assert subprocess.run(line, check=False, timeout=30).returncode == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["ps"], 0),
        (["run", "--rm", "x", "true"], 3),
        (["exec", "c", "true"], 3),
        (["stop", "c"], 0),
        (["start", "c"], 0),
    ],
)
def test_loads_next_to_nothing(daemon: Daemon, words: list[str], status: int) -> None:
    """The commands that people wait for load no module that costs milliseconds."""
    daemon.on("GET", "/containers/json", Reply(200, []))
    daemon.on("POST", "/containers/create", Reply(201, {"Id": "c", "Warnings": []}))
    daemon.on("POST", "/containers/c/exec", Reply(201, {"Id": "e"}))
    daemon.on("GET", "/exec/e/json", Reply(200, {"ExitCode": 3}))
    daemon.on("POST", "/containers/c/wait", Reply(200, {"StatusCode": 3}))
    for path in ("/containers/c/attach", "/exec/e/start"):
        daemon.on("POST", path, Reply(stream=lambda sock: None))  # noqa: ARG005 - nothing to say
    for verb in ("start", "stop"):
        daemon.on("POST", f"/containers/c/{verb}", Reply(204))
    line = command(daemon, *words)
    line[1:1] = ["-X", "importtime"]

    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)
    loaded = {
        row.rpartition("|")[2].strip() for row in done.stderr.splitlines() if row.startswith("import time:")
    }

    assert done.returncode == status
    assert "corten.cli.client" in loaded
    assert loaded & BANNED == set()


def test_imports_nothing_of_the_rest() -> None:
    """The client is a program of its own: HTTP is all it shares with the engine."""
    for path in (SOURCE / "corten" / "cli").rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].startswith("corten."):
                assert words[1].startswith("corten.cli."), f"{path}: {line}"


def test_version(tmp_path: Path) -> None:
    """The version comes from the metadata beside the package."""
    (tmp_path / "corten-9.8.7.dist-info").mkdir()
    line = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(tmp_path)!r}); {START}"]

    shown = subprocess.run(
        [*line, str(SOURCE), "--version"], capture_output=True, check=True, text=True
    ).stdout

    assert shown == "corten version 9.8.7\n"
