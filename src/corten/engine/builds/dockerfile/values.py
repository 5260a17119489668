"""What some arguments must look like: durations, ports, signals, modes, sizes, booleans.

Each function raises ValueError with the words "expected ..., found ..."; who
calls knows the place in the file.
"""

import re
import signal
from decimal import Decimal

import msgspec

from corten.engine.builds.dockerfile.lines import shown

MILLISECOND = 1_000_000  # nanoseconds
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": MILLISECOND, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 60 * _UNITS["m"]
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONGEST = 2**63 - 1
_PORT = re.compile(r"(?:(.*):)?(\d{1,5})(?:-(\d{1,5}))?(?:/([a-zA-Z]+))?", re.ASCII)
_PROTOCOLS = ("tcp", "udp", "sctp")
_SIGNAL = re.compile(r"(?:SIG)?([A-Z]+\d*)(?:([+-])(\d{1,2}))?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_CLAUSE = re.compile(r"([ugoa]*)((?:[+=-][rwxXst]*)+)")
_CHANGE = re.compile(r"([+=-])([rwxXst]*)")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def duration(text: str) -> int:
    """Return the nanoseconds of a duration in Go's form, ``1h15m30.5s``; 0 leaves the default.

    Raises:
        ValueError: it is none, or shorter than a millisecond.
    """
    if text in ("", "0", "+0", "-0"):
        return 0
    rest = text.removeprefix("+")
    total, end = Decimal(0), 0
    for part in _DURATION.finditer(rest):
        if part.start() != end or len(part[1]) > 30:
            break
        total, end = total + Decimal(part[1]) * _UNITS[part[2]], part.end()
    if end != len(rest) or not rest or total > _LONGEST:
        raise ValueError(f"expected a duration such as 30s or 1m30s, found {shown(text)}")
    if 0 < total < MILLISECOND:
        raise ValueError(f"expected a duration of 1ms at least, found {shown(text)}")
    return int(total)


def retries(text: str) -> int:
    """Return how often a health check may fail; 0 leaves the default."""
    if not re.fullmatch(r"\+?[0-9]{1,10}", text) or int(text) >= 2**31:
        raise ValueError(f"expected a number from 0 on, found {shown(text)}")
    return int(text)


def ports(text: str) -> tuple[str, ...]:
    """Return ``80/tcp`` and so on for ``80``, ``80-82/udp``; what is said of the host is dropped."""
    match = _PORT.fullmatch(text)
    protocol = (match[4] or "tcp").lower() if match else ""
    if match is None or protocol not in _PROTOCOLS:
        raise ValueError(f"expected PORT or FIRST-LAST with /tcp, /udp or /sctp, found {shown(text)}")
    first, last = int(match[2]), int(match[3] or match[2])
    if not first <= last < 65536:
        raise ValueError(
            f"expected ports from 0 to 65535, the first one not above the last, found {shown(text)}"
        )
    return tuple(f"{port}/{protocol}" for port in range(first, last + 1))


def check_signal(text: str) -> None:
    """Refuse what is neither a number nor the name of a signal, with or without ``SIG``."""
    if text.isascii() and text.isdigit() and len(text) < 4 and 0 < int(text) <= signal.SIGRTMAX:
        return
    match = _SIGNAL.fullmatch(text.upper())
    if match and f"SIG{match[1]}" in signal.Signals.__members__:
        base = int(signal.Signals[f"SIG{match[1]}"])
        offset = int(f"{match[2]}{match[3]}") if match[2] else 0
        if not offset or (
            base in (signal.SIGRTMIN, signal.SIGRTMAX) and 0 <= base + offset <= signal.SIGRTMAX
        ):
            return
    raise ValueError(f"expected a signal such as SIGTERM or 15, found {shown(text)}")


def boolean(text: str) -> bool:
    """Return what Go's ParseBool returns."""
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"expected true or false, found {shown(text)}")
    return text in _TRUE


def size(text: str) -> int:
    """Return the bytes of ``64m``, ``1.5GiB``; units are powers of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None or len(text) > 30:
        raise ValueError(f"expected a size such as 64m, found {shown(text)}")
    return int(Decimal(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))


def number(text: str, base: int = 10) -> int:
    """Return an unsigned number of 32 bits."""
    digits = r"[0-7]{1,11}" if base == 8 else r"[0-9]{1,10}"
    if not re.fullmatch(digits, text) or int(text, base) >= 2**32:
        raise ValueError(f"expected {'an octal' if base == 8 else 'a'} number, found {shown(text)}")
    return int(text, base)


class Mode(msgspec.Struct, frozen=True):
    """What ``--chmod`` says: bits, or changes to the bits that are there; see chmod(1)."""

    bits: int | None = None
    changes: tuple[tuple[str, str, str], ...] = ()  # whose (ugo), how (+-=), which (rwxXst)

    def apply(self, mode: int, directory: bool) -> int:
        """Return the permission bits that a file of *mode* gets."""
        if self.bits is not None:
            return self.bits
        for whose, how, which in self.changes:
            mode = _changed(mode, whose, how, which, directory)
        return mode


def mode(text: str) -> Mode:
    """Read octal bits, or symbolic changes such as ``u=rwX,go=rX``.

    Raises:
        ValueError: it is neither.
    """
    if re.fullmatch(r"0*[0-7]{1,4}", text):
        return Mode(bits=int(text, 8))
    changes: list[tuple[str, str, str]] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"expected a mode such as 0755 or u=rwX,go=rX, found {shown(text)}")
        whose = "ugo" if not match[1] or "a" in match[1] else match[1]
        changes += ((whose, how, which) for how, which in _CHANGE.findall(match[2]))
    return Mode(changes=tuple(changes))


def _changed(mode: int, whose: str, how: str, which: str, directory: bool) -> int:
    """Apply one change to permission bits."""
    executable = directory or mode & 0o111
    value = sum(bit for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in which)
    value |= 1 if "X" in which and executable else 0
    bits, mask = 0, 0
    for who, shift, special in (("u", 6, 0o4000), ("g", 3, 0o2000), ("o", 0, 0)):
        if who in whose:
            bits |= value << shift | (special if "s" in which else 0)
            mask |= 7 << shift | special
    bits |= 0o1000 if "t" in which else 0
    mask |= 0o1000 if whose == "ugo" else 0
    if how == "+":
        return mode | bits
    return mode & ~bits if how == "-" else mode & ~mask | bits
