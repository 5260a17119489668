"""The core of a session by our own command line: everything a newcomer does in the first hour."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from corten.cli.groups import GROUPS
from tests.e2e.conftest import BIN, Engine, is_alive
from tests.e2e.tools import ALONE, FOREVER, Terminal, container, state, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow]

RUN = ("run", "--rm", *ALONE)
PROMPT = ("-e", "PS1=ready> ")


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name for one container, which is removed afterwards."""
    given = unique()
    yield given
    engine.corten("rm", "-f", given, check=False)


@pytest.fixture
def idle_engine() -> Iterator[Engine]:
    """An engine whose daemon has not been started."""
    engine = Engine()
    yield engine
    engine.close()


def corten(engine: Engine, *words: str, size: tuple[int, int] = (24, 80)) -> Terminal:
    """Start our client at a terminal."""
    return Terminal([str(BIN / "corten"), *words], engine.environment, size)


def test_the_first_command_starts_the_daemon(idle_engine: Engine, small_tar: Path) -> None:
    """Without a daemon any command starts one, in the background, which the next command finds."""
    assert idle_engine.corten("ps").stdout.startswith("CONTAINER ID")
    (daemon,) = [pid for pid in idle_engine.pids if b"daemon.main" in _command(pid)]
    idle_engine.corten("import", str(small_tar), "small")
    assert idle_engine.corten(*RUN, "small", "/bin/sh", "-c", "echo hello").stdout == "hello\n"
    assert is_alive(daemon)
    assert os.path.exists(f"{idle_engine.run}/daemon.log")


def _command(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def test_many_first_commands_start_one_daemon(idle_engine: Engine) -> None:
    """Commands that come at the same time all work, and share one daemon."""
    commands = [
        subprocess.Popen(
            [*idle_engine._inside, str(BIN / "corten"), "ps", "-q"],
            env=idle_engine.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(5)
    ]
    assert [(command.communicate(timeout=30)[0], command.returncode) for command in commands] == [
        (b"", 0)
    ] * 5
    assert len([pid for pid in idle_engine.pids if b"daemon.main" in _command(pid)]) == 1


def test_an_idle_daemon_leaves(idle_engine: Engine) -> None:
    """A daemon told to leave when nobody needs it does so, and takes its supervisor along."""
    idle_engine.start("--idle-exit", "0.1")
    assert idle_engine.daemon is not None
    assert idle_engine.daemon.wait(20) == 0
    until(lambda: not idle_engine.pids, "the end of all its processes")


def test_system_reset_asks_first(idle_engine: Engine) -> None:
    """``system reset`` does nothing without a yes, and says what it would remove."""
    idle_engine.corten("ps")
    done = idle_engine.corten("system", "reset", input="n\n", check=False)
    assert done.returncode == 1
    assert idle_engine.root in done.stdout
    assert idle_engine.pids
    idle_engine.corten("system", "reset", input="y\n")
    assert not idle_engine.pids
    assert not os.path.exists(idle_engine.root)


def test_system_reset_ends_what_is_paused(idle_engine: Engine, small_tar: Path) -> None:
    """A frozen container does not keep ``system reset`` from removing everything; a second reset has nothing to do."""
    idle_engine.corten("import", str(small_tar), "small")
    idle_engine.corten("run", "-d", "--name", "frozen", *ALONE, "small", "/bin/sh", "-c", "sleep 1000")
    idle_engine.corten("pause", "frozen")
    for _ in range(2):
        idle_engine.corten("system", "reset", "-f")
        assert idle_engine.leftovers() == []


def test_run(engine: Engine) -> None:
    """``run --rm`` passes arguments, output, environment and exit code."""
    done = engine.corten(
        *RUN, "-e", "A=1", "debian", "sh", "-c", "echo $A $0 $1; echo e >&2; exit 7", "x", "y z", check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("1 x y z\n", "e\n", 7)


@pytest.mark.parametrize(
    ("command", "code"),
    [(("true",), 0), (("nosuch",), 127), (("/etc",), 126), (("sh", "-c", "sh -c 'kill -9 $$'"), 137)],
)
def test_exit_codes(engine: Engine, command: tuple[str, ...], code: int) -> None:
    """Our client exits as Docker's does, for run and for exec."""
    assert engine.corten(*RUN, "debian", *command, check=False).returncode == code
    with container(engine, "debian", *FOREVER) as name:
        assert engine.corten("exec", name, *command, check=False).returncode == code


def test_stdin(engine: Engine) -> None:
    """Stdin goes through, large and binary, and its end arrives."""
    data = bytes(range(256)) * (1 << 14)
    assert engine.corten(*RUN, "-i", "debian", "cat", input=data).stdout == data
    done = engine.corten(*RUN, "-i", "debian", "wc", "-c", input=bytes(50 << 20))
    assert int(done.stdout) == 50 << 20


def test_a_slow_reader_gets_everything(engine: Engine, name: str) -> None:
    """Output that waits for its reader is complete although the container is gone."""
    command = [str(BIN / "corten"), "run", "--rm", "--name", name, *ALONE, "debian", "seq", "400000"]
    with subprocess.Popen(command, env=engine.environment, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.read(1) == b"1"
        until(lambda: not engine.corten("ps", "-aq", "--filter", f"name={name}").stdout, "its removal")
        assert reader.stdout.read().endswith(b"\n400000\n")


def test_ps_and_inspect(engine: Engine, name: str) -> None:
    """What ``ps`` and ``inspect`` show is what Docker's client shows of the same engine."""
    engine.corten("run", "-d", "--name", name, "--label", "a=b", *ALONE, "debian", *FOREVER)
    chosen = ("--filter", f"name={name}")
    assert engine.corten("ps", *chosen, "-q").stdout == engine.docker("ps", *chosen, "-q").stdout
    for template in (
        "{{.Names}} {{.Image}} {{.State}} {{.Labels}}",
        "table {{.ID}}\t{{.Command}}\t{{.Ports}}",
    ):
        ours = engine.corten("ps", *chosen, "--format", template).stdout
        assert ours.split() == engine.docker("ps", *chosen, "--format", template).stdout.split()
    template = "{{.Name}} {{.State.Status}} {{json .Config.Labels}} {{.HostConfig.NetworkMode}} {{len .Args}}"
    assert (
        engine.corten("inspect", "-f", template, name).stdout
        == engine.docker("inspect", "-f", template, name).stdout
    )
    ours, theirs = (json.loads(client("inspect", name).stdout) for client in (engine.corten, engine.docker))
    assert ours == theirs


def test_logs_follow(engine: Engine, name: str) -> None:
    """``logs -f`` ends with the container; tail and times work."""
    engine.corten("run", "-d", "--name", name, *ALONE, "debian", "sh", "-c", "echo a; sleep 0.1; echo b")
    assert engine.corten("logs", "-f", name).stdout == "a\nb\n"
    assert engine.corten("logs", "--tail", "1", name).stdout == "b\n"
    assert re.fullmatch(r"\S+Z a\n\S+Z b\n", engine.corten("logs", "-t", name).stdout)


def test_the_verbs_of_a_life(engine: Engine, name: str) -> None:
    """create, start, pause, unpause, rename, restart, top, kill, wait, stop and rm print what Docker's print."""
    other = unique()
    assert len(engine.corten("create", "--name", name, *ALONE, "debian", *FOREVER).stdout.strip()) == 64
    assert engine.corten("start", name).stdout == f"{name}\n"
    assert engine.corten("pause", name).stdout == f"{name}\n"
    assert state(engine, name) == "paused"
    assert engine.corten("unpause", name).stdout == f"{name}\n"
    assert engine.corten("rename", name, other).stdout == ""
    assert engine.corten("restart", "-t", "5", other).stdout == f"{other}\n"
    assert "PID" in engine.corten("top", other).stdout
    assert engine.corten("kill", other).stdout == f"{other}\n"
    assert engine.corten("wait", other).stdout == "137\n"
    assert engine.corten("stop", other).stdout == f"{other}\n"
    assert engine.corten("rm", other).stdout == f"{other}\n"


def test_create_and_start_attached(engine: Engine, name: str) -> None:
    """``start -ai`` gives stdin, output and exit code."""
    engine.corten("create", "-i", "--name", name, *ALONE, "debian", "sh", "-c", "cat; exit 3")
    done = engine.corten("start", "-ai", name, input="typed", check=False)
    assert (done.stdout, done.returncode) == ("typed", 3)


def test_a_session_at_a_terminal(engine: Engine, name: str) -> None:
    """``run -it``: size, resize, Ctrl-C, detach, attach again, exit code, and the terminal as it was."""
    busy = "sed -u 's/x/be''gun/'\rx\r"  # a program in the foreground that tells when it is there
    with corten(
        engine, "run", "-it", "--name", name, *PROMPT, *ALONE, "debian", "sh", size=(30, 90)
    ) as terminal:
        terminal.expect("ready> ")
        terminal.type("stty size\r")
        terminal.expect("30 90")
        terminal.type(busy)
        terminal.expect("begun")
        terminal.type("\x03")
        terminal.expect("ready> ")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
        assert terminal.is_restored
    assert state(engine, name) == "running"
    with corten(engine, "attach", name) as terminal:
        terminal.type("\r")
        terminal.expect("ready> ")
        terminal.type("exit 5\r")
        assert terminal.wait() == 5
        assert terminal.is_restored


def test_a_resize_follows(engine: Engine, name: str) -> None:
    """The size of the user's terminal is the container's, at the start and when it changes."""
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.02; done"
    with corten(engine, "run", "-it", "--name", name, *ALONE, "debian", "sh", "-c", script) as terminal:
        terminal.expect("24 80")
        terminal.resize_until(50, 132, "50 132")


def test_exec_at_a_terminal(engine: Engine) -> None:
    """``exec -it`` is a session of its own."""
    with (
        container(engine, "debian", *FOREVER) as lasting,
        corten(engine, "exec", "-it", *PROMPT, lasting, "sh", size=(31, 77)) as terminal,
    ):
        terminal.expect("ready> ")
        terminal.type("stty size\r")
        terminal.expect("31 77")
        terminal.type("exit 7\r")
        assert terminal.wait() == 7


def test_images(engine: Engine, small_tar: Path, tmp_path: Path) -> None:
    """import, ls, tag, inspect, history, save, rm and load work on one image."""
    name, archive = unique("img"), tmp_path / "image.tar"
    identifier = engine.corten("import", str(small_tar), f"{name}:1").stdout.strip()
    assert re.fullmatch("sha256:[0-9a-f]{64}", identifier)
    engine.corten("tag", f"{name}:1", f"{name}:2")
    rows = [line.split()[:3] for line in engine.corten("image", "ls", name).stdout.splitlines()]
    assert rows[0] == ["REPOSITORY", "TAG", "IMAGE"]
    assert sorted(rows[1:]) == [[name, tag, identifier[7:19]] for tag in "12"]
    assert engine.corten("image", "inspect", "-f", "{{.Id}}", f"{name}:2").stdout.strip() == identifier
    assert identifier[7:19] in engine.corten("history", f"{name}:1").stdout
    engine.corten("save", "-o", str(archive), f"{name}:1", f"{name}:2")
    assert f"Deleted: {identifier}" in engine.corten("rmi", f"{name}:1", f"{name}:2").stdout
    loaded = engine.corten("load", "-i", str(archive)).stdout
    assert loaded.count("Loaded image: ") == 2
    assert engine.corten("image", "inspect", "-f", "{{.Id}}", f"{name}:1").stdout.strip() == identifier
    engine.corten("rmi", f"{name}:1", f"{name}:2")


def test_export(engine: Engine, small_tar: Path, tmp_path: Path) -> None:
    """``export`` writes to a file or to stdout, the same bytes."""
    engine.corten("import", str(small_tar), "small")
    name, archive = unique(), tmp_path / "tree.tar"
    engine.corten("create", "--name", name, *ALONE, "small", "true")
    engine.corten("export", "-o", str(archive), name)
    assert archive.read_bytes() == engine.corten("export", name, input=b"").stdout
    engine.corten("rm", name)


def test_events(engine: Engine, name: str) -> None:
    """``events`` tells the same as Docker's client shows."""
    engine.corten("run", "--name", name, *ALONE, "debian", "true")
    engine.corten("rm", name)
    until_now = engine.docker("run", "--rm", *ALONE, "debian", "date", "+%s.%N").stdout.strip()
    flags = ("events", "--since", "0", "--until", until_now, "--filter", f"container={name}")
    ours = engine.corten(*flags, "--format", "{{.Action}} {{.Actor.ID}}").stdout
    assert ours == engine.docker(*flags, "--format", "{{.Action}} {{.Actor.ID}}").stdout
    assert [line.split()[0] for line in ours.splitlines()] == ["create", "attach", "start", "die", "destroy"]


def test_info_and_version(engine: Engine) -> None:
    """``info`` and ``version`` speak of client and engine."""
    assert "Containers:" in engine.corten("info").stdout
    assert engine.corten("version", "-f", "{{.Server.Version}}").stdout.strip()
    assert engine.corten("--version").stdout.startswith("corten version ")


def test_help_is_there_for_every_command(engine: Engine) -> None:
    """The overview names each command, and each command explains itself."""
    overview = engine.corten("--help").stdout
    commands = set(re.findall(r"^  ([a-z]+)  ", overview, re.MULTILINE)) - set(GROUPS)
    assert {"run", "exec", "ps", "logs", "images"} <= commands
    for command in sorted(commands):
        assert f"corten {command}" in engine.corten(command, "--help").stdout
