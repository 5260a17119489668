"""What goes wrong is said in one clear line that tells what to do, with the right exit code, and breaks nothing else."""

from __future__ import annotations

import glob
import os
import re
import select
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import BIN, Engine
from tests.e2e.tools import ALONE, FOREVER, client, container, state, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow]

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
POINTER = re.compile(r"\n\nRun '(docker|corten) [a-z]+ --help' for more information\n")
REFUSED = [
    # what is asked of run, what the answer has to hold
    (("nosuchimage:1", "true"), "registry-1.docker.io"),
    (("--pull", "never", "nosuchimage:1"), "No such image: nosuchimage:1"),
    (("--mount", "type=bind,src=/no/such,dst=/x", "debian"), "bind source path does not exist: /no/such"),
    (("--mount", "type=bind,src=relative,dst=/x", "debian"), "must be absolute"),
    (("-v", "/tmp:relative", "debian"), "must be absolute"),
    (("-v", "na/med:/x", "debian"), "na/med"),
    (("--volumes-from", "nosuch", "debian"), "nosuch"),
    (("--network", "container:nosuch", "debian"), "nosuch"),
    (("--network", "nosuch", "debian", "true"), "network nosuch not found"),
    (("--memory", "1k", "debian"), "Minimum memory limit allowed is 6MB"),
    (("--cpus", "10000", "debian"), "range of CPUs is from 0.01 to"),
    (("--name", "a b", "debian"), "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    (("--name", "/../x", "debian"), "Invalid container name"),
    (("--stop-signal", "NOPE", "debian", "true"), "invalid signal: NOPE"),
    (("--log-driver", "nosuch", "debian"), "log driver nosuch is not available: use one of"),
    (("--log-opt", "max-size=big", "debian", "true"), "write max-size=10m"),
    (("--security-opt", "nosuch", "debian", "true"), "nosuch"),
    (("--cap-add", "NOSUCH", "debian", "true"), "NOSUCH"),
    (("--device", "/dev/nosuch", "debian", "true"), "/dev/nosuch"),
    (
        ("--user", "nosuch", "debian", "true"),
        "unable to find user nosuch: no matching entries in passwd file",
    ),
    (("--workdir", "relative", "debian", "true"), "relative"),
]
MISUSED = [
    # what does not even reach the daemon, the exit code of both clients
    (("run", "--badflag", "debian"), 125, "unknown flag: --badflag"),
    (("run",), 1, "requires at least 1 argument"),
    (("run", "-m", "abc", "debian"), 125, 'invalid argument "abc" for "-m, --memory" flag: invalid size'),
    (("run", "-p", "99999:80", "debian"), 125, "invalid hostPort: 99999"),
    (("run", "--sysctl", "no.such=1", "debian"), 125, "sysctl 'no.such=1' is not allowed"),
    (("exec", "x"), 1, "requires at least 2 arguments"),
    (("nosuchcommand",), 1, "unknown command"),
    (("load", "-i", "/no/such/file"), 1, "open /no/such/file: no such file or directory"),
]
UNKNOWN = [
    # verbs on something that is not there
    (("stop", "nosuch"), "No such container: nosuch"),
    (("kill", "nosuch"), "No such container: nosuch"),
    (("logs", "nosuch"), "No such container: nosuch"),
    (("exec", "nosuch", "true"), "No such container: nosuch"),
    (("wait", "nosuch"), "No such container: nosuch"),
    (("rm", "nosuch"), "No such container: nosuch"),
    (("top", "nosuch"), "No such container: nosuch"),
    (("inspect", "nosuch"), "No such object: nosuch"),
    (("rmi", "nosuch"), "No such image: nosuch:latest"),
    (("tag", "nosuch", "other"), "No such image: nosuch:latest"),
    (("history", "nosuch"), "No such image: nosuch:latest"),
    (("ps", "--filter", "nosuch=1"), "invalid filter 'nosuch'"),
    (("images", "--filter", "nosuch=1"), "invalid filter 'nosuch'"),
]
CLIENTS = ["docker", "corten"]


def ask(engine: Engine, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a client that is to fail."""
    run = engine.docker if program == "docker" else engine.corten
    done: subprocess.CompletedProcess[str] = run(*words, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done


def one_line(text: str) -> str:
    """Return the only line of *text*; a pointer to the help may follow it."""
    (line,) = POINTER.sub("\n", text).splitlines()
    return line


@pytest.mark.parametrize("program", CLIENTS)
@pytest.mark.parametrize(("words", "reason"), REFUSED)
def test_run_refuses(engine: Engine, program: str, words: tuple[str, ...], reason: str) -> None:
    """A wish that cannot be met is refused with code 125, in one line that names it, and leaves no container."""
    name = () if "--name" in words else ("--name", unique())
    network = () if {"--network", "-p"} & {*words} else ALONE
    done = ask(engine, program, "run", "--rm", *name, *network, *words)
    text = done.stderr.replace("Unable to find image 'nosuchimage:1' locally\n", "")
    assert done.returncode == 125
    assert reason in one_line(text)
    if name:
        until(lambda: not engine.docker("ps", "-aq", "--filter", f"name={name[1]}").stdout, "its removal")


@pytest.mark.parametrize("program", CLIENTS)
@pytest.mark.parametrize(("words", "code", "reason"), MISUSED)
def test_misuse(engine: Engine, program: str, words: tuple[str, ...], code: int, reason: str) -> None:
    """A command line that is none is refused as Docker refuses it."""
    done = ask(engine, program, *words)
    assert done.returncode == code
    assert reason in done.stderr.splitlines()[0]


@pytest.mark.parametrize("program", CLIENTS)
@pytest.mark.parametrize(("words", "reason"), UNKNOWN)
def test_what_is_not_there(engine: Engine, program: str, words: tuple[str, ...], reason: str) -> None:
    """A verb on something that does not exist names it, in one line, with code 1."""
    done = ask(engine, program, *words)
    assert done.returncode == 1
    assert reason.lower() in one_line(done.stderr).lower()


@pytest.mark.parametrize("program", CLIENTS)
def test_bad_wishes_for_what_runs(engine: Engine, program: str) -> None:
    """Unknown signals, users and folders are refused by name; the container is as before."""
    with container(engine, "debian", *FOREVER) as name:
        assert "invalid signal: NOPE" in one_line(ask(engine, program, "kill", "-s", "NOPE", name).stderr)
        assert "invalid signal: 99" in one_line(ask(engine, program, "kill", "-s", "99", name).stderr)
        done = ask(engine, program, "exec", "-u", "nosuch", name, "true")
        assert (done.returncode, "nosuch" in one_line(done.stdout + done.stderr)) == (126, True)
        done = ask(engine, program, "exec", "-w", "/no/such", name, "true")
        assert (done.returncode, "/no/such" in one_line(done.stdout + done.stderr)) == (127, True)
        ask(engine, program, "rename", name, "a b")
        assert engine.docker("inspect", "-f", "{{.State.Status}}", name).stdout == "running\n"


def test_only_root_may_speak_to_the_daemon(engine: Engine) -> None:
    """Another user's client is told to use sudo."""
    done = subprocess.run(
        [*NOBODY, BIN / "corten", "ps"], env=engine.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "permission denied" in one_line(done.stderr)
    assert "sudo" in done.stderr


@pytest.mark.parametrize("words", [("ps",), ("daemon",), ("system", "reset", "-f")])
def test_only_root_may_start_one(idle_engine: Engine, words: tuple[str, ...]) -> None:
    """Without root nothing is started or reset, and the line says what to do."""
    done = subprocess.run(
        [*NOBODY, BIN / "corten", *words],
        env=idle_engine.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "root" in one_line(done.stderr)
    assert "sudo" in done.stderr


# a daemon that cannot start


@pytest.fixture
def idle_engine() -> Iterator[Engine]:
    """An engine whose daemon has not been started."""
    engine = Engine()
    yield engine
    engine.close()


def start_fails(engine: Engine) -> str:
    """Try to use *engine* in the foreground and by a client; return the reason, which both tell."""
    daemon = engine.corten("daemon", check=False)
    asked = engine.corten("ps", check=False)
    assert (daemon.returncode, asked.returncode) == (1, 125)
    line = one_line(daemon.stderr)
    assert line.startswith("corten daemon: ")
    assert one_line(asked.stderr) == f"the daemon did not start: {line}; see {engine.run}/daemon.log"
    assert not engine.pids
    return line


def test_the_root_is_a_file(idle_engine: Engine) -> None:
    """A state directory that is a file is named, with what to do."""
    with open(idle_engine.root, "wb"):
        pass
    assert start_fails(idle_engine).endswith(
        f"cannot use {idle_engine.root}: it is not a folder: move it away, or choose another --root and --run"
    )
    os.unlink(idle_engine.root)


def test_the_root_cannot_be_made(idle_engine: Engine) -> None:
    """A state directory in a place where none can be made is named, with the reason."""
    idle_engine.environment["CORTEN_ROOT"] = "/proc/corten"
    line = start_fails(idle_engine)
    assert "cannot use /proc/corten: No such file or directory" in line
    idle_engine.environment["CORTEN_ROOT"] = idle_engine.root


def test_the_sockets_place_is_taken(idle_engine: Engine) -> None:
    """A file where the socket should be is not replaced, and no supervisor is left behind."""
    os.mkdir(idle_engine.run)
    with open(idle_engine.socket, "wb"):
        pass
    assert "exists and is not a socket: move it away" in start_fails(idle_engine)
    assert os.path.isfile(idle_engine.socket)


def test_the_path_of_the_socket_is_too_long(idle_engine: Engine) -> None:
    """A run directory whose socket has no room in an address is refused with a word about --run."""
    done = idle_engine.corten("--run", f"{idle_engine.base}/{'x' * 120}", "ps", check=False)
    assert done.returncode == 1
    assert "path too long: choose another --run" in one_line(done.stderr)


def test_a_second_daemon_on_the_same_state(engine: Engine) -> None:
    """Two daemons on one state directory, or one run directory, cannot be: the first is named."""
    assert engine.daemon is not None
    for folders in (
        ("--root", engine.root, "--run", f"{engine.base}/other"),
        ("--root", f"{engine.base}/other"),
    ):
        done = engine.corten(*folders, "daemon", check=False)
        assert done.returncode == 1
        assert f"another corten daemon (process {engine.daemon.pid}) uses" in one_line(done.stderr)
        assert "stop it first, or choose another --root and --run" in done.stderr
        shutil.rmtree(f"{engine.base}/other", ignore_errors=True)
    assert engine.docker("ps", "-q").returncode == 0


def test_no_daemon_answers(idle_engine: Engine) -> None:
    """Docker's client without a daemon, and ours with an address that is not its own, start nothing."""
    assert "Is the docker daemon running?" in idle_engine.docker("ps", check=False).stderr
    done = idle_engine.corten("-H", "unix:///no/such.sock", "ps", check=False)
    assert one_line(done.stderr).endswith("Is the corten daemon running?")
    done = idle_engine.corten("-H", "tcp://127.0.0.1:1", "ps", check=False)
    assert "corten listens on Unix sockets" in one_line(done.stderr)
    assert not idle_engine.pids


# a machine that lacks something


@contextmanager
def started_after(engine: Engine, script: str) -> Iterator[Engine]:
    """Start *engine*'s daemon in a mount namespace of its own, in which the shell *script* was run first."""
    os.makedirs(engine.root)
    with open(f"{engine.base}/daemon.log", "ab") as log:
        engine.daemon = subprocess.Popen(
            [*engine._inside, "unshare", "--mount", "sh", "-ec", f"{script}\nexec {BIN}/corten daemon"],
            env=engine.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    daemon = engine.daemon
    until(lambda: os.path.exists(engine.socket) or daemon.poll() is not None, "the daemon")
    yield engine


def hidden(library: str) -> str:
    """Return a script that puts an empty file in the place of a shared library."""
    (path,) = {os.path.realpath(path) for path in glob.glob(f"/usr/lib/*-linux-gnu/{library}")}
    return f"mount --bind /dev/null {path}"


def test_libseccomp_is_missing(idle_engine: Engine, small_tar: Path) -> None:
    """Without libseccomp a container does not start unconfined: the package to install is named."""
    with started_after(idle_engine, hidden("libseccomp.so.2")):
        idle_engine.import_tree(small_tar, "small")
        words = ("run", "--rm", *ALONE)
        done = idle_engine.docker(*words, "small", "/bin/true", check=False)
        assert done.returncode == 125
        assert "libseccomp.so.2 is missing" in one_line(done.stderr)
        assert "apt install libseccomp2" in done.stderr
        idle_engine.docker(*words, "--security-opt", "seccomp=unconfined", "small", "/bin/true")


def test_libnftables_is_missing(idle_engine: Engine) -> None:
    """Without libnftables the daemon says which package it needs."""
    with started_after(idle_engine, hidden("libnftables.so.1")):
        assert idle_engine.daemon is not None
        assert idle_engine.daemon.wait(20) == 1
        assert "libnftables.so.1 is missing: " in one_line(idle_engine.logs)
        assert "apt install libnftables1" in idle_engine.logs


def test_mmdebstrap_is_missing(idle_engine: Engine) -> None:
    """Without mmdebstrap ``image bootstrap`` names the package, before it does anything."""
    mask = "for file in $(command -v mmdebstrap); do mount --bind /dev/null $file; done"
    with started_after(idle_engine, mask):
        done = idle_engine.corten("image", "bootstrap", "debian", check=False)
        assert done.returncode == 1
        assert "install mmdebstrap" in one_line(done.stderr)
        assert idle_engine.docker("images", "-q").stdout == ""


def test_the_disk_is_full(idle_engine: Engine, image_archive: Path, small_tar: Path) -> None:
    """On a full disk everything that makes room works; what needs room says so; afterwards all is well."""
    with started_after(idle_engine, f"mount -t tmpfs -o size=48m none {idle_engine.root}") as engine:
        done = engine.docker("load", "-i", str(image_archive), check=False)
        assert done.returncode == 1
        assert "no space left" in one_line(done.stderr)
        engine.import_tree(small_tar, "small")
        before = engine.docker("images", "-q", "--no-trunc").stdout

        fill = "cat /dev/zero >/file; echo full; while :; do sleep 1000; done"
        engine.docker("run", "-d", "--name", "filling", *ALONE, "small", "/bin/sh", "-c", fill)
        until(
            lambda: engine.docker("create", "small", "/bin/true", check=False).returncode,
            "the disk to be full",
        )
        refused = ask(engine, "docker", "run", "--rm", *ALONE, "small", "/bin/true")
        assert refused.returncode == 125
        assert re.search("no space left .*: remove", one_line(refused.stderr))

        assert "filling" in engine.docker("ps").stdout
        assert engine.docker("exec", "filling", "/bin/sh", "-c", "echo inside").stdout == "inside\n"
        engine.docker("rename", "filling", "full")
        engine.docker("stop", "-t", "0", "full")
        assert "Exited (137)" in engine.docker("ps", "-a", "--filter", "name=full").stdout
        engine.docker("rm", *engine.docker("ps", "-aq").stdout.split())

        until(lambda: engine.docker("create", "small", "/bin/true", check=False).returncode == 0, "the room")
        done = engine.docker("run", "--rm", *ALONE, "small", "/bin/sh", "-c", "echo again")
        assert done.stdout == "again\n"
        assert engine.docker("images", "-q", "--no-trunc").stdout == before


def test_what_is_written_while_the_disk_is_full(idle_engine: Engine, small_tar: Path) -> None:
    """Lines that cannot be logged for want of space wait, and are logged in order when there is room again."""
    with started_after(idle_engine, f"mount -t tmpfs -o size=24m none {idle_engine.root}") as engine:
        engine.import_tree(small_tar, "small")
        script = "read go; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo $i; done"
        engine.docker("run", "-di", "--name", "writing", *ALONE, "small", "/bin/sh", "-c", script)
        engine.docker(
            "run", "-d", "--name", "filling", *ALONE, "small", "/bin/sh", "-c", "cat /dev/zero >/file"
        )
        engine.docker("wait", "filling")
        process = os.pidfd_open(int(state(engine, "writing", "{{.State.Pid}}")))
        with client(engine, "attach", "writing", stdin=subprocess.PIPE) as writer:
            assert writer.stdin is not None
            writer.stdin.write(b"\n")
            writer.stdin.flush()
            select.select([process], [], [], 20)  # it has written everything, and ended
            engine.docker("rm", "filling")
            assert engine.docker("wait", "writing").stdout == "0\n"
        os.close(process)
        lines = "".join(f"{number}\n" for number in range(1, 30001))
        until(lambda: engine.docker("logs", "writing").stdout == lines, "the whole log")
