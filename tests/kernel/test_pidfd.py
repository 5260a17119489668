"""Processes by descriptor."""

import errno
import os
import select
import signal
import subprocess
import sys

import pytest

from corten.linux import pidfd
from corten.linux.syscalls import KernelError

pytestmark = pytest.mark.root


def told_after_reaping() -> bool:
    """Tell whether this kernel keeps the status for who holds a pidfd (Linux 6.15)."""
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1].split("-")[0])) >= (6, 15)


KEPT = pytest.mark.skipif(not told_after_reaping(), reason="needs Linux 6.15: PIDFD_GET_INFO with exit")


def spawn(script: str) -> tuple[int, int]:
    """Start a shell; return its id and pidfd."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ)
    return pid, pidfd.pidfd_open(pid)


@KEPT
@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)])
def test_the_status_after_someone_else_reaped(script: str, code: int) -> None:
    """The status is there for who never was the parent, after the parent has taken it."""
    pid, descriptor = spawn(script)
    os.waitpid(pid, 0)
    status = pidfd.exit_status(descriptor)
    assert status is not None
    assert pidfd.exit_code(status) == code
    os.close(descriptor)


@KEPT
def test_the_status_of_a_strangers_child() -> None:
    """It works for a process of another parent, as one that a former supervisor started."""
    program = "import os,sys\npid=os.posix_spawn('/bin/sh',['sh','-c','read x; exit 7'],{})\nprint(pid,flush=True)\nos.waitpid(pid,0)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        descriptor = pidfd.pidfd_open(int(parent.stdout.readline()))
        parent.communicate(b"\n")
    assert pidfd.exit_status(descriptor) == 7 << 8
    os.close(descriptor)


def test_no_status_before_the_end() -> None:
    """A process that runs has none, nor has one that nobody has reaped."""
    pid, descriptor = spawn("read x </dev/zero; sleep 60")
    assert pidfd.exit_status(descriptor) is None
    pidfd.send_signal(descriptor, signal.SIGKILL)
    select.select([descriptor], [], [], 10)
    assert pidfd.exit_status(descriptor) is None
    os.waitpid(pid, 0)
    os.close(descriptor)


def test_what_is_no_pidfd_has_no_status() -> None:
    """Another descriptor is no process."""
    reader, writer = os.pipe()
    assert pidfd.exit_status(reader) is None
    os.close(reader)
    os.close(writer)


def test_signals_reach_the_process_or_nobody() -> None:
    """After the end a signal is ESRCH, whoever has the number by now."""
    pid, descriptor = spawn("sleep 60")
    pidfd.send_signal(descriptor, 0)
    pidfd.send_signal(descriptor, signal.SIGTERM)
    assert pidfd.exit_code(os.waitpid(pid, 0)[1]) == 143
    with pytest.raises(KernelError) as failure:
        pidfd.send_signal(descriptor, signal.SIGTERM)
    assert failure.value.errno == errno.ESRCH
    os.close(descriptor)


def test_a_pidfd_is_ready_at_the_end() -> None:
    """A pidfd can be waited for as a descriptor, and is not inherited."""
    pid, descriptor = spawn("exit 1")
    assert select.select([descriptor], [], [], 10)[0] == [descriptor]
    assert not os.get_inheritable(descriptor)
    os.waitpid(pid, 0)
    os.close(descriptor)


def test_a_process_that_is_not_there() -> None:
    """Opening a number that nobody has says which."""
    pid, descriptor = spawn("exit 0")
    os.waitpid(pid, 0)
    with pytest.raises(KernelError, match=f"open process {pid}"):
        pidfd.pidfd_open(pid)
    with pytest.raises(FileNotFoundError):
        pidfd.start_time(pid)
    os.close(descriptor)


def test_the_start_time_names_a_process() -> None:
    """It does not change, also for a name with spaces and brackets, and a later process has a later one."""
    pid, descriptor = spawn("printf '%s' 'a) R 1 (' >/proc/$$/comm; read x")
    first = pidfd.start_time(pid)
    assert first == pidfd.start_time(pid)
    assert first >= pidfd.start_time(os.getpid())
    pidfd.send_signal(descriptor, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(descriptor)
