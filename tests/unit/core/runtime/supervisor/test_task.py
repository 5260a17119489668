"""Tasks with real processes: streams, terminal, input, the end."""

import errno
import os
import select
import signal
import socket
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from corten.core.runtime.supervisor import task as tasks
from corten.core.runtime.supervisor.attach import HIGH_WATER, Attacher
from corten.core.runtime.supervisor.loop import Loop
from corten.core.runtime.supervisor.task import Pipe, Streams, Task
from corten.linux import pidfd, pty
from tests.descriptors import open_descriptors
from tests.unit.core.runtime.supervisor.driven import Client, rounds, until

if TYPE_CHECKING:
    from corten.core.runtime.supervisor.task import Sink


class Full:
    """A sink without space until told otherwise."""

    def __init__(self) -> None:
        self.full, self.tries, self._pipe = True, 0, Pipe()

    def take(self, stream: int, source: int, limit: int = 1 << 18, /) -> bytes | None:
        """Take as a Pipe does, or find the disk full."""
        self.tries += 1
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._pipe.take(stream, source, limit)

    def close(self) -> None:
        """Nothing to give back."""


class Stage:
    """A loop, a task, its process and its clients."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        self.folder, self._undo = folder, undo
        self.loop = Loop()
        undo.callback(self.loop._epoll.close)
        self.ended: list[Task] = []
        self.task = Task(self.loop, {"id": ""})
        self.pid = 0

    def prepare(self, sink: "Sink | None" = None, **facts: Any) -> list[int]:
        """Make the task; return the descriptors of its process."""
        facts = {"id": "1", "directory": f"{self.folder}/task", **facts}
        self.task = Task(self.loop, facts)
        self._undo.callback(self.task.release)
        return self.task.open_streams(sink or Pipe())

    def run(self, script: str, sink: "Sink | None" = None, **facts: Any) -> Task:
        """Start ``sh -c script`` as a task."""
        stdio = self.prepare(sink, **facts)
        self.launch(script, stdio)
        for descriptor in stdio:
            os.close(descriptor)
        return self.task

    def run_at_terminal(self, script: str, **facts: Any) -> Task:
        """Start ``sh -c script`` as a task at a terminal."""
        stdio = self.prepare(tty=True, **facts)
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        peer, _ = pty.open_pair(master)
        settings = termios.tcgetattr(peer)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(peer, termios.TCSANOW, settings)
        self.launch(script, [peer] * 3)
        for descriptor in (*stdio, peer):
            os.close(descriptor)
        self.task.set_master(master)
        return self.task

    def launch(self, script: str, stdio: list[int]) -> None:
        """Start the process."""
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(stdio)]
        self.pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ, file_actions=actions)
        self._undo.callback(self._kill)
        self.task.take_process(self.pid, pidfd.pidfd_open(self.pid), pidfd.start_time(self.pid))
        self.task.is_started(self.ended.append)

    def _kill(self) -> None:
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def attach(self, **changes: Any) -> Client:
        """Return a new client of the task."""
        ours, theirs = socket.socketpair()
        self._undo.callback(theirs.close)
        given: dict[str, Any] = {"wanted": {1, 2}, "multiplexed": False, "keys": b"", "leftover": b""}
        attacher = Attacher(self.loop, ours, on_gone=self.task.gone, **{**given, **changes})
        attacher.input_wanted = True
        self.task.attach(attacher)
        return Client(theirs)

    def end(self) -> dict[str, Any]:
        """Run until the process has ended; return its end."""
        until(self.loop, lambda: self.ended)
        assert self.task.ended is not None
        return self.task.ended


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Lend a stage; afterwards its process is gone and its descriptors are closed."""
    before = set(os.listdir("/proc/self/fd"))
    with ExitStack() as undo:
        made = Stage(tmp_path, undo)
        yield made
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


def test_output_and_exit(stage: Stage) -> None:
    """Both streams reach the client, then its end; the code is that of the process."""
    stage.run("echo out; echo err >&2; exit 3")
    client = stage.attach(multiplexed=True)
    assert stage.end() == {"code": 3}
    until(stage.loop, client.at_end)
    assert sorted((client.data[:12], client.data[12:])) == [
        b"\1\0\0\0\0\0\0\4out\n",
        b"\2\0\0\0\0\0\0\4err\n",
    ]


def test_a_killed_process_has_its_signal(stage: Stage) -> None:
    """A signal becomes 128 and its number."""
    task = stage.run("exec sleep 60")
    task.signal(signal.SIGKILL)
    assert stage.end() == {"code": 137}


def test_everything_is_drained_at_the_end(stage: Stage) -> None:
    """What a process leaves in its FIFO when it dies is not lost, however much there is."""
    stage.run("head -c 200000 /dev/zero; head -c 1000 /dev/zero >&2")
    client = stage.attach(multiplexed=True)
    stage.end()
    until(stage.loop, client.at_end)
    sizes = {1: 0, 2: 0}
    data = client.data
    while data:
        size = int.from_bytes(data[4:8], "big")
        sizes[data[0]] += size
        data = data[8 + size :]
    assert sizes == {1: 200000, 2: 1000}


def test_without_stdin_there_is_nothing_to_read(stage: Stage) -> None:
    """A task without stdin reads /dev/null."""
    stage.run("cat; echo done")
    client = stage.attach()
    stage.end()
    until(stage.loop, client.at_end)
    assert client.data == b"done\n"


def test_stdin_ends_with_its_only_client(stage: Stage) -> None:
    """With stdin open once, the client's half-close is the end of stdin, after all it sent."""
    stage.run("cat", stdin=True, stdin_once=True)
    client = stage.attach(leftover=b"early ")
    client.connection.send(b"late")
    client.connection.shutdown(socket.SHUT_WR)
    assert stage.end() == {"code": 0}
    until(stage.loop, client.at_end)
    assert client.data == b"early late"


def test_stdin_stays_open_for_the_next_client(stage: Stage) -> None:
    """Without that, clients come and go and the program reads on."""
    task = stage.run("read a; read b; echo $a-$b", stdin=True)
    first = stage.attach()
    first.connection.send(b"one\n")
    first.connection.close()
    until(stage.loop, lambda: not task.attachers)
    second = stage.attach()
    second.connection.send(b"two\n")
    stage.end()
    until(stage.loop, second.at_end)
    assert second.data == b"one-two\n"


def test_a_client_that_dies_ends_stdin_too(stage: Stage) -> None:
    """With stdin open once, a client whose connection breaks with output unread was the last there will be."""
    stage.run("echo ready; cat >/dev/null", stdin=True, stdin_once=True)
    client = stage.attach()
    until(stage.loop, lambda: select.select([client.connection], [], [], 0)[0])
    client.connection.close()
    assert stage.end() == {"code": 0}


def test_much_input_does_not_pile_up(stage: Stage) -> None:
    """While the program does not read, the client has to wait; nothing is lost."""
    os.mkfifo(stage.folder / "go")
    task = stage.run(f"read go <'{stage.folder}/go'; wc -c", stdin=True, stdin_once=True)
    client = stage.attach()
    total = 6 << 20
    sent = 0

    def send() -> bool:
        nonlocal sent
        try:
            while sent < total:
                sent += client.connection.send(bytes(min(1 << 16, total - sent)))
        except BlockingIOError:
            return False
        return True

    rounds(stage.loop, 0.05)
    until(stage.loop, lambda: send() or len(task._stdin_pending) >= tasks.STDIN_MOST)
    assert sent < total
    assert len(task._stdin_pending) < tasks.STDIN_MOST + (1 << 17)
    gate = os.open(stage.folder / "go", os.O_RDWR)
    os.write(gate, b"\n")
    until(stage.loop, send)
    client.connection.shutdown(socket.SHUT_WR)
    stage.end()
    os.close(gate)
    until(stage.loop, client.at_end)
    assert int(client.data) == total


@pytest.mark.slow
def test_a_slow_client_makes_the_container_wait(stage: Stage) -> None:
    """Past the mark output stays in the FIFO; when the client has caught up it goes on to the last byte."""
    total = HIGH_WATER + (6 << 20)
    task = stage.run(f"exec head -c {total} /dev/zero")
    client = stage.attach()
    until(stage.loop, lambda: task.attachers[0].waiting > HIGH_WATER)
    rounds(stage.loop)
    assert task.attachers[0].waiting < HIGH_WATER + 2 * tasks.CHUNK
    assert not stage.ended
    until(stage.loop, client.at_end)
    assert len(client.data) == total


@pytest.mark.slow
def test_a_slow_client_makes_a_terminal_wait(stage: Stage) -> None:
    """The same with a terminal, whose output must not pile up either."""
    total = HIGH_WATER + (4 << 20)
    task = stage.run_at_terminal(f"exec head -c {total} /dev/zero")
    client = stage.attach()
    until(stage.loop, lambda: task.attachers[0].waiting > HIGH_WATER)
    rounds(stage.loop, 0.1)
    assert task.attachers[0].waiting < HIGH_WATER + 2 * tasks.CHUNK
    assert not stage.ended
    until(stage.loop, client.at_end)
    assert len(client.data) == total


def test_a_slow_client_that_leaves_lets_the_container_go_on(stage: Stage) -> None:
    """Nobody waits for a client that is gone."""
    task = stage.run(f"exec head -c {HIGH_WATER + (6 << 20)} /dev/zero")
    client = stage.attach()
    until(stage.loop, lambda: task.attachers[0].waiting > HIGH_WATER)
    client.connection.close()
    assert stage.end() == {"code": 0}


def test_a_full_disk_loses_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without space the container waits; the log is tried again after a while, not in a circle."""
    monkeypatch.setattr(tasks, "RETRY", 0.02)
    sink = Full()
    stage.run("exec head -c 600000 /dev/zero", sink)
    client = stage.attach()
    rounds(stage.loop, 0.1)
    assert 1 <= sink.tries <= 12
    sink.full = False
    until(stage.loop, lambda: len(client.read()) == 600000)


def test_a_silent_stream_is_not_touched(stage: Stage) -> None:
    """A task that says nothing costs its log nothing, not even at its end."""
    sink = Full()
    stage.run("true", sink)
    assert stage.end() == {"code": 0}
    assert sink.tries == 0


def test_a_terminal_is_relayed_both_ways(stage: Stage) -> None:
    """What is typed reaches the program and its output the client; its end is told after the last byte."""
    stage.run_at_terminal("read line; echo got $line; exit 4", stdin=True)
    client = stage.attach()
    client.connection.send(b"words\n")
    assert stage.end() == {"code": 4}
    until(stage.loop, client.at_end)
    assert client.data == b"got words\r\n"


def test_a_terminal_has_no_end_of_input(stage: Stage) -> None:
    """A client that half-closes does not hang the terminal up."""
    task = stage.run_at_terminal("read line; echo $line", stdin=True, stdin_once=True)
    client = stage.attach()
    client.connection.shutdown(socket.SHUT_WR)
    rounds(stage.loop)
    assert not stage.ended
    os.write(task.master, b"bye\n")
    assert stage.end() == {"code": 0}


def test_much_input_at_a_terminal(stage: Stage) -> None:
    """More input than the terminal takes at once waits and arrives whole."""
    lines = 3000
    stage.run_at_terminal(f"exec head -n {lines} | wc -c", stdin=True)
    client = stage.attach()
    text = b"0123456789abcde\n" * lines
    client.connection.setblocking(True)
    client.connection.send(text)
    client.connection.setblocking(False)
    stage.end()
    until(stage.loop, client.at_end)
    assert int(client.data) == len(text)


def test_the_size_of_a_terminal(stage: Stage) -> None:
    """Rows and columns are what the program sees."""
    task = stage.run_at_terminal("read line; stty size", stdin=True)
    task.resize(33, 99)
    client = stage.attach()
    client.connection.send(b"\n")
    stage.end()
    until(stage.loop, client.at_end)
    assert client.data == b"33 99\r\n"


def test_resizing_without_a_terminal_is_nothing(stage: Stage) -> None:
    """A task without a terminal has no size."""
    stage.run("true").resize(10, 10)


def test_who_attaches_after_the_end_sees_the_end(stage: Stage) -> None:
    """A client that comes too late is closed, not left waiting."""
    stage.run("true")
    stage.end()
    assert stage.attach().at_end()


def test_streams_made_beforehand(stage: Stage) -> None:
    """FIFOs that were ready are taken by a rename and work as others do."""
    ready = Streams(f"{stage.folder}/parked")
    facts = {"id": "1", "directory": f"{stage.folder}/task"}
    stage.task = Task(stage.loop, facts)
    stage._undo.callback(stage.task.release)
    stdio = stage.task.open_streams(Pipe(), ready)
    stage.launch("echo hello", stdio)
    for descriptor in stdio:
        os.close(descriptor)
    client = stage.attach()
    stage.end()
    until(stage.loop, client.at_end)
    assert client.data == b"hello\n"
    assert sorted(os.listdir(stage.folder)) == ["task"]


def test_streams_that_do_not_fit_are_closed(stage: Stage) -> None:
    """A task with a terminal has no use for ready FIFOs of two streams."""
    before = open_descriptors()
    ready = Streams(f"{stage.folder}/parked")
    made = open_descriptors() - before
    stage.task = Task(stage.loop, {"id": "1", "directory": f"{stage.folder}/task", "tty": True})
    stage._undo.callback(stage.task.release)
    stdio = stage.task.open_streams(Pipe(), ready)
    assert made == 5
    assert open_descriptors() - before == 4
    for descriptor in stdio:
        os.close(descriptor)


def test_unread_output_survives_the_reader(stage: Stage) -> None:
    """Whoever opens the same folder again finds what nobody had read."""
    stdio = stage.prepare()
    keeper = os.open(f"{stage.folder}/task/out", os.O_RDWR | os.O_NONBLOCK)
    os.write(stdio[1], b"unread")
    stage.task.release()
    again = Task(stage.loop, {"id": "1", "directory": f"{stage.folder}/task"})
    for descriptor in (*again.open_streams(Pipe()), *stdio):
        os.close(descriptor)
    assert os.read(keeper, 100) == b"unread"
    os.close(keeper)
    again.release()
    again.release()


def test_facts_are_saved_for_the_next(stage: Stage) -> None:
    """The file names the process for good: its id and when it started."""
    task = stage.run("exec sleep 60", stdin=True)
    task.save()
    text = (stage.folder / "task/task.json").read_text(encoding="utf-8")
    assert f'"pid": {stage.pid}' in text
    assert f'"started": {pidfd.start_time(stage.pid)}' in text
    assert '"stdin": true' in text
