"""Durations, ports, signals, modes, sizes, booleans."""

import os
import subprocess
from pathlib import Path

import pytest

from corten.engine.builds.dockerfile import values

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("", 0),
        ("0", 0),
        ("0s", 0),
        ("30s", 30 * SECOND),
        ("1m30s", 90 * SECOND),
        ("1.5h", 5400 * SECOND),
        ("1ms", 10**6),
        ("1000us", 10**6),
        ("1000µs", 10**6),
        (".5s", SECOND // 2),
        ("+1s", SECOND),
        ("2h1m1.000000001s", 7261 * SECOND + 1),
    ],
)
def test_durations_are_exact(text: str, nanoseconds: int) -> None:
    """Go's form is read without rounding (O15)."""
    assert values.duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["1", "s", "1x", "-1s", "1s ", "1 s", "999us", "1.2.3s", "9" * 40 + "h", "300000000h"]
)
def test_other_durations_are_refused(text: str) -> None:
    """A duration needs a unit, and a millisecond at least."""
    with pytest.raises(ValueError, match="expected a duration"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", ("80/tcp",)),
        ("80/UDP", ("80/udp",)),
        ("80-82/sctp", ("80/sctp", "81/sctp", "82/sctp")),
        ("8080:80", ("80/tcp",)),
        ("127.0.0.1:8080:80/tcp", ("80/tcp",)),
        ("[::1]:8080:80", ("80/tcp",)),
    ],
)
def test_ports_are_spread_out(text: str, ports: tuple[str, ...]) -> None:
    """A range is each of its ports; tcp is the default; the host's side is dropped (O09)."""
    assert values.ports(text) == ports


@pytest.mark.parametrize(
    "text", ["", "x", "80/foo", "82-80", "65536", "1-65536", "80-", "-80", "80/", "8 0", "٣"]
)
def test_other_ports_are_refused(text: str) -> None:
    """What is no port of a known protocol is refused."""
    with pytest.raises(ValueError, match=r"^expected"):
        values.ports(text)


@pytest.mark.parametrize("text", ["SIGTERM", "term", "15", "SIGRTMIN+3", "rtmax-1", "SIGRTMIN"])
def test_signals_have_names_and_numbers(text: str) -> None:
    """``SIG`` may be left out and case does not count (O14)."""
    values.check_signal(text)


@pytest.mark.parametrize("text", ["", "0", "65", "SIGFOO", "TERM+1", "RTMIN+99", "RTMAX+1", "-9", "SIG"])
def test_other_signals_are_refused(text: str) -> None:
    """What the kernel does not know is refused."""
    with pytest.raises(ValueError, match="expected a signal"):
        values.check_signal(text)


def test_numbers_sizes_and_booleans() -> None:
    """Each is read as Docker reads it, in all its spellings."""
    assert values.boolean("T") is True
    assert values.boolean("0") is False
    assert values.size("64m") == 64 << 20
    assert values.size("1.5GiB") == 3 << 29
    assert values.size("10") == 10
    assert values.number("0755", 8) == 0o755
    assert values.number("1000") == 1000
    assert values.retries("3") == 3


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.boolean, "yes"),
        (values.size, "m"),
        (values.size, "-1"),
        (values.size, "1e9"),
        (values.number, "-1"),
        (values.number, "4294967296"),
        (values.number, "٣"),
        (values.retries, "-1"),
        (values.retries, "2147483648"),
        (values.mode, "888"),
        (values.mode, "u=q"),
        (values.mode, ""),
        (values.mode, "12345"),
        (values.mode, "u"),
    ],
)
def test_what_is_none_of_them_is_refused(read: object, text: str) -> None:
    """Each says what it expected."""
    assert callable(read)
    with pytest.raises(ValueError, match=r"^expected .* found"):
        read(text)


@pytest.mark.parametrize(
    "text", ["755", "0644", "u=rwX,go=rX", "a+x", "g-w", "+x", "u+s,g+s", "o=", "a=rwx", "-x+X", "+t"]
)
@pytest.mark.parametrize("before", [0o644, 0o755, 0o600])
@pytest.mark.parametrize("directory", [False, True])
def test_modes_mean_what_chmod_means(tmp_path: Path, text: str, before: int, directory: bool) -> None:
    """The bits are those that chmod(1) gives (K03)."""
    path = tmp_path / "file"
    if directory:
        path.mkdir()
    else:
        path.touch()
    path.chmod(before)
    subprocess.run(
        ["/bin/sh", "-c", 'umask 0; chmod -- "$0" "$1"', text, str(path)], check=True, capture_output=True
    )

    assert values.mode(text).apply(before, directory) == os.stat(path).st_mode & 0o7777
