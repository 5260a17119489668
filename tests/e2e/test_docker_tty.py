"""Interactive sessions: the real client at a real terminal, driven key by key."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import ALONE, Terminal, container, said, state, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

CTRL_C, CTRL_D, CTRL_P, CTRL_Q = "\x03", "\x04", "\x10", "\x11"
DETACH = CTRL_P + CTRL_Q
PROMPT = ("-e", "PS1=ready> ")
SHELL = ("debian", "sh")
BUSY = "sed -u 's/x/be''gun/'\rx\r"  # a program in the foreground that tells when it is there
FOLLOW_SIZE = "trap 'stty size' WINCH; stty size; while :; do sleep 0.02; done"


def docker(engine: Engine, *words: str, size: tuple[int, int] = (24, 80)) -> Terminal:
    """Start the client at a terminal."""
    return Terminal(["docker", *words], engine.environment, size)


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name for one container, which is removed afterwards."""
    given = unique()
    yield given
    engine.docker("rm", "-f", given, check=False)


def shell(engine: Engine, name: str, *flags: str) -> AbstractContextManager[Terminal]:
    """Run a shell at a terminal in a new container."""
    return docker(engine, "run", "-it", "--name", name, *ALONE, *PROMPT, *flags, *SHELL)


def test_the_program_has_a_terminal(engine: Engine, name: str) -> None:
    """With ``-t`` stdin is a terminal of the container's own devpts, with its owner and TERM."""
    with shell(engine, name) as terminal:
        terminal.expect("ready> ")
        terminal.type("tty; echo $TERM; stat -c %U:%a $(tty); ls -l /dev/console | cut -c1\r")
        shown = terminal.expect("ready> ")
        terminal.type("exit 0\r")
        assert terminal.wait() == 0
    assert shown.splitlines()[1:5] == ["/dev/pts/0", "xterm", "root:620", "c"]


def test_the_exit_code_passes(engine: Engine, name: str) -> None:
    """The client exits as the shell does, and puts the terminal back as it was."""
    with shell(engine, name) as terminal:
        terminal.expect("ready> ")
        assert not terminal.is_restored  # raw while the session lasts
        terminal.type("exit 42\r")
        assert terminal.wait() == 42
        assert terminal.is_restored


def test_the_size_reaches_the_container(engine: Engine, name: str) -> None:
    """``stty size`` inside is the size of the user's terminal at the start."""
    with docker(
        engine,
        "run",
        "-it",
        "--rm",
        "--name",
        name,
        *ALONE,
        "debian",
        "sh",
        "-c",
        FOLLOW_SIZE,
        size=(37, 113),
    ) as terminal:
        terminal.expect("37 113")


def test_a_resize_follows(engine: Engine, name: str) -> None:
    """Each change of the size reaches the program, as SIGWINCH and in what it asks."""
    words = ("run", "-it", "--name", name, *ALONE, "debian", "sh", "-c", FOLLOW_SIZE)
    with docker(engine, *words) as terminal:
        terminal.expect("24 80")
        for rows, columns in ((50, 132), (10, 20)):
            terminal.resize_until(rows, columns, f"{rows} {columns}")


def test_ctrl_c_interrupts_the_foreground_program(engine: Engine, name: str) -> None:
    """Ctrl-C ends what runs in the foreground, not the shell."""
    with shell(engine, name) as terminal:
        terminal.expect("ready> ")
        terminal.type(BUSY)
        terminal.expect("begun")
        terminal.type(CTRL_C)
        terminal.expect("ready> ")
        terminal.type("echo code $?\r")
        terminal.expect("code 130")
        assert state(engine, name) == "running"


def test_ctrl_d_ends_the_shell(engine: Engine, name: str) -> None:
    """Ctrl-D at the prompt is the end of input: the shell ends with its last code."""
    with shell(engine, name) as terminal:
        terminal.expect("ready> ")
        terminal.type("false\r")
        terminal.expect("ready> ")
        terminal.type(CTRL_D)
        assert terminal.wait() == 1


def test_detach_and_attach_again(engine: Engine, name: str) -> None:
    """Ctrl-P Ctrl-Q leaves the container running with its shell; attach comes back to the same one."""
    with shell(engine, name) as terminal:
        terminal.expect("ready> ")
        terminal.type("memory=kept\r")
        terminal.expect("ready> ")
        terminal.type(DETACH)
        assert terminal.wait() == 0
        assert terminal.is_restored
    assert state(engine, name) == "running"
    with docker(engine, "attach", name) as terminal:
        terminal.type("\r")
        terminal.expect("ready> ")
        terminal.type("echo $memory; exit 5\r")
        terminal.expect("kept")
        assert terminal.wait() == 5
    assert state(engine, name, "{{.State.ExitCode}}") == "5"


def test_ctrl_p_alone_is_typed(engine: Engine, name: str) -> None:
    """The first key of the detach sequence reaches the program when another follows."""
    with docker(
        engine,
        "run",
        "-it",
        "--name",
        name,
        *ALONE,
        "debian",
        "sh",
        "-c",
        "stty raw -echo; echo on; od -An -tx1 -N2",
    ) as terminal:
        terminal.expect("on")
        terminal.type(CTRL_P + "x")
        terminal.expect("10 78")


def test_own_detach_keys(engine: Engine, name: str) -> None:
    """``--detach-keys`` replaces the sequence."""
    with docker(
        engine, "run", "-it", "--detach-keys", "ctrl-a,d", "--name", name, *ALONE, *PROMPT, *SHELL
    ) as terminal:
        terminal.expect("ready> ")
        terminal.type("\x01d")
        assert terminal.wait() == 0
    assert state(engine, name) == "running"


def test_attach_takes_the_new_size(engine: Engine, name: str) -> None:
    """Who attaches from another terminal brings that terminal's size."""
    engine.docker("run", "-dit", "--name", name, *ALONE, "debian", "sh", "-c", FOLLOW_SIZE)
    with docker(engine, "attach", name, size=(33, 99)) as terminal:
        terminal.expect("33 99")


def test_two_terminals_see_the_same(engine: Engine, name: str) -> None:
    """What one types both see; one that detaches leaves the other attached."""
    with shell(engine, name) as first:
        first.expect("ready> ")
        with docker(engine, "attach", name) as second:
            second.type("\r")
            second.expect("ready> ")
            first.type("echo for both\r")
            first.expect("for both\r\n")
            second.expect("for both\r\n")
            second.type(DETACH)
            second.expect("read escape sequence")
        first.type("exit 0\r")
        assert first.wait() == 0


def test_output_of_a_terminal_is_logged(engine: Engine, name: str) -> None:
    """``logs`` shows what the terminal showed, line ends of a terminal included."""
    with docker(engine, "run", "-it", "--name", name, *ALONE, "debian", "echo", "hello") as terminal:
        assert terminal.wait() == 0
        assert terminal.seen == "hello\r\n"
    until(lambda: said(engine, name), "its log")
    raw = engine.docker("logs", name, input=b"").stdout
    assert raw == b"hello\r\n"


def test_a_terminal_without_a_client(engine: Engine, name: str) -> None:
    """``run -dt`` gives a terminal that nobody watches; the container lives on and is logged."""
    engine.docker("run", "-dt", "--name", name, *ALONE, "debian", "sh", "-c", "tty; sleep 1000")
    until(lambda: said(engine, name).startswith("/dev/pts/0"), "its first line")


def test_t_needs_a_terminal(engine: Engine) -> None:
    """``-it`` with a pipe for stdin is refused by the client, in one line."""
    done = engine.docker("run", "--rm", "-it", *ALONE, "debian", "true", input="", check=False)
    assert done.returncode != 0
    assert "the input device is not a TTY" in done.stderr


@pytest.fixture(scope="module")
def lasting(engine: Engine) -> Iterator[str]:
    """A container to run more programs in."""
    with container(engine, "debian", "sleep", "1000") as given:
        yield given


def test_exec_at_a_terminal(engine: Engine, lasting: str) -> None:
    """``exec -it`` has a terminal of its own, with size, resize, Ctrl-C and exit code."""
    with docker(engine, "exec", "-it", *PROMPT, lasting, "sh", size=(31, 77)) as terminal:
        terminal.expect("ready> ")
        terminal.type("stty size; tty\r")
        assert "31 77\r\n/dev/pts/" in terminal.expect("ready> ")
        terminal.type(BUSY)
        terminal.expect("begun")
        terminal.type(CTRL_C)
        terminal.expect("ready> ")
        terminal.type("exit 7\r")
        assert terminal.wait() == 7


def test_a_resize_reaches_an_exec(engine: Engine, lasting: str) -> None:
    """What runs by exec follows the size of its own terminal."""
    with docker(engine, "exec", "-it", lasting, "sh", "-c", FOLLOW_SIZE) as terminal:
        terminal.expect("24 80")
        terminal.resize_until(12, 34, "12 34")


def test_exec_ends_with_its_client(engine: Engine, lasting: str) -> None:
    """Detach keys leave an exec too: the client ends, the container goes on."""
    with docker(engine, "exec", "-it", *PROMPT, lasting, "sh") as terminal:
        terminal.expect("ready> ")
        terminal.type(DETACH)
        terminal.wait()
        assert terminal.is_restored
    assert state(engine, lasting) == "running"


def test_a_large_screen_is_complete(engine: Engine, name: str) -> None:
    """100,000 lines at a terminal arrive in order and complete."""
    with docker(engine, "run", "-it", "--name", name, *ALONE, "debian", "seq", "100000") as terminal:
        assert terminal.wait() == 0
        assert terminal.seen.split() == [str(number) for number in range(1, 100001)]


def test_a_long_paste_arrives(engine: Engine, name: str) -> None:
    """20,000 characters typed at once reach the program in order."""
    text = "".join(f"{number:04}" for number in range(5000))
    script = f"stty raw -echo; echo on; head -c {len(text)} | sha256sum"
    with docker(engine, "run", "-it", "--name", name, *ALONE, "debian", "sh", "-c", script) as terminal:
        terminal.expect("on")
        for start in range(0, len(text), 1000):
            terminal.type(text[start : start + 1000])
        terminal.expect(hashlib.sha256(text.encode()).hexdigest())
