"""The default filter on a real process: what is refused, how, and what still works."""

import ctypes
import errno
import mmap
import os
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corten.linux import capabilities, seccomp
from corten.linux.capabilities import DEFAULT
from corten.linux.seccomp_compile import compile_profile, default_profile
from corten.linux.syscalls import MACHINE, NR_BPF, NR_CLONE3, KernelError, libc, syscall
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

CLONE_NEWNS = 0x20000
NR_KEYCTL = 250 if MACHINE == "x86_64" else 219
BEYOND_ALL = 5000  # no kernel has that many calls


def _answer(number: int, *arguments: int) -> str:
    """Return the name of the error with which the kernel answers a call, or "ok"."""
    try:
        syscall("try", number, *arguments)
    except KernelError as failure:
        return errno.errorcode[failure.errno or 0]
    return "ok"


@pytest.fixture
def filtered(tmp_path: Path) -> Callable[[Callable[[], object]], str]:
    """A way to run a function under the default filter of a container."""
    program = compile_profile(default_profile(), DEFAULT, str(tmp_path))

    def run(function: Callable[[], object]) -> str:
        def body() -> object:
            seccomp.install(program)
            return function()

        return in_child(body)

    return run


Filtered = Callable[[Callable[[], object]], str]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: _answer(NR_BPF, 0, 0, 0), "EPERM"),
        (lambda: _answer(NR_CLONE3, 0, 0), "ENOSYS"),
        (lambda: _answer(BEYOND_ALL), "ENOSYS"),
        (lambda: errno.errorcode[_libc_error(libc.unshare(CLONE_NEWNS))], "EPERM"),
        (lambda: errno.errorcode[_libc_error(libc.mount(b"none", b"/", b"tmpfs", 0, None))], "EPERM"),
        (lambda: _answer(NR_KEYCTL, 0, 0), "EPERM"),
        (lambda: os.getppid() > 0, "True"),
    ],
    ids=["bpf", "clone3", "unknown", "unshare", "mount", "keyctl", "getppid"],
)
def test_answers_calls_as_docker_does(filtered: Filtered, call: Callable[[], object], answer: str) -> None:
    """Dangerous calls are refused even to root, new ones do not exist, ordinary ones work."""
    assert filtered(call) == answer


def _libc_error(result: int) -> int:
    assert result == -1
    return ctypes.get_errno()


def test_programs_and_threads_run(filtered: Filtered) -> None:
    """A filtered process can start a program and a thread."""

    def work() -> object:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return subprocess.run(
            ["/bin/echo", "hello"], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert filtered(work) == "hello"


def test_sockets_to_the_hypervisor_are_refused(filtered: Filtered) -> None:
    """Arguments are compared: an address family that the profile leaves out is refused, others are not."""

    def families() -> object:
        opened = []
        for family in (1, 40):
            fd = libc.socket(family, 1, 0)
            opened.append("ok" if fd >= 0 else errno.errorcode[ctypes.get_errno()])
        return opened

    assert filtered(families) == "['ok', 'EPERM']"


def test_a_filter_holds_without_privileges(tmp_path: Path) -> None:
    """Without capabilities no_new_privs is needed, and suffices."""
    program = compile_profile(default_profile(), (), str(tmp_path))

    def confine() -> object:
        capabilities.set_process((), (), ())
        try:
            seccomp.install(program)
        except KernelError as failure:
            refused = errno.errorcode[failure.errno or 0]
        capabilities.set_no_new_privileges()
        seccomp.install(program)
        return refused, _answer(NR_BPF, 0, 0, 0)

    assert in_child(confine) == "('EACCES', 'EPERM')"


def test_a_bad_program_is_refused() -> None:
    """The kernel checks the instructions."""
    assert "install the seccomp filter: Invalid argument" in in_child(lambda: seccomp.install(b"\xff" * 8))


def test_an_administrator_may_mount(tmp_path: Path) -> None:
    """With CAP_SYS_ADMIN in the bounding set the calls that need it are let through to the kernel."""
    program = compile_profile(default_profile(), (*DEFAULT, "CAP_SYS_ADMIN"), str(tmp_path))

    def administrate() -> object:
        seccomp.install(program)
        return libc.unshare(CLONE_NEWNS), _answer(NR_CLONE3, 0, 0)

    assert in_child(administrate) == "(0, 'EINVAL')"


@pytest.mark.parametrize(
    ("rule", "answers"),
    [
        ({"names": ["umask"], "action": "SCMP_ACT_ERRNO", "errnoRet": 16}, ["EBUSY", "EBUSY"]),
        (
            {
                "name": "umask",
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 0o77}],
            },
            ["ok", "EPERM"],
        ),
        (
            {
                "names": ["umask"],
                "action": "SCMP_ACT_ERRNO",
                "args": [
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 0o22},
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 0o77},
                ],
            },
            ["EPERM", "EPERM"],
        ),
    ],
    ids=["own error", "compared", "either of two"],
)
def test_obeys_a_profile_of_the_user(tmp_path: Path, rule: dict[str, Any], answers: list[str]) -> None:
    """A profile in the form of Docker is obeyed: errors, comparisons, the older way to name a call."""
    program = compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, (), str(tmp_path))
    number = 95 if MACHINE == "x86_64" else 166

    def work() -> object:
        seccomp.install(program)
        return [_answer(number, value) for value in (0o22, 0o77)]

    assert in_child(work) == str(answers)


def _call_i386(number: int, first: int) -> int:
    """Make a call of the 32-bit interface from a 64-bit process, by ``int 0x80``."""
    code = b"\x53\xb8" + struct.pack("<I", number) + b"\xbb" + struct.pack("<I", first) + b"\xcd\x80\x5b\xc3"
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


def test_the_32_bit_interface_is_filtered_too(filtered: Filtered) -> None:
    """A process cannot go round the filter by using the machine's other call numbers."""
    getpid, unshare = 20, 310
    if MACHINE != "x86_64":
        pytest.skip("int 0x80 is an instruction of x86")
    if in_child(lambda: _call_i386(getpid, 0) > 0) != "True":
        pytest.skip("this kernel is built without 32-bit calls")

    def work() -> object:
        results = [
            _call_i386(number, first) for number, first in ((getpid, 0), (unshare, CLONE_NEWNS), (4000, 0))
        ]
        return results[0] == os.getpid(), *results[1:]

    assert filtered(work) == str((True, -errno.EPERM, -errno.ENOSYS))
