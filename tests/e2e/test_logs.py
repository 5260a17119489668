"""``docker logs`` by the real client: all of it, parts of it, as it comes, and never more than was allowed."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import ALONE, FOREVER, client, container, said, state, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
LINES = 2000


@pytest.fixture(scope="module")
def ended(engine: Engine) -> Iterator[str]:
    """A container that wrote lines to stdout and stderr, and has ended."""
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.05; done"
    with container(engine, "debian", "sh", "-c", script) as name:
        engine.docker("wait", name)
        yield name


def test_everything_is_there_after_the_end(engine: Engine, ended: str) -> None:
    """Both streams come back, each out of the client's own, in the order they were written."""
    done = engine.docker("logs", ended)
    assert done.stdout == "out 1\nout 2\nout 3\n"
    assert done.stderr == "err 1\nerr 2\nerr 3\n"


def test_following_what_has_ended_ends(engine: Engine, ended: str) -> None:
    """``-f`` of an ended container shows the same and returns."""
    assert engine.docker("logs", "-f", ended).stdout == "out 1\nout 2\nout 3\n"


def test_tail(engine: Engine, ended: str) -> None:
    """``--tail`` counts lines of both streams from the end; 0 is none, more than there are is all."""
    done = engine.docker("logs", "--tail", "3", ended)
    assert sorted((done.stdout + done.stderr).splitlines()) == ["err 2", "err 3", "out 3"]
    assert engine.docker("logs", "--tail", "0", ended).stdout == ""
    assert engine.docker("logs", "--tail", "99", ended).stdout.count("\n") == 3
    assert engine.docker("logs", "--tail", "all", ended).stdout.count("\n") == 3


def stamps(engine: Engine, name: str) -> list[str]:
    """Return the time of each line on stdout, as ``logs -t`` shows it."""
    lines = engine.docker("logs", "-t", name).stdout.splitlines()
    assert all(STAMP.match(line) for line in lines), lines
    return [line.split()[0] for line in lines]


def test_timestamps(engine: Engine, ended: str) -> None:
    """``-t`` puts the time before each line; times grow, and lie within the container's life."""
    found = stamps(engine, ended)
    begun, over = state(engine, ended, "{{.State.StartedAt}} {{.State.FinishedAt}}").split()
    assert len(found) == 3
    assert found == sorted(found)
    times = [datetime.fromisoformat(text[:26]) for text in (begun[:-1], *found, over[:-1])]
    assert times[1] <= times[-1]
    assert (times[0] - times[1]).total_seconds() < 0.1  # the record is made when the start is known


def test_since_and_until(engine: Engine, ended: str) -> None:
    """``--since`` includes its instant, ``--until`` too; together they cut out the middle."""
    first, second, third = stamps(engine, ended)
    assert said(engine, ended, "--since", second) == "out 2\nout 3\n"
    assert said(engine, ended, "--until", second) == "out 1\nout 2\n"
    assert said(engine, ended, "--since", second, "--until", second) == "out 2\n"
    assert said(engine, ended, "--since", "1h").count("\n") == 3
    assert said(engine, ended, "--until", "1h") == ""
    assert said(engine, ended, "--since", first, "--until", third).count("\n") == 3


def test_follow_until_the_end(engine: Engine) -> None:
    """``-f`` shows what is there and what comes, every line once and in order, and ends with the container."""
    script = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo $i; done"
    with container(engine, "-i", "debian", "sh", "-c", f"{script}; read go; {script}") as name:
        until(lambda: said(engine, name, "--tail", "1") == f"{LINES}\n", "the first half")
        with client(engine, "logs", "-f", name, text=True) as reader:
            assert reader.stdout is not None
            half = [reader.stdout.readline() for _ in range(LINES)]
            engine.docker("attach", name, input="go\n")
            rest = reader.stdout.readlines()
            assert reader.wait(20) == 0
        assert half == rest == [f"{number}\n" for number in range(1, LINES + 1)]


def test_follow_with_tail(engine: Engine) -> None:
    """``-f --tail 1`` begins with the last line."""
    with container(engine, "-i", "debian", "sh", "-c", "echo a; echo b; read go; echo c") as name:
        until(lambda: said(engine, name) == "a\nb\n", "the first lines")
        with client(engine, "logs", "-f", "--tail", "1", name, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "b\n"
            engine.docker("attach", name, input="\n")
            assert reader.stdout.read() == "c\n"


def test_a_follower_goes_on_over_a_restart(engine: Engine) -> None:
    """Who follows a container that is restarted by its policy sees the next run too."""
    script = "echo run; sleep 0.1; exit 1"
    with container(engine, "--restart", "on-failure:2", "debian", "sh", "-c", script) as name:
        assert engine.docker("logs", "-f", name).stdout == "run\n" * 3


def test_a_follower_goes_when_the_container_is_removed(engine: Engine) -> None:
    """``logs -f`` ends when its container is removed by force."""
    with (
        container(engine, "debian", "sh", "-c", f"echo on; {FOREVER[2]}") as name,
        client(engine, "logs", "-f", name) as reader,
    ):
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"on\n"
        engine.docker("rm", "-f", name)
        reader.wait(20)


def test_rotation_bounds_the_log(engine: Engine) -> None:
    """With ``max-size`` and ``max-file`` the newest lines are kept, whole and in order, within the bound."""
    options = ("--log-opt", "max-size=16k", "--log-opt", "max-file=3")
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line number $i; done"
    with container(engine, *options, "debian", "sh", "-c", script) as name:
        engine.docker("wait", name)
        kept = said(engine, name)
        assert 16 << 10 <= len(kept) <= 3 * (16 << 10)
        numbers = [
            int(line.split()[-1]) for line in kept.splitlines()[1:]
        ]  # the first may have lost its begin
        assert numbers == list(range(numbers[0], 20001))
        assert said(engine, name, "--tail", "1") == "line number 20000\n"


def test_a_follower_misses_nothing_by_rotation(engine: Engine) -> None:
    """Rotation under a reader that follows loses none of the lines that are kept."""
    options = ("--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    script = "echo ready; read go; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done"  # 109 kB
    with (
        container(engine, "-i", *options, "debian", "sh", "-c", script) as name,
        client(engine, "logs", "-f", name, text=True) as reader,
    ):
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        engine.docker("attach", name, input="\n")
        assert reader.stdout.read().split() == [str(number) for number in range(1, 20001)]


def test_no_log_driver(engine: Engine) -> None:
    """``--log-driver none`` still shows output to who is attached; there is nothing to read back, and it says so."""
    name = unique()
    done = engine.docker("run", "--name", name, *ALONE, "--log-driver", "none", "debian", "echo", "shown")
    assert done.stdout == "shown\n"
    done = engine.docker("logs", name, check=False)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == ("Error response from daemon: configured logging driver does not support reading\n")
    engine.docker("rm", name)


def test_bytes_come_back_as_they_were(engine: Engine) -> None:
    """A log keeps any bytes: no line end at the end, zeros, no text at all."""
    script = "printf 'a\\000b\\377c'; printf 'no end' >&2"
    with container(engine, "debian", "sh", "-c", script) as name:
        engine.docker("wait", name)
        done = engine.docker("logs", name, input=b"")
        assert (done.stdout, done.stderr) == (b"a\0b\xffc", b"no end")


def test_a_long_line_stays_one(engine: Engine) -> None:
    """A line of a megabyte is neither cut nor split."""
    with container(engine, "debian", "sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo") as name:
        engine.docker("wait", name)
        assert said(engine, name) == "x" * 1000000 + "\n"


def test_logs_of_what_never_ran_are_empty(engine: Engine) -> None:
    """A container that was only created has an empty log."""
    with container(engine, "debian", "true", verb="create") as name:
        assert said(engine, name) == ""
