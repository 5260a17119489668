"""A container's life by the real client: start, stop, kill, pause, exec, attach, and what can be seen of it."""

from __future__ import annotations

import json
import re
import select
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import ALONE, FOREVER, client, container, said, state, told, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

COUNT = "i=0; while :; do i=$((i+1)); echo $i >/count; done"
TELL_SIGNALS = 'for s in HUP INT USR1 USR2 WINCH; do trap "echo $s" $s; done; echo ready; while :; do sleep 1000 & wait; done'


@pytest.fixture(scope="module")
def lasting(engine: Engine) -> Iterator[str]:
    """A container that runs as long as the tests of this file, with a label and variables."""
    with container(engine, "--label", "kind=lasting", "-e", "OWN=1", "debian", *FOREVER) as name:
        yield name


def names(engine: Engine, *flags: str) -> list[str]:
    """Return the names that ``docker ps`` lists, sorted."""
    return sorted(engine.docker("ps", "--format", "{{.Names}}", *flags).stdout.split())


def test_ps_lists_what_runs(engine: Engine, lasting: str) -> None:
    """Without ``-a`` only what runs is listed, with id, image, command, status and name."""
    with container(engine, "debian", "true") as other:
        engine.docker("wait", other)
        assert other not in names(engine)
        assert {other, lasting} <= set(names(engine, "-a"))
        format_ = '{{.ID}}|{{.Image}}|{{.Command}}|{{.Status}}|{{.State}}|{{.Label "kind"}}'
        shown = engine.docker("ps", "--no-trunc", "--filter", f"name={lasting}", "--format", format_).stdout
        identifier, image, command, status, running, label = shown.strip().split("|")
        assert identifier == state(engine, lasting, "{{.Id}}")
        assert (image, running, label) == ("debian", "running", "lasting")
        assert command.startswith('"sh -c ')
        assert re.fullmatch(r"Up (Less than a second|\d+ seconds?)", status)


def test_ps_filters(engine: Engine) -> None:
    """Filters by status, name, label, ancestor, exit code, id and order of creation, alone and together."""
    mark = unique()
    with (
        container(engine, "--label", mark, "debian", "sh", "-c", "exit 3") as failed,
        container(engine, "--label", mark, "debian", *FOREVER) as running,
        container(engine, "--label", f"{mark}=2", "debian", "true", verb="create") as created,
    ):
        engine.docker("wait", failed)
        wanted = {
            (f"label={mark}",): {failed, running, created},
            (f"label={mark}", "status=running"): {running},
            (f"label={mark}", "status=exited"): {failed},
            (f"label={mark}", "status=exited", "status=created"): {failed, created},
            (f"label={mark}=2",): {created},
            (f"label={mark}", "exited=3"): {failed},
            (f"label={mark}", "exited=4"): set(),
            (f"label={mark}", "ancestor=debian"): {failed, running, created},
            (f"label={mark}", "ancestor=nosuch"): set(),
            (f"name=^/{running}$",): {running},
            (f"name={running[:-1]}",): {running},
            (f"id={state(engine, created, '{{.Id}}')[:12]}",): {created},
            (f"label={mark}", f"since={failed}"): {running, created},
            (f"label={mark}", f"before={created}"): {failed, running},
            (f"label={mark}", "network=none"): {failed, running, created},
        }
        for filters, found in wanted.items():
            flags = [word for text in filters for word in ("--filter", text)]
            assert set(names(engine, "-a", *flags)) == found, filters
        assert names(engine, "--last", "1") == [created]


def test_ps_knows_formats(engine: Engine, lasting: str) -> None:
    """``--format json`` gives one object a line, ``table`` a heading, ``-q`` ids and ``-s`` sizes."""
    chosen = ("ps", "--filter", f"name={lasting}")
    (line,) = engine.docker(*chosen, "--format", "json").stdout.splitlines()
    assert json.loads(line)["Names"] == lasting
    table = engine.docker(*chosen, "--format", "table {{.Names}}\t{{.State}}").stdout.splitlines()
    assert [row.split() for row in table] == [["NAMES", "STATE"], [lasting, "running"]]
    assert engine.docker(*chosen, "-q").stdout.strip() == state(engine, lasting, "{{.Id}}")[:12]
    assert "(virtual " in engine.docker(*chosen, "-s").stdout


def test_inspect_formats(engine: Engine, lasting: str) -> None:
    """``inspect --format`` reaches into all parts; without it there is one JSON array."""
    (whole,) = json.loads(engine.docker("inspect", lasting).stdout)
    assert whole["Name"] == f"/{lasting}"
    assert whole["Config"]["Image"] == "debian"
    assert "OWN=1" in whole["Config"]["Env"]
    assert whole["HostConfig"]["NetworkMode"] == "none"
    assert whole["State"]["Running"] is True
    assert state(engine, lasting, "{{json .Config.Labels}}") == '{"kind":"lasting"}'
    assert int(state(engine, lasting, "{{.State.Pid}}")) > 1


def test_inspect_takes_a_short_id(engine: Engine, lasting: str) -> None:
    """A unique beginning of the id is a name too."""
    identifier = state(engine, lasting, "{{.Id}}")
    assert state(engine, identifier[:12], "{{.Name}}") == f"/{lasting}"


def test_stop_asks_first(engine: Engine) -> None:
    """``stop`` sends TERM and leaves the program the time to end by itself."""
    script = "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 1000 & wait; done"
    with container(engine, "debian", "sh", "-c", script) as name:
        until(lambda: said(engine, name), "its first word")
        assert engine.docker("stop", name).stdout == f"{name}\n"
        assert state(engine, name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 4"
        assert said(engine, name) == "ready\nbye\n"
        assert engine.docker("stop", name).returncode == 0  # already so


def test_stop_kills_in_the_end(engine: Engine) -> None:
    """A program that does not listen is killed after the seconds given."""
    with container(engine, "debian", "sleep", "1000") as name:
        engine.docker("stop", "-t", "0", name)
        assert state(engine, name, "{{.State.ExitCode}}") == "137"


def test_kill_sends_any_signal(engine: Engine) -> None:
    """``kill -s`` takes names and numbers; the container lives on if its program does."""
    with container(engine, "debian", "sh", "-c", TELL_SIGNALS) as name:

        def answered(count: int) -> bool:
            return len(said(engine, name).split()) == count

        until(partial(answered, 1), "its first word")
        for number, text in enumerate(("HUP", "SIGINT", "usr1", "12", "WINCH"), 2):
            engine.docker("kill", "-s", text, name)
            until(partial(answered, number), f"the answer to {text}")
        assert said(engine, name).split() == ["ready", "HUP", "INT", "USR1", "USR2", "WINCH"]
        assert state(engine, name) == "running"
        engine.docker("kill", name)
        assert state(engine, name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
        done = engine.docker("kill", name, check=False)
        assert done.returncode == 1
        assert "is not running" in done.stderr


def test_wait_waits(engine: Engine) -> None:
    """``wait`` blocks until the end, for several containers in turn, and prints each code."""
    with (
        container(engine, "debian", "sh", "-c", "sleep 0.2; exit 5") as first,
        container(engine, "debian", "sh", "-c", "exit 6") as second,
    ):
        assert engine.docker("wait", first, second).stdout == "5\n6\n"


def test_rm(engine: Engine) -> None:
    """A running container is removed only by force; what is removed is gone for every command."""
    with container(engine, "debian", "sleep", "1000") as name:
        done = engine.docker("rm", name, check=False)
        assert done.returncode == 1
        assert f'cannot remove container "{name}": container is running' in done.stderr
        assert engine.docker("rm", "-f", name).stdout == f"{name}\n"
        done = engine.docker("start", name, check=False)
        assert f"No such container: {name}" in done.stderr


def test_rm_of_many(engine: Engine) -> None:
    """``rm -f`` of several goes on after one that does not exist, and exits with 1."""
    made = [
        engine.docker("create", *ALONE, "debian", "true").stdout.strip(),
        engine.docker("run", "-d", *ALONE, "debian", "sleep", "1000").stdout.strip(),
    ]
    done = engine.docker("rm", "-f", made[0], made[1], check=False)
    assert done.stdout.split() == made
    assert not [identifier for identifier in made if identifier[:12] in engine.docker("ps", "-aq").stdout]


def test_restart(engine: Engine) -> None:
    """``restart`` ends the program and starts it anew in the same files; the log goes on."""
    with container(
        engine, "debian", "sh", "-c", f"trap exit TERM; echo x >>/runs; wc -l </runs; {FOREVER[2]}"
    ) as name:
        until(lambda: said(engine, name) == "1\n", "the first run")
        first = state(engine, name, "{{.State.Pid}}")
        engine.docker("restart", "-t", "5", name)
        until(lambda: said(engine, name) == "1\n2\n", "the second run")
        assert state(engine, name, "{{.State.Pid}}") != first
        engine.docker("stop", name)
        engine.docker("start", name)
        until(lambda: said(engine, name) == "1\n2\n3\n", "the third run")


def test_pause(engine: Engine) -> None:
    """A paused container makes no step, says so in ``ps``, refuses exec, and goes on after unpause."""
    with container(engine, "debian", "sh", "-c", COUNT) as name:

        def count() -> int:
            return int(engine.docker("exec", name, "cat", "/count", check=False).stdout.strip() or 0)

        until(count, "the first step")
        engine.docker("pause", name)
        assert state(engine, name) == "paused"
        assert "(Paused)" in engine.docker("ps", "--filter", f"name={name}").stdout
        assert "is paused" in engine.docker("exec", name, "true", check=False).stderr
        path = f"/proc/{state(engine, name, '{{.State.Pid}}')}/root/count"
        before = _read(path)
        time.sleep(0.05)  # a duration to be still in, not a wait for something
        assert _read(path) == before
        assert engine.docker("pause", name, check=False).returncode == 1
        engine.docker("unpause", name)
        until(lambda: _read(path) != before, "the next step")
        assert "is not paused" in engine.docker("unpause", name, check=False).stderr


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def test_a_paused_container_can_be_stopped(engine: Engine) -> None:
    """``stop`` and ``rm -f`` work on what is frozen."""
    with container(engine, "debian", *FOREVER) as name:
        until(lambda: state(engine, name) == "running")
        engine.docker("pause", name)
        engine.docker("stop", "-t", "5", name)
        assert state(engine, name, "{{.State.Status}}") == "exited"
        engine.docker("start", name)
        engine.docker("pause", name)
        engine.docker("rm", "-f", name)


def test_rename(engine: Engine) -> None:
    """The new name works, the old one does not; a name that is taken is refused."""
    new = unique()
    with container(engine, "debian", "true", verb="create") as name:
        engine.docker("rename", name, new)
        assert state(engine, new, "{{.Name}}") == f"/{new}"
        assert engine.docker("inspect", name, check=False).returncode == 1
        with container(engine, "debian", "true", verb="create") as other:
            done = engine.docker("rename", new, other, check=False)
            assert done.returncode == 1
            assert "already in use" in done.stderr
        engine.docker("rename", new, name)


def test_top(engine: Engine, lasting: str) -> None:
    """``top`` lists the container's processes with the host's numbers, and takes ps options."""
    lines = engine.docker("top", lasting).stdout.splitlines()
    assert lines[0].split()[:3] == ["UID", "PID", "PPID"]
    assert state(engine, lasting, "{{.State.Pid}}") in [line.split()[1] for line in lines[1:]]
    listed = engine.docker("top", lasting, "-o", "pid,comm").stdout.splitlines()
    assert listed[0].split() == ["PID", "COMMAND"]
    assert "sleep" in [line.split()[1] for line in listed[1:]]


def test_exec(engine: Engine, lasting: str) -> None:
    """``exec`` takes environment, folder and user, and shares the container's files and processes."""
    script = "echo $OWN $NEW $(pwd) $(id -u):$(id -g); test -e /proc/1/comm"
    flags = ("-e", "NEW=2", "-w", "/var/tmp", "-u", "1000:50")
    assert engine.docker("exec", *flags, lasting, "sh", "-c", script).stdout == "1 2 /var/tmp 1000:50\n"
    assert engine.docker("exec", "-u", "nobody", lasting, "id", "-un").stdout == "nobody\n"


def test_exec_privileged(engine: Engine, lasting: str) -> None:
    """``exec --privileged`` has every capability where the container has the default ones."""
    look = ("grep", "CapEff", "/proc/self/status")
    assert engine.docker("exec", lasting, *look).stdout.split()[1] == "00000000a80425fb"
    assert int(engine.docker("exec", "--privileged", lasting, *look).stdout.split()[1], 16) & (1 << 21)


def test_exec_streams(engine: Engine, lasting: str) -> None:
    """Stdin, stdout and stderr of an exec are its own, binary safe and complete."""
    data = bytes(range(256)) * 4096
    done = engine.docker("exec", "-i", lasting, "sh", "-c", "cat; echo end >&2", input=data)
    assert done.stdout == data
    assert done.stderr == b"end\n"


def test_no_output_is_lost_when_many_start_at_once(engine: Engine, lasting: str) -> None:
    """What a program says and ends at once reaches its client, however busy the engine is with others."""
    unusual = ("run", "--rm", *ALONE, "--uts", "host", "debian")  # nothing prepared fits

    def one(number: int) -> str:
        start = unusual if number % 4 == 0 else ("exec", lasting)
        return str(engine.docker(*start, "echo", str(number)).stdout)

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(200))) == [f"{number}\n" for number in range(200)]


def test_exec_detached(engine: Engine, lasting: str) -> None:
    """``exec -d`` returns at once and prints nothing; the program runs."""
    assert engine.docker("exec", "-d", lasting, "sh", "-c", "echo done >/made").stdout == ""
    until(lambda: engine.docker("exec", lasting, "cat", "/made", check=False).stdout == "done\n", "its file")


def test_exec_needs_a_running_container(engine: Engine) -> None:
    """In a container that does not run nothing can be executed: one clear line."""
    with container(engine, "debian", "true", verb="create") as name:
        done = engine.docker("exec", name, "true", check=False)
        assert done.returncode == 1
        assert re.fullmatch(
            r"Error response from daemon: container [0-9a-f]{64} is not running\n", done.stderr
        )


def test_an_exec_ends_with_its_container(engine: Engine) -> None:
    """A client of an exec comes back when the container is killed."""
    with (
        container(engine, "debian", "sleep", "1000") as name,
        client(engine, "exec", name, "sh", "-c", "echo on; sleep 1000") as inside,
    ):
        assert inside.stdout is not None
        assert inside.stdout.readline() == b"on\n"
        engine.docker("kill", name)
        assert inside.wait(20) == 137


def test_create_and_start_attached(engine: Engine) -> None:
    """``create -i`` and ``start -ai`` give a session: stdin, output and exit code."""
    with container(engine, "-i", "debian", "sh", "-c", "cat; exit 9", verb="create") as name:
        assert state(engine, name) == "created"
        done = engine.docker("start", "-ai", name, input="typed", check=False)
        assert (done.stdout, done.returncode) == ("typed", 9)


def test_attach_shows_what_comes(engine: Engine) -> None:
    """``attach`` shows output from now on, and exits as the container does."""
    script = "while read line; do echo got $line; test $line = end && exit 8; done"
    with container(engine, "-i", "debian", "sh", "-c", script) as name:
        done = engine.docker("attach", name, input="a\nend\n", check=False)
        assert (done.stdout, done.returncode) == ("got a\ngot end\n", 8)
        done = engine.docker("attach", name, check=False)
        assert done.returncode == 1
        assert "cannot attach to a stopped container" in done.stderr


def test_attach_of_two_clients(engine: Engine) -> None:
    """Two that are attached both get all output."""
    with (
        container(engine, "-i", "debian", "sh", "-c", "read line; seq 20000") as name,
        client(engine, "attach", "--no-stdin", name) as first,
        client(engine, "attach", "--no-stdin", name) as second,
    ):
        until(lambda: _attached(engine, name) == 2, "both clients")
        engine.docker("attach", name, input="go\n")
        expected = "".join(f"{number}\n" for number in range(1, 20001)).encode()
        assert first.communicate(timeout=20)[0] == expected
        assert second.communicate(timeout=20)[0] == expected


def _attached(engine: Engine, name: str) -> int:
    return len(told(engine, f"container={name}", "event=attach"))


def test_a_slow_reader_gets_everything(engine: Engine) -> None:
    """Who reads late, after the container has ended and is removed, still gets the last byte."""
    name = unique()
    with client(engine, "run", "--rm", "--name", name, *ALONE, "debian", "seq", "400000") as reader:
        assert reader.stdout is not None
        assert reader.stdout.read(1) == b"1"
        until(lambda: not names(engine, "-a", "--filter", f"name={name}"), "its removal")
        assert reader.stdout.read().endswith(b"\n400000\n")


def test_events_tell_a_life(engine: Engine) -> None:
    """Every step of a life is an event, in order, with the exit code and the labels."""
    with container(engine, "--label", "colour=red", "debian", *FOREVER) as name:
        engine.docker("exec", name, "true")
        engine.docker("pause", name)
        engine.docker("unpause", name)
        engine.docker("kill", name)
    events = told(engine, f"container={name}", "type=container")
    actions = [event["Action"] for event in events]
    wanted = ["create", "start", "exec_create: true", "exec_start: true", "exec_die", "pause", "unpause"]
    assert [action for action in actions if action != "attach"] == [*wanted, "kill", "die", "destroy"]
    died = next(event for event in events if event["Action"] == "die")["Actor"]["Attributes"]
    assert (died["exitCode"], died["colour"], died["image"], died["name"]) == ("137", "red", "debian", name)


def test_events_are_streamed(engine: Engine) -> None:
    """``events`` without ``--until`` tells what happens while it runs, through its filters."""
    mark = unique()
    words = ("--filter", f"label={mark}", "--filter", "event=die", "--format", "{{.Action}}")
    with client(engine, "events", *words) as listener:
        assert listener.stdout is not None
        output = listener.stdout.fileno()

        def one_more() -> bool:
            engine.docker("run", "--rm", "--label", mark, *ALONE, "debian", "true")
            return bool(select.select([output], [], [], 0)[0])

        until(one_more, "an event")
        assert listener.stdout.readline() == b"die\n"


def test_export(engine: Engine, tmp_path: Path) -> None:
    """``export`` gives the files as the container left them, owners and links included, without mounts."""
    archive = tmp_path / "tree.tar"
    script = (
        "echo changed >/etc/hostname.new; ln -s /etc/passwd /link; chown 7:8 /etc/hostname.new; rm /etc/issue"
    )
    with container(engine, "debian", "sh", "-c", script) as name:
        assert engine.docker("wait", name).stdout == "0\n"
        engine.docker("export", "-o", str(archive), name)
    with tarfile.open(archive) as tar:
        found = {member.name: member for member in tar}
    assert (found["etc/hostname.new"].uid, found["etc/hostname.new"].gid) == (7, 8)
    assert found["link"].linkname == "/etc/passwd"
    assert "etc/issue" not in found
    assert not [path for path in found if path.startswith("proc/")]


def test_stats(engine: Engine, lasting: str) -> None:
    """``stats --no-stream`` shows processes and memory of what runs."""
    line = engine.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", lasting)
    name, pids, used, *_ = line.stdout.split()
    assert name == lasting
    assert int(pids) >= 2
    assert used != "0B"
