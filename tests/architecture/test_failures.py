"""The kinds of failure are a closed list that every door and the documentation know."""

import pytest

from corten import errors
from corten.errors import CortenError
from corten.serve.api.failures import STATUS
from tests.architecture.source import ROOT

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CortenError) and kind is not CortenError
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_has_a_status(kind: type[CortenError]) -> None:
    """The HTTP door translates each kind, by name and not by chance."""
    assert kind in STATUS


def test_the_door_knows_no_other_kind() -> None:
    """A row for a kind that no longer exists is dead."""
    assert set(STATUS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_documented(kind: type[CortenError]) -> None:
    """docs/errors.md has a row with the name, the kind's word and the status."""
    lines = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith(f"| `{kind.__name__}` | `{kind.kind}` |")]
    assert len(rows) == 1
    assert f"| {STATUS[kind]} |" in rows[0]


def test_no_two_kinds_share_a_word() -> None:
    """A kind is known to programs by its word."""
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
