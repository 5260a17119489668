"""Runtime and supervisor end to end: real containers, no daemon."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from corten.errors import Conflict, StartFailed
from corten.linux import pidfd
from corten.oci.spec import Mount
from tests.kernel.supervised import SPEC, Engine, engine_test, user

pytestmark = [pytest.mark.root, pytest.mark.slow]


def received(connection: socket.socket, data: bytearray) -> bytearray:
    """Take in what is there."""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except BlockingIOError:
        pass
    return data


def closed(connection: socket.socket) -> bool:
    """Tell whether the other side has closed, everything having been read."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_container_says_something_and_ends(tmp_path: Path) -> None:
    """Output is in the log and the code in the event by the time the end is told."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sh", "-c", "echo out; echo err >&2; hostname; echo $$; exit 7")
        assert await engine.ended("c") == 7
        assert sorted(engine.said("c").split()) == [b"1", b"box", b"err", b"out"]
        await engine.forget("c")

    engine_test(tmp_path, body)


def test_what_a_container_sees(tmp_path: Path) -> None:
    """Its own root, /dev and /proc; three descriptors; no process but its own; no network but lo."""

    async def body(engine: Engine) -> None:
        script = (
            "ls /; echo --; ls /dev; echo --; ls /proc/self/fd; echo --; ls -d /proc/[0-9]* ; echo --; "
            "ls /sys/class/net; echo --; cat /proc/interrupts; umask; id -u"
        )
        await engine.start("c", "sh", "-c", script)
        await engine.ended("c")
        root, dev, fds, processes, links, rest = engine.said("c").split(b"--\n")
        assert b".dockerenv" not in root
        assert {b"bin", b"dev", b"etc", b"proc", b"sys", b"tmp", b"usr"} <= set(root.split())
        wanted = b"core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
        assert set(dev.split()) == set(wanted.split()) - {b"mqueue", b"shm"}
        assert fds.split() == [b"0", b"1", b"2", b"3"]
        assert processes.split() == [b"/proc/1"]
        assert links.split() == [b"lo"]
        assert rest.split() == [b"0022", b"0"]

    engine_test(tmp_path, body)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (
            ("nothing-of-that-name",),
            127,
            r'exec: "nothing-of-that-name": executable file not found in \$PATH',
        ),
        (("/no/such",), 127, "stat /no/such: no such file or directory"),
        (("/etc",), 126, "is a directory"),
        (("/etc/plain",), 126, "permission denied"),
        (("/etc/garbage",), 126, "exec format error"),
        (("/etc/interpreter",), 127, "no such file"),
    ],
)
def test_a_start_that_fails_leaves_nothing(
    tmp_path: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    """Each reason has Docker's exit code and one line; neither directory nor cgroup is left."""

    async def body(engine: Engine) -> None:
        (engine.tree / "etc/plain").touch(0o644)
        (engine.tree / "etc/garbage").write_bytes(b"\x7fELFgarbage")
        (engine.tree / "etc/garbage").chmod(0o755)
        (engine.tree / "etc/interpreter").write_bytes(b"#!/no/interpreter\n")
        (engine.tree / "etc/interpreter").chmod(0o755)
        with pytest.raises(StartFailed, match=words) as failure:
            await engine.start("c", *args)
        assert failure.value.exit_code == code
        assert "\n" not in str(failure.value)
        assert not (engine.run / "containers/c").exists()
        assert "c" not in engine.cgroups()
        await engine.start("c", "true")
        assert await engine.ended("c") == 0

    engine_test(tmp_path, body)


@pytest.mark.parametrize(
    ("cwd", "code"), [("/etc/plain", 128), ("/proc/self/fd/3", 128), ("/proc/self/fd/9", 127)]
)
def test_a_working_folder_that_is_none(tmp_path: Path, cwd: str, code: int) -> None:
    """A file, or an inherited descriptor, is no working folder (CVE-2024-21626)."""

    async def body(engine: Engine) -> None:
        (engine.tree / "etc/plain").touch()
        spec = replace(SPEC, process=replace(SPEC.process, cwd=cwd))
        with pytest.raises(StartFailed, match=f'chdir to working directory "{cwd}" failed') as failure:
            await engine.start("c", "true", spec=spec)
        assert failure.value.exit_code in (code, 127, 128)

    engine_test(tmp_path, body)


def test_an_unknown_user(tmp_path: Path) -> None:
    """A name without an entry is refused; a number is taken, and its process may write to its stdout."""

    async def body(engine: Engine) -> None:
        with pytest.raises(StartFailed, match="unable to find user ghost"):
            await engine.start("c", "true", spec=user("ghost"))
        await engine.start("d", "sh", "-c", "id -u; echo again >/dev/stdout", spec=user("1234:5"))
        assert await engine.ended("d") == 0
        assert engine.said("d") == b"1234\nagain\n"

    engine_test(tmp_path, body)


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
def test_an_image_cannot_redirect_kernel_mounts(tmp_path: Path, name: str) -> None:
    """A /proc, /dev or /sys that is a link is refused, and the host's folder stays as it is (CVE-2019-19921)."""

    async def body(engine: Engine) -> None:
        canary = tmp_path / "canary"
        canary.mkdir()
        (engine.tree / name).symlink_to(canary)
        with pytest.raises(StartFailed, match="is not a folder; refusing to mount there"):
            await engine.start("c", "true")
        assert os.listdir(canary) == []

    engine_test(tmp_path, body)


def test_a_bind_through_links_stays_inside(tmp_path: Path) -> None:
    """A target below a link that points to the host is made inside the container (CVE-2021-30465)."""

    async def body(engine: Engine) -> None:
        canary = tmp_path / "canary"
        canary.mkdir()
        (engine.tree / "way").symlink_to(canary)
        mount = Mount("/way/in/file", "bind", "/etc/hostname", ("rbind",))
        spec = replace(SPEC, mounts=(*SPEC.mounts, mount))
        try:
            await engine.start("c", "true", spec=spec)
            await engine.ended("c")
        except StartFailed:
            pass
        assert os.listdir(canary) == []

    engine_test(tmp_path, body)


def test_signals(tmp_path: Path) -> None:
    """A signal reaches the first process, which is PID 1 and ends by KILL alone; later ones are no failure."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done")
        await engine.until(lambda: engine.said("c"))
        await engine.runtime.kill("c", signal.SIGUSR1)
        await engine.until(lambda: b"usr1" in engine.said("c"))
        await engine.runtime.kill("c", signal.SIGKILL)
        assert await engine.ended("c") == 137
        await engine.runtime.kill("c", signal.SIGKILL)
        await engine.forget("c")
        with pytest.raises(Conflict):
            await engine.runtime.kill("c", signal.SIGKILL)

    engine_test(tmp_path, body)


def test_exec(tmp_path: Path) -> None:
    """One more process is in the same namespaces, has its own code and streams, and needs a running container."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sleep", "100")
        client = await engine.attach("e")
        await engine.execute("e", "c", "sh", "-c", "hostname; cat /proc/1/comm; cat; exit 5", stdin=True)
        client.send(b"typed")
        client.shutdown(socket.SHUT_WR)
        assert await engine.ended("e") == 5
        data = bytearray()
        await engine.until(lambda: received(client, data) and closed(client))
        client.close()
        assert bytes(data) == b"box\nsleep\ntyped"
        with pytest.raises(StartFailed, match="executable file not found") as failure:
            await engine.execute("f", "c", "nothing-of-that-name")
        assert failure.value.exit_code == 127
        await engine.runtime.kill("c", 9)
        await engine.ended("c")
        with pytest.raises(StartFailed, match="is not running"):
            await engine.execute("g", "c", "true")

    engine_test(tmp_path, body)


def test_the_end_of_a_container_ends_its_execs(tmp_path: Path) -> None:
    """When PID 1 ends the kernel kills the rest, and each end is told."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sleep", "100")
        await engine.execute("e", "c", "sleep", "100")
        await engine.runtime.kill("c", 9)
        assert await engine.ended("c") == 137
        assert await engine.ended("e") == 137

    engine_test(tmp_path, body)


def test_a_client_from_before_the_start(tmp_path: Path) -> None:
    """Who attaches before the start sees everything, in order, and can talk to stdin."""

    async def body(engine: Engine) -> None:
        client = await engine.attach("c")
        client.send(b"early")
        client.shutdown(socket.SHUT_WR)
        await engine.start("c", "sh", "-c", "echo first; cat; echo last", stdin=True, stdin_once=True)
        assert await engine.ended("c") == 0
        data = bytearray()
        await engine.until(lambda: received(client, data) and closed(client))
        client.close()
        assert bytes(data) == b"first\nearlylast\n"
        assert engine.said("c") == bytes(data)

    engine_test(tmp_path, body)


def test_a_client_of_a_start_that_failed_keeps_its_connection(tmp_path: Path) -> None:
    """``detach`` gives the connection back to who else holds it, so that the client can be told why."""

    async def body(engine: Engine) -> None:
        ours, theirs = socket.socketpair()
        other = theirs.dup()
        await engine.runtime.attach(
            "c", theirs, b"", stdin=True, stdout=True, stderr=True, multiplexed=False, keys=b""
        )
        with pytest.raises(StartFailed):
            await engine.start("c", "nothing-of-that-name")
        await engine.runtime.detach("c")
        await engine.runtime.detach("c")
        other.send(b"why")
        assert ours.recv(10) == b"why"
        ours.close()
        other.close()

    engine_test(tmp_path, body)


def test_a_terminal(tmp_path: Path) -> None:
    """A container with a terminal has it as /dev/console and controlling terminal, of the size set."""

    async def body(engine: Engine) -> None:
        client = await engine.attach("c")
        script = "stty -echo; tty; read line; stty size; test -c /dev/console; echo $? $line"
        await engine.start("c", "sh", "-c", script, tty=True, stdin=True)
        data = bytearray()
        await engine.until(lambda: b"\r\n" in received(client, data))
        await engine.runtime.resize("c", 40, 120)
        client.send(b"typed\n")
        assert await engine.ended("c") == 0
        await engine.until(lambda: received(client, data) and closed(client))
        client.close()
        assert bytes(data).split(b"\r\n") == [b"/dev/pts/0", b"40 120", b"0 typed", b""]
        assert engine.said("c") == bytes(data)

    engine_test(tmp_path, body)


def test_a_dead_supervisor_loses_nothing(tmp_path: Path) -> None:
    """After SIGKILL a new supervisor adopts all: lines, codes, terminals, signals go on; what ended meanwhile counts."""

    async def body(engine: Engine) -> None:
        counting = "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.002; done; exit 9"
        await engine.start("c", "sh", "-c", counting)
        await engine.start("t", "sh", "-c", "stty -echo; read x; echo got $x; exit 3", tty=True, stdin=True)
        short = await engine.start("s", "sh", "-c", "read x; exit 4", stdin=True)
        await engine.execute("e", "c", "sleep", "100")
        await engine.until(lambda: engine.said("c").count(b"\n") > 20)
        former = engine.supervisor
        os.kill(former, signal.SIGSTOP)
        os.kill(short.pid, signal.SIGKILL)
        await engine.until(lambda: not alive(short.pid))
        await engine.kill_supervisor()
        assert engine.supervisor != former
        assert await engine.ended("s") == 137
        client = await engine.attach("t")
        client.send(b"words\n")
        assert await engine.ended("t") == 3
        client.close()
        await engine.runtime.kill("e", 9)
        assert await engine.ended("e") == 137
        assert await engine.ended("c") == 9
        assert engine.said("c") == b"".join(b"%d\n" % number for number in range(400))

    engine_test(tmp_path, body)


def test_both_die(tmp_path: Path) -> None:
    """With daemon and supervisor gone, the next ones find the containers by the run directory."""

    async def body(engine: Engine) -> None:
        running = await engine.start("c", "sh", "-c", "while ! test -e /tmp/end; do sleep 0.01; done; exit 6")
        (process,) = engine.runtime._link._started
        engine.runtime.close()
        os.kill(engine.supervisor, signal.SIGKILL)
        process.wait()
        assert alive(running.pid)
        engine.runtime = engine.new_runtime()
        (known,) = await engine.open()
        assert (known.facts.id, known.pid, known.started, known.ended) == ("c", *_both(running.pid), None)
        (engine.tree / "tmp/end").touch()
        assert await engine.ended("c") == 6

    engine_test(tmp_path, body)


def _both(pid: int) -> tuple[int, int]:
    return pid, pidfd.start_time(pid)


def test_the_daemon_alone_dies(tmp_path: Path) -> None:
    """The next daemon is told every task, the ended ones with their end."""

    async def body(engine: Engine) -> None:
        await engine.start("a", "sleep", "100")
        await engine.start("b", "sh", "-c", "exit 2")
        await engine.ended("b")
        started, former = engine.runtime._link._started, engine.supervisor
        engine.runtime.close()
        engine.runtime = engine.new_runtime()
        found = {known.facts.id: known for known in await engine.open()}
        engine.runtime._link._started = started
        assert engine.supervisor == former
        assert sorted(found) == ["a", "b"]
        assert found["a"].ended is None
        ended = found["b"].ended
        assert ended is not None
        assert ended.code == 2
        await engine.runtime.kill("a", 9)
        assert await engine.ended("a") == 137

    engine_test(tmp_path, body)


def test_parked_children_die_with_their_supervisor(tmp_path: Path) -> None:
    """What waits for a start does not outlive who made it, and its cgroups are swept by the next."""

    async def body(engine: Engine) -> None:
        if engine.groups.mode == "v2":
            pytest.skip("nothing is parked on cgroup version 2")
        parked: list[int] = []
        await engine.until(lambda: len(children(engine.supervisor)) >= 2)
        parked += children(engine.supervisor)
        former = engine.supervisor
        await engine.kill_supervisor()
        await engine.until(lambda: not any(alive(pid) for pid in parked))
        assert not [name for name in engine.cgroups() if name.startswith(f"pool-{former}-")]

    engine_test(tmp_path, body)


def test_nothing_leaks_over_many_starts(tmp_path: Path) -> None:
    """Descriptors of both sides, cgroups, mounts and run directories are as many after 50 containers as before."""

    async def body(engine: Engine) -> None:
        async def one(number: int) -> None:
            name = f"c{number}"
            client = await engine.attach(name)
            await engine.start(name, "sh", "-c", "echo hi", stdin=True, stdin_once=True)
            await engine.ended(name)
            client.close()
            await engine.forget(name)

        def held() -> tuple[int, int, int]:
            mounts = Path(f"/proc/{engine.supervisor}/mountinfo").read_text(encoding="utf-8").count("\n")
            return descriptors(os.getpid()), descriptors(engine.supervisor), mounts

        def settled() -> bool:  # a child that is parked, or not, holds 7 descriptors
            now = held()
            return now[::2] == before[::2] and abs(now[1] - before[1]) <= 7

        for number in range(5):
            await one(number)
        before = held()
        for number in range(50):
            await one(number)
        await engine.until(settled)
        assert os.listdir(engine.run / "containers") == []
        assert all(name.startswith("pool-") for name in engine.cgroups())

    engine_test(tmp_path, body)


def test_a_supervisor_leaves_only_when_nothing_runs(tmp_path: Path) -> None:
    """``quit`` is refused while a task runs; afterwards every cgroup and child is gone with it."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "sleep", "100")
        with pytest.raises(Conflict):
            await engine.runtime.quit()
        await engine.runtime.kill("c", 9)
        await engine.ended("c")
        await engine.forget("c")
        former = engine.supervisor
        await engine.runtime.quit()
        await engine.until(lambda: not alive(former))
        assert engine.cgroups() == set()

    engine_test(tmp_path, body)


def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    """One run directory has one supervisor."""

    async def body(engine: Engine) -> None:
        other = engine.new_runtime()
        process = await asyncio.create_subprocess_exec(*other._link._command, stderr=asyncio.subprocess.PIPE)
        _, said = await process.communicate()
        assert b"another supervisor serves this run directory" in said
        assert process.returncode == 1

    engine_test(tmp_path, body)
