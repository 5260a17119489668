"""Seccomp profiles: which system calls a container may make, compiled to a filter.

A profile is a dict in one of two forms. The form of Docker and OCI has
``defaultAction`` and ``syscalls``. Our default profile is written in a shorter
form with ``rules``, and is expanded to the other before anything else happens:

- ``default``: the error of every call that no rule names;
- ``machines``: native architecture -> the others whose calls are filtered too;
- ``rules``: each with ``calls``, allowed unless ``answer`` names an error; only
  ``when`` [argument, operator, value, second value] holds; only *with* all and
  *without* any of these capabilities; only on ``machines`` and not on
  ``not_machines``; only from ``kernel`` on.

libseccomp turns names into numbers and rules into BPF. A kernel may offer calls
that are newer than the profile or the library. A program that probes for one
expects ENOSYS, takes its older way then, and fails for good on EPERM. So the
filter begins with a few instructions of our own: a number above the highest
that the profile names for that architecture is answered with ENOSYS.

Source: runtime-spec config-linux.md "Seccomp"; seccomp_rule_add(3);
seccomp(2); Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import functools
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterable
from importlib import resources
from typing import Any

from corten.errors import InvalidInput, Unavailable, Unsupported
from corten.linux import seccomp

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
# A call from the future may pass these; answering it in their place would break what they are for.
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_SHORT_OPERATORS = {
    "<": "SCMP_CMP_LT",
    "==": "SCMP_CMP_EQ",
    ">": "SCMP_CMP_GT",
    "&==": "SCMP_CMP_MASKED_EQ",
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": seccomp.FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": seccomp.FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": seccomp.FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": seccomp.FLAG_WAIT_KILLABLE_RECV,
}
# Machine as uname(2) says -> as profiles say in includes and excludes.
_PROFILE_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "x86",
    "armv7l": "arm",
    "loongarch64": "loong64",
}

_UNKNOWN_CALL = -1
_ATTRIBUTE_OPTIMIZE, _BINARY_TREE = 8, 2
_X32_BIT = 0x40000000
_FORM = 1  # of cache files; a change of what is compiled counts up
_MOST_CACHED = 128
_cached: dict[str, bytes] = {}


class _Comparison(ctypes.Structure):
    """Struct scmp_arg_cmp."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Version(ctypes.Structure):
    """Struct scmp_version."""

    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


@functools.cache
def _library() -> ctypes.CDLL:
    """Load libseccomp and declare what is used of it.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise Unavailable("libseccomp.so.2 is missing: run `apt install libseccomp2`") from None
    c = ctypes
    for name, result, arguments in (
        ("seccomp_init", c.c_void_p, (c.c_uint32,)),
        ("seccomp_release", None, (c.c_void_p,)),
        ("seccomp_attr_set", c.c_int, (c.c_void_p, c.c_int, c.c_uint32)),
        ("seccomp_arch_native", c.c_uint32, ()),
        ("seccomp_arch_resolve_name", c.c_uint32, (c.c_char_p,)),
        ("seccomp_arch_add", c.c_int, (c.c_void_p, c.c_uint32)),
        ("seccomp_syscall_resolve_name", c.c_int, (c.c_char_p,)),
        ("seccomp_syscall_resolve_name_arch", c.c_int, (c.c_uint32, c.c_char_p)),
        (
            "seccomp_rule_add_array",
            c.c_int,
            (c.c_void_p, c.c_uint32, c.c_int, c.c_uint, c.POINTER(_Comparison)),
        ),
        ("seccomp_export_bpf", c.c_int, (c.c_void_p, c.c_int)),
        ("seccomp_version", c.POINTER(_Version), ()),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def default_profile() -> dict[str, Any]:
    """Return the profile of a container that names none; the caller does not change it."""
    text = resources.files("corten.linux").joinpath("seccomp_default.json").read_text()
    profile: dict[str, Any] = json.loads(text)
    return profile


def compile_profile(profile: dict[str, Any], capabilities: Iterable[str], cache: str) -> bytes:
    """Compile a profile for this machine.

    Args:
        profile: In either form, see the head of this module. Unknown members are ignored.
        capabilities: Canonical names of the bounding set, by which rules are kept or left out.
        cache: Directory for compiled filters, made if absent; losing it costs time only.

    Returns:
        Classic BPF instructions for ``seccomp.install``.

    Raises:
        InvalidInput: the profile is malformed.
        Unsupported: it notifies a supervisor process, which is not offered.
        Unavailable: libseccomp is not installed.
    """
    held = frozenset(capabilities)
    key = _key(profile, held)
    program = _cached.get(key)
    if program is None:
        path = os.path.join(cache, f"{key}.bpf")
        program = _load(path)
        if program is None:
            program = _compile(_expand(profile), held)
            _store(path, program)
        if len(_cached) >= _MOST_CACHED:
            _cached.clear()
        _cached[key] = program
    return program


def filter_flags(profile: dict[str, Any]) -> int:
    """Return the flags for ``seccomp.install`` that a profile asks for by ``flags``.

    Raises:
        InvalidInput: a flag is unknown.
    """
    names = profile.get("flags")
    if not names:
        return seccomp.FLAG_SPEC_ALLOW
    bits = 0
    for name in names:
        if name not in _FLAGS:
            raise InvalidInput(f"unknown seccomp flag {name!r}: use one of {', '.join(_FLAGS)}")
        bits |= _FLAGS[name]
    return bits


def _key(profile: dict[str, Any], held: frozenset[str]) -> str:
    version = _library().seccomp_version().contents
    system = os.uname()
    try:
        text = json.dumps(profile, sort_keys=True)
    except (TypeError, ValueError) as failure:
        raise InvalidInput(f"bad seccomp profile ({failure}): use JSON as `docker run` takes it") from None
    parts = (
        str(_FORM),
        text,
        " ".join(sorted(held)),
        system.machine,
        system.release,
        f"{version.major}.{version.minor}.{version.micro}",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _load(path: str) -> bytes | None:
    """Return a stored program, or None where there is none or its bytes do not match their digest."""
    try:
        with open(path, "rb") as file:
            stored = file.read()
    except FileNotFoundError:
        return None
    digest, program = stored[:32], stored[32:]
    return program if program and hashlib.sha256(program).digest() == digest else None


def _store(path: str, program: bytes) -> None:
    """Write a program under its name, all of it or nothing; readers check the digest, so no fsync."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(hashlib.sha256(program).digest() + program)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _expand(profile: dict[str, Any]) -> dict[str, Any]:
    """Return *profile* in the form of Docker and OCI."""
    if "rules" not in profile:
        return profile
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": getattr(errno, profile["default"]),
        "archMap": [
            {"architecture": native, "subArchitectures": others}
            for native, others in profile["machines"].items()
        ],
        "syscalls": [_expand_rule(rule) for rule in profile["rules"]],
    }


def _expand_rule(rule: dict[str, Any]) -> dict[str, Any]:
    full: dict[str, Any] = {
        "names": rule["calls"],
        "action": "SCMP_ACT_ALLOW",
        "includes": {
            "caps": rule.get("with"),
            "arches": rule.get("machines"),
            "minKernel": rule.get("kernel"),
        },
        "excludes": {"caps": rule.get("without"), "arches": rule.get("not_machines")},
    }
    if "answer" in rule:
        full |= {"action": "SCMP_ACT_ERRNO", "errnoRet": getattr(errno, rule["answer"])}
    if "when" in rule:
        index, operator, value, *second = rule["when"]
        comparison = {"index": index, "op": _SHORT_OPERATORS[operator], "value": value}
        full["args"] = [comparison | {"valueTwo": second[0] if second else 0}]
    return full


def _compile(profile: dict[str, Any], held: frozenset[str]) -> bytes:
    """Check and compile a profile in the form of Docker and OCI."""
    try:
        default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
        rules = [rule for rule in profile.get("syscalls") or () if _applies(rule, held)]
        architectures = _architectures(profile)
        stub = b""
        if profile["defaultAction"] not in _PERMISSIVE and default & 0xFFFF != errno.ENOSYS:
            names = [name for rule in rules for name in _names(rule)]
            stub = _future_calls(architectures, names)
        return stub + _export(default, architectures, rules)
    except (KeyError, TypeError, ValueError, AttributeError, ctypes.ArgumentError) as failure:
        reason = f"bad seccomp profile ({type(failure).__name__}: {failure})"
        raise InvalidInput(f"{reason}: use the form of the OCI runtime specification") from None


def _action(name: str, number: int | None) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise Unsupported("seccomp action SCMP_ACT_NOTIFY is not offered: use SCMP_ACT_ERRNO or SCMP_ACT_LOG")
    if name not in _ACTIONS:
        raise InvalidInput(f"unknown seccomp action {name!r}: use one of {', '.join(_ACTIONS)}")
    if name in _WITH_ERRNO:
        return _ACTIONS[name] | (errno.EPERM if number is None else int(number)) & 0xFFFF
    return _ACTIONS[name]


def _names(rule: dict[str, Any]) -> list[str]:
    """Return the calls of a rule; ``name`` is the older way to give one."""
    if rule.get("name") and rule.get("names"):
        raise InvalidInput("a seccomp rule has both name and names: use names only")
    names = rule.get("names") or [rule["name"]]
    if not isinstance(names, list):
        raise InvalidInput(f"the names of a seccomp rule are {names!r}: make them a list")
    return names


def _applies(rule: dict[str, Any], held: frozenset[str]) -> bool:
    """Say whether a rule's includes and excludes admit it here."""
    machine = os.uname().machine
    machines = {machine, _PROFILE_MACHINES.get(machine, machine)}
    wanted, banned = rule.get("includes") or {}, rule.get("excludes") or {}
    if wanted.get("arches") and not machines & set(wanted["arches"]):
        return False
    if banned.get("arches") and machines & set(banned["arches"]):
        return False
    if not held.issuperset(wanted.get("caps") or ()) or held & set(banned.get("caps") or ()):
        return False
    kernel = _kernel_version(os.uname().release)
    if wanted.get("minKernel") and kernel < _kernel_version(wanted["minKernel"]):
        return False
    return not (banned.get("minKernel") and kernel >= _kernel_version(banned["minKernel"]))


def _kernel_version(text: str) -> tuple[int, int]:
    major, minor, *_ = f"{text}.0".split(".")
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)


def _architectures(profile: dict[str, Any]) -> dict[str, int]:
    """Return name -> libseccomp's number of every architecture that is filtered, the native one first."""
    mapped, named = profile.get("archMap"), profile.get("architectures")
    if mapped and named:
        raise InvalidInput("the seccomp profile has both archMap and architectures: use one of them")
    native = os.uname().machine
    names = [native, *(_short(name) for name in named or ())]
    for entry in mapped or ():
        if _short(entry["architecture"]) == native:
            names += [_short(name) for name in entry.get("subArchitectures") or ()]
    found: dict[str, int] = {}
    for name in names:
        number = int(_library().seccomp_arch_resolve_name(name.encode()))
        if not number:
            raise InvalidInput(f"unknown seccomp architecture {name!r}: use a name such as SCMP_ARCH_X86_64")
        found[name] = number
    return found


def _short(architecture: str) -> str:
    return architecture.removeprefix("SCMP_ARCH_").lower()


def _export(default: int, architectures: dict[str, int], rules: list[dict[str, Any]]) -> bytes:
    """Let libseccomp make the program."""
    library = _library()
    context = library.seccomp_init(default)
    if not context:
        raise InvalidInput("libseccomp refuses the default action of the profile: use SCMP_ACT_ERRNO")
    try:
        library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)  # libseccomp 2.5; slower without
        for name, number in architectures.items():
            _expect(library.seccomp_arch_add(context, number), f"filter architecture {name}")
        for rule in rules:
            _add(context, default, rule)
        fd = os.memfd_create("seccomp")
        try:
            _expect(library.seccomp_export_bpf(context, fd), "export the filter")
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
    finally:
        library.seccomp_release(context)


def _expect(result: int, action: str) -> None:
    """Accept success, and that something is there already."""
    if result < 0 and result != -errno.EEXIST:
        raise InvalidInput(
            f"libseccomp cannot {action} ({os.strerror(-result)}): correct the seccomp profile"
        )


def _add(context: int, default: int, rule: dict[str, Any]) -> None:
    library = _library()
    action = _action(rule["action"], rule.get("errnoRet"))
    if action == default:
        return  # libseccomp refuses a rule that changes nothing
    for name in _names(rule):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_CALL:
            continue
        for group in _comparisons(rule.get("args") or ()):
            array = (_Comparison * len(group))(*group)
            result = library.seccomp_rule_add_array(context, action, number, len(group), array)
            _expect(result, f"add a rule for {name}")


def _comparisons(arguments: Iterable[dict[str, Any]]) -> list[list[_Comparison]]:
    """Return the comparisons that must hold together, group by group; any group suffices.

    All hold together unless two are about one argument: libseccomp cannot join
    those, and by custom each comparison counts alone then.
    """
    all_of = []
    for argument in arguments:
        operator = argument["op"]
        if operator not in _OPERATORS or not 0 <= argument["index"] <= 5:
            raise InvalidInput(
                f"bad seccomp comparison {argument}: use an operator SCMP_CMP_* and an index 0 to 5"
            )
        values = argument["value"], argument.get("valueTwo") or 0
        all_of.append(_Comparison(argument["index"], _OPERATORS[operator], *values))
    if len({comparison.index for comparison in all_of}) < len(all_of):
        return [[comparison] for comparison in all_of]
    return [all_of]


# Classic BPF: struct sock_filter {code, jump if true, jump if false, value}.
_LOAD = 0x20
_JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL = 0x05, 0x15, 0x25, 0x35
_RETURN = 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4  # in struct seccomp_data


def _instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


def _future_calls(architectures: dict[str, int], names: list[str]) -> bytes:
    """Assemble the head of the filter: calls above the highest named one do not exist.

    A block for each architecture either answers or jumps to the end, where the
    program of libseccomp follows; an architecture without a block falls through.
    """
    resolve = _library().seccomp_syscall_resolve_name_arch
    encoded = [name.encode() for name in names]
    highest = {
        name: max((resolve(number, call) for call in encoded), default=_UNKNOWN_CALL)
        for name, number in architectures.items()
    }
    blocks = [
        (architectures[name], _block(name, last, highest.get("x32", _UNKNOWN_CALL)))
        for name, last in highest.items()
        if last > 0 and name != "x32"
    ]
    code = b""
    for number, block in reversed(blocks):
        test = _instruction(_JUMP_EQUAL, number, 0, len(block) // 8 + 1)
        code = test + block + _instruction(_JUMP, len(code) // 8) + code
    return _instruction(_LOAD, _ARCHITECTURE_OFFSET) + code


def _block(name: str, last: int, last_x32: int) -> bytes:
    """Assemble the test of one architecture; x32 shares that of x86_64 and sets a bit in its numbers."""
    answer = _instruction(_RETURN, _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    load = _instruction(_LOAD, _NUMBER_OFFSET)
    if name != "x86_64":
        return load + _instruction(_JUMP_GREATER, last, 0, 1) + answer
    beyond_x32 = last_x32 if last_x32 & _X32_BIT and last_x32 > 0 else 0xFFFFFFFF
    return b"".join(
        (
            load,
            _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, 1, 0),
            _instruction(_JUMP_GREATER, last, 1, 2),
            _instruction(_JUMP_GREATER, beyond_x32, 0, 1),
            answer,
        )
    )
