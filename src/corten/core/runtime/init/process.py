"""The last steps of init: identity, privileges, working folder, exec.

From ``enter`` on the process sees the container's files alone, so nothing here
imports, looks up a codec, or asks a name service. Source: runtime-spec
config.md "Process"; capabilities(7); execve(2).
"""

import errno
import os
import resource
import signal
import stat
from contextlib import suppress

from corten.core.runtime.init.identity import Identity, resolve
from corten.linux import capabilities, paths
from corten.linux.namespaces import close_on_exec_from
from corten.linux.signals import reset_reserved

NOT_FOUND, NOT_EXECUTABLE, OTHER = 127, 126, 128


class StartError(Exception):
    """The process could not be started; ``exit_code`` is what Docker records for it."""

    def __init__(self, message: str, exit_code: int = OTHER) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def rlimits(limits: "list[tuple[str, int, int]]") -> None:
    """Set resource limits; a hard limit we may not raise is clamped to what we have; see setrlimit(2)."""
    for name, soft, hard in limits:
        kind = getattr(resource, name)
        wanted = (_limit(soft), _limit(hard))
        try:
            resource.setrlimit(kind, wanted)
        except (PermissionError, ValueError):
            _, most = resource.getrlimit(kind)
            resource.setrlimit(kind, (_least(wanted[0], most), _least(wanted[1], most)))


def _limit(value: int) -> int:
    return resource.RLIM_INFINITY if value < 0 or value >= (1 << 63) - 1 else value


def _least(wanted: int, most: int) -> int:
    if most == resource.RLIM_INFINITY:
        return wanted
    return most if wanted == resource.RLIM_INFINITY else min(wanted, most)


def oom_score(value: int) -> None:
    """Set the OOM score adjustment; lowering it without the right is left out; see proc_pid_oom_score_adj(5)."""
    descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    with suppress(PermissionError):
        os.write(descriptor, str(value).encode())
    os.close(descriptor)


def who(text: str, extra: list[str]) -> Identity:
    """Resolve a USER text in the root that this process now has.

    Raises:
        StartError: the name is unknown or the number out of range.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return resolve(root, text, extra)
    except LookupError as failure:
        raise StartError(str(failure)) from None
    finally:
        os.close(root)


def give_stdio(identity: Identity) -> None:
    """Let the container's user reopen its own stdout (``/dev/stdout``): pipes and terminals change owner."""
    for descriptor in (0, 1, 2):
        facts = os.fstat(descriptor)
        ours = stat.S_ISFIFO(facts.st_mode) or (
            stat.S_ISCHR(facts.st_mode) and 136 <= os.major(facts.st_rdev) <= 143
        )
        if ours and facts.st_uid != identity.uid:
            with suppress(PermissionError):
                os.fchown(descriptor, identity.uid, facts.st_gid)


def working_folder(path: str, make: bool) -> None:
    """Enter *path*, which no link may lead out of the root and which may not name a descriptor (CVE-2024-21626).

    Raises:
        StartError: it is no folder, or cannot be reached.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if make:
            descriptor = paths.make_directory(root, path)
        else:
            descriptor = paths.openat2(root, path, os.O_PATH | os.O_DIRECTORY)
    except OSError as failure:
        reason = (failure.strerror or "").lower()
        code = NOT_FOUND if failure.errno == errno.ENOENT else OTHER
        raise StartError(f'exec: chdir to working directory "{path}" failed: {reason}', code) from None
    finally:
        os.close(root)
    os.fchdir(descriptor)
    os.close(descriptor)
    if not os.getcwd().startswith("/"):
        raise StartError(f'exec: working directory "{path}" is outside of the container')


def become(
    identity: Identity, caps: "dict[str, list[str]] | None", no_new_privileges: bool, umask: int
) -> None:
    """Take on user, groups and capabilities; after this nothing privileged is possible.

    Order: bounding set first (needs SETPCAP), then ids with capabilities kept
    across the change, then the final sets. A user other than root gets no
    effective or permitted capability unless ambient ones say so.
    """
    sets = caps or {}
    if caps is not None:
        capabilities.set_bounding(sets.get("bounding", []))
    capabilities.keep_capabilities(True)
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if caps is not None:
        kept = identity.uid == 0
        ambient = sets.get("ambient", [])
        capabilities.set_process(
            permitted=sets.get("permitted", []) if kept else ambient,
            effective=sets.get("effective", []) if kept else ambient,
            inheritable=sets.get("inheritable", []),
        )
        capabilities.set_ambient(ambient)
    capabilities.keep_capabilities(False)
    if no_new_privileges:
        capabilities.set_no_new_privileges()
    os.umask(umask)


def execute(args: list[str], env: list[str], home: str) -> None:
    """Replace this process; returns never.

    The program is searched along PATH of *env* as execvp(3) does, without a shell fall-back.

    Raises:
        StartError: with Docker's exit code for the reason.
    """
    table = dict(entry.partition("=")[::2] for entry in env if entry.partition("=")[0])
    table.setdefault("HOME", home)
    program = args[0]
    if "/" in program:
        candidates = [program]
    elif not program:
        candidates = []  # execve would take it for our mistake
    else:
        candidates = [f"{folder or '.'}/{program}" for folder in table.get("PATH", "").split(":")]
    for number in range(1, signal.NSIG):  # exec keeps what the interpreter, we or our parents ignore
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    reset_reserved()
    close_on_exec_from(3)
    denied = None
    for candidate in candidates:
        try:
            os.execve(candidate, args, table)
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise _failed(program, failure) from None
            if failure.errno == errno.EACCES and denied is None:
                denied = failure
            last = failure
    if denied is not None:
        raise _failed(program, denied)
    if "/" not in program:
        raise StartError(f'exec: "{program}": executable file not found in $PATH', NOT_FOUND)
    raise _failed(program, last)


def _failed(program: str, failure: OSError) -> StartError:
    """Return the error for an execve(2) that was refused, in Docker's words."""
    if failure.errno == errno.ENOENT:
        return StartError(f'exec: "{program}": stat {program}: no such file or directory', NOT_FOUND)
    if failure.errno == errno.EACCES:
        reason = "is a directory" if os.path.isdir(program) else "permission denied"
        return StartError(f'exec: "{program}": {reason}', NOT_EXECUTABLE)
    if failure.errno == errno.ENOEXEC:
        return StartError(f'exec "{program}": exec format error', NOT_EXECUTABLE)
    code = NOT_EXECUTABLE if failure.errno in (errno.ENOTDIR, errno.ETXTBSY) else OTHER
    return StartError(f'exec: "{program}": {(failure.strerror or "").lower()}', code)
