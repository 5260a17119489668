"""``docker run`` by the real client: what the container sees, what comes out, and with which exit code."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import ALONE, FOREVER, client, container, said, state, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

LARGE = 50 << 20  # bytes
RUN = ("run", "--rm", *ALONE)
CODES = [
    (("true",), 0),
    (("false",), 1),
    (("sh", "-c", "exit 2"), 2),
    (("sh", "-c", "exit 100"), 100),
    (("sh", "-c", "exit 125"), 125),
    (("sh", "-c", "exit 255"), 255),
    (("sh", "-c", "sh -c 'kill -KILL $$'"), 137),
    (("sh", "-c", "sh -c 'kill -SEGV $$'"), 139),
    (("nosuchprogram",), 127),
    (("/no/such/program",), 127),
    (("/etc",), 126),
    (("/etc/passwd",), 126),
]
SIGNALS = [("HUP", 129), ("INT", 130), ("QUIT", 131), ("KILL", 137), ("TERM", 143), ("USR1", 138)]


def test_a_debian_container_says_that_it_is_debian(engine: Engine) -> None:
    """``docker run --rm debian cat /etc/os-release`` prints the image's file and nothing else."""
    done = engine.docker(*RUN, "debian", "cat", "/etc/os-release")
    assert 'NAME="Debian GNU/Linux"' in done.stdout
    assert "ID=debian\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "code"), CODES)
def test_the_exit_code_passes(engine: Engine, command: tuple[str, ...], code: int) -> None:
    """The client exits with the code of the program, 126 or 127 where there was none to start."""
    assert engine.docker(*RUN, "debian", *command, check=False).returncode == code


@pytest.mark.parametrize(("command", "code"), CODES)
def test_exec_passes_the_exit_code(engine: Engine, lasting: str, command: tuple[str, ...], code: int) -> None:
    """What run gives, exec gives too."""
    assert engine.docker("exec", lasting, *command, check=False).returncode == code


@pytest.fixture(scope="module")
def lasting(engine: Engine) -> Iterator[str]:
    """A container that runs as long as the tests of this file."""
    with container(engine, "debian", *FOREVER) as name:
        yield name


@pytest.mark.parametrize(("signal", "code"), SIGNALS)
def test_death_by_a_signal_is_128_and_its_number(engine: Engine, signal: str, code: int) -> None:
    """A program that a signal ends gives 128+n, with an init and without; nothing is ignored at its start."""
    done = engine.docker(*RUN, "--init", "debian", "sh", "-c", f"kill -{signal} $$; sleep 5", check=False)
    assert done.returncode == code
    done = engine.docker(
        *RUN, "debian", "sh", "-c", f"sh -c 'kill -{signal} $$; sleep 5'; exit $?", check=False
    )
    assert done.returncode == code


def test_no_signal_is_ignored_or_blocked_at_the_start(engine: Engine, lasting: str) -> None:
    """The engine's own dispositions of signals do not reach a container, nor an exec."""
    look = ("grep", "-E", "SigIgn|SigBlk", "/proc/self/status")
    for text in (engine.docker(*RUN, "debian", *look).stdout, engine.docker("exec", lasting, *look).stdout):
        masks = [int(line.split()[1], 16) for line in text.splitlines()]
        assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]  # 32 belongs to the C library


@pytest.mark.parametrize("code", [0, 1, 2, 100, 255])
def test_every_way_to_ask_for_the_exit_code_agrees(engine: Engine, code: int) -> None:
    """``wait``, ``inspect``, ``ps`` and ``start -a`` tell what the program returned."""
    with container(engine, "debian", "sh", "-c", f"exit {code}") as name:
        assert engine.docker("wait", name).stdout == f"{code}\n"
        assert state(engine, name, "{{.State.ExitCode}} {{.State.Status}}") == f"{code} exited"
        listed = engine.docker("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").stdout
        assert listed.startswith(f"Exited ({code}) ")
        assert engine.docker("start", "-a", name, check=False).returncode == code


def test_what_cannot_start_is_recorded(engine: Engine) -> None:
    """A container whose program is not there stays, created, with the reason and code 127."""
    name = unique()
    done = engine.docker("run", "--name", name, *ALONE, "debian", "nosuchprogram", check=False)
    assert done.returncode == 127
    assert 'exec: "nosuchprogram": executable file not found in $PATH' in done.stderr
    assert state(engine, name, "{{.State.Status}} {{.State.ExitCode}}") == "created 127"
    assert "executable file not found" in state(engine, name, "{{.State.Error}}")
    engine.docker("rm", name)


def test_detached_prints_the_id(engine: Engine, tmp_path: Path) -> None:
    """``run -d`` prints 64 hex digits, which ``--cidfile`` gets too, and does not wait."""
    cidfile = tmp_path / "cid"
    done = engine.docker("run", "-d", "--cidfile", str(cidfile), *ALONE, "debian", "sleep", "1000")
    identifier = done.stdout.strip()
    assert len(identifier) == 64
    assert int(identifier, 16)
    assert cidfile.read_text() == identifier
    assert state(engine, identifier[:12]) == "running"
    engine.docker("rm", "-f", identifier[:4])


def test_rm_leaves_nothing(engine: Engine) -> None:
    """After ``run --rm`` the container is gone, whether it worked, failed or never started."""
    name = unique()
    for command in ("true", "false", "nosuchprogram"):
        engine.docker(*RUN, "--name", name, "debian", command, check=False)
        until(lambda: not engine.docker("ps", "-aq", "--filter", f"name={name}").stdout, "its removal")


def test_environment(engine: Engine, tmp_path: Path) -> None:
    """``-e`` sets, takes over and unsets nothing else; ``--env-file`` knows comments; ``-e`` wins over the file."""
    file = tmp_path / "env"
    file.write_text("# a comment\n\nFROM_FILE=a b=c\nBOTH=file\nHANDED\n")
    words = ("--env-file", str(file), "-e", "BOTH=flag", "-e", "EMPTY=", "-e", "NOT_SET_HERE")
    lines = engine.docker(*RUN, *words, "debian", "env").stdout.splitlines()
    assert {"FROM_FILE=a b=c", "BOTH=flag", "EMPTY="} <= set(lines)
    assert not [line for line in lines if line.startswith(("NOT_SET_HERE", "HANDED", "#"))]
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in lines


def test_working_folder_is_made(engine: Engine) -> None:
    """``-w`` makes the folder where the image has none, and the program starts there."""
    assert engine.docker(*RUN, "-w", "/new/folder", "debian", "pwd").stdout == "/new/folder\n"


def test_volume_flag_binds_a_folder(engine: Engine, tmp_path: Path) -> None:
    """``-v`` shows the host's folder both ways, ``:ro`` only one; a missing source is made."""
    (tmp_path / "in").write_text("from the host")
    script = "cat /data/in; echo -n from inside >/data/out; touch /ro/x 2>/dev/null || echo refused"
    volumes = ("-v", f"{tmp_path}:/data", "-v", f"{tmp_path}:/ro:ro", "-v", f"{tmp_path}/made:/made")
    done = engine.docker(*RUN, *volumes, "debian", "sh", "-c", script)
    assert done.stdout == "from the hostrefused\n"
    assert (tmp_path / "out").read_text() == "from inside"
    assert (tmp_path / "made").is_dir()


def test_mount_flag(engine: Engine, tmp_path: Path) -> None:
    """``--mount`` binds a file read-only, and makes a tmpfs of the size and mode asked for."""
    (tmp_path / "file").write_text("bytes")
    mounts = (
        *("--mount", f"type=bind,source={tmp_path}/file,target=/file,readonly"),
        *("--mount", "type=tmpfs,destination=/tmpfs,tmpfs-size=1048576,tmpfs-mode=0750"),
    )
    script = "cat /file; (echo x >/file) 2>/dev/null || echo :refused; stat -c %a /tmpfs; stat -f -c '%T %b %S' /tmpfs"
    lines = engine.docker(*RUN, *mounts, "debian", "sh", "-c", script).stdout.splitlines()
    kind, blocks, size = lines[2].split()
    assert lines[:2] == ["bytes:refused", "750"]
    assert (kind, int(blocks) * int(size)) == ("tmpfs", 1 << 20)


def test_entrypoint_is_replaced(engine: Engine) -> None:
    """``--entrypoint`` is put before the words, which replace the image's command."""
    assert engine.docker(*RUN, "--entrypoint", "echo", "debian", "a", "b").stdout == "a b\n"


def test_labels_are_kept(engine: Engine, tmp_path: Path) -> None:
    """``--label`` and ``--label-file`` can be read back by inspect and used to filter."""
    file = tmp_path / "labels"
    file.write_text("from.file=yes\n")
    mark = unique()
    words = ("--label", f"mark={mark}", "--label", "plain", "--label-file", str(file))
    with container(engine, *words, "debian", "true") as name:
        assert state(engine, name, '{{index .Config.Labels "from.file"}} {{len .Config.Labels}}') == "yes 3"
        listed = engine.docker("ps", "-a", "--filter", f"label=mark={mark}", "--format", "{{.Names}}")
        assert listed.stdout == f"{name}\n"
        missed = engine.docker("ps", "-a", "--filter", f"label=mark={mark}x", "--format", "{{.Names}}")
        assert missed.stdout == ""


def test_a_taken_name_is_refused(engine: Engine, lasting: str) -> None:
    """A second container of the same name is refused with the first one's id, and exit code 125."""
    done = engine.docker("run", "--name", lasting, *ALONE, "debian", "true", check=False)
    identifier = state(engine, lasting, "{{.Id}}")
    assert done.returncode == 125
    assert f'The container name "/{lasting}" is already in use by container "{identifier}"' in done.stderr


def test_init_reaps_and_passes_signals(engine: Engine) -> None:
    """With ``--init`` the program is not process 1, and ends by a signal that it does not handle."""
    assert engine.docker(*RUN, "--init", "debian", "sh", "-c", "test $$ -ne 1 && cat /proc/1/comm").stdout
    with container(engine, "--init", "debian", "sleep", "1000") as name:
        engine.docker("stop", name)
        assert state(engine, name, "{{.State.ExitCode}}") == "143"


def test_stop_signal_and_timeout(engine: Engine) -> None:
    """``--stop-signal`` is what stop sends; after ``--stop-timeout`` seconds the kill follows."""
    script = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 1000 & wait; done"
    with container(engine, "--stop-signal", "USR1", "debian", "sh", "-c", script) as name:
        until(lambda: said(engine, name), "its first word")
        engine.docker("stop", name)
        assert state(engine, name, "{{.State.ExitCode}}") == "3"
        assert said(engine, name) == "ready\ngot it\n"
    with container(engine, "--stop-timeout", "0", "debian", "sleep", "1000") as name:
        engine.docker("stop", name)
        assert state(engine, name, "{{.State.ExitCode}}") == "137"


def test_pull_never_and_missing(engine: Engine) -> None:
    """An image that is here is used without a registry; one that is not is named, with code 125."""
    for policy in ("never", "missing"):
        assert engine.docker(*RUN, "--pull", policy, "debian", "true").returncode == 0
        done = engine.docker(*RUN, "--pull", policy, "nosuchimage:1", "true", check=False)
        assert done.returncode == 125
        assert "nosuchimage:1" in done.stderr


def test_stdin_is_passed(engine: Engine) -> None:
    """``echo x | docker run -i`` reaches the program, and the end of it too."""
    assert engine.docker(*RUN, "-i", "debian", "cat", input="x\n").stdout == "x\n"


def test_without_i_stdin_is_empty(engine: Engine) -> None:
    """Without ``-i`` nothing of the client's stdin arrives: the program reads the end at once."""
    assert engine.docker(*RUN, "debian", "wc", "-c", input="not for you").stdout == "0\n"


def test_output_goes_on_after_stdin_has_ended(engine: Engine) -> None:
    """The end of stdin closes one direction only: what the program says afterwards arrives."""
    done = engine.docker(*RUN, "-i", "debian", "sh", "-c", "cat >/dev/null; sleep 0.2; echo after", input="x")
    assert done.stdout == "after\n"


def test_large_stdin(engine: Engine) -> None:
    """50 MB of stdin arrive to the last byte."""
    done = engine.docker(*RUN, "-i", "debian", "wc", "-c", input=bytes(LARGE))
    assert int(done.stdout) == LARGE


def test_both_directions_are_binary_safe(engine: Engine) -> None:
    """Random bytes go through ``cat`` and come back the same, more than any buffer holds."""
    data = os.urandom(8 << 20)
    done = engine.docker(*RUN, "-i", "debian", "cat", input=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_large_stdout_is_complete(engine: Engine) -> None:
    """50 MB of output arrive to the last byte although the program ends at once after the last write."""
    script = f"head -c {LARGE} /dev/zero | tr '\\0' x"
    done = engine.docker(*RUN, "debian", "sh", "-c", script, input=b"")
    assert len(done.stdout) == LARGE
    assert not done.stdout.strip(b"x")


def test_stdout_and_stderr_stay_apart(engine: Engine) -> None:
    """What goes to stderr comes out of the client's stderr, each in its order."""
    script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done"
    done = engine.docker(*RUN, "debian", "sh", "-c", script)
    assert (done.stdout, done.stderr) == ("out1\nout2\nout3\n", "err1\nerr2\nerr3\n")


def test_a_reader_that_stops_ends_the_client(engine: Engine) -> None:
    """``docker run ... | head`` ends, and leaves no container behind."""
    name = unique()
    with client(engine, *RUN, "--name", name, "debian", "yes") as reader:
        assert reader.stdout is not None
        assert reader.stdout.read(1 << 16)
        reader.stdout.close()
        assert reader.wait(20) != 0
    engine.docker("rm", "-f", name, check=False)
    until(lambda: not engine.docker("ps", "-aq", "--filter", f"name={name}").stdout, "its removal")


def test_ten_at_once(engine: Engine) -> None:
    """Clients that run at the same time get their own output and exit code each."""

    def one(number: int) -> tuple[str, int]:
        done = engine.docker(*RUN, "debian", "sh", "-c", f"echo {number}; exit {number}", check=False)
        return done.stdout, done.returncode

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(10))) == [(f"{number}\n", number) for number in range(10)]


def test_client_signals_are_passed_on(engine: Engine) -> None:
    """A client without a terminal that gets TERM hands it to the program and exits as that does."""
    name = unique()
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done"
    with client(engine, *RUN, "--name", name, "debian", "sh", "-c", script) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        reader.terminate()
        assert reader.wait(20) == 9
