"""Names in the order of people, and times in that of Go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.human import go_time
from corten.cli.names import natural


def test_numbers_in_names_count() -> None:
    """web2 comes before web10, digits before letters."""
    names = ["web10", "web2", "a", "web", "10", "9", "web2b1"]
    assert sorted(names, key=natural) == ["9", "10", "a", "web", "web2", "web2b1", "web10"]


@given(st.lists(st.text(alphabet="ab01²", max_size=6)))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    """Also those with odd digits."""
    assert sorted(sorted(names, key=natural)) == sorted(names)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05 +0000 UTC"),
        ("2026-01-02T03:04:05.120000000Z", "2026-01-02 03:04:05.12 +0000 UTC"),
        ("2026-01-02T03:04:05.000000000Z", "2026-01-02 03:04:05 +0000 UTC"),
    ],
)
def test_times_as_go_prints_them(text: str, shown: str) -> None:
    """Without zeros at the end of the fraction."""
    assert go_time(text) == shown
