"""Reading the values of a query."""

import pytest

from corten.errors import InvalidInput
from corten.serve.api.query import Query, nanoseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("true", True), ("yes", True), ("0", False), ("False", False), ("no", False), ("", False)],
)
def test_flags_follow_dockers_rule(text: str, expected: bool) -> None:
    """Anything but nothing, 0, no, false and none is true."""
    assert Query(f"a={text}").flag("a") is expected


def test_absent_values_have_defaults() -> None:
    """What is not given is empty, None, or the default."""
    query = Query("")

    assert (query.text("a"), query.integer("a"), query.time("a"), query.all("a")) == ("", None, None, [])
    assert query.flag("a", default=True) is True


def test_the_first_of_repeated_values_counts() -> None:
    """A list keeps them all."""
    query = Query("names=a&names=b%2Fc+d")

    assert query.text("names") == "a"
    assert query.all("names") == ["a", "b/c d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 10**9), ("1.5", 1_500_000_000), ("1700000000.123456789", 1700000000123456789), ("0.000000001", 1)],
)
def test_times_keep_every_nanosecond(text: str, expected: int) -> None:
    """No floating point comes between."""
    assert nanoseconds("since", text) == expected


@pytest.mark.parametrize("text", ["x", "1.2.3", "1e9", "2026-01-01"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """The message names the parameter."""
    with pytest.raises(InvalidInput, match="since"):
        Query(f"since={text}").time("since")


def test_a_number_that_is_none_is_refused() -> None:
    """The message names the parameter and its value."""
    with pytest.raises(InvalidInput, match='"abc" for "h"'):
        Query("h=abc").integer("h")


def test_time_zero_means_no_limit() -> None:
    """As clients send it who mean the beginning."""
    assert Query("since=0").time("since") is None
