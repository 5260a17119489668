"""What a reset removes, and what it leaves alone."""

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from corten.serve.daemon import reset
from corten.serve.daemon.reset import OURS_IN_ROOT, OURS_IN_RUN, _gone, _owner, _remove, end


def test_only_what_an_engine_makes_is_removed(tmp_path: Path) -> None:
    """A folder that somebody pointed the engine to by mistake keeps the files that are not the engine's."""
    folder = tmp_path / "root"
    for name in (*OURS_IN_ROOT, "engine.db-wal", "photos"):
        (folder / name).mkdir(parents=True)
    (folder / "engine.db").touch()
    (folder / "letter").touch()
    (folder / "photos/one").touch()
    (folder / "engine.db-wal").rmdir()
    _remove(str(folder), OURS_IN_ROOT)
    assert sorted(os.listdir(folder)) == ["letter", "photos"]
    assert os.listdir(folder / "photos") == ["one"]


def test_an_empty_folder_goes_too(tmp_path: Path) -> None:
    """With nothing else in it the folder itself is a trace; doing it again is fine."""
    folder = tmp_path / "run"
    for name in OURS_IN_RUN:
        (folder / name).mkdir(parents=True)
    _remove(str(folder), OURS_IN_RUN)
    assert not folder.exists()
    _remove(str(folder), OURS_IN_RUN)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    """A link with an engine's name is taken away; what it leads to stays."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "containers").symlink_to(other)
    (folder / "images").mkdir()
    (folder / "images/link").symlink_to(other)
    _remove(str(folder), OURS_IN_ROOT)
    assert os.listdir(other) == ["kept"]
    assert not folder.exists()


def test_the_owner_of_a_lock(tmp_path: Path) -> None:
    """A number counts only while its process holds the lock: afterwards it may be anybody's."""
    lock = tmp_path / "lock"
    assert _owner(str(lock)) == 0
    lock.write_text("4711\n", encoding="ascii")
    assert _owner(str(lock)) == 0
    with lock.open(encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _owner(str(lock)) == 4711
        lock.write_text("nonsense", encoding="ascii")
        assert _owner(str(lock)) == 0


def test_a_process_is_ended() -> None:
    """It is asked first; when this returns it has ended."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    end(pid, signal.SIGTERM)
    assert _gone(pid)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
    assert _gone(pid)
    end(pid, signal.SIGTERM)
    end(0, signal.SIGKILL)


def test_one_that_does_not_listen_is_killed() -> None:
    """Who ignores the question is not asked for ever."""
    reader, writer = os.pipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reset, "DEADLINE", 0.05)
        actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
        script = "trap '' TERM; echo ready; while :; do sleep 1; done"
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ, file_actions=actions, setpgroup=0)
        os.read(reader, 10)
        end(pid, signal.SIGTERM)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.close(reader)
    os.close(writer)
