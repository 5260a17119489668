"""Challenges are read as RFC 9110 has them, and nonsense does no harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.distribution.access.challenge import Challenge, parse

REALM = "https://auth.test/token"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("BASIC", [("basic", {})]),
        (
            f'Bearer realm="{REALM}",service="registry.test",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": REALM, "service": "registry.test", "scope": "repository:a/b:pull,push"})],
        ),
        (f'bearer Realm = "{REALM}" , Service=x', [("bearer", {"realm": REALM, "service": "x"})]),
        (
            f'Bearer realm="{REALM}", Basic realm="x"',
            [("bearer", {"realm": REALM}), ("basic", {"realm": "x"})],
        ),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Negotiate dG9rZW4=, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        (r'Basic realm="a \"b\" \\ c, d"', [("basic", {"realm": r'a "b" \ c, d'})]),
        ('Bearer realm="one",realm="two"', [("bearer", {"realm": "one"})]),
        ("", []),
        (",,,", []),
        ('"', []),
        ('Bearer realm="unterminated', [("bearer", {})]),
    ],
)
def test_parse(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    """Schemes and names in any case, quoted and unquoted values, several in one header."""
    found = parse([header])

    assert found[: len(expected)] == [Challenge(*one) for one in expected]


def test_several_headers() -> None:
    """Each header adds its challenges."""
    assert [one.scheme for one in parse(["Basic", "Bearer realm=x"])] == ["basic", "bearer"]


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    """Nothing that a server sends breaks the reader, nor keeps it."""
    for one in parse([text, f'Bearer realm="{text}"', f"Basic {text}"]):
        assert one.scheme == one.scheme.lower()


def test_long_header_is_cut() -> None:
    """A header of megabytes costs nothing."""
    assert len(parse(["a=b," * 1_000_000])) < 10_000
