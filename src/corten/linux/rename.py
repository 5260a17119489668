"""Renaming two names at once; see renameat2(2)."""

import ctypes
import os

from corten.linux.syscalls import check, libc

_EXCHANGE = 2
libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def exchange(directory: int, name: str, other_directory: int, other: str) -> None:
    """Let two names of one file system change places, atomically.

    Args:
        directory: Descriptor of the folder of *name*.
        name: One component.
        other_directory: Descriptor of the folder of *other*.
        other: One component.

    Raises:
        KernelError: ENOENT when one is missing, EINVAL where the file system cannot do it.
    """
    result = libc.renameat2(directory, os.fsencode(name), other_directory, os.fsencode(other), _EXCHANGE)
    check(result, f"exchange {name} and {other}")
