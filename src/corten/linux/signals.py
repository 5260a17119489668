"""Signal actions that the C library keeps for itself.

Signals 32 and 33 belong to glibc, whose sigaction(3) refuses them; yet its
posix_spawn(3) leaves them ignored in the new program, and exec keeps that.
Source: rt_sigaction(2), signal(7).
"""

import ctypes

from corten.linux.syscalls import MACHINE, syscall

RESERVED = (32, 33)

_NR_RT_SIGACTION = 134 if MACHINE == "aarch64" else 13
_SET_SIZE = 8  # bytes of the kernel's signal set


def reset_reserved() -> None:
    """Give the reserved signals their default action again."""
    default = (ctypes.c_ulong * 4)()  # handler SIG_DFL, no flags, no restorer, empty mask
    for number in RESERVED:
        syscall(f"reset signal {number}", _NR_RT_SIGACTION, number, ctypes.byref(default), 0, _SET_SIZE)
