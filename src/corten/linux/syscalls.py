"""The C library, declared once: numbers, signatures, and errno made into exceptions.

Every other module of this package calls the kernel through ``libc`` or
``syscall`` here, so that argument types stand in one place and no errno is
lost. Numbers are those of the asm-generic table, which x86_64 and aarch64
share for every call newer than Linux 5.0; older ones are looked up by machine.
Source: syscalls(2), linux/arch/*/entry/syscalls.
"""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)

_c = ctypes
for _name, _arguments in {
    "mount": (_c.c_char_p, _c.c_char_p, _c.c_char_p, _c.c_ulong, _c.c_char_p),
    "umount2": (_c.c_char_p, _c.c_int),
    "unshare": (_c.c_int,),
    "setns": (_c.c_int, _c.c_int),
    "prctl": (_c.c_int, _c.c_ulong, _c.c_ulong, _c.c_ulong, _c.c_ulong),
    "sethostname": (_c.c_char_p, _c.c_size_t),
    "setdomainname": (_c.c_char_p, _c.c_size_t),
}.items():
    getattr(libc, _name).argtypes = _arguments
libc.syscall.restype = ctypes.c_long

MACHINE = os.uname().machine

# Calls older than the shared numbering: name -> number on x86_64, aarch64.
_OLD = {
    "capget": (125, 90),
    "capset": (126, 91),
    "pivot_root": (155, 41),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "close_range": (436, 436),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(MACHINE, 0)
NR_CAPGET, NR_CAPSET, NR_PIVOT_ROOT, NR_SECCOMP, NR_BPF, NR_CLOSE_RANGE = (
    row[_COLUMN] for row in _OLD.values()
)

NR_PIDFD_SEND_SIGNAL = 424
NR_OPEN_TREE = 428
NR_MOVE_MOUNT = 429
NR_FSOPEN = 430
NR_FSCONFIG = 431
NR_FSMOUNT = 432
NR_PIDFD_OPEN = 434
NR_CLONE3 = 435
NR_OPENAT2 = 437
NR_MOUNT_SETATTR = 442


class KernelError(OSError):
    """A system call that failed: ``errno`` is kept and the text says what was tried."""

    def __init__(self, number: int, action: str) -> None:
        super().__init__(number, os.strerror(number))
        self.action = action

    def __str__(self) -> str:
        return f"{self.action}: {self.strerror}"


def check(result: int, action: str) -> int:
    """Return *result*, or raise for a negative one.

    Raises:
        KernelError: *result* is negative; carries errno and *action*.
    """
    if result < 0:
        raise KernelError(ctypes.get_errno(), action)
    return result


def syscall(action: str, number: int, *arguments: object) -> int:
    """Call the kernel with integers passed as 64 bit words, as syscall(2) does.

    Raises:
        KernelError: the call failed.
    """
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(int(libc.syscall(ctypes.c_long(number), *words)), action)
