"""What a process may do: capabilities, privileges that cannot be regained, system calls; run and exec."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from tests.e2e.looking import MASKED, fails, host_capabilities, mounts, run, sets, status
from tests.e2e.tools import ALONE, FOREVER, container

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

DEFAULT_CAPABILITIES = 0xA80425FB
# unshare, mount, keyctl, bpf
NUMBERS = {"x86_64": (272, 165, 250, 321), "aarch64": (97, 40, 219, 280)}
UNSHARE, MOUNT, KEYCTL, BPF = NUMBERS.get(platform.machine(), (-1, -1, -1, -1))
EPERM = 1


# capabilities


def test_default_capabilities(engine: Engine, inside: tuple[str, ...]) -> None:
    """Docker's fourteen are bounding, permitted and effective; none is inheritable (CVE-2022-24769) or ambient."""
    expected = DEFAULT_CAPABILITIES & host_capabilities()
    assert sets(status(engine, *inside)) == (0, expected, expected, expected, 0)


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_user_has_no_capability(engine: Engine, lasting: str, verb: str) -> None:
    """For another user than root nothing is permitted or effective; the bounding set stays."""
    given = (
        ("run", "--rm", *ALONE, "-u", "1000", "debian") if verb == "run" else ("exec", "-u", "1000", lasting)
    )
    bounding = DEFAULT_CAPABILITIES & host_capabilities()
    assert sets(status(engine, *given)) == (0, 0, 0, bounding, 0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "all", "--cap-add", "net_admin"), 1 << 12),
        (("--cap-drop", "CHOWN"), DEFAULT_CAPABILITIES & ~1),
        (("--cap-drop", "CAP_CHOWN", "--cap-add", "SYS_TIME"), DEFAULT_CAPABILITIES & ~1 | 1 << 25),
        (("--cap-add", "ALL"), -1),
        (("--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"), ~(1 << 21)),
        (("--privileged",), -1),
    ],
)
def test_capabilities_by_wish(engine: Engine, flags: tuple[str, ...], expected: int) -> None:
    """--cap-add, --cap-drop and --privileged give exactly what they name of what the engine has."""
    mask = expected & host_capabilities()
    assert sets(status(engine, "run", "--rm", *ALONE, *flags, "debian")) == (0, mask, mask, mask, 0)


def test_a_privileged_container(engine: Engine) -> None:
    """It has all capabilities, no filter, nothing hidden or read-only, and the host's devices."""
    out = run(
        engine, "--privileged", script="grep Seccomp: /proc/self/status; cat /proc/self/mountinfo; ls /dev"
    )
    assert out.startswith("Seccomp:\t0\n")
    found = mounts("\n".join(line for line in out.splitlines() if " - " in line))
    assert not [path for path in found if path.startswith("/proc/") or path in MASKED]
    assert "rw" in found["/sys"].options
    assert "rw" in found["/sys/fs/cgroup"].options
    assert "kmsg" in out.splitlines()


def test_a_privileged_exec(engine: Engine, lasting: str) -> None:
    """``exec --privileged`` has all capabilities in an ordinary container."""
    everything = host_capabilities()
    assert sets(status(engine, "exec", "--privileged", lasting)) == (0, everything, everything, everything, 0)


def test_no_new_privileges(engine: Engine) -> None:
    """The flag is set for run and exec, and a set-uid program then stays what its caller is."""
    flags = ("--security-opt", "no-new-privileges")
    with container(engine, *flags, "debian", *FOREVER) as name:
        assert status(engine, "exec", name)["NoNewPrivs"] == "1"
    script = "cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; setpriv --reuid 1000 --clear-groups /tmp/id -u"
    assert run(engine, *flags, script=script).strip() == "1000"
    assert run(engine, script=script).strip() == "0"


# system calls


def calls(*numbers: str) -> str:
    """Return a script that makes system calls and prints the errno of each, 0 for success."""
    tries = "; ".join(f"$! = 0; syscall({call}); print $!+0, qq(\\n)" for call in numbers)
    return f"perl -e 'my @words = qw(none /mnt tmpfs); {tries}'"


REFUSED = calls(
    f"{UNSHARE}, 0x10000000",
    f"{MOUNT}, $words[0], $words[1], $words[2], 0, 0",
    f"{KEYCTL}, 0, -3, 0",
    f"{BPF}, 0, 0, 0",
)


@pytest.mark.skipif(UNSHARE < 0, reason="the numbers of system calls are known for x86_64 and aarch64 alone")
def test_dangerous_calls_are_refused(engine: Engine, inside: tuple[str, ...]) -> None:
    """unshare, mount, keyctl and bpf give EPERM, for run and exec."""
    out = engine.docker(*inside, "sh", "-c", REFUSED).stdout
    assert [int(line) for line in out.split()] == [EPERM] * 4


@pytest.mark.skipif(UNSHARE < 0, reason="the numbers of system calls are known for x86_64 and aarch64 alone")
def test_the_filter_refuses_them(engine: Engine) -> None:
    """Without the filter a new user namespace and the session keyring are there for everybody."""
    script = calls(f"{UNSHARE}, 0x10000000", f"{KEYCTL}, 0, -3, 1")
    assert run(engine, "--security-opt", "seccomp=unconfined", script=script).split() == ["0", "0"]


def test_a_filter_by_wish(engine: Engine, tmp_path: Path) -> None:
    """A profile of the user's own is obeyed."""
    profile = tmp_path / "profile.json"
    rule = '{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}'
    profile.write_text(f'{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}')
    complaint = fails(engine, "--security-opt", f"seccomp={profile}", script="mkdir /x")
    assert "not supported" in complaint
