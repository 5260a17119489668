"""Namespaces: clone3, unshare, setns, host and domain name, pivot_root, descriptors.

Source: namespaces(7), clone(2), setns(2), unshare(2), pivot_root(2).
"""

import ctypes
import os

from corten.linux.syscalls import NR_CLONE3, NR_CLOSE_RANGE, NR_PIVOT_ROOT, check, libc, syscall

CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# OCI runtime-spec config-linux.md, "Namespaces": type -> flag, name below /proc/PID/ns
TYPES = {
    "mount": (CLONE_NEWNS, "mnt"),
    "pid": (CLONE_NEWPID, "pid"),
    "network": (CLONE_NEWNET, "net"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "user": (CLONE_NEWUSER, "user"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "time": (CLONE_NEWTIME, "time"),
}

CLOSE_RANGE_CLOEXEC = 1 << 2
SIGCHLD = 17


class _CloneArgs(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


def fork(flags: int = 0, cgroup: int | None = None) -> tuple[int, int]:
    """Fork this process into new namespaces; see clone(2), clone3.

    Only for a process with one thread: the C library and the interpreter do
    not learn of the fork, which a second thread's locks would not survive.

    Args:
        flags: ``CLONE_NEW*`` bits.
        cgroup: Descriptor of the cgroup v2 folder to be born in, or None.

    Returns:
        ``(0, -1)`` in the child; the child's process id and a pidfd (close-on-exec,
        closed by the caller) in the parent.

    Raises:
        KernelError: EPERM without CAP_SYS_ADMIN, EAGAIN or ENOSPC at a limit.
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=SIGCHLD)
    if cgroup is not None:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
    pid = syscall("fork", NR_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    return (0, -1) if pid == 0 else (pid, pidfd.value)


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces; see unshare(2)."""
    check(libc.unshare(flags), f"unshare {flags:#x}")


def setns(descriptor: int, flags: int) -> None:
    """Move the calling thread into the namespaces that *descriptor* refers to; see setns(2).

    Args:
        descriptor: A /proc/PID/ns/* file with one matching flag, or a pidfd
            (Linux 5.8) with any number of flags.
        flags: ``CLONE_NEW*`` bits.
    """
    check(libc.setns(descriptor, flags), f"enter namespaces {flags:#x}")


def set_hostname(name: str) -> None:
    """Set the host name of this UTS namespace; see sethostname(2)."""
    text = name.encode()
    check(libc.sethostname(text, len(text)), f"set host name {name}")


def set_domainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace; see setdomainname(2)."""
    text = name.encode()
    check(libc.setdomainname(text, len(text)), f"set domain name {name}")


def pivot_root(directory: int) -> None:
    """Make the mount at *directory* the root of this mount namespace and drop the old one.

    The old root is stacked on the same place and detached from there, so that
    no folder inside the container is needed for it; see pivot_root(2), "pivot_root(".", ".")".
    """
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(directory)
        syscall("pivot_root", NR_PIVOT_ROOT, b".", b".")
        os.fchdir(old)
        check(
            libc.mount(None, b".", None, 0x4000 | 0x80000, None), "make old root a slave"
        )  # MS_REC | MS_SLAVE
        check(libc.umount2(b".", 2), "detach old root")  # MNT_DETACH
        os.chdir("/")
    finally:
        os.close(old)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from *first* on close-on-exec; see close_range(2)."""
    syscall("close_range", NR_CLOSE_RANGE, first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)


def close_all_but(keep: int) -> None:
    """Close every descriptor from 3 on except *keep*; see close_range(2)."""
    if keep > 3:
        syscall("close_range", NR_CLOSE_RANGE, 3, keep - 1, 0)
    syscall("close_range", NR_CLOSE_RANGE, keep + 1, 0xFFFFFFFF, 0)


def set_dumpable(allowed: bool) -> None:
    """Forbid (or allow) others to trace this process or open its /proc entries; see prctl(2)."""
    check(libc.prctl(4, int(allowed), 0, 0, 0), "set dumpable")


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send *signal* to this process when its parent thread ends; see prctl(2)."""
    check(libc.prctl(1, signal, 0, 0, 0), "set parent death signal")


def set_subreaper() -> None:
    """Adopt orphaned descendants; see prctl(2), PR_SET_CHILD_SUBREAPER."""
    check(libc.prctl(36, 1, 0, 0, 0), "become a subreaper")
