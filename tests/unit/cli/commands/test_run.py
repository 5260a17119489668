"""Run, create, start, attach and exec: the conversation with the daemon, streams and exit statuses."""

import os
import pty
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.server import Daemon, Reply, Request, command, corten, frame

Stream = Callable[[socket.socket], None]
PATIENCE = 20.0  # seconds


def silent(sock: socket.socket) -> None:
    """Say nothing and hang up."""


def container(daemon: Daemon, stream: Stream = silent, status: int = 0, *, tty: bool = False) -> None:
    """Let the daemon have a container ``c`` whose attached stream is *stream*."""
    daemon.on("POST", "/containers/create", Reply(201, {"Id": "c", "Warnings": []}))
    daemon.on("POST", "/containers/c/attach", Reply(stream=stream))
    daemon.on("POST", "/containers/c/wait", Reply(200, chunks=[b'{"StatusCode":%d}' % status]))
    for verb in ("start", "kill", "resize"):
        daemon.on("POST", f"/containers/c/{verb}", Reply(204))
    state = {"Running": True, "Paused": False, "Restarting": False}
    facts = {"Config": {"Tty": tty, "OpenStdin": True}, "State": state}
    daemon.on("GET", "/containers/c/json", Reply(200, facts))


def copy_upwards(sock: socket.socket) -> None:
    """Answer all of stdin in capitals, after it has ended."""
    received = b""
    while data := sock.recv(65536):
        received += data
    sock.sendall(frame(1, received.upper()))


def test_output_and_exit_status(daemon: Daemon) -> None:
    """The streams come out apart, and the status of the container is that of the command."""
    container(daemon, lambda sock: sock.sendall(frame(1, b"out\n") + frame(2, b"err\n")), status=7)

    done = corten(daemon, "run", "--rm", "image", "sh")

    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert daemon.asked()[0] == "POST /containers/create"
    assert sorted(daemon.asked()[1:3]) == ["POST /containers/c/attach", "POST /containers/c/wait"]
    assert daemon.asked()[3:] == ["POST /containers/c/start"]
    wait = next(request for request in daemon.requests if request.path.endswith("/wait"))
    assert wait.query == {"condition": ["removed"]}


def test_stdin_and_its_end(daemon: Daemon) -> None:
    """All of stdin arrives, its end too, and output goes on after it."""
    container(daemon, copy_upwards)

    done = corten(daemon, "run", "-i", "image", "cat", stdin=b"hello" * 100_000)

    assert (done.returncode, done.stdout) == (0, b"HELLO" * 100_000)


def test_both_directions_at_once(daemon: Daemon) -> None:
    """A container that writes much before it reads does not block the two of them."""

    def talk(sock: socket.socket) -> None:
        for _ in range(64):
            sock.sendall(frame(1, b"x" * 65536))
        copy_upwards(sock)

    container(daemon, talk)

    done = corten(daemon, "run", "-i", "image", "cat", stdin=b"a" * 1_000_000)

    assert len(done.stdout) == 64 * 65536 + 1_000_000


def test_a_container_that_does_not_read(daemon: Daemon) -> None:
    """Stdin that nobody takes does not keep the output from coming."""

    def close_input(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_RD)
        sock.sendall(frame(1, b"still here"))

    container(daemon, close_input)

    assert corten(daemon, "run", "-i", "image", stdin=b"x" * 1_000_000).stdout == b"still here"


def test_in_the_background(daemon: Daemon) -> None:
    """-d prints the id and attaches nothing."""
    container(daemon)

    done = corten(daemon, "run", "-d", "--name", "web", "image")

    assert (done.returncode, done.stdout) == (0, b"c\n")
    assert daemon.asked() == ["POST /containers/create", "POST /containers/c/start"]
    assert daemon.requests[0].query == {"name": ["web"]}


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ('exec: "nosuch": executable file not found in $PATH', 127),
        ("exec /x: no such file or directory", 127),
        ("exec /etc/passwd: permission denied", 126),
        ("exec /: is a directory", 126),
        ("no room", 125),
    ],
)
def test_a_start_that_fails(daemon: Daemon, reason: str, status: int) -> None:
    """The reason is told, and the status is the one a shell would give."""
    container(daemon)
    daemon.on("POST", "/containers/c/start", Reply(400, {"message": reason}))

    done = corten(daemon, "run", "image", "nosuch")

    assert done.returncode == status
    expected = (
        f"corten: Error response from daemon: {reason}\n\nRun 'corten run --help' for more information\n"
    )
    assert done.stderr.decode() == expected


def test_an_image_that_is_missing_is_pulled(daemon: Daemon) -> None:
    """The daemon is asked to fetch it, then asked again; progress goes to stderr."""
    replies = [Reply(404, {"message": "No such image: debian:latest"}), Reply(201, {"Id": "c"})]
    container(daemon)
    daemon.on("POST", "/containers/create", lambda _: replies.pop(0))
    daemon.on("POST", "/images/create", Reply(200, chunks=[b'{"status":"Pulling","id":"x"}\n']))

    done = corten(daemon, "run", "-d", "debian")

    assert (done.returncode, done.stdout) == (0, b"c\n")
    assert done.stderr == b"Unable to find image 'debian:latest' locally\nx: Pulling\n"
    assert daemon.requests[1].query == {"fromImage": ["debian"], "tag": ["latest"]}


@pytest.mark.parametrize("pull", ["missing", "never"])
def test_an_image_that_cannot_be_had(daemon: Daemon, pull: str) -> None:
    """The failure of the pull, or of the create, ends with 125."""
    daemon.on("POST", "/containers/create", Reply(404, {"message": "No such image: x:latest"}))
    daemon.on("POST", "/images/create", Reply(501, {"message": "pull is not available"}))

    done = corten(daemon, "run", "--pull", pull, "x")

    assert done.returncode == 125
    assert (b"pull is not available" if pull == "missing" else b"No such image: x:latest") in done.stderr


def test_the_id_is_written_into_a_file(daemon: Daemon, tmp_path: Path) -> None:
    """--cidfile must not exist; it is there only if the container is."""
    container(daemon)
    name = str(tmp_path / "cid")

    assert corten(daemon, "create", "--cidfile", name, "x").stdout == b"c\n"
    assert Path(name).read_text() == "c"
    again = corten(daemon, "create", "--cidfile", name, "x")
    assert b"container ID file found" in again.stderr
    daemon.on("POST", "/containers/create", Reply(500, {"message": "no"}))
    assert corten(daemon, "create", "--cidfile", name + "2", "x").returncode == 125
    assert not Path(name + "2").exists()


def test_warnings_are_shown(daemon: Daemon) -> None:
    """What the daemon warns of goes to stderr."""
    daemon.on("POST", "/containers/create", Reply(201, {"Id": "c", "Warnings": ["no swap"]}))

    assert corten(daemon, "create", "x").stderr == b"WARNING: no swap\n"


def test_signals_reach_the_container(daemon: Daemon) -> None:
    """A signal to the client is passed on, and the client stays."""

    def kill(request: Request) -> Reply:
        asked.append(request.query["signal"][0])
        return Reply(204)

    def until_killed(sock: socket.socket) -> None:
        sock.sendall(frame(1, b"ready\n"))
        deadline = time.monotonic() + PATIENCE
        poll = select.poll()
        poll.register(sock, 0)
        while not asked and time.monotonic() < deadline:
            poll.poll(10)

    asked: list[str] = []
    container(daemon, until_killed, status=143)
    daemon.on("POST", "/containers/c/kill", kill)
    with subprocess.Popen(command(daemon, "run", "x"), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)

    assert (asked, process.returncode) == (["TERM"], 143)


def test_an_interrupted_client_says_nothing(daemon: Daemon) -> None:
    """Ctrl-C in a command that only waits ends it with 130."""

    def interrupt(request: Request) -> Reply:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        return Reply(200, {})

    daemon.on("POST", "/containers/c/wait", interrupt)
    process = subprocess.Popen(command(daemon, "wait", "c"), stderr=subprocess.PIPE)
    with process:
        assert process.stderr
        said = process.stderr.read()

    assert (process.returncode, said) == (130, b"")


class Terminal:
    """A client on a pseudo-terminal of its own."""

    def __init__(self, daemon: Daemon, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command(daemon, *words), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.shown = b""

    def until(self, text: bytes) -> None:
        """Wait until *text* is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 4096)

    def type(self, keys: bytes) -> None:
        """Type *keys*."""
        os.write(self.master, keys)

    def end(self) -> int:
        """Wait for the client and return its exit status."""
        status = self.process.wait(PATIENCE)
        os.close(self.master)
        return status


def echo(sock: socket.socket) -> None:
    """Show what is typed in brackets, until an ``x``."""
    sock.sendall(b"ready ")
    while data := sock.recv(100):
        sock.sendall(b"[" + data + b"]")
        if b"x" in data:
            return


def test_a_terminal(daemon: Daemon) -> None:
    """Keys go through one by one and unchanged, and the daemon learns the size of the screen."""
    container(daemon, echo, status=5)
    terminal = Terminal(daemon, "run", "-it", "image")
    terminal.until(b"ready")
    terminal.type(b"a\x03")
    terminal.until(b"[a\x03]")
    terminal.type(b"x")
    terminal.until(b"[x]")

    assert terminal.end() == 5
    assert daemon.requests[0].json()["Tty"] is True


@pytest.mark.parametrize(("flags", "keys"), [([], b"\x10\x11"), (["--detach-keys", "ctrl-a,b"], b"\x01b")])
def test_detaching(daemon: Daemon, flags: list[str], keys: bytes) -> None:
    """The keys leave the container alone and end the client with 0."""
    container(daemon, echo, status=5)
    terminal = Terminal(daemon, "run", *flags, "-it", "image")
    terminal.until(b"ready")
    terminal.type(keys)

    assert terminal.end() == 0


def test_no_terminal_where_one_is_needed(daemon: Daemon) -> None:
    """-it without a terminal is refused in Docker's words before anything is created."""
    done = corten(daemon, "run", "-it", "image")

    assert (done.returncode, done.stderr, daemon.requests) == (1, b"the input device is not a TTY\n", [])


def test_exec(daemon: Daemon) -> None:
    """The streams and the status of the command in the container."""
    daemon.on("POST", "/containers/c/exec", Reply(201, {"Id": "e"}))
    daemon.on("POST", "/exec/e/start", Reply(stream=copy_upwards))
    daemon.on("GET", "/exec/e/json", Reply(200, {"ExitCode": 3}))

    done = corten(daemon, "exec", "-i", "-e", "A=1", "-w", "/w", "c", "cat", "-n", stdin=b"hi")

    assert (done.returncode, done.stdout) == (3, b"HI")
    assert daemon.requests[0].json() == {
        "Cmd": ["cat", "-n"],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "WorkingDir": "/w",
        "Env": ["A=1"],
    }


def test_exec_in_the_background(daemon: Daemon) -> None:
    """-d starts it and is done."""
    daemon.on("POST", "/containers/c/exec", Reply(201, {"Id": "e"}))
    daemon.on("POST", "/exec/e/start", Reply(200))

    assert corten(daemon, "exec", "-d", "c", "x").returncode == 0
    assert daemon.requests[1].json() == {"Detach": True, "Tty": False}


def test_exec_of_nothing(daemon: Daemon) -> None:
    """A command that is not there ends with 127."""
    daemon.on("POST", "/containers/c/exec", Reply(201, {"Id": "e"}))
    daemon.on(
        "POST", "/exec/e/start", Reply(400, {"message": 'exec: "x": executable file not found in $PATH'})
    )

    assert corten(daemon, "exec", "c", "x").returncode == 127


def test_start_with_its_streams(daemon: Daemon) -> None:
    """-ai attaches before the start and gives the status."""
    container(daemon, copy_upwards, status=4)

    done = corten(daemon, "start", "-ai", "c", stdin=b"hi")

    assert (done.returncode, done.stdout) == (4, b"HI")
    assert daemon.asked()[-1] == "POST /containers/c/start"


def test_start_of_several(daemon: Daemon) -> None:
    """Those that cannot be started are named at the end."""
    container(daemon)
    done = corten(daemon, "start", "c", "gone")

    assert (done.returncode, done.stdout) == (1, b"c\n")
    assert (
        done.stderr == b"Error response from daemon: No such thing\nError: failed to start containers: gone\n"
    )


def test_attach(daemon: Daemon) -> None:
    """The streams of a running container, and its status."""
    container(daemon, lambda sock: sock.sendall(frame(1, b"out")), status=9)

    done = corten(daemon, "attach", "c")

    assert (done.returncode, done.stdout) == (9, b"out")


def test_attach_to_nothing(daemon: Daemon) -> None:
    """A stopped container has no streams."""
    state = {"Running": False, "Paused": False, "Restarting": False}
    daemon.on("GET", "/containers/c/json", Reply(200, {"Config": {}, "State": state}))

    assert (
        corten(daemon, "attach", "c").stderr == b"You cannot attach to a stopped container, start it first\n"
    )
