"""The last steps of init, as far as they need no privilege: limits, the search for a program, exit codes."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from corten.core.runtime.init import process
from corten.core.runtime.init.child import STEPS, Child, carry_out
from corten.core.runtime.init.process import StartError
from corten.linux.syscalls import KernelError


def in_child(body: Callable[[], object]) -> tuple[str, int]:
    """Run *body* in a child; return what it printed, raised or returned, and its exit code."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        code = 99
        try:
            os.dup2(writer, 1)
            os.write(writer, str(body()).encode())
        except StartError as failure:
            os.write(writer, str(failure).encode())
            code = failure.exit_code
        except BaseException as failure:
            os.write(writer, repr(failure).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read().decode()
    return text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with programs, good and bad."""
    for name, text in {
        "good": "#!/bin/sh\necho good $*\n",
        "shy": "#!/bin/sh\necho shy\n",
        "garbage": "\x7fELF",
        "orphan": "#!/no/such/interpreter\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
        (tmp_path / name).chmod(0o644 if name == "shy" else 0o755)
    (tmp_path / "folder").mkdir()
    (tmp_path / "second").mkdir()
    (tmp_path / "second/shy").write_text("#!/bin/sh\necho found\n", encoding="ascii")
    (tmp_path / "second/shy").chmod(0o755)
    return tmp_path


def run(programs: Path, *args: str, path: str | None = None, cwd: str = "/") -> tuple[str, int]:
    """Execute *args* with *path* as PATH, by default the folder of programs."""

    def body() -> None:
        os.chdir(cwd)
        process.execute(list(args), [f"PATH={programs if path is None else path}"], "/home")

    return in_child(body)


def test_a_program_is_found_along_path(programs: Path) -> None:
    """The first one that can be run counts, as execvp(3) does."""
    assert run(programs, "good", "a", "b") == ("good a b\n", 0)
    assert run(programs, "shy", path=f"{programs}:/nowhere:{programs}/second") == ("found\n", 0)
    assert run(programs, f"{programs}/good") == ("good\n", 0)


def test_an_empty_entry_of_path_is_the_working_folder(programs: Path) -> None:
    """As execvp(3) has it."""
    assert run(programs, "good", path="/nowhere:", cwd=str(programs)) == ("good\n", 0)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("absent", 127, 'exec: "absent": executable file not found in $PATH'),
        ("/absent", 127, "stat /absent: no such file or directory"),
        ("shy", 126, 'exec: "shy": permission denied'),
        ("garbage", 126, "exec format error"),
        ("orphan", 127, "orphan"),
        ("{}/folder", 126, "is a directory"),
        ("{}/shy", 126, "permission denied"),
        ("{}/good/below", 126, "not a directory"),
        ("", 127, 'exec: ""'),
    ],
)
def test_exit_codes(programs: Path, name: str, code: int, words: str) -> None:
    """Docker's code for the reason: 127 not found, 126 found but no program."""
    text, found = run(programs, name.format(programs))
    assert (found, words in text) == (code, True), text
    assert "\n" not in text


def test_no_path_at_all(programs: Path) -> None:
    """Without PATH nothing is found, not even in the working folder unless it is named."""
    text, code = in_child(lambda: process.execute(["absent"], [], "/"))
    assert (text, code) == ('exec: "absent": executable file not found in $PATH', 127)


def test_the_environment_is_what_was_given(programs: Path) -> None:
    """Order is kept, HOME is added where it is missing, entries without a name are left out."""

    def body(*env: str) -> tuple[str, int]:
        return in_child(lambda: process.execute(["/usr/bin/env"], list(env), "/home/me"))

    assert body("B=2", "A=1", "=x", "E=") == ("B=2\nA=1\nE=\nHOME=/home/me\n", 0)
    assert body("HOME=/own", "C=a=b") == ("HOME=/own\nC=a=b\n", 0)


def test_ignored_signals_are_taken_back(programs: Path) -> None:
    """What the interpreter or its parents ignore is not ignored by the container's program."""

    def body() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        process.execute(["/bin/sh", "-c", "grep SigIgn /proc/self/status"], ["PATH=/bin"], "/")

    text, _ = in_child(body)
    assert int(text.split()[1], 16) & ~(1 << 31 | 1 << 32) == 0


def test_no_descriptor_is_inherited(programs: Path) -> None:
    """Beside 0, 1 and 2 the program has none (CVE-2024-21626)."""

    def body() -> None:
        os.dup2(1, 200, inheritable=True)
        process.execute(["/bin/ls", "/proc/self/fd"], [], "/")

    assert in_child(body) == ("0\n1\n2\n3\n", 0)


def test_limits_are_set() -> None:
    """Soft and hard limit are what was asked for."""

    def body() -> object:
        process.rlimits([("RLIMIT_NOFILE", 50, 60), ("RLIMIT_CORE", 0, 0)])
        return resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)

    assert in_child(body)[0] == "((50, 60), (0, 0))"


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (50, 200, "(50, 100)"),
        (200, 200, "(100, 100)"),
        (-1, -1, "(100, 100)"),
        (2**64 - 1, 2**64 - 1, "(100, 100)"),
        (10, 20, "(10, 20)"),
    ],
)
def test_limits_that_may_not_be_raised_are_clamped(
    soft: int, hard: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CAP_SYS_RESOURCE the most that is allowed is taken, and the start goes on."""
    real = resource.setrlimit

    def refuse(kind: int, limits: tuple[int, int]) -> None:
        if limits[1] == -1 or limits[1] > 100:
            raise PermissionError("not allowed to raise maximum limit")
        real(kind, limits)

    def body() -> object:
        real(resource.RLIMIT_NOFILE, (100, 100))
        monkeypatch.setattr(resource, "setrlimit", refuse)
        process.rlimits([("RLIMIT_NOFILE", soft, hard)])
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    assert in_child(body)[0] == expected


def test_a_failed_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's refusal becomes one line that says what was tried, with code 128."""

    def refuse(*_: object, **__: object) -> None:
        raise KernelError(1, "make folder")

    monkeypatch.setitem(STEPS, "mount", refuse)
    child = object.__new__(Child)
    with pytest.raises(
        StartError, match="mount /src at /dst: make folder: Operation not permitted"
    ) as failure:
        carry_out(child, [("mount", {"source": "/src", "target": "/dst"})])
    assert failure.value.exit_code == 128
