"""Starting the daemon."""

import os
import sys
import threading
from pathlib import Path

import pytest

from corten.cli import launch
from corten.cli.failure import Failure
from corten.cli.place import Place

DAEMON = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
with open(sys.argv[2], "a") as file:
    file.write(f"{os.getpid()} {os.getsid(0)} {os.getcwd()}\\n")
with open(sys.argv[3]) as file:
    file.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An engine in a folder of its own; the tests need not be root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Place(str(tmp_path / "root"), str(tmp_path / "run"), f"unix://{tmp_path}/run/corten.sock")


def program(monkeypatch: pytest.MonkeyPatch, text: str, *words: str) -> None:
    """Let *text* be the daemon."""
    monkeypatch.setattr(launch, "command", lambda *_: [sys.executable, "-I", "-c", text, *words])


def test_waits_until_the_socket_answers(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several clients at once start one daemon, in a session of its own, and all find it answering."""
    os.mkfifo(tmp_path / "end")
    program(monkeypatch, DAEMON, place.socket, str(tmp_path / "pids"), str(tmp_path / "end"))
    failures: list[BaseException] = []

    def start() -> None:
        try:
            launch.start(place)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered = launch.answers(place.socket)
    (tmp_path / "end").write_text("")
    (line,) = (tmp_path / "pids").read_text().splitlines()
    pid, session, _ = line.split()
    os.waitpid(int(pid), 0)

    assert (failures, answered, session) == ([], True, pid)


def test_passes_on_the_last_words(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that ends says why in its log, and the message repeats that."""
    os.makedirs(place.run)
    Path(place.run, "daemon.log").write_text("from an earlier start\n")
    program(monkeypatch, "print('first', flush=True); raise SystemExit('the disk is on fire')")

    with pytest.raises(Failure, match=r"^the daemon did not start: the disk is on fire; see .*daemon\.log$"):
        launch.start(place)


def test_a_silent_end_is_told_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of an earlier start are not taken for those of this one."""
    os.makedirs(place.run)
    Path(place.run, "daemon.log").write_text("from an earlier start\n")
    program(monkeypatch, "")

    with pytest.raises(Failure, match="it said nothing"):
        launch.start(place)


def test_only_root_may_start_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone else is told what to do."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(Failure, match="only root can start it"):
        launch.start(place)


def test_the_daemon_runs_isolated(place: Place) -> None:
    """Neither PYTHONPATH nor the current folder reach the daemon; the folders do."""
    line = launch.command(launch.DAEMON, place, "--idle-exit", "300")

    assert line[:3] == [sys.executable, "-I", "-c"]
    assert line[4:6] == [str(Path(launch.__file__).parents[2]), "corten.serve.daemon.main"]
    assert line[6:] == ["--root", place.root, "--run", place.run, "--idle-exit", "300"]


def test_a_log_does_not_grow_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large log of earlier starts is emptied."""
    os.makedirs(place.run)
    log = Path(place.run, "daemon.log")
    log.write_bytes(b"x" * (launch.LOG_LIMIT + 1))
    program(monkeypatch, "print('bye')")

    with pytest.raises(Failure, match="bye"):
        launch.start(place)
    assert log.read_text() == "bye\n"
