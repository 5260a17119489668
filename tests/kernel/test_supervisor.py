"""The supervisor as a process: what it is made of, and what it holds out against."""

import hashlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.kernel.supervised import Engine, engine_test

pytestmark = [pytest.mark.root, pytest.mark.slow]

MOST_RESIDENT = 16 << 10  # KiB; a bare interpreter with what is needed has 11 MB


def status(pid: int, key: str) -> str:
    """Return a value of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))


def digest() -> bytes:
    """Return the digest of the interpreter's file."""
    return hashlib.sha256(Path(os.path.realpath("/proc/self/exe")).read_bytes()).digest()


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_is_small_and_has_one_thread(tmp_path: Path) -> None:
    """Fork time grows with memory, and a thread's locks would not survive the fork."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "true")
        await engine.ended("c")
        assert status(engine.supervisor, "Threads") == "1"
        assert int(status(engine.supervisor, "RssAnon").split()[0]) < MOST_RESIDENT

    engine_test(tmp_path, body)


def test_its_program_cannot_be_written(tmp_path: Path) -> None:
    """Whoever reaches the interpreter through /proc cannot open it for writing (CVE-2019-5736)."""

    async def body(engine: Engine) -> None:
        before = digest()
        await engine.until(lambda: children(engine.supervisor))
        for pid in (engine.supervisor, *children(engine.supervisor)):
            with pytest.raises(OSError, match=r"Read-only file system|Text file busy"):
                os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))
        assert digest() == before

    engine_test(tmp_path, body)


def test_signals_to_the_group_do_not_end_it(tmp_path: Path) -> None:
    """Service managers signal the whole group when the daemon is stopped; containers live on."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sleep", "100")
        former = engine.supervisor
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(former, number)
        await engine.execute("e", "c", "true")
        assert await engine.ended("e") == 0
        assert engine.supervisor == former
        assert os.getsid(former) == former

    engine_test(tmp_path, body)


def test_its_mounts_are_its_own(tmp_path: Path) -> None:
    """Nothing that containers need is mounted where the host can see it."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sleep", "100")
        assert str(engine.run) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")  # noqa: ASYNC240 - a file of the kernel's
        own, host = (os.stat(f"/proc/{pid}/ns/mnt").st_ino for pid in (engine.supervisor, os.getpid()))
        assert own != host

    engine_test(tmp_path, body)


def test_a_parked_child_holds_nothing(tmp_path: Path) -> None:
    """What waits for a start has its stdio and one socket, and its /proc entries are root's."""

    async def body(engine: Engine) -> None:
        if engine.groups.mode == "v2":
            pytest.skip("nothing is parked on cgroup version 2")
        await engine.until(lambda: len(children(engine.supervisor)) >= 5)
        parked = children(engine.supervisor)[:4]  # one that was just forked is about to let go
        await engine.until(lambda: all(len(os.listdir(f"/proc/{pid}/fd")) < 16 for pid in parked))

    engine_test(tmp_path, body)


def test_garbage_on_its_socket_is_dropped(tmp_path: Path) -> None:
    """A connection that speaks nonsense is closed; the others go on."""

    async def body(engine: Engine) -> None:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(f"{engine.run}/supervisor.sock")
            stranger.sendall(b"\xff" * 64)
            stranger.settimeout(10)
            assert stranger.recv(1) == b""
        await engine.start("c", "true")
        assert await engine.ended("c") == 0
        assert os.stat(f"{engine.run}/supervisor.sock").st_mode & 0o077 == 0

    engine_test(tmp_path, body)
