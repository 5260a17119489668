"""Which devices a cgroup may touch: rules made into version 1 lines or a version 2 program.

Version 1 takes the rules as text. Version 2 asks an eBPF program on every
open and mknod of a device; the program is assembled here, a few instructions
for each rule. It walks the rules from the last to the first, for a later
rule overrules an earlier one, and strikes out the kinds of access that a rule
allows until none is left to decide::

    r2 = type, r3 = access still asked for, r4 = major, r5 = minor
    per rule:  if the device is another one, go to the next rule
               deny:  if r3 & access: return 0
               allow: r3 &= ~access; if r3 == 0: return 1
    end:       return 1, as a cgroup without any rule does

Source: Documentation/admin-guide/cgroup-v1/devices.rst,
Documentation/bpf/standardization/instruction-set.rst, bpf(2),
linux/include/uapi/linux/bpf.h (struct bpf_cgroup_dev_ctx).
"""

import ctypes
import errno
import os
import struct

from corten.errors import InvalidInput, Unsupported
from corten.linux.syscalls import NR_BPF, KernelError, syscall

TYPE_CHECKING = False  # not from typing: that import is slow
if TYPE_CHECKING:
    from typing import Any

_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7
_TYPES = {"b": 1, "c": 2, "u": 2}

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_F_ALLOW_MULTI = 2
_MOST_PROGRAMS = 64  # the kernel's ceiling for one cgroup

_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_MOVE, _MOVE_REGISTER = 0xB7, 0xBF
_AND, _SHIFT_RIGHT = 0x57, 0x77
_JUMP_IF_EQUAL, _JUMP_IF_NOT_EQUAL = 0x15, 0x55
_EXIT = 0x95


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, target | source << 4, offset, value)


def _return(value: int) -> bytes:
    return _instruction(_MOVE, 0, value=value) + _instruction(_EXIT)


_PROLOGUE = b"".join(
    (
        _instruction(_LOAD_WORD, 2, 1, 0),
        _instruction(_MOVE_REGISTER, 3, 2),
        _instruction(_AND, 2, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, 3, value=16),
        _instruction(_LOAD_WORD, 4, 1, 4),
        _instruction(_LOAD_WORD, 5, 1, 8),
    )
)


class _Rule:
    """An OCI device rule with its defaults filled in; None means any."""

    def __init__(self, rule: "dict[str, Any]") -> None:
        self.allow = bool(rule["allow"])
        kind = rule.get("type") or "a"
        self.kind = None if kind == "a" else kind
        self.major = _number(rule.get("major"))
        self.minor = _number(rule.get("minor"))
        access = rule.get("access") or "rwm"
        if kind not in ("a", "b", "c", "u") or set(access) - set("rwm"):
            raise InvalidInput(
                f"bad device rule {kind} {access!r}: use a type a, b or c and access of r, w and m"
            )
        self.access = sum(_ACCESS[letter] for letter in set(access))

    @property
    def everything(self) -> bool:
        """It decides every access to every device, so no earlier rule matters."""
        return self.identity == (None, None, None) and self.access == _ALL_ACCESS

    @property
    def identity(self) -> "tuple[str | None, int | None, int | None]":
        """Which devices it is about."""
        return self.kind, self.major, self.minor

    def touches(self, other: "_Rule") -> bool:
        """Say whether both decide about opening some device.

        Making its node alone (mknod) is left out: who may not open it gains nothing.
        """
        pairs = zip(self.identity, other.identity, strict=True)
        both = self.access & other.access & ~_ACCESS["m"]
        return bool(both) and all(a is None or b is None or a == b for a, b in pairs)


def _number(value: int | None) -> int | None:
    return None if value is None or value == -1 else value


def _effective(rules: "list[dict[str, Any]]") -> list[_Rule]:
    """Return the rules that can still matter: from the last one on that decides everything."""
    parsed = [_Rule(rule) for rule in rules]
    for index in range(len(parsed) - 1, -1, -1):
        if parsed[index].everything:
            return parsed[index:]
    return parsed


def device_lines(rules: "list[dict[str, Any]]") -> list[tuple[bool, str]]:
    """Turn OCI device rules into lines of ``devices.allow`` (True) and ``devices.deny`` (False).

    Version 1 keeps one default and a list of exceptions to it, and drops an
    exception only when the very same devices are named: a rule that would
    have to cut a piece out of an earlier exception cannot be said.

    Raises:
        InvalidInput: a rule is malformed.
        Unsupported: a rule overrules only a part of an earlier one.
    """
    lines: list[tuple[bool, str]] = []
    exceptions: list[_Rule] = []
    default = True
    for rule in _effective(rules):
        if rule.everything:
            default, exceptions = rule.allow, []
            lines.append((rule.allow, "a"))
            continue
        if rule.allow != default:
            exceptions.append(rule)
        elif any(rule.touches(other) and rule.identity != other.identity for other in exceptions):
            raise Unsupported(
                "cgroups version 1 cannot take back a part of an earlier device rule: name the devices one by one"
            )
        lines += [(rule.allow, text) for text in _texts(rule)]
    return lines


def _texts(rule: _Rule) -> list[str]:
    major = "*" if rule.major is None else rule.major
    minor = "*" if rule.minor is None else rule.minor
    access = "".join(letter for letter in "rwm" if rule.access & _ACCESS[letter])
    kinds = ("b", "c") if rule.kind is None else ("c" if rule.kind == "u" else rule.kind,)
    return [f"{kind} {major}:{minor} {access}" for kind in kinds]


def program(rules: "list[dict[str, Any]]") -> bytes:
    """Assemble OCI device rules into an eBPF program of the cgroup device type.

    Raises:
        InvalidInput: a rule is malformed.
    """
    code = [_PROLOGUE]
    for rule in reversed(_effective(rules)):
        code.append(_block(rule))
        if rule.everything:
            return b"".join(code)
    return b"".join((*code, _return(1)))


def _block(rule: _Rule) -> bytes:
    """Assemble one rule: tests that jump past its end, then its verdict."""
    tests = []
    if rule.kind is not None:
        tests.append((2, _TYPES[rule.kind]))
    if rule.major is not None:
        tests.append((4, rule.major))
    if rule.minor is not None:
        tests.append((5, rule.minor))
    verdict = _verdict(rule)
    length = len(tests) + len(verdict) // 8
    jumps = [
        _instruction(_JUMP_IF_NOT_EQUAL, register, offset=length - index - 1, value=value)
        for index, (register, value) in enumerate(tests)
    ]
    return b"".join((*jumps, verdict))


def _verdict(rule: _Rule) -> bytes:
    answer = _return(int(rule.allow))
    if rule.access == _ALL_ACCESS:
        return answer
    if rule.allow:
        left = _instruction(_AND, 3, value=~rule.access)
        return left + _instruction(_JUMP_IF_NOT_EQUAL, 3, offset=2, value=0) + answer
    asked = _instruction(_MOVE_REGISTER, 6, 3) + _instruction(_AND, 6, value=rule.access)
    return asked + _instruction(_JUMP_IF_EQUAL, 6, offset=2, value=0) + answer


def _bpf(action: str, command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall(action, NR_BPF, command, ctypes.byref(buffer), len(attributes))


def _load(code: bytes) -> int:
    """Load a program and return its descriptor, which the caller closes."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license_text = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "<IIQQIIQII16s",
        _PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license_text),
        *(0, 0, 0),  # no log of the verifier
        *(0, 0),
        b"corten_devices",
    )
    return _bpf("load the device program", _PROG_LOAD, attributes)


def attached(cgroup_fd: int) -> list[int]:
    """Return the numbers of the device programs attached to this very cgroup.

    Raises:
        KernelError: EPERM without CAP_SYS_ADMIN or CAP_BPF, EINVAL where the kernel has no such programs.
    """
    numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attributes = struct.pack(
        "<IIIIQII", cgroup_fd, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(numbers), _MOST_PROGRAMS, 0
    )
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    syscall("list the device programs", NR_BPF, _PROG_QUERY, ctypes.byref(buffer), len(attributes))
    count = struct.unpack_from("<I", buffer.raw, 24)[0]
    return list(numbers[:count])


def _detach(cgroup_fd: int, number: int) -> None:
    """Detach the program of that number; one that is gone already is success."""
    try:
        fd = _bpf("open a device program", _PROG_GET_FD_BY_ID, struct.pack("<III", number, 0, 0))
    except KernelError as failure:
        if failure.errno == errno.ENOENT:
            return
        raise
    try:
        _bpf(
            "detach a device program",
            _PROG_DETACH,
            struct.pack("<IIII", cgroup_fd, fd, _ATTACH_CGROUP_DEVICE, 0),
        )
    finally:
        os.close(fd)


def attach(cgroup_fd: int, code: bytes) -> None:
    """Make *code* the one device program of a cgroup, without a moment in which neither old nor new holds.

    The kernel keeps the program as long as the cgroup lives; *cgroup_fd* stays
    the caller's. Programs of parent cgroups decide too: all must allow.

    Raises:
        KernelError: EINVAL where the kernel lacks such programs, EPERM without
            CAP_BPF and CAP_NET_ADMIN, or where a parent forbids further programs.
    """
    old = attached(cgroup_fd)
    fd = _load(code)
    try:
        attributes = struct.pack("<IIII", cgroup_fd, fd, _ATTACH_CGROUP_DEVICE, _F_ALLOW_MULTI)
        _bpf("attach the device program", _PROG_ATTACH, attributes)
    finally:
        os.close(fd)
    for number in old:
        _detach(cgroup_fd, number)
