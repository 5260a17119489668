"""Seccomp: put a compiled system call filter on the calling thread.

Compiling a profile is the business of ``seccomp_compile``, in a process that
has the time and the library; this module is what a container's first process
needs and loads nothing else. Source: seccomp(2).
"""

import ctypes

from corten.linux.syscalls import NR_SECCOMP, syscall

FLAG_TSYNC = 1
FLAG_LOG = 2
FLAG_SPEC_ALLOW = 4
FLAG_WAIT_KILLABLE_RECV = 32

_SET_MODE_FILTER = 1
_INSTRUCTION_SIZE = 8  # struct sock_filter


class _Program(ctypes.Structure):
    """Struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(program: bytes, flags: int = FLAG_SPEC_ALLOW) -> None:
    """Filter every later system call of the calling thread and its children; it cannot be undone.

    Args:
        program: Classic BPF instructions as ``compile_profile`` returns them; at most 4096.
        flags: ``FLAG_*``. By default the processor's speculation stays as it is for
            unfiltered processes, which Linux before 5.16 slows down otherwise.

    Raises:
        KernelError: EACCES without both CAP_SYS_ADMIN and no_new_privs, EINVAL
            for a bad program or an unknown flag. See seccomp(2).
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    descriptor = _Program(len(program) // _INSTRUCTION_SIZE, ctypes.addressof(instructions))
    syscall("install the seccomp filter", NR_SECCOMP, _SET_MODE_FILTER, flags, ctypes.byref(descriptor))
