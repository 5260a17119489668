"""Restarts: by policy, by hand, and of the engine itself under what runs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import FOREVER, client, container, said, state, told, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

COUNT = "{{.RestartCount}} {{.State.ExitCode}} {{.State.Status}}"
TICKS = "trap 'exit 4' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01 & wait; done"


def test_on_failure_gives_up(engine: Engine) -> None:
    """``--restart on-failure:2`` tries twice more, then keeps the code."""
    with container(engine, "--restart", "on-failure:2", "debian", "sh", "-c", "echo run; exit 3") as name:
        until(lambda: state(engine, name, COUNT) == "2 3 exited", "the last run")
        assert said(engine, name) == "run\n" * 3


def test_on_failure_leaves_success_alone(engine: Engine) -> None:
    """What ends with 0 is not started again."""
    with container(engine, "--restart", "on-failure", "debian", "true") as name:
        until(lambda: state(engine, name, COUNT) == "0 0 exited", "its end")


def test_always_starts_again_until_stopped(engine: Engine) -> None:
    """``--restart always`` starts what ended with 0 again; ``stop`` ends that, ``start`` begins anew."""
    with container(engine, "--restart", "always", "debian", "sh", "-c", "echo run; sleep 0.01") as name:
        until(lambda: said(engine, name).count("run") >= 3, "the third run")
        engine.docker("stop", name)
        assert state(engine, name) == "exited"
        runs = said(engine, name)
        assert [event["Action"] for event in told(engine, f"container={name}")].count("start") >= 3
        engine.docker("start", name)
        until(lambda: len(said(engine, name)) > len(runs), "a run after the start")


def test_kill_is_not_restarted(engine: Engine) -> None:
    """``docker kill`` is the user's will: the policy does not bring it back."""
    with container(engine, "--restart", "always", "debian", *FOREVER) as name:
        engine.docker("kill", name)
        assert state(engine, name) == "exited"


def test_a_crash_of_the_program_is_restarted(engine: Engine) -> None:
    """A program that is killed from outside comes back, with a new process."""
    with container(engine, "--restart", "unless-stopped", "debian", "sleep", "1000") as name:
        first = int(state(engine, name, "{{.State.Pid}}"))
        signal.pidfd_send_signal(pidfd := os.pidfd_open(first), signal.SIGKILL)
        os.close(pidfd)
        until(
            lambda: state(engine, name, "{{.RestartCount}} {{.State.Status}}") == "1 running", "the restart"
        )
        assert int(state(engine, name, "{{.State.Pid}}")) != first


def test_rm_and_restart_policy_contradict(engine: Engine) -> None:
    """``--rm`` with a restart policy is refused."""
    done = engine.docker("run", "--rm", "--restart", "always", "debian", "true", check=False)
    assert done.returncode == 125
    assert done.stderr.count("\n") <= 3


def test_removal_while_it_waits_for_its_restart(engine: Engine) -> None:
    """``rm -f`` works between two runs, and no further run follows."""
    with container(engine, "--restart", "always", "debian", "false") as name:
        until(lambda: state(engine, name) == "restarting", "the pause between two runs")
        engine.docker("rm", "-f", name)
        assert engine.docker("inspect", name, check=False).returncode == 1


def ticking(engine: Engine, name: str) -> list[int]:
    """Return the numbers logged so far, which count from 1 without a gap."""
    numbers = [int(line) for line in said(engine, name).split()]
    assert numbers == list(range(1, len(numbers) + 1))
    return numbers


def test_containers_outlive_a_restart_of_the_daemon(engine: Engine) -> None:
    """While the daemon is restarted a container goes on: same process, no line lost, still to be stopped."""
    with container(engine, "debian", "sh", "-c", TICKS) as name:
        until(lambda: len(ticking(engine, name)) > 3, "the first lines")
        pid = state(engine, name, "{{.State.Pid}}")
        engine.restart_daemon()
        before = len(ticking(engine, name))
        until(lambda: len(ticking(engine, name)) > before, "lines after the restart")
        assert state(engine, name, "{{.State.Status}} {{.State.Pid}}") == f"running {pid}"
        engine.docker("stop", name)
        assert state(engine, name, "{{.State.ExitCode}}") == "4"
        ticking(engine, name)


def test_an_attached_client_outlives_the_daemon(engine: Engine) -> None:
    """A client that is attached keeps its stream over a restart of the daemon."""
    with (
        container(
            engine,
            "-i",
            "debian",
            "sh",
            "-c",
            "while read line; do echo got $line; test $line = end && exit 3; done",
        ) as name,
        client(engine, "attach", name, stdin=subprocess.PIPE) as reader,
    ):
        assert reader.stdin is not None
        assert reader.stdout is not None
        for word in (b"before", b"after"):
            reader.stdin.write(word + b"\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == b"got " + word + b"\n"
            engine.restart_daemon()
        reader.stdin.write(b"end\n")
        reader.stdin.flush()
        assert reader.stdout.read() == b"got end\n"


def test_what_ended_while_no_daemon_lived_is_known(engine: Engine) -> None:
    """A container that ends between two daemons has its exit code, and its last words."""
    script = "read go; echo last words; exit 6"
    with container(engine, "-i", "debian", "sh", "-c", script) as name:
        pidfd = os.pidfd_open(int(state(engine, name, "{{.State.Pid}}")))
        with client(engine, "attach", name, stdin=subprocess.PIPE) as reader:
            until(lambda: told(engine, f"container={name}", "event=attach"), "the client")
            engine.kill_daemon(signal.SIGKILL)
            reader.communicate(b"\n")
            select.select([pidfd], [], [])
        os.close(pidfd)
        engine.restart_daemon()
        until(
            lambda: state(engine, name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 6", "the record"
        )
        assert said(engine, name) == "last words\n"


def test_policies_after_a_restart_of_the_daemon(engine: Engine) -> None:
    """``always`` comes back after a restart even when it was stopped, ``unless-stopped`` then not."""
    with (
        container(engine, "--restart", "always", "debian", *FOREVER) as always,
        container(engine, "--restart", "unless-stopped", "debian", *FOREVER) as unless,
        container(engine, "debian", *FOREVER) as never,
    ):
        engine.docker("stop", always, unless, never)
        engine.restart_daemon()
        until(lambda: state(engine, always) == "running", "the start of what always runs")
        assert (state(engine, unless), state(engine, never)) == ("exited", "exited")


def test_a_restarted_container_outlives_the_supervisor(engine: Engine) -> None:
    """After ``docker restart`` a new supervisor finds the container as it does after ``docker run``."""
    with container(engine, "debian", "sh", "-c", TICKS) as name:
        until(lambda: said(engine, name), "the first line")
        engine.docker("restart", name)
        lines = len(said(engine, name).split())
        engine.kill_supervisor()
        until(lambda: len(said(engine, name).split()) > lines + 3, "lines under the next supervisor")
        assert engine.docker("exec", name, "echo", "in").stdout == "in\n"
        engine.docker("stop", name)
        assert state(engine, name, "{{.State.ExitCode}}") == "4"
