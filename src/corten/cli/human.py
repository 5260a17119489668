"""Numbers and times for people: sizes, ages, moments; and what people type for them.

Source of the wording and of the roundings: docker/go-units.
"""

from __future__ import annotations

import time

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
# hours below the limit, hours per unit, wording
SPANS = (
    (48, 1, "{} hours"),
    (14 * 24, 24, "{} days"),
    (60 * 24, 7 * 24, "{} weeks"),
    (730 * 24, 30 * 24, "{} months"),
)
NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def size(count: float, digits: int = 4) -> str:
    """Bytes in powers of 1000 with *digits* significant digits: ``77.8MB``."""
    return _scaled(count, 1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def binary_size(count: float) -> str:
    """Bytes in powers of 1024: ``7.672GiB``."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 4)


def _scaled(count: float, base: int, units: tuple[str, ...], digits: int) -> str:
    at = 0
    while count >= base and at < len(units) - 1:
        count /= base
        at += 1
    return f"{count:.{digits}g}{units[at]}"


def duration(seconds: float) -> str:
    """A span of time: ``2 minutes``, ``About an hour``, ``3 weeks``."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < MINUTE:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if whole < HOUR:
        return "About a minute" if whole < 2 * MINUTE else f"{whole // MINUTE} minutes"
    hours = int(seconds / HOUR + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, unit, name in SPANS:
        if hours < limit:
            return name.format(hours // unit)
    return f"{whole // (365 * DAY)} years"


def ago(moment: float) -> str:
    """How long *moment* (seconds since the epoch) is past."""
    return duration(time.time() - moment) + " ago"


def moment(seconds: float) -> str:
    """*seconds* since the epoch in local time: ``2026-01-02 15:04:05 +0000 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def rfc3339(seconds: int, nanoseconds: int) -> str:
    """A moment in local time with nine digits of fraction, as RFC 3339 writes it."""
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanoseconds:09d}{zone}"


def go_time(text: str) -> str:
    """An RFC 3339 moment in UTC as Go prints it: ``2026-01-02 15:04:05.9 +0000 UTC``."""
    date, _, clock = text.removesuffix("Z").partition("T")
    whole, dot, fraction = clock.partition(".")
    fraction = fraction.rstrip("0")
    return f"{date} {whole}{dot if fraction else ''}{fraction} +0000 UTC"


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration in Go's form, ``1h15m30.5s``.

    Raises:
        ValueError: with Go's words.
    """
    rest = text.lstrip("+-")
    if rest == "0":
        return 0
    total, wrong = 0.0, ValueError(f'time: invalid duration "{text}"')
    if not rest:
        raise wrong
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("nsuµmh"))]
        rest = rest[len(unit) :]
        if not digits.strip(".") or digits.count(".") > 1:
            raise wrong
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in NANOSECONDS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(digits) * NANOSECONDS[unit]
    return round(-total if text[0] == "-" else total)


def parse_moment(text: str) -> str:
    """A point in time as the API takes it, in seconds since the epoch with a fraction.

    Takes what Docker's client takes: seconds since the epoch, a duration
    before now, RFC 3339, and shorter forms of it in local time.

    Raises:
        ValueError: it is none of these.
    """
    if text.replace(".", "", 1).isdigit() and text.isascii():
        return text
    try:
        return f"{time.time() - parse_duration(text) / 10**9:.9f}"
    except ValueError:
        return _calendar(text)


def _calendar(text: str) -> str:
    date, _, clock = text.partition("T")
    offset: int | None = None
    if clock.endswith("Z"):
        clock, offset = clock[:-1], 0
    elif clock[-6:-5] in ("+", "-") and clock[-6:-5]:
        sign = -1 if clock[-6] == "-" else 1
        offset = sign * (int(clock[-5:-3]) * HOUR + int(clock[-2:]) * MINUTE)
        clock = clock[:-6]
    clock, _, fraction = clock.partition(".")
    numbers = [int(part) for part in date.split("-")] + [int(part) for part in clock.split(":") if part]
    if len(numbers) not in (3, 4, 5, 6):
        raise ValueError(f'failed to parse value as time or duration: "{text}"')
    year, month, day, hour, minute, second = (*numbers, 0, 0, 0)[:6]
    local = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
    seconds = int(local)
    if offset is not None:
        seconds = _utc(year, month, day) + hour * HOUR + minute * MINUTE + second - offset
    return f"{seconds}.{(fraction + '0' * 9)[:9]}"


def _utc(year: int, month: int, day: int) -> int:
    """Seconds from the epoch to the start of a day of the Gregorian calendar in UTC."""
    early = month <= 2
    year -= early
    days = year * 365 + year // 4 - year // 100 + year // 400
    days += ((month + (9 if early else -3)) * 153 + 2) // 5 + day - 1
    return (days - 719468) * DAY


def epoch(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 moment; 0 for Go's zero time and for nonsense."""
    try:
        return float(_calendar(text)) if not text.startswith("0001-") else 0.0
    except ValueError:
        return 0.0
