"""Sizes, ages and moments, as Docker words them."""

import time

import pytest

from corten.cli.human import (
    ago,
    binary_size,
    duration,
    epoch,
    moment,
    parse_duration,
    parse_moment,
    rfc3339,
    size,
)

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * 60, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR * 1.5, "2 hours"),
        (47 * HOUR, "47 hours"),
        (48 * HOUR, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (60 * DAY, "2 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_words_a_span(seconds: float, text: str) -> None:
    """Each unit begins where go-units lets it begin."""
    assert duration(seconds) == text


def test_words_an_age() -> None:
    """An age is a span before now."""
    assert ago(time.time() - 7200) == "2 hours ago"


@pytest.mark.parametrize(
    ("count", "digits", "text"),
    [(0, 4, "0B"), (999, 4, "999B"), (1000, 4, "1kB"), (77812345, 3, "77.8MB"), (1234567890, 4, "1.235GB")],
)
def test_words_a_size(count: int, digits: int, text: str) -> None:
    """Powers of 1000, with so many digits."""
    assert size(count, digits) == text


def test_words_memory() -> None:
    """Memory is counted in powers of 1024."""
    assert binary_size(8237563904) == "7.672GiB"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("100ms", 10**8),
        ("0", 0),
        ("-2s", -2 * 10**9),
        ("3us", 3000),
    ],
)
def test_reads_a_duration(text: str, nanoseconds: int) -> None:
    """Go's form of a duration."""
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", 'time: invalid duration "x"'),
        ("", 'time: invalid duration ""'),
        ("5", 'time: missing unit in duration "5"'),
        ("5mm", 'time: unknown unit "mm" in duration "5mm"'),
        ("1.2.3s", 'time: invalid duration "1.2.3s"'),
    ],
)
def test_refuses_what_is_no_duration(text: str, words: str) -> None:
    """Go's words."""
    with pytest.raises(ValueError, match="time:") as caught:
        parse_duration(text)

    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1357133017", "1357133017"),
        ("1.5", "1.5"),
        ("2013-01-02T13:23:37Z", "1357133017.000000000"),
        ("2013-01-02T13:23:37.25Z", "1357133017.250000000"),
        ("2013-01-02T13:23:37+02:00", "1357125817.000000000"),
        ("2024-02-29T00:00:00Z", "1709164800.000000000"),
    ],
)
def test_reads_a_moment(text: str, seconds: str) -> None:
    """Seconds and RFC 3339."""
    assert parse_moment(text) == seconds


def test_reads_a_moment_before_now() -> None:
    """A duration is counted back from now."""
    assert abs(float(parse_moment("10m")) - (time.time() - 600)) < 60


def test_reads_a_local_moment() -> None:
    """Without a zone the time is local."""
    assert float(parse_moment("2013-01-02T13:23")) == time.mktime((2013, 1, 2, 13, 23, 0, 0, 0, -1))


def test_refuses_what_is_no_moment() -> None:
    """Nonsense is refused."""
    with pytest.raises(ValueError, match=r"."):
        parse_moment("yesterday")


def test_writes_moments() -> None:
    """Local time with zone, and nine digits in RFC 3339."""
    assert moment(0) == time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(0))
    assert rfc3339(1357133017, 42)[19:29] == ".000000042"


def test_knows_the_zero_time() -> None:
    """Go's zero time and nonsense are 0."""
    assert (epoch("0001-01-01T00:00:00Z"), epoch("x"), epoch("2013-01-02T13:23:37Z")) == (0, 0, 1357133017)
