"""Errands: a child is waited for, reaped, and its end answered once."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from corten.core.runtime.supervisor import errand
from corten.core.runtime.supervisor.errand import Errand
from corten.core.runtime.supervisor.loop import Loop
from corten.core.runtime.supervisor.pool import Parked
from corten.linux import pidfd


class Sent:
    """A child that has been sent on an errand: a real process, whose socket the test holds."""

    def __init__(self, *command: str) -> None:
        self.loop = Loop()
        self.child = subprocess.Popen(command)
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.answers: list[dict[str, Any]] = []
        parked = Parked(self.child.pid, pidfd.pidfd_open(self.child.pid), ours, None)
        self.errand = Errand(self.loop, parked, self.answer)
        self.errand.go(b"[]", [])

    def answer(self, answer: dict[str, Any]) -> None:
        """Take the answer, and leave the loop."""
        self.answers.append(answer)
        self.loop.stop()

    def told(self) -> list[bytes]:
        """Return what the child was told."""
        length, descriptors, _, _ = socket.recv_fds(self.theirs, 64, 16)
        for descriptor in descriptors:
            os.close(descriptor)
        assert len(descriptors) == 3
        return [length, self.theirs.recv(64)]

    def end(self, *messages: bytes) -> None:
        """Say something as the child, then end."""
        for message in messages:
            self.theirs.send(message)
        self.theirs.close()


@pytest.fixture
def sent(request: pytest.FixtureRequest) -> Iterator[Sent]:
    """A child that ends by itself, with the given status."""
    made = Sent("sh", "-c", f"exit {getattr(request, 'param', 0)}")
    yield made
    made.child.returncode = 0  # reaped by the errand


def test_a_child_that_ends_well(sent: Sent) -> None:
    """It was told its plan, and its end is the answer; nothing of it is left."""
    assert sent.told() == [(2).to_bytes(8, "little"), b"[]"]
    sent.end(b'{"ready":true}')
    sent.loop.run()
    assert sent.answers == [{}]
    with pytest.raises(ChildProcessError):
        os.waitpid(sent.child.pid, 0)


@pytest.mark.parametrize("sent", [127], indirect=True)
def test_a_child_that_fails(sent: Sent) -> None:
    """What it says is the answer."""
    sent.end(b'{"ready":true}', b'{"error": "no", "exit_code": 125}')
    sent.loop.run()
    assert sent.answers == [{"error": "no", "exit_code": 125}]


@pytest.mark.parametrize("sent", [9], indirect=True)
def test_a_child_that_says_nothing(sent: Sent) -> None:
    """An end without a word that is none of a child that did its work is a failure."""
    sent.end()
    sent.loop.run()
    assert sent.answers[0]["error"] == "the mounts were not changed: the process that does it was killed"


@pytest.mark.slow
def test_a_child_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed when its time is over, answered for at once, and reaped when it has ended."""
    monkeypatch.setattr(errand, "DEADLINE", 0.05)
    sent = Sent("sleep", "1000")
    sent.loop.run()
    assert "did not answer within" in sent.answers[0]["error"]
    ended = os.waitid(os.P_PID, sent.child.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_status == signal.SIGKILL
    sent.end()
    sent.loop.after(0.05, sent.loop.stop)
    sent.loop.run()
    assert len(sent.answers) == 1
    sent.child.returncode = 0
    with pytest.raises(ChildProcessError):
        os.waitpid(sent.child.pid, 0)
