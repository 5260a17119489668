"""Processes by descriptor: no process id is ever reused under our hands.

Source: pidfd_open(2), pidfd_send_signal(2), linux/include/uapi/linux/pidfd.h.
"""

import ctypes
import errno
import fcntl
import os

from corten.linux.syscalls import NR_PIDFD_OPEN, NR_PIDFD_SEND_SIGNAL, KernelError, syscall

INFO_EXIT = 1 << 3  # PIDFD_INFO_EXIT, Linux 6.15


class _Info(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint64),
        ("cgroupid", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("tgid", ctypes.c_uint32),
        ("ppid", ctypes.c_uint32),
        ("ids", ctypes.c_uint32 * 8),
        ("exit_code", ctypes.c_int32),
    )


_GET_INFO = 3 << 30 | ctypes.sizeof(_Info) << 16 | 0xFF << 8 | 11  # _IOWR(0xFF, 11, struct pidfd_info)


def pidfd_open(pid: int) -> int:
    """Return a descriptor of process *pid*; the caller closes it; see pidfd_open(2)."""
    return syscall(f"open process {pid}", NR_PIDFD_OPEN, pid, 0)


def send_signal(pidfd: int, signal: int) -> None:
    """Signal the process behind *pidfd*; see pidfd_send_signal(2).

    Raises:
        KernelError: ESRCH when it has ended.
    """
    syscall(f"send signal {signal}", NR_PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0)


def exit_status(pidfd: int) -> int | None:
    """Return the wait status of an ended process that need not be our child.

    Returns:
        The status as wait(2) gives it, or None where the kernel does not say
        (before Linux 6.15, or the process has not been reaped yet).
    """
    info = _Info(mask=INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError as failure:
        if failure.errno in (errno.ENOTTY, errno.EINVAL, errno.ESRCH):
            return None
        raise KernelError(failure.errno or 0, "read exit status") from None
    return info.exit_code if info.mask & INFO_EXIT else None


def exit_code(status: int) -> int:
    """Turn a wait status into the code that Docker shows: 128+n for signal n."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def start_time(pid: int) -> int:
    """Return when *pid* started, in clock ticks since boot; with the id it names a process for good.

    Raises:
        FileNotFoundError: no such process. Source: proc_pid_stat(5), field 22.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
