"""Capabilities: the pieces of root's power, by name, and the five sets a thread holds them in.

A thread may use what is *effective*; it may make effective what is
*permitted*; over an execve(2) it keeps what its *ambient* set, its
*inheritable* set and the file say, and never more than its *bounding* set.
Source: capabilities(7), linux/include/uapi/linux/capability.h.
"""

from collections.abc import Iterable
from ctypes import byref, c_uint32

from corten.errors import InvalidInput
from corten.linux.syscalls import NR_CAPGET, NR_CAPSET, check, libc, syscall

# In the kernel's order: the place of a name is its number.
NAMES = tuple(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)
_NUMBERS = {name: number for number, name in enumerate(NAMES)}

# What Docker gives a container: mask 00000000a80425fb.
DEFAULT = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_AMBIENT_IS_SET, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 1, 2, 4
_VERSION_3 = 0x20080522

_Header = c_uint32 * 2  # version, pid
_Data = c_uint32 * 6  # effective, permitted, inheritable of bits 0..31, then of bits 32..63


def parse(text: str) -> str:
    """Return the canonical name of a capability written with or without ``CAP_``, in any case.

    Raises:
        InvalidInput: no capability has that name.
    """
    name = text.upper()
    if not name.startswith("CAP_"):
        name = f"CAP_{name}"
    if name not in _NUMBERS:
        raise InvalidInput(f"unknown capability {text!r}: use a name of capabilities(7), such as NET_ADMIN")
    return name


def mask(names: Iterable[str]) -> int:
    """Return the set of canonical *names* as the kernel's bit mask.

    Raises:
        InvalidInput: a name is not a capability.
    """
    bits = 0
    for name in names:
        number = _NUMBERS.get(name)
        bits |= 1 << (_NUMBERS[parse(name)] if number is None else number)
    return bits


def names_of(bits: int) -> tuple[str, ...]:
    """Return the names in a bit mask, in the kernel's order; bits without a name are left out."""
    return tuple(name for number, name in enumerate(NAMES) if bits >> number & 1)


def _probe_last() -> int:
    number = len(NAMES) - 1
    while libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) < 0:
        number -= 1
    while libc.prctl(_PR_CAPBSET_READ, number + 1, 0, 0, 0) >= 0:
        number += 1
    return number


_LAST = _probe_last()


def last_cap() -> int:
    """Return the highest capability number of the running kernel, named here or not."""
    return _LAST


def set_bounding(names: Iterable[str]) -> None:
    """Drop from the bounding set of the calling thread whatever *names* lacks; see PR_CAPBSET_DROP(2const).

    Nothing can be added to a bounding set: a name that it lacks stays absent.

    Raises:
        KernelError: EPERM without CAP_SETPCAP.
    """
    keep = mask(names)
    for number in range(_LAST + 1):
        if not keep >> number & 1:
            check(
                libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0),
                f"drop capability {number} from the bounding set",
            )


def set_process(permitted: Iterable[str], effective: Iterable[str], inheritable: Iterable[str]) -> None:
    """Replace three sets of the calling thread; see capset(2).

    Raises:
        KernelError: EPERM where *permitted* holds what the thread lacks, or
            *effective* what *permitted* lacks, or *inheritable* what the bounding set lacks.
    """
    low, high = [], []
    for names in (effective, permitted, inheritable):
        bits = mask(names)
        low.append(bits & 0xFFFFFFFF)
        high.append(bits >> 32)
    header, data = _Header(_VERSION_3, 0), _Data(*low, *high)
    syscall("set the capabilities of the process", NR_CAPSET, byref(header), byref(data))


def set_ambient(names: Iterable[str]) -> None:
    """Make *names* the ambient set of the calling thread; see PR_CAP_AMBIENT(2const).

    Raises:
        KernelError: EPERM where a name is not both permitted and inheritable.
    """
    bits = mask(names)
    check(libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0), "clear the ambient capabilities")
    for number in range(_LAST + 1):
        if bits >> number & 1:
            result = libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0)
            check(result, f"raise ambient capability {number}")


def current() -> dict[str, tuple[str, ...]]:
    """Return the five sets of the calling thread under their names in the OCI runtime specification.

    Keys: bounding, effective, inheritable, permitted, ambient. See capget(2).
    """
    header, data = _Header(_VERSION_3, 0), _Data()
    syscall("read the capabilities of the process", NR_CAPGET, byref(header), byref(data))
    effective, permitted, inheritable = (data[i] | data[i + 3] << 32 for i in range(3))
    numbers = range(_LAST + 1)
    bounding = sum(1 << n for n in numbers if libc.prctl(_PR_CAPBSET_READ, n, 0, 0, 0) > 0)
    ambient = sum(1 << n for n in numbers if libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_IS_SET, n, 0, 0) > 0)
    return {
        "bounding": names_of(bounding),
        "effective": names_of(effective),
        "inheritable": names_of(inheritable),
        "permitted": names_of(permitted),
        "ambient": names_of(ambient),
    }


def keep_capabilities(keep: bool) -> None:
    """Say whether *permitted* survives the next change from user 0 to another; see PR_SET_KEEPCAPS(2const).

    The effective set is emptied by that change all the same: call
    ``set_process`` after it. The flag is cleared by execve(2).
    """
    check(libc.prctl(_PR_SET_KEEPCAPS, int(keep), 0, 0, 0), "set the keep-capabilities flag")


def set_no_new_privileges() -> None:
    """Make every later execve(2) ignore set-id bits and file capabilities; see PR_SET_NO_NEW_PRIVS(2const).

    It cannot be undone and is inherited by children.
    """
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs")
