"""The two small programs load what the committed lists say."""

import sys

import pytest

from tests.architecture.modules import HERE, LISTS

HOW = "if this is meant: .venv/bin/python -m tests.architecture.modules"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lists are those of Python 3.11")
@pytest.mark.parametrize("name", LISTS)
def test_loads_what_is_listed(name: str) -> None:
    """A module more is start-up time or memory for everyone, a module less a list to shorten."""
    listed = (HERE / name).read_text(encoding="utf-8").split()
    assert LISTS[name]() == listed, HOW


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("modules_cli.txt", "asyncio dataclasses typing re json http.client argparse click rich enum"),
        ("modules_supervisor.txt", "asyncio logging sqlite3 ssl msgspec threading subprocess dataclasses"),
    ],
)
def test_what_is_dear_is_not_listed(name: str, never: str) -> None:
    """The modules that cost most are never on the way."""
    listed = (HERE / name).read_text(encoding="utf-8").split()
    assert not set(listed) & set(never.split())
