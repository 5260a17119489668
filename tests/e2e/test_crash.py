"""Daemon and supervisor killed at any moment: containers live on, and no line, exit code or object is lost.

The writers begin at once, wait in the middle for a gate (a file that the test
makes), and write the rest; so that a test decides what happens before, during
and after a death without knowing how fast the machine is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from corten.linux import pidfd
from corten.serve.daemon.networks import STOCK
from tests.e2e.conftest import Engine, is_alive, running_engine, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

WRITERS = 20
LINES = 2000  # of each writer to stdout, half of them behind the gate
WRITE = f"""
i=0
while [ $i -lt {LINES} ]; do
    echo "out $i"
    i=$((i + 1))
    [ $((i % 10)) -eq 0 ] && echo "err $i" >&2
    [ $((i % 100)) -eq 0 ] && sleep 0.02
    [ $i -eq {LINES // 2} ] && while [ ! -e /gate/open ]; do sleep 0.02; done
done
"""
OUT = [f"out {number}" for number in range(LINES)]
ERR = [f"err {number}" for number in range(10, LINES + 1, 10)]
LAST = 'trap "exit 9" TERM; while :; do sleep 0.05; done'  # what the last five do when they have written
STAYING = 5
ROUNDS = 6  # of churn


@pytest.fixture
def engine(small_tar: Path) -> Iterator[Engine]:
    """An engine of its own for each test, with the small image."""
    with running_engine() as engine:
        engine.import_tree(small_tar, "small")
        yield engine


class Writers:
    """Containers that write numbered lines; all but the last five end by themselves, each with its own code."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.gate = engine, Path(engine.base, "gate")
        self.gate.mkdir()
        self.codes = {f"w{number}": number + 3 for number in range(WRITERS)}
        self.staying = list(self.codes)[-STAYING:]
        for name, code in self.codes.items():
            last = LAST if name in self.staying else f"exit {code}"
            begin(engine, name, WRITE + last, Binds=[f"{self.gate}:/gate:ro"])
        self.pids = {name: state(engine, name)["Pid"] for name in self.codes}

    def open_gate(self) -> None:
        """Let them write the rest."""
        Path(self.gate, "open").touch()

    def wait_for_ends(self) -> None:
        """Wait, without asking the engine, until all that end by themselves have ended."""
        leaving = [self.pids[name] for name in self.codes if name not in self.staying]
        until(lambda: not any(is_alive(pid) for pid in leaving), "the writers to end", 60)

    def check(self) -> None:
        """Every one of them is as if nothing had happened."""
        self.open_gate()
        for name in self.staying:
            now = state(self.engine, name)
            assert (now["Status"], now["Pid"]) == ("running", self.pids[name])
        for name in self.codes:
            if name not in self.staying:
                status, answer = self.engine.api("POST", f"/containers/{name}/wait")
                assert (status, answer["StatusCode"]) == (200, self.codes[name]), name
                assert state(self.engine, name)["ExitCode"] == self.codes[name]
        for name in self.staying:
            until(lambda name=name: self._lines(name)[0][-1:] == OUT[-1:], "the last line", 60)  # type: ignore[misc]
        for name in self.codes:
            out, err = self._lines(name)
            assert (name, out) == (name, OUT)
            assert (name, err) == (name, ERR)
        for name in self.staying:
            assert self.engine.api("POST", f"/containers/{name}/stop")[0] == 204
            assert state(self.engine, name)["ExitCode"] == 9

    def _lines(self, name: str) -> tuple[list[str], list[str]]:
        done = self.engine.docker("logs", name)
        return done.stdout.splitlines(), done.stderr.splitlines()


def begin(engine: Engine, name: str, script: str, **wishes: object) -> None:
    """Create and start a container of the small image, without network unless *wishes* name one."""
    body = {
        "Image": "small",
        "Cmd": ["sh", "-c", script],
        "HostConfig": {"NetworkMode": "none", **wishes},
    }
    status, answer = engine.api("POST", "/containers/create", body, name=name)
    assert status == 201, answer
    assert engine.api("POST", f"/containers/{name}/start")[0] == 204


def state(engine: Engine, name: str) -> dict[str, Any]:
    """Return the state that inspect shows."""
    status, answer = engine.api("GET", f"/containers/{name}/json")
    if status == 404:
        return {"Status": "removed", "Pid": 0}
    assert status == 200, answer
    found: dict[str, Any] = answer["State"]
    return found


def kernel_keeps_exit_codes() -> bool:
    """Tell whether a pidfd says how a process ended that was somebody else's child (Linux 6.15)."""
    process = subprocess.Popen(["true"])
    descriptor = pidfd.pidfd_open(process.pid)
    process.wait()
    try:
        return pidfd.exit_status(descriptor) == 0
    finally:
        os.close(descriptor)


def test_the_daemon_dies(engine: Engine) -> None:
    """Containers write and end while there is no daemon; the next one knows every line and every exit code."""
    writers = Writers(engine)
    engine.kill_daemon()
    writers.open_gate()
    writers.wait_for_ends()
    engine.start()
    writers.check()


def test_the_daemon_dies_again_and_again(engine: Engine) -> None:
    """A daemon that is killed as soon as it answers, five times, loses nothing either."""
    writers = Writers(engine)
    for _ in range(5):
        engine.restart_daemon(signal.SIGKILL)
    writers.check()


def test_the_supervisor_dies(engine: Engine) -> None:
    """The daemon replaces the supervisor, again and again, while containers write and end."""
    writers = Writers(engine)
    for round_ in range(4):
        before = engine.supervisor
        engine.kill_supervisor()
        until(lambda before=before: engine.supervisor not in (0, before), "a new supervisor")  # type: ignore[misc]
        if round_ == 1:
            writers.open_gate()
    writers.check()


@pytest.mark.skipif("not kernel_keeps_exit_codes()", reason="needs Linux 6.15: the exit status by a pidfd")
def test_containers_end_while_there_is_no_supervisor(engine: Engine) -> None:
    """What they wrote waits in the pipes, and how they ended is asked of the kernel."""
    writers = Writers(engine)
    assert engine.daemon is not None
    engine.daemon.send_signal(signal.SIGSTOP)  # so that it does not replace the supervisor yet
    try:
        engine.kill_supervisor()
        writers.open_gate()
        writers.wait_for_ends()
    finally:
        engine.daemon.send_signal(signal.SIGCONT)
    writers.check()


def test_both_die_at_once(engine: Engine) -> None:
    """With neither left containers go on writing; the next pair takes them up, and stops them."""
    writers = Writers(engine)
    assert engine.daemon is not None
    engine.daemon.send_signal(signal.SIGSTOP)
    engine.kill_supervisor()
    engine.kill_daemon()
    until(lambda: engine.pids == [], "everything of ours to be gone")
    engine.start()
    writers.check()


def test_an_end_that_nobody_could_see(engine: Engine) -> None:
    """A container that ends while neither process lives is recorded as ended, and as of unknown code."""
    begin(engine, "lonely", "sleep 1000")
    pid = state(engine, "lonely")["Pid"]
    assert engine.daemon is not None
    engine.daemon.send_signal(signal.SIGSTOP)
    engine.kill_supervisor()
    engine.kill_daemon()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), "the container to end")
    engine.start()
    until(lambda: state(engine, "lonely")["Status"] == "exited", "the record of its end")
    ended = state(engine, "lonely")
    assert (
        "unknown" in ended["Error"] or ended["ExitCode"] == 137
    )  # told by the kernel as long as nobody reaps
    assert engine.api("POST", "/containers/lonely/start")[0] == 204


def test_parked_children_end_with_the_supervisor(engine: Engine) -> None:
    """Children that wait for a plan do not outlive who made them, and their cgroups are swept at the next start."""
    until(lambda: len(engine.pids) > 2, "parked children")
    assert engine.daemon is not None
    engine.daemon.send_signal(signal.SIGSTOP)
    engine.kill_supervisor()
    engine.kill_daemon()
    until(lambda: engine.pids == [], "the parked children to end")
    stale = set(engine.groups("/pool-*"))
    assert stale
    engine.start()
    until(lambda: not stale & set(engine.groups("/pool-*")), "their cgroups to be gone")


def test_attached_output_outlives_the_daemon(engine: Engine) -> None:
    """A client that is attached when the daemon dies gets every line to the end, and then ends."""
    gate = Path(engine.base, "gate")
    gate.mkdir()
    wait = "echo begun; while [ ! -e /gate/open ]; do sleep 0.02; done"
    given = ["--name", "attached", "--network", "none", "-v", f"{gate}:/gate"]
    client = subprocess.Popen(
        ["docker", "run", *given, "small", "sh", "-c", wait + WRITE],
        env=engine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == b"begun\n"
        until(lambda: state(engine, "attached")["Status"] == "running", "the answer of start")
        engine.kill_daemon()
        (gate / "open").touch()
        out, err = client.communicate(timeout=60)
    finally:
        client.kill()
        client.wait()
    assert out.decode().splitlines() == OUT
    assert [line for line in err.decode().splitlines() if line.startswith("err ")] == ERR
    engine.start()


def test_an_attached_client_ends_when_the_supervisor_dies(engine: Engine) -> None:
    """A client whose stream is cut still gets the exit code, which the daemon tells."""
    gate = Path(engine.base, "gate")
    gate.mkdir()
    script = "echo begun; while [ ! -e /gate/open ]; do sleep 0.02; done; exit 7"
    client = subprocess.Popen(
        ["docker", "run", "--network", "none", "-v", f"{gate}:/gate", "small", "sh", "-c", script],
        env=engine.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        engine.kill_supervisor()
        (gate / "open").touch()
        assert client.wait(30) == 7
    finally:
        client.kill()
        client.communicate()


class Churn:
    """Clients that do with containers what can be done, for as long as the engine answers."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine, self._ended = engine, threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed * 10 + number),))
            for number in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, dice: random.Random) -> None:
        while not self._ended.is_set():
            self._live(f"c{dice.randrange(10**9)}", dice)

    def _live(self, name: str, dice: random.Random) -> None:
        """Lead one container through a life; some stay."""
        wishes = {
            "NetworkMode": dice.choice(("none", "bridge", "host")),
            "AutoRemove": dice.random() < 0.2,
        }
        program = dice.choice(
            ("true", "sleep 1000", "exec nosuch", "trap 'exit 3' TERM; while :; do sleep 0.01; done")
        )
        body = {"Image": "small", "Cmd": ["sh", "-c", program], "HostConfig": wishes}
        self._ask("POST", f"/containers/create?name={name}", {**body, "Tty": dice.random() < 0.2})
        self._ask("POST", f"/containers/{name}/start")
        if dice.random() < 0.5:
            made = self._ask("POST", f"/containers/{name}/exec", {"Cmd": ["sh", "-c", "sleep 100"]})
            self._ask("POST", f"/exec/{made.get('Id')}/start", {"Detach": True})
        for verb in dice.choice(((), ("stop?t=1",), ("restart?t=0",), ("pause", "unpause"))):
            self._ask("POST", f"/containers/{name}/{verb}")
        if dice.random() < 0.9:
            self._ask("DELETE", f"/containers/{name}?force=1")

    def _ask(self, verb: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request; whether there is an answer, and which, does not matter."""
        with suppress(OSError, HTTPException):
            return dict(self._engine.api(verb, path, body)[1] or {})
        return {}

    def end(self) -> None:
        """Stop them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


def disagreements(engine: Engine) -> dict[str, tuple[set[str], set[str]]]:
    """Return where records and objects differ: name -> (objects that no record claims, claims without object)."""
    listed = engine.api("GET", "/containers/json", all="1")[1]
    recorded = {container["Id"] for container in listed}
    running = {container["Id"] for container in listed if container["State"] in ("running", "paused")}
    processes = {
        str(pid)
        for container in running
        for pid in [state(engine, container)["Pid"]]
        if Path(f"/proc/{pid}").exists()
    }
    in_groups: set[str] = set()
    for group in engine.groups("/" + "[0-9a-f]" * 64):
        with suppress(OSError):  # gone meanwhile
            in_groups.update(Path(group, "cgroup.procs").read_text(encoding="ascii").split())
    links = {name for name in engine.links() if name != engine.settings.bridge}
    bridged = [c for c in listed if c["Id"] in running and c["HostConfig"]["NetworkMode"] == "bridge"]
    enough = len(bridged) <= len(links) <= len(bridged) + STOCK
    overlay = f"{engine.root}/snapshots/overlay"
    snapshots = [json.loads(os.readlink(f"{overlay}/{number}/meta")) for number in names(overlay) - {"trash"}]
    tops = {
        "folders in root": (names(f"{engine.root}/containers"), recorded),
        "folders in run": (names(f"{engine.run}/containers"), running),
        "cgroups": ({Path(path).name for path in engine.groups("/" + "[0-9a-f]" * 64)}, running),
        "snapshots": ({key for kind, _, key in snapshots if kind == "active"}, recorded),
        "processes": ({pid for pid in in_groups if pid in processes}, processes),
        "links": (set() if enough else links, set()),
        "trash": (names(f"{engine.root}/trash"), set()),
    }
    return {
        name: (found - wanted, wanted - found) for name, (found, wanted) in tops.items() if found != wanted
    }


def names(folder: str) -> set[str]:
    """Return the entries of a folder; none when it is absent."""
    with suppress(FileNotFoundError):
        return set(os.listdir(folder))
    return set()


@pytest.mark.parametrize("victims", [("daemon",), ("supervisor",), ("daemon", "supervisor")], ids="+".join)
def test_killed_during_churn(engine: Engine, victims: tuple[str, ...]) -> None:
    """Killed at random points of a container's life: afterwards records and objects agree exactly."""
    dice = random.Random("+".join(victims))
    for round_ in range(ROUNDS):
        churn = Churn(engine, round_)
        try:
            pause = dice.uniform(0.02, 0.3)
            threading.Event().wait(pause)  # any point will do
            kill(engine, victims)
        finally:
            churn.end()
        if "daemon" in victims:
            engine.start()
    check_agreement(engine)
    begin(engine, "afterwards", "true")
    assert engine.api("POST", "/containers/afterwards/wait")[1]["StatusCode"] == 0
    for container in engine.api("GET", "/containers/json", all="1")[1]:
        assert engine.api("DELETE", f"/containers/{container['Id']}", force="1")[0] == 204
    check_agreement(engine)


def check_agreement(engine: Engine) -> None:
    """Records and objects agree, soon if not at once: some of the work is done in the background."""
    found: dict[str, Any] = {}

    def agree() -> bool:
        found.clear()
        found.update(disagreements(engine))
        return not found

    with suppress(AssertionError):
        until(agree, "records and objects to agree", 10)
    assert found == {}, "\n".join((*occupants(engine), engine.logs))


def occupants(engine: Engine) -> Iterator[str]:
    """Yield who is in each container's cgroup, for a failure's message."""
    for group in engine.groups("/" + "[0-9a-f]" * 64):
        for pid in Path(group, "cgroup.procs").read_text(encoding="ascii").split():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                states = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()[2:7]
                yield f"{group}: {pid} {words} {' '.join(states)}"


def kill(engine: Engine, victims: tuple[str, ...]) -> None:
    """Kill without warning; the supervisor first, so that the daemon sees it, or does not get to."""
    acts: dict[str, Callable[[], None]] = {"daemon": engine.kill_daemon, "supervisor": engine.kill_supervisor}
    for victim in sorted(victims, reverse=True):
        acts[victim]()
